# SPDX-License-Identifier: GPL-2.0-or-later
"""Which record header a CHECKPOINT_DIRTY_PFN_LIST was sent with: 8, 16 or 12 bytes (stream.md 4.6, 5.4).

Secondaries of Xen 4.18 and later write the in-memory structure in place of the header: 8 stray zero bytes follow it on
a 64-bit toolstack, 4 on a 32-bit one, and body_length does not count them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dissector.spec import libxl
from dissector.spec.model import RECORD_HEADER_SIZE
from dissector.wire import codec

if TYPE_CHECKING:
    from dissector.wire.codec import ByteOrder

SIZES = (8, 16, 12)
LOOKAHEAD = (4, 5, 8, 9, 16)
"""How many bytes behind the list to wait for, one after the other: where stray bytes may end and the next record may
begin (so that the frames of both are known), and where a decision is possible."""
DECIDING = (8, 16)


class HeaderSize(NamedTuple):
    """A decision."""

    bytes: int
    certain: bool
    """False when nothing fitted and the specified size was taken."""


def plainly_specified(body: bytes) -> bool:
    """Tell whether a list that begins with `body` can only have the specified header: stray bytes are zero."""
    return any(body[:4])


def header_size(body: bytes, ahead: bytes, order: ByteOrder, *, at_end: bool) -> HeaderSize | None:
    """Decide by what follows: the next record must be a CHECKPOINT_STATE.

    Args:
        body: `body_length` bytes behind a header of 8 bytes (or the first of them).
        ahead: the bytes behind those.
        order: byte order of the stream.
        at_end: the stream ends behind `ahead`.

    Returns:
        The decision; None when 16 bytes `ahead` are needed.
    """
    head = (libxl.CHECKPOINT_STATE.type_id or 0).to_bytes(4, order) + (4).to_bytes(4, order)
    first = (body[:8] + ahead)[:8]
    for size in SIZES:
        stray = size - RECORD_HEADER_SIZE
        if any(first[:stray]):
            continue
        follows = ahead[stray:size]
        if follows == head or (at_end and not follows and len(ahead) == stray):
            return HeaderSize(size, certain=True)
    if len(ahead) == RECORD_HEADER_SIZE and not any(first[:4]) and not at_end:
        return None
    return HeaderSize(RECORD_HEADER_SIZE, certain=False)


def guess(body: bytes, ahead: bytes, order: ByteOrder) -> int:
    """Judge by the list alone: pfn 0 is hardly ever dirty, and pfns of 2^32 and more do not exist.

    Args:
        body: as for :func:`header_size`.
        ahead: what came behind it before the loss.
        order: byte order of the stream.
    """
    there = body + ahead if len(body) < RECORD_HEADER_SIZE else body
    pfns = codec.entries(there[: len(there) & ~7], order)
    if pfns and pfns[0] == 0:
        return 16
    if pfns and not any(pfn & 0xFFFF_FFFF for pfn in pfns):
        return 12
    return RECORD_HEADER_SIZE
