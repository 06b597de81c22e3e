# SPDX-License-Identifier: GPL-2.0-or-later
"""How much memory each pass of a migration sent, and how fast: did it converge?

Usage: python docs/examples/dirty_rate.py CAPTURE
"""

from __future__ import annotations

import sys

import dissector


def main(capture: str) -> None:
    """Print one line per pass (a new pass starts where pfns begin again from below, stream.md 4.8)."""
    passes: list[list[dissector.Record]] = []
    before = None
    for record in dissector.read(capture, display_filter="libxc.page_data"):
        if before is None or len(before.pfns) < 1024 or record.pfns[0] <= before.pfns[-1]:
            passes.append([])
        passes[-1].append(record)
        before = record
    print("pass  pfns   pages      MiB  seconds")
    for number, records in enumerate(passes, 1):
        pfns = sum(len(record.pfns) for record in records)
        pages = sum(record.fields["data_pages"] for record in records)
        seconds = (records[-1].time_end - records[0].time) / 1e9
        print(f"{number:4} {pfns:5} {pages:7} {pages / 256:8.1f} {seconds:8.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
