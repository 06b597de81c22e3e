# SPDX-License-Identifier: GPL-2.0-or-later
"""Pfn lists in words: runs of neighbours of one page type in place of a thousand numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.spec.libxc import PAGE_TYPE
from dissector.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dissector.wire.events import Record

_UPPER_HALF: Final = bytes(value >> 4 for value in range(256))


def runs(raw: bytes, order: codec.ByteOrder, *, typed: bool) -> Iterator[str]:
    """Yield the runs of consecutive pfns of a list, such as ``0x100-0x1ff XTAB``."""
    pfns = codec.pfn_numbers(raw, order) if typed else codec.entries(raw, order)
    kinds = codec.type_bytes(raw, order).translate(_UPPER_HALF) if typed else bytes(len(pfns))
    first = next_pfn = kind = -1
    for pfn, its_kind in zip(pfns, kinds, strict=True):
        if pfn != next_pfn or its_kind != kind:
            if first >= 0:
                yield _run(first, next_pfn - 1, kind)
            first, kind = pfn, its_kind
        next_pfn = pfn + 1
    if first >= 0:
        yield _run(first, next_pfn - 1, kind)


def _run(first: int, last: int, kind: int) -> str:
    text = f"{first:#x}" if first == last else f"{first:#x}-{last:#x}"
    # An ordinary page is what nearly every entry is: naming it would only hide the others.
    return text if kind <= 0 else f"{text} {PAGE_TYPE.values.get(kind, f'{kind:#x}')}"


def record_runs(record: Record) -> Iterator[str]:
    """Yield the runs of the pfn list of a record; nothing when it has none."""
    found = codec.pfn_list(record.definition, record.body, record.order)
    if found is not None:
        element, raw = found
        yield from runs(raw, record.order, typed=element.typed)


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
