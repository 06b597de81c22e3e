# SPDX-License-Identifier: GPL-2.0-or-later
"""List the checkpoints of a Remus or COLO capture with their times: python pyshark_checkpoints.py CAPTURE."""

from __future__ import annotations

import sys

from dissector import pyshark_tools


def main(path: str) -> None:
    began = last = None
    sent = dirty = number = 0
    print("checkpoint  at s    since last  pfns sent  dirtied by secondary  frame")
    for record in pyshark_tools.read(path):
        began = began if began is not None else record.time_end
        if record.type == "PAGE_DATA":
            sent += record.fields["count"]
        elif record.type == "CHECKPOINT_DIRTY_PFN_LIST":
            dirty = record.fields["count"]
        elif record.type == "CHECKPOINT":
            number += 1
            at = (record.time_end - began) / 1e9
            since = f"{at - last:10.3f}" if last is not None else f"{'-':>10}"
            print(f"{number:10}  {at:6.3f}  {since}  {sent:9}  {dirty or '-':>20}  {record.packet.number:5}")
            last, sent, dirty = at, 0, 0


main(sys.argv[1])
