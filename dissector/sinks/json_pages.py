# SPDX-License-Identifier: GPL-2.0-or-later
"""The fields of PAGE_DATA straight to JSON: most records of most captures are PAGE_DATA, hundreds of thousands of them.

Says the same as decoding and encoding; where there is something unusual, it leaves the record to them.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec.json

from dissector.spec.libxc import PFN_MASK
from dissector.wire import codec
from dissector.wire.leading import ORDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from dissector.wire.events import Record

_encode: Final = msgspec.json.Encoder().encode
_LIST: Final = 8
"""Where in the body the pfn list begins."""


@lru_cache(maxsize=2048)
def _ends(size: int, order: codec.ByteOrder) -> Callable[[bytes], tuple[Any, ...]] | None:
    """Return what reads count, reserved, first and last entry of a body; None: there are no two whole entries."""
    if size < _LIST + 16 or size % 8:
        return None
    return struct.Struct(f"{ORDERS[order]}IIQ{size - _LIST - 16}xQ").unpack


@lru_cache(maxsize=1024)
def _types(tops: bytes) -> str:
    """Write what the most significant bytes of the entries tell."""
    raw = b"".join([bytes([top, 0, 0, 0, 0, 0, 0, 0]) for top in tops])
    types = _encode(codec.type_counts(raw, "big")).decode()
    return f'"data_pages":{codec.data_pages(raw, "big")},"types":{types}'


def page_data_fields(record: Record, *, pfns: bool) -> str | None:
    """Write the ``fields`` of a PAGE_DATA, with `pfns` its whole list; None: that is cut, or has no two entries."""
    body, order = record.body, record.order
    ends = _ends(len(body), order)
    if ends is None or record.extra:
        return None
    count, reserved, first, last = ends(body)
    tops = body[_LIST + 7 :: 8] if order == "little" else body[_LIST::8]
    if count != len(tops):
        return None
    whole = f',"pfn":{_encode(codec.pfn_numbers(body[_LIST:], order)).decode()}' if pfns else ""
    return (
        f'{{"count":{count},"reserved":{reserved},"first_pfn":{first & PFN_MASK},"last_pfn":{last & PFN_MASK},'
        f"{_types(tops)}{whole}}}"
    )
