# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes as the classic dump: offset, sixteen bytes, ASCII."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH: Final = 16

_ASCII: Final = bytes(value if 0x20 <= value < 0x7F else 0x2E for value in range(256))


def hexdump(data: bytes, start: int = 0) -> Iterator[str]:
    """Yield the lines of a dump; lines that repeat the one before are folded into a single ``*``, as hexdump -C does.

    Args:
        data: what to show.
        start: number to write beside the first byte.
    """
    shown = b""
    folded = False
    last = (len(data) - 1) // WIDTH * WIDTH
    for at in range(0, len(data), WIDTH):
        row = data[at : at + WIDTH]
        if row == shown and at != last:
            if not folded:
                yield "*"
            folded = True
            continue
        shown, folded = row, False
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        yield f"{start + at:08x}  {left:<23}  {right:<23}  {row.translate(_ASCII).decode('ascii')}"
