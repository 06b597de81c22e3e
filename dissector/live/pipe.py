# SPDX-License-Identifier: GPL-2.0-or-later
"""A pcap or pcapng file that comes through a pipe, taken without ever waiting."""

from __future__ import annotations

import array
import contextlib
import fcntl
import select
import termios
from typing import TYPE_CHECKING, Final

from dissector.live.source import LiveError
from dissector.sources import CaptureError, CaptureFile, open_capture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.sources import Chunk

FILE_HEADER_BYTES: Final = 24
"""The file is opened, which waits for its header, when this much is there; writers write a header in one go."""


THE_END: Final = "the end of the capture"


class Pipe:
    """The reading end of a pipe.

    Args:
        descriptor: It stays open.
        name: Of what is captured, for messages; "-" is standard input.

    Attributes:
        ended: Why the pipe has ended; None while it has not.
        began: A file header came.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.ended: str | None = None
        self.began = False
        self._descriptor, self._name = descriptor, name
        self._file: CaptureFile | None = None
        self._chunks: Iterator[Chunk] = iter(())
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    @property
    def linktype(self) -> int | None:
        """LINKTYPE_ number of all packets; None: not known, or each packet tells."""
        return self._file.format.linktype if self._file is not None else None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def take(self) -> Iterator[Chunk]:
        """Give what is there, see `LiveSource.take`.

        Raises:
            LiveError: What comes is no capture, or damaged.
        """
        try:
            while self.ended is None and (events := self._events()):
                opened = self._file is None
                if opened and not self._open(events):
                    return
                if opened and self._file is not None and not self._file.ready:
                    continue
                chunk = next(self._chunks, None)
                if chunk is None:
                    self.ended = (self._file.truncated if self._file is not None else None) or THE_END
                    return
                yield chunk
                if chunk.reason is not None:
                    self._fail(chunk.reason)
        except CaptureError as error:
            self._fail(str(error), error)

    def close(self) -> None:
        """Drop the buffers."""
        if self._file is not None:
            self._file.close()

    def _events(self) -> int:
        return next((events for _, events in self._poll.poll(0)), 0)

    def _open(self, events: int) -> bool:
        """Open the file if its header is there, or nothing more comes."""
        over = bool(events & (select.POLLHUP | select.POLLERR))
        waiting = array.array("i", [FILE_HEADER_BYTES])
        with contextlib.suppress(OSError):  # a device, say
            fcntl.ioctl(self._descriptor, termios.FIONREAD, waiting)
        if not waiting[0] and over:
            self.ended = "nothing came"
            return False
        if 0 < waiting[0] < FILE_HEADER_BYTES and not over:
            return False
        file = open_capture(self._name, descriptor=self._descriptor)
        if not isinstance(file, CaptureFile):
            self._fail(f"{file.name}: a bare stream, no capture")
            return False
        self._file, self._chunks, self.began = file, file.chunks(), True
        return True

    def _fail(self, text: str, cause: Exception | None = None) -> None:
        self.ended = text
        raise LiveError(text) from cause


class PipeSource:
    """What a `LiveSource` has that takes its packets from a pipe; `_pipe` is the pipe."""

    _pipe: Pipe

    @property
    def linktype(self) -> int | None:
        """See `LiveSource.linktype`."""
        return self._pipe.linktype

    def fileno(self) -> int:
        """See `LiveSource.fileno`."""
        return self._pipe.fileno()

    def fills(self, share: float) -> bool:
        """See `LiveSource.fills`; of a pipe nobody knows."""
        return False
