# SPDX-License-Identifier: GPL-2.0-or-later
"""COLO: was every page that the secondary dirtied sent again in the same checkpoint?

Usage: python docs/examples/colo_pages.py CAPTURE
"""

from __future__ import annotations

import sys

import numpy as np

import dissector


def main(capture: str) -> None:
    """Print, for each dirty list of the back channel, how many of its pages came back."""
    lists = []
    checkpoints: list[set[int]] = [set()]
    for record in dissector.read(capture):
        if record.type == "CHECKPOINT_DIRTY_PFN_LIST":
            lists.append(record)
        elif record.type == "PAGE_DATA":
            checkpoints[-1].update(record.pfns.tolist())
        elif record.type == "CHECKPOINT":
            checkpoints.append(set())
    for number, record in enumerate(lists, 2):
        sent = np.array(sorted(checkpoints[number - 1]), np.uint64) if number <= len(checkpoints) else np.empty(0)
        back = np.isin(record.pfns, sent)
        count = len(record.pfns)
        print(f"checkpoint {number}: {count} pages dirtied by the secondary, {back.sum()} of them sent again")
        if not back.all():
            missing = ", ".join(hex(pfn) for pfn in record.pfns[~back][:8])
            print(f"  never sent: {missing} (list header of {record.header_size} bytes)")


if __name__ == "__main__":
    main(sys.argv[1])
