# SPDX-License-Identifier: GPL-2.0-or-later
"""Where one pass over the memory ends and the next begins (stream.md 4.8): inferred, the stream does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.spec import libxc
from dissector.wire import codec

if TYPE_CHECKING:
    from dissector.wire.events import Record


class Passes:
    """Counts passes and their pages, PAGE_DATA by PAGE_DATA.

    Attributes:
        number: Passes begun.
        pages: Pages with contents sent in the present one.
        before: Pages sent in the one before; None in the first.
    """

    __slots__ = ("_last", "before", "number", "pages")

    def __init__(self) -> None:
        self.number = 0
        self.pages = 0
        self.before: int | None = None
        self._last: tuple[int, int] | None = None

    def add(self, record: Record) -> int:
        """Take a PAGE_DATA; give the number of its pages with contents."""
        body, order = record.body, record.order
        ends = codec.list_ends(len(body), order)
        if ends is not None:
            count, _, first, last = ends(body)
        elif len(body) <= codec.LIST:
            return 0
        else:  # a list of one entry, or one that is cut
            count = int.from_bytes(body[:4], order)
            first = int.from_bytes(body[codec.LIST : codec.LIST + 8], order)
            last = int.from_bytes(body[max(codec.LIST, len(body) - 8) :], order)
        first &= libxc.PFN_MASK
        previous = self._last
        if previous is None or previous[0] < libxc.MAX_BATCH_SIZE or first <= previous[1]:
            self.before = self.pages if self.number else None
            self.number += 1
            self.pages = 0
        self._last = (count, last & libxc.PFN_MASK)
        pages = codec.data_pages(body, order, codec.LIST)
        self.pages += pages
        return pages
