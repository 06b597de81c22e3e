# SPDX-License-Identifier: GPL-2.0-or-later
"""Pfn lists in words: runs of neighbours of one page type in place of a thousand numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.spec.libxc import PAGE_TYPE, PFN_MASK, PFN_TYPE_SHIFT
from dissector.spec.model import PfnList
from dissector.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dissector.wire.events import Record


def runs(raw: bytes, order: codec.ByteOrder, *, typed: bool) -> Iterator[str]:
    """Yield the runs of consecutive pfns of a list, such as ``0x100-0x1ff XTAB``."""
    first = last = kind = -1
    for entry in codec.entries(raw, order):
        pfn, its_kind = (entry & PFN_MASK, entry >> PFN_TYPE_SHIFT) if typed else (entry, -1)
        if pfn != last + 1 or its_kind != kind or first < 0:
            if first >= 0:
                yield _run(first, last, kind)
            first, kind = pfn, its_kind
        last = pfn
    if first >= 0:
        yield _run(first, last, kind)


def _run(first: int, last: int, kind: int) -> str:
    text = f"{first:#x}" if first == last else f"{first:#x}-{last:#x}"
    # An ordinary page is what nearly every entry is: naming it would only hide the others.
    return text if kind <= 0 else f"{text} {PAGE_TYPE.values.get(kind, f'{kind:#x}')}"


def record_runs(record: Record) -> Iterator[str]:
    """Yield the runs of the pfn list of a record; nothing when it has none."""
    for node in codec.walk(record.definition, record.body, record.order):
        if isinstance(node.element, PfnList):
            yield from runs(node.value, record.order, typed=node.element.typed)


def wrapped(words: Iterable[str], width: int, separator: str = ", ") -> Iterator[str]:
    """Fill lines of at most `width` columns; a single longer word gets a line of its own."""
    line = ""
    for word in words:
        if line and len(line) + len(separator) + len(word) > width:
            yield line + separator.rstrip()
            line = word
        else:
            line = f"{line}{separator}{word}" if line else word
    if line:
        yield line
