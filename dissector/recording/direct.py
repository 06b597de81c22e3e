# SPDX-License-Identifier: GPL-2.0-or-later
"""Large pieces into a file past the page cache (O_DIRECT).

The page cache costs more than everything else when a capture is written: 0.5 to 1.5 s of processor for each GB, and
memory that the rest of the system would like to keep, a dom0 above all. Only whole blocks go past it. What is left of a
piece before and behind them is written in the usual way, so no block is ever written in both.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dissector.recording.pcapng import Buffer

LEAST_BYTES: Final = 1 << 20
"""Less than this is not worth the way."""
BLOCK: Final = 4096
"""A multiple of what any disk asks for."""
_ROOM: Final = 4 << 20
_IN_PLACE: Final = 64 << 10
"""A piece as large as this is written from where it lies, if it lies well."""


class DirectFile:
    """The way past the page cache into a file that is open for writing.

    Args:
        fd: the file; stays open, and is used for what is no whole block.

    Raises:
        OSError: the system or the file system has no such way.
    """

    def __init__(self, fd: int) -> None:
        flag = getattr(os, "O_DIRECT", 0)
        if not flag:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._fd = fd
        self._direct = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC | flag)
        self._memory = mmap.mmap(-1, _ROOM)
        self._view = memoryview(self._memory)
        self.refused = False
        """The file system did not take a piece after all; it was written in the usual way."""

    def write(self, pieces: Iterable[Buffer], offset: int) -> None:
        """Write pieces one behind the other, from a place in the file on. The position of `fd` does not change.

        Raises:
            OSError: not all of it could be written.
        """
        view = self._view
        start = used = offset % BLOCK
        for piece in pieces:
            rest = memoryview(piece)
            if len(rest) >= _IN_PLACE and _lies_well(rest, offset + used - start):
                self._put(view[start:used], offset)
                offset += used - start
                self._put(rest, offset)
                offset += len(rest)
                start = used = offset % BLOCK
                continue
            while rest:
                count = min(len(rest), _ROOM - used)
                view[used : used + count] = rest[:count]
                rest = rest[count:]
                used += count
                if used == _ROOM:
                    self._put(view[start:used], offset)
                    offset += used - start
                    start = used = 0
        self._put(view[start:used], offset)

    def close(self) -> None:
        """Give the way back, not the file."""
        os.close(self._direct)
        self._view.release()
        self._memory.close()

    def _put(self, data: memoryview, offset: int) -> None:
        """Write bytes that lie well."""
        low = min(-offset % BLOCK, len(data))
        high = low + (len(data) - low) // BLOCK * BLOCK
        if low == high:
            low = high = len(data)
        self._usual(data[:low], offset)
        while low < high:
            try:
                count = os.pwrite(self._direct, data[low:high], offset + low)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self.refused, count = True, 0
            if not count or count % BLOCK:
                self._usual(data[low:high], offset + low)
                break
            low += count
        self._usual(data[high:], offset + high)

    def _usual(self, data: memoryview, offset: int) -> None:
        while data:
            count = os.pwrite(self._fd, data, offset)
            data = data[count:]
            offset += count


def _lies_well(piece: memoryview, offset: int) -> bool:
    """Whether the blocks of the file, of which a piece is written from `offset` on, begin at pages of the memory."""
    if piece.readonly:
        return False
    return (ctypes.addressof(ctypes.c_char.from_buffer(piece)) - offset) % BLOCK == 0
