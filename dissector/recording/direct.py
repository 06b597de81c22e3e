# SPDX-License-Identifier: GPL-2.0-or-later
"""Large pieces into a file past the page cache (O_DIRECT).

The page cache costs more than everything else when a capture is written: 0.5 to 1.5 s of processor for each GB, and
memory that the rest of the system would like to keep, a dom0 above all. Only whole blocks go past it. What is left of a
piece before and behind them is written in the usual way, so no block is ever written in both.
"""

from __future__ import annotations

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
        view, used = self._view, offset % BLOCK
        begin, first = offset - used, used
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                count = min(len(rest), _ROOM - used)
                view[used : used + count] = rest[:count]
                rest = rest[count:]
                used += count
                if used == _ROOM:
                    self._put(begin, first, used)
                    begin += _ROOM
                    first = used = 0
        self._put(begin, first, used)

    def close(self) -> None:
        """Give the way back, not the file."""
        os.close(self._direct)
        self._view.release()
        self._memory.close()

    def _put(self, begin: int, first: int, end: int) -> None:
        """Write view[first:end]; view[0] belongs to the block that begins at `begin` in the file."""
        low, high = -(-first // BLOCK) * BLOCK, end // BLOCK * BLOCK
        if high <= low:
            low = high = end
        self._usual(first, low, begin)
        while low < high:
            try:
                count = os.pwrite(self._direct, self._view[low:high], begin + low)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self.refused, count = True, 0
            if not count or count % BLOCK:
                self._usual(low, high, begin)
                break
            low += count
        self._usual(high, end, begin)

    def _usual(self, low: int, high: int, begin: int) -> None:
        while low < high:
            low += os.pwrite(self._fd, self._view[low:high], begin + low)
