# SPDX-License-Identifier: GPL-2.0-or-later
"""What is missing of a record, down to the pages whose contents are not whole (design.md section 2, law 1)."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from dissector.spec.libxc import DATA_PAGE_TYPES, PAGE_SIZE, PFN_MASK, PFN_TYPE_SHIFT
from dissector.spec.model import PfnList
from dissector.wire import codec

if TYPE_CHECKING:
    from dissector.wire.events import Record


def lost_bytes(record: Record) -> int:
    """Count the missing bytes of a record."""
    return sum(length for _, length in record.lost)


def lost_pfns(record: Record) -> list[int] | None:
    """Name the pfns whose page contents are not whole.

    Empty when none is concerned; None when that can not be told, because part of the pfn list itself is missing.
    """
    if not record.lost or codec.contents_element(record.definition) is None:
        return []
    for node in codec.walk(record.definition, record.body, record.order):
        if isinstance(node.element, PfnList):
            break
    else:
        return None
    entries = codec.entries(node.value, record.order)
    wanted = record.fields.get(node.element.count or "", len(entries))
    if len(entries) < wanted:
        return None
    pages = [entry & PFN_MASK for entry in entries if entry >> PFN_TYPE_SHIFT in DATA_PAGE_TYPES]
    contents = record.offset + record.header_size + node.offset + node.size
    starts = [contents + PAGE_SIZE * number for number in range(len(pages))]
    hit: set[int] = set()
    for offset, length in record.lost:
        first = max(0, bisect_right(starts, offset) - 1)
        behind = bisect_right(starts, offset + length - 1)
        if offset + length > contents:
            hit.update(range(first, behind))
    return [pages[number] for number in sorted(hit)]


def loss_mark(record: Record) -> str:
    """Say in a few words what is missing; empty for a complete record."""
    if record.complete is not False:
        return ""
    count = lost_bytes(record)
    if not count:
        return "CUT"
    mark = f"LOST {count} bytes"
    if len(record.lost) == 1 and count < record.size and sum(record.lost[0]) == record.offset + record.size:
        mark += " at its end"
    pages = lost_pfns(record)
    if pages:
        mark += f" ({len(pages)} page{'s' if len(pages) > 1 else ''})"
    return mark
