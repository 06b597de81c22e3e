# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages, checkpoints and outcome of every migration in several captures, read in as many processes as there are cores.

Usage: python docs/examples/several_files.py CAPTURE...
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

import dissector


def migrations(capture: str) -> list[tuple[int, int, int, str]]:
    """Read one capture: flow, pages, checkpoints and outcome. This runs in a process of its own."""
    return [
        (event.flow, event.pages, event.checkpoints, event.outcome)
        for event in dissector.events(capture)
        if isinstance(event, dissector.Summary)
    ]


def main(captures: list[str]) -> None:
    """Print them in the order of the captures."""
    with ProcessPoolExecutor() as processes:
        for capture, found in zip(captures, processes.map(migrations, captures), strict=True):
            for flow, pages, checkpoints, outcome in found:
                print(
                    f"{capture} flow {flow}: {pages} pages, {checkpoints} checkpoints, {outcome or 'no outcome seen'}"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
