# SPDX-License-Identifier: GPL-2.0-or-later
"""A set of pfns in bounded memory: a bitmap in pieces, so that neither a big guest nor a hostile list fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHIFT: Final = 15
_PIECE: Final = 1 << _SHIFT
"""Pfns per piece: 128 MiB of guest memory in 4 KiB."""
PIECES_MAX: Final = 4096
"""Pieces, 16 MiB: a guest of 512 GiB that was written everywhere."""


class PfnSet:
    """Pfns that were seen.

    Attributes:
        certain: Nothing is missing; False once the set is full, too.
    """

    __slots__ = ("_pieces", "certain")

    def __init__(self, *, certain: bool = True) -> None:
        self.certain = certain
        self._pieces: dict[int, bytearray] = {}

    def add(self, pfns: Iterable[int]) -> None:
        """Take pfns."""
        pieces = self._pieces
        for pfn in pfns:
            piece = pieces.get(pfn >> _SHIFT)
            if piece is None:
                if len(pieces) >= PIECES_MAX:
                    self.certain = False
                    return
                piece = pieces[pfn >> _SHIFT] = bytearray(_PIECE >> 3)
            piece[(pfn & _PIECE - 1) >> 3] |= 1 << (pfn & 7)

    def __contains__(self, pfn: int) -> bool:
        piece = self._pieces.get(pfn >> _SHIFT)
        return piece is not None and bool(piece[(pfn & _PIECE - 1) >> 3] & 1 << (pfn & 7))
