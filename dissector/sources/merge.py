# SPDX-License-Identifier: GPL-2.0-or-later
"""Several capture files in one go, in time order: ring-buffer captures cut one TCP connection into many files."""

from __future__ import annotations

import heapq
from itertools import chain
from typing import TYPE_CHECKING

from dissector.sources.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dissector.sources.capture import CaptureFile, Chunk
    from dissector.sources.formats import Packet


def runs(files: Iterable[CaptureFile]) -> Iterator[Chunk | Packet]:
    """Give the packets of all files in time order.

    Stable: at equal times the earlier argument comes first. Where files do not overlap in time whole chunks come (to be
    consumed as `Chunk` says); where they do, single packets, each valid until the next item is taken.

    Args:
        files: From `open_capture`. May be a generator: of several files each is asked for its first time and released,
            so that thousands of ring-buffer files need neither descriptors nor buffers at once. One file gives its
            chunks and costs nothing extra.

    Raises:
        CaptureError: As `CaptureFile.chunks`. A damaged record met here ends only its file, whose `truncated` tells.
    """
    source = iter(files)
    first = next(source, None)
    if first is None:
        return
    second = next(source, None)
    if second is None:
        yield from first.chunks()
        return
    waiting: list[tuple[int, int, _Cursor]] = []
    for number, file in enumerate(chain([first, second], source)):
        waiting.append((file.first_time() or 0, number, _Cursor(file)))
        file.release()
    heapq.heapify(waiting)
    while waiting:
        _, number, cursor = waiting[0]
        others = waiting[1:3]  # a heap: the next smallest is one of these two
        yield from cursor.before(min(others)[:2] if others else None, number)
        if cursor.packet is None:
            heapq.heappop(waiting)
        else:
            heapq.heapreplace(waiting, (cursor.time, number, cursor))


class _Cursor:
    """Where one file stands: the chunk in hand and the first packet in it that has not been given yet.

    Attributes:
        packet: That packet; None before the first and after the last one.
        time: Its time; a packet that has none counts as captured together with the one before it.
    """

    def __init__(self, file: CaptureFile) -> None:
        self.packet: Packet | None = None
        self.time = 0
        self._file = file
        self._chunks = file.chunks()
        self._chunk: Chunk | None = None
        self._latest: int | None = None
        self._behind = 0

    def before(self, until: tuple[int, int] | None, number: int) -> Iterator[Chunk | Packet]:
        """Give what comes before `until`, the (time, number) of the next file, or everything if that is None."""
        if self.packet is None:
            self._advance()
        while self.packet is not None and self._chunk is not None:
            if until is None or (self._latest_in(self._chunk), number) < until:
                yield from self._hand_out(self._chunk)
            elif (self.time, number) < until:
                yield self.packet
                self._chunk.consumed = self._behind
                self._chunk.packets += 1
            else:
                return
            self._advance()

    def _hand_out(self, chunk: Chunk) -> Iterator[Chunk]:
        own, chunk.packets = chunk.packets, 0
        chunk.position += chunk.consumed - chunk.start
        chunk.start = chunk.consumed
        yield chunk
        chunk.packets += own
        self._chunk = None  # what the consumer left over comes again with the next one

    def _latest_in(self, chunk: Chunk) -> int:
        if self._latest is None:
            self._latest = max(self.time, chunk.format.latest(chunk.buffer, chunk.consumed, chunk.end))
        return self._latest

    def _advance(self) -> None:
        self.packet = None
        while True:
            if self._chunk is not None and self._find_packet(self._chunk):
                return
            self._chunk, self._latest = next(self._chunks, None), None
            if self._chunk is None:
                self._file.close()
                return

    def _find_packet(self, chunk: Chunk) -> bool:
        try:
            while True:
                behind, packet = chunk.format.packet(chunk.buffer, chunk.consumed, chunk.end)
                if packet is not None:
                    self.packet, self._behind, self.time = packet, behind, packet.time or self.time
                    return True
                if behind == chunk.consumed:
                    return False
                chunk.consumed = behind
        except CaptureError as error:
            chunk.abandon(str(error))
            return False
