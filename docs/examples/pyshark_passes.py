# SPDX-License-Identifier: GPL-2.0-or-later
"""Count the pfns of each pass over memory, and those sent before: python pyshark_passes.py CAPTURE."""

from __future__ import annotations

import sys

import numpy as np

from dissector import pyshark_tools


def show(number: int, lists: list[np.ndarray], before: set[int]) -> set[int]:
    pfns = set(np.concatenate(lists).tolist())
    print(f"pass {number}: {len(pfns)} pfns, {len(pfns & before)} of them again, {min(pfns):#x} to {max(pfns):#x}")
    return before | pfns


def main(path: str) -> None:
    number = 1
    highest = -1
    lists: list[np.ndarray] = []
    before: set[int] = set()
    for record in pyshark_tools.read(path, pfns=True):
        if record.type != "PAGE_DATA":
            continue
        if record.fields["first_pfn"] <= highest:  # within a pass pfns ascend
            before = show(number, lists, before)
            number, lists = number + 1, []
        lists.append(record.pfns)
        highest = record.fields["last_pfn"]
    if lists:
        show(number, lists, before)


main(sys.argv[1])
