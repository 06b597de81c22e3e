# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes pcapng files: one, a ring of them, or standard output.

Blocks go through a bounded queue to one thread that writes them in large pieces, so a disk that is busy for a moment
does not hold up a capture. They are in the file at most a tenth of a second later: it can be read while it is written.
"""

from __future__ import annotations

import mmap
import os
import threading
import time as clock
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from dissector.recording.direct import BLOCK
from dissector.recording.output import OutputFile
from dissector.recording.pcapng import interface_description, interface_statistics, section_header
from dissector.recording.rotation import Limits, ring_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dissector.recording.pcapng import Buffer

WhenFull = Literal["wait", "drop", "stop"]

QUEUE_BYTES: Final = 64 << 20
PIECE_BYTES: Final = 4 << 20
"""Most bytes that are written in one go."""
ROOM_BYTES: Final = 2 << 20
"""Of a buffer that is lent to be filled."""
LARGEST_PACKET: Final = 1 << 16
"""A file of limited size may become larger by one packet, or a few more if they are larger than this."""
ENOUGH_BYTES: Final = 256 << 10
"""So much is written at once; less waits for more, but not for longer than `DELAY`."""
DELAY: Final = 0.1
"""Seconds."""
_BEHIND: Final = 0.5
"""The disk is behind when the queue is fuller than this."""
_SECOND: Final = 1_000_000_000


class _Blocks:
    """In the queue: whole blocks.

    Attributes:
        pieces: Their bytes.
        lent: The memory that these lie in, to be lent again when they are written.
        size: Bytes of memory that they take while they wait.
    """

    __slots__ = ("lent", "pieces", "size")

    def __init__(self, pieces: Sequence[Buffer], lent: mmap.mmap | None = None) -> None:
        self.pieces, self.lent = pieces, lent
        self.size = ROOM_BYTES if lent is not None else sum(map(len, pieces))


class _Next(NamedTuple):
    """In the queue: go on to the next file."""

    path: str
    remove: str | None


class _Counters(NamedTuple):
    received: int | None = None
    dropped: int | None = None
    dropped_by_interface: int | None = None


class CaptureWriter:
    """Writes a capture; the files it makes can be read by their owner only.

    All methods but the constructor return without an exception whatever the disk does: `failed` tells. What is written
    after that goes nowhere.

    Args:
        path: file name, of a ring the name that number and time are put into; "-" is standard output.
        ring: when to go on to the next file, and how many files are kept.
        autostop: when to stop; `stopped` tells. Its size means one file, so in a ring it is when to go on.
        application: name and version of the program, for the file header.
        comment: text for the file header.
        when_full: what `write` does when the queue is full: ``wait``; ``drop`` the packets and count them in
            `dropped`; or ``stop``: take no more at all.
        queue_bytes: bound of the queue.

    Raises:
        OSError: the (first) file can not be made.
        ValueError: a ring on standard output.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ring: Limits | None = None,
        autostop: Limits | None = None,
        application: str = "",
        comment: str = "",
        when_full: WhenFull = "wait",
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.packets = 0
        """Packets taken."""
        self.dropped = 0
        """Packets refused because the queue was full, or after `stopped` or `failed`."""
        self.files = 1
        """Files begun."""
        self.failed: str | None = None
        """What went wrong with the file, in one line."""
        self.stopped: str | None = None
        """Why no more is taken though nothing failed, in words."""
        self._base = os.fspath(path)
        if ring is not None and self._base == "-":
            raise ValueError("a ring of files can not be written to standard output")
        self._ring, self._autostop = ring, autostop or Limits()
        self._when_full, self._queue_bytes = when_full, queue_bytes
        system = os.uname()
        self._section = section_header(
            application=application, system=f"{system.sysname} {system.release}", comment=comment
        )
        self._interfaces: list[bytes] = []
        self._counters: list[_Counters] = []
        self._begun: int | None = None
        self._latest = 0
        self._file_begun: int | None = None
        self._file_packets = 0
        self._file_size = 0

        self._lock = threading.Lock()
        self._work, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._queue: deque[_Blocks | _Next] = deque()
        self._queued = 0
        self._free: list[mmap.mmap] = []
        """Memory to be lent. What came back last is lent first: it is in the processor's cache."""
        self._last: bytes | None = None
        """What comes behind everything else, once it is known."""
        self._kept: deque[str] = deque()
        self.path = self._name()
        """Of the file that is written now."""
        self._output = OutputFile(self.path, patient=when_full == "wait")
        self._put(_Blocks([self._section]))
        self._thread = threading.Thread(target=self._run, name="capture writer", daemon=True)
        self._thread.start()

    def interface(self, linktype: int, name: str = "", filter_text: str = "", snap_length: int = 0) -> int:
        """Add an interface; return its number, the same in all files of a ring."""
        block = interface_description(linktype, name=name, filter_text=filter_text, snap_length=snap_length)
        self._interfaces.append(block)
        self._counters.append(_Counters())
        self._put(_Blocks([block]))
        return len(self._interfaces) - 1

    def statistics(
        self,
        interface: int,
        *,
        received: int | None = None,
        dropped: int | None = None,
        dropped_by_interface: int | None = None,
    ) -> None:
        """Say what was counted on an interface up to now; written at the end of each file."""
        self._counters[interface] = _Counters(received, dropped, dropped_by_interface)

    @property
    def filled(self) -> float:
        """How full the queue is, from 0 to 1 (above: one very large block)."""
        return self._queued / self._queue_bytes

    @property
    def left(self) -> int | None:
        """Packets that may still come before a limit on packets or size is looked at; None: no such limit.

        Limits are looked at between calls of `write`: who has more packets than this writes them in two calls.
        """
        most = [] if self._autostop.packets is None else [self._autostop.packets - self.packets]
        if self._ring is not None and self._ring.packets is not None:
            most.append(self._ring.packets - self._file_packets % self._ring.packets)
        size = self._size_limit()
        if size is not None:
            most.append(max(1, (size - self._file_size) // LARGEST_PACKET))
        return min(most, default=None)

    def write(self, parts: Iterable[Buffer], packets: int, time: int, *, copy: bool = True) -> bool:
        """Take whole blocks.

        Args:
            parts: the blocks, one behind the other, in any number of pieces. None and 0 packets: time has passed.
            packets: how many packets there are in it.
            time: nanoseconds since the epoch, now or of the last packet; limits on seconds are by it.
            copy: copy their bytes at once, so that the caller may use the memory again; without, it never changes them.

        Returns:
            Whether they were taken: not after `failed` or `stopped`, and not when they were dropped.
        """
        return self._write(_Blocks([b"".join(parts)] if copy else list(parts)), packets, time)

    def lend(self) -> memoryview:
        """Give a buffer of `ROOM_BYTES` to be filled with blocks and given to `write_lent`.

        It lies in memory as its place in the file lies on the disk, so that it need not be copied once more.
        """
        with self._lock:
            memory = self._free.pop() if self._free else mmap.mmap(-1, ROOM_BYTES + BLOCK)
        start = self._file_size % BLOCK
        return memoryview(memory)[start : start + ROOM_BYTES]

    def write_lent(self, buffer: memoryview, used: int, packets: int, time: int) -> bool:
        """Take the blocks in the first `used` bytes of a buffer from `lend`, which may not be touched after that.

        Otherwise as `write`: packets must be in it.
        """
        memory = cast("mmap.mmap", buffer.obj)
        if used <= ROOM_BYTES // 2:  # the memory is worth more than a copy
            blocks = _Blocks([bytes(buffer[:used])])
            self._free.append(memory)
        else:
            blocks = _Blocks([buffer[:used]], memory)
        taken = self._write(blocks, packets, time)
        if not taken and blocks.lent is not None:
            self._free.append(memory)
        return taken

    def _write(self, blocks: _Blocks, packets: int, time: int) -> bool:
        if self._begun is None:
            self._begun = self._file_begun = time
        self._latest = time
        if self.stopped is None and _passed(self._autostop.seconds, self._begun, time):
            self.stopped = f"{self._autostop.seconds:g} s have passed"
        if self.stopped is not None or self.failed is not None:
            self.dropped += packets
            return False
        if not blocks.size:
            return True
        if self._file_full(time):
            self._next_file(time)
            if self.stopped is not None:
                self.dropped += packets
                return False
        if not self._enqueue(blocks):
            self.dropped += packets
            return False
        self.packets += packets
        self._file_packets += packets
        self._stop_if_reached()
        return True

    def close(self, parts: Iterable[Buffer] = (), *, patience: float | None = None) -> None:
        """Write all that is left, then `parts` and the statistics, and close the file; `failed` tells how it went.

        Args:
            parts: blocks that are written even after `stopped`, and if possible after `failed`.
            patience: give up when so many seconds pass without a byte written; None: never.
        """
        if not self._thread.is_alive() and self._last is not None:
            return
        last = b"".join(parts) + self._statistics(self._latest)
        with self._lock:
            self._last = last
            self._work.notify()
        written = -1
        while self._thread.is_alive():
            if written == self._progress and patience is not None:
                self._output.abandon()
                self._thread.join(1)
                self.failed = self.failed or f"{self._output.name}: not written to the end, it takes no more"
                return
            written = self._progress
            self._thread.join(patience)

    # -- the caller's thread: what goes where ------------------------------------------------------------------------

    def _size_limit(self) -> int | None:
        """Bytes after which a file is full; None: never."""
        limits = (self._autostop.size, self._ring.size if self._ring is not None else None)
        return min((limit for limit in limits if limit), default=None)

    def _file_full(self, time: int) -> bool:
        if self._ring is None or not self._file_packets:
            return False
        size = self._size_limit()
        return (
            _passed(self._ring.seconds, self._file_begun or 0, time)
            or (size is not None and self._file_size >= size)
            or (self._ring.packets is not None and self._file_packets >= self._ring.packets)
        )

    def _next_file(self, time: int) -> None:
        if self._autostop.files is not None and self.files >= self._autostop.files:
            self.stopped = f"{self.files} files are written"
            return
        statistics = self._statistics(time)
        self._put(_Blocks([statistics]))
        self.files += 1
        remove = None
        if self._ring is not None and self._ring.files is not None and len(self._kept) >= self._ring.files:
            remove = self._kept.popleft()
        self.path = self._name()
        with self._lock:
            self._queue.append(_Next(self.path, remove))
        self._file_begun, self._file_packets, self._file_size = time, 0, 0
        head = self._section + b"".join(self._interfaces)
        self._put(_Blocks([head]))

    def _name(self) -> str:
        if self._ring is None:
            return self._base
        name = ring_name(self._base, self.files, clock.localtime())
        self._kept.append(name)
        return name

    def _stop_if_reached(self) -> None:
        limits = self._autostop
        if limits.packets is not None and self.packets >= limits.packets:
            self.stopped = f"{self.packets} packets are written"
        elif limits.size is not None and self._ring is None and self._file_size >= limits.size:
            self.stopped = f"{limits.size // 1000} kB are written"

    def _statistics(self, time: int) -> bytes:
        return b"".join(
            interface_statistics(number, time, started=self._begun, **counters._asdict())
            for number, counters in enumerate(self._counters)
        )

    def _enqueue(self, blocks: _Blocks) -> bool:
        with self._lock:
            while self._queued and self._queued + blocks.size > self._queue_bytes and self.failed is None:
                if self._when_full == "wait":
                    self._room.wait()
                    continue
                if self._when_full == "stop":
                    self.stopped = "the file is written too slowly"
                return False
        self._put(blocks)
        return True

    def _put(self, blocks: _Blocks) -> None:
        self._file_size += sum(map(len, blocks.pieces))
        with self._lock:
            self._queue.append(blocks)
            before, self._queued = self._queued, self._queued + blocks.size
            if not before or before < ENOUGH_BYTES <= self._queued:
                self._work.notify()

    # -- the writing thread ------------------------------------------------------------------------------------------

    _progress = 0
    """Bytes taken from the queue and dealt with."""

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._queue and self._last is None:
                    self._work.wait()
                if self._queued < ENOUGH_BYTES and self._last is None:
                    self._work.wait(DELAY)
                taken, following = self._take()
                finished = following is None and self._last is not None and not self._queue
            self._attempt([piece for blocks in taken for piece in blocks.pieces], following)
            size = sum(blocks.size for blocks in taken)
            with self._lock:
                self._free += [blocks.lent for blocks in taken if blocks.lent is not None]
                self._queued -= size
                self._progress += size
                self._room.notify()
            if finished:
                self._finish()
                return

    def _take(self) -> tuple[list[_Blocks], _Next | None]:
        """Take from the queue up to the next file or a good size."""
        taken: list[_Blocks] = []
        size = 0
        while self._queue and size < PIECE_BYTES:
            item = self._queue.popleft()
            if isinstance(item, _Next):
                return taken, item
            taken.append(item)
            size += item.size
        return taken, None

    def _attempt(self, pieces: list[Buffer], following: _Next | None) -> None:
        if self.failed is not None:
            return
        name = self._output.name
        try:
            if pieces:
                self._output.write(pieces, behind=self.filled > _BEHIND)
            if following is not None:
                self._output.close()
                name = following.path
                if following.remove is not None:
                    Path(following.remove).unlink(missing_ok=True)
                self._output = OutputFile(following.path)
        except (OSError, MemoryError) as error:
            self.failed = f"{name}: {_reason(error)}"

    def _finish(self) -> None:
        output = self._output
        try:
            if self.failed is None or output.whole:
                output.write([self._last or b""])
            output.close()
        except (OSError, MemoryError) as error:
            self.failed = self.failed or f"{output.name}: {_reason(error)}"


def _passed(seconds: float | None, since: int, time: int) -> bool:
    return seconds is not None and time - since >= seconds * _SECOND


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
