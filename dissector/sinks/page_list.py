# SPDX-License-Identifier: GPL-2.0-or-later
"""What a line says of the pfn list of a PAGE_DATA, without decoding it.

Most records of most captures are PAGE_DATA, hundreds of thousands of them. Where there is something unusual about one,
it is left to :mod:`dissector.wire.codec`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from dissector.spec.libxc import PAGE_DATA
from dissector.wire import codec
from dissector.wire.leading import ORDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from dissector.wire.events import Record

LIST: Final = 8
"""Where in the body the pfn list begins."""


@lru_cache(maxsize=2048)
def _ends(size: int, order: codec.ByteOrder) -> Callable[[bytes], tuple[Any, ...]] | None:
    """Return what reads count, reserved, first and last entry of a body; None: there are no two whole entries."""
    if size < LIST + 16 or size % 8:
        return None
    return struct.Struct(f"{ORDERS[order]}IIQ{size - LIST - 16}xQ").unpack


def page_list(record: Record) -> tuple[int, int, int, int, bytes] | None:
    """Read the pfn list of a PAGE_DATA from its ends.

    Returns:
        count, reserved, first and last entry, and the most significant byte of each entry, which has its type. None:
        the list is cut or has no two entries, or the record is another one.
    """
    body, order = record.body, record.order
    ends = _ends(len(body), order) if record.definition is PAGE_DATA and not record.extra else None
    if ends is None:
        return None
    count, reserved, first, last = ends(body)
    tops = body[LIST + 7 :: 8] if order == "little" else body[LIST::8]
    return (count, reserved, first, last, tops) if count == len(tops) else None


def pages_and_types(tops: bytes) -> tuple[int, dict[str, int]]:
    """Return how many pages follow a list, and its entries of each page type, from what `page_list` gives of it."""
    raw = b"".join([bytes([top, 0, 0, 0, 0, 0, 0, 0]) for top in tops])
    return codec.data_pages(raw, "big"), codec.type_counts(raw, "big")
