# SPDX-License-Identifier: GPL-2.0-or-later
"""What the forms of output cost, on captures of nothing but small records: ``python bench/outputs.py``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import ours
from bench.generate import Options, size
from bench.kinds import made
from bench.measure import interleave, markdown

FORMS = ((), ("--json",), ("-v",), ("-q",), ("--pfns",), ("--json", "--pfns"), ("-Y", "libxc.page_data.count > 5"))
KINDS = {"small": 1, "tiny": 4, "checkpoints": 4}
"""Kind of records -> by what the size of the stream is divided."""


def table(kind: str, total: int, repeat: int) -> str:
    """Compare forms of output on one capture."""
    capture = made(f"{kind}-records", Options(size=total, records=kind))
    ours.check(capture)
    commands = {"dissector.events()": ours.events("c")(capture.path)}
    commands |= {" ".join(("read", *form)): ours.reading("c", *form)(capture.path) for form in FORMS}
    rows = zip(commands, interleave(list(commands.values()), repeat), strict=True)
    lines = [
        [
            name,
            row.failed or f"{row.wall:.3f}",
            f"{row.cpu:.3f}",
            f"{capture.records / row.wall:,.0f}" if row.wall else "",
            f"{row.peak:.0f}",
        ]
        for name, row in rows
    ]
    head = ("", "wall s", "CPU s", "records/s", "peak MiB")
    return f"## {capture.path.name}, {capture.records:,} records\n\n{markdown(head, lines)}"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=size, default=64 << 20, help="bytes of the longest stream (64M)")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    for kind, divisor in KINDS.items():
        sys.stdout.write(table(kind, options.size // divisor, options.repeat) + "\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
