# SPDX-License-Identifier: GPL-2.0-or-later
"""One open file, FIFO or standard output that takes whole pieces."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import stat
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dissector.recording.direct import LEAST_BYTES, DirectFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dissector.recording.pcapng import Buffer

MOST_PIECES: Final = 1000
"""Linux takes 1024 in one writev."""
_LOOK_MS: Final = 100
_FORGET: Final = 1.05
"""By so much the speed of the way not taken is thought to grow with every piece, so that it is tried again."""
_MODE: Final = 0o600
"""Captures of a migration hold the memory of a guest."""


class OutputFile:
    """Where bytes go, without a buffer of its own.

    Args:
        path: its name; "-" is standard output.
        patient: open a FIFO that nobody reads yet by waiting for its reader, as a shell does; else that is an error.

    Raises:
        OSError: it can not be opened.
    """

    def __init__(self, path: str, *, patient: bool = True) -> None:
        self.path = path
        self.name = "standard output" if path == "-" else path
        self.written = 0
        """Bytes of whole pieces."""
        self._abandoned = False
        self._direct: DirectFile | None = None
        self._speeds = {True: math.inf, False: math.inf}
        """Bytes per second of large pieces, past the page cache or through it, when they were tried last."""
        if path == "-":
            self._fd = os.dup(1)
            self._ours = False
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            if not patient and stat.S_ISFIFO(Path(path).stat().st_mode):
                flags |= os.O_NONBLOCK
        self._fd = os.open(path, flags, _MODE)
        self._ours = stat.S_ISREG(os.fstat(self._fd).st_mode)
        if self._ours:
            with contextlib.suppress(OSError):
                self._direct = DirectFile(self._fd)

    def write(self, pieces: Sequence[Buffer], *, behind: bool = False) -> None:
        """Write all of some pieces; when that fails none of these is left in the file, if it is a file.

        Args:
            pieces: what is written, one behind the other.
            behind: much more is waiting. Large pieces go past the page cache, which takes least of the machine; when
                they come faster than the disk takes them, they go the way that was faster of late.

        Raises:
            OSError: the disk is full or broken, the reader went away, or `abandon` was called.
        """
        total = sum(map(len, pieces))
        try:
            if total >= LEAST_BYTES and self._direct is not None:
                self._write_much(self._direct, pieces, total, behind=behind)
            else:
                self._write_all(pieces)
        except OSError:
            if self._ours:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self.written)
                    os.lseek(self._fd, self.written, os.SEEK_SET)
            raise
        self.written += total

    @property
    def whole(self) -> bool:
        """Whether the file ends behind a whole piece even after an error: more can be written."""
        return self._ours

    def abandon(self) -> None:
        """Make a `write` that waits for a reader give up; for other threads."""
        self._abandoned = True

    def close(self) -> None:
        """Close it; an error now is one of the data, as with NFS.

        Raises:
            OSError: the last data were not stored.
        """
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _write_much(self, direct: DirectFile, pieces: Sequence[Buffer], total: int, *, behind: bool) -> None:
        speeds = self._speeds
        way = not direct.refused and (not behind or speeds[True] >= speeds[False])
        began = clock.monotonic()
        if way:
            direct.write(pieces, self.written)
            os.lseek(self._fd, self.written + total, os.SEEK_SET)
        else:
            self._write_all(pieces)
        speeds[way] = total / max(clock.monotonic() - began, 1e-9)
        speeds[not way] *= _FORGET

    def _write_all(self, pieces: Sequence[Buffer]) -> None:
        for start in range(0, len(pieces), MOST_PIECES):
            self._write(pieces[start : start + MOST_PIECES])

    def _write(self, pieces: Sequence[Buffer]) -> None:
        count = self._once(pieces)
        for piece in pieces:
            if count >= len(piece):
                count -= len(piece)
                continue
            rest = memoryview(piece)[count:]
            while rest:
                rest = rest[self._once([rest]) :]
            count = 0

    def _once(self, pieces: Sequence[Buffer]) -> int:
        while True:
            try:
                return os.writev(self._fd, pieces)
            except BlockingIOError:
                self._wait()

    def _wait(self) -> None:
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        while not ready.poll(_LOOK_MS):
            if self._abandoned:
                raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
