# SPDX-License-Identifier: GPL-2.0-or-later
"""The fields of PAGE_DATA straight to JSON.

Says the same as decoding and encoding; where there is something unusual, it leaves the record to them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec.json

from dissector.sinks.page_list import page_list
from dissector.spec.libxc import PFN_MASK
from dissector.wire import codec

if TYPE_CHECKING:
    from dissector.wire.events import Record

_encode: Final = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def _types(tops: bytes) -> str:
    pages, types = codec.pages_and_types(tops)
    return f'"data_pages":{pages},"types":{_encode(types).decode()}'


def page_data_fields(record: Record, *, pfns: bool) -> str | None:
    """Write the ``fields`` of a PAGE_DATA, with `pfns` its whole list; None: see `page_list`."""
    found = page_list(record)
    if found is None:
        return None
    count, reserved, first, last, tops = found
    whole = f',"pfn":{_encode(codec.pfn_numbers(record.body[codec.LIST :], record.order)).decode()}' if pfns else ""
    return (
        f'{{"count":{count},"reserved":{reserved},"first_pfn":{first & PFN_MASK},"last_pfn":{last & PFN_MASK},'
        f"{_types(tops)}{whole}}}"
    )
