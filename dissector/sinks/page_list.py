# SPDX-License-Identifier: GPL-2.0-or-later
"""What a line says of the pfn list of a PAGE_DATA, without decoding it.

Most records of most captures are PAGE_DATA, hundreds of thousands of them. Where there is something unusual about one,
it is left to :mod:`dissector.wire.codec`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.spec.libxc import PAGE_DATA
from dissector.wire import codec

if TYPE_CHECKING:
    from dissector.wire.events import Record


def page_list(record: Record) -> tuple[int, int, int, int, bytes] | None:
    """Read the pfn list of a PAGE_DATA from its ends.

    Returns:
        count, reserved, first and last entry, and the most significant byte of each entry, which has its type. None:
        the list is cut or has no two entries, or the record is another one.
    """
    body, order = record.body, record.order
    ends = codec.list_ends(len(body), order) if record.definition is PAGE_DATA and not record.extra else None
    if ends is None:
        return None
    count, reserved, first, last = ends(body)
    tops = body[codec.LIST + 7 :: 8] if order == "little" else body[codec.LIST :: 8]
    return (count, reserved, first, last, tops) if count == len(tops) else None
