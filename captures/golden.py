# SPDX-License-Identifier: GPL-2.0-or-later
"""Regenerate ``NAME.records.jsonl``: what ``xendissect read --json`` says of every capture.

Unlike the ``truth.json`` files, which were made without the product, these are its own output: they show in a diff what
a change of the code does to it.

Usage: ``python captures/golden.py [--check]``; with ``--check`` nothing is written and the exit status is 1 when a file
differs.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def captures() -> dict[str, list[Path]]:
    """Return the capture files of every case, by name."""
    cases = {}
    for truth in sorted(HERE.glob("*.truth.json")):
        name = truth.name.removesuffix(".truth.json")
        files = json.loads(truth.read_text()).get("files") or [f"{name}.pcap.gz"]
        cases[name] = [HERE / file for file in files]
    return cases


def golden(files: list[Path]) -> str:
    """Return the JSON Lines of one case; file names in it are without folders."""
    from dissector.reader import read_events
    from dissector.sinks.jsonl import JsonSink

    text = io.StringIO()
    sink = JsonSink(text)
    for event in read_events(*files):
        sink.write(event)
    sink.close()
    return text.getvalue().replace(f"{HERE}/", "")


def main() -> int:
    """Write or check all files."""
    differing = 0
    for name, files in captures().items():
        text = golden(files)
        path = HERE / f"{name}.records.jsonl"
        if path.exists() and path.read_text() == text:
            continue
        differing += 1
        print(f"{name}: {'differs' if '--check' in sys.argv else 'written'}")
        if "--check" not in sys.argv:
            path.write_text(text)
    return 1 if differing and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
