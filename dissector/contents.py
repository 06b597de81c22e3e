# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading page contents and large bodies again from the capture, when a script asks for them.

The engine never keeps page contents. A record knows its frames and stream offsets; from those the bytes are put
together again here, out of the same frames. Uncompressed pcap files are entered near the first frame, others are read
from the beginning.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from dissector.sources import CaptureFile, Chunk, PcapFormat, StreamFile, open_capture, runs
from dissector.wire.events import LostBytesError
from dissector.wire.frame import FrameDecoder, UnknownLinkType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dissector.sources import Packet

_BEFORE = 2048
"""Frames in front of a record's first one that may hold bytes of it (segments out of order)."""
_BEHIND = 1 << 16
"""Frames behind its last one that may hold bytes of it (late retransmissions)."""
_BLOCK = 1 << 20
_CACHED = 8 << 20
"""Longest range that is read as a whole and kept for the next question."""
_MASK = (1 << 32) - 1


class CaptureContents:
    """Stream bytes of the flows in `paths`, read again on demand."""

    def __init__(self, paths: Sequence[str], as_format: str | None = None) -> None:
        self._paths = list(paths)
        self._as_format = as_format
        self._places: dict[tuple[int, str], tuple[bytes, list[int | None], int]] = {}
        self._spans: dict[int, tuple[int, int]] = {}
        self._marks: list[tuple[int, int]] = []
        self._cache: OrderedDict[tuple[int, str, int, int], bytes] = OrderedDict()

    def register(self, flow: int, direction: str, key: bytes, bases: list[int | None], index: int) -> None:
        """Learn the connection key of one direction; ``bases[index]`` is the sequence number of its offset 0."""
        self._places[flow, direction] = (key, bases, index)

    def span(self, flow: int, first: int, last: int) -> None:
        """Learn which frames a flow lies in: before and behind them its ports may belong to another connection."""
        self._spans[flow] = (first, last)

    def mark(self, frame: int, position: int) -> None:
        """Learn that the record of frame `frame` begins at file position `position` (one uncompressed pcap file)."""
        self._marks.append((frame, position))

    def read(self, flow: int, direction: str, offset: int, length: int, frames: tuple[int, int]) -> bytes:
        """Return `length` stream bytes from `offset`, found around the given first and last frame.

        Raises:
            LostBytesError: not all of them are in the capture, or it cannot be read again.
        """
        name = (flow, direction, offset, length)
        if name in self._cache:
            return self._cache[name]
        if not all(Path(path).is_file() for path in self._paths):
            raise LostBytesError("a pipe cannot be read again")
        key, bases, index = self._places[flow, direction]
        base = bases[index]
        if key:
            opened, closed = self._spans.get(flow, (0, 1 << 62))
            within = (max(frames[0] - _BEFORE, opened), min(frames[1] + _BEHIND, closed))
            found = self._from_packets(key, base or 0, offset, length, within)
        else:
            found = self._from_stream(offset, length)
        if length <= _CACHED:
            self._cache[name] = found
            while sum(map(len, self._cache.values())) > _CACHED:
                self._cache.popitem(last=False)
        return found

    def _from_stream(self, offset: int, length: int) -> bytes:
        file = open_capture(self._paths[0], as_format=self._as_format)
        assert isinstance(file, StreamFile)
        found = bytearray()
        with file:
            file.skip(offset)
            position = file.position
            for view in file.chunks():
                low = max(0, offset - position)
                found += view[low : low + length - len(found)]
                position += len(view)
                if len(found) >= length:
                    return bytes(found)
        raise LostBytesError("the file ends before these bytes")

    def _from_packets(self, key: bytes, base: int, offset: int, length: int, frames: tuple[int, int]) -> bytes:
        first, last = frames
        decoder = FrameDecoder()
        result = bytearray(length)
        missing = [(offset, offset + length)]
        for number, packet in self._packets(first):
            if number > last:
                break
            if number < first:
                continue
            try:
                segment = decoder.decode(packet.linktype, packet.data, packet.wire_length)
            except UnknownLinkType:
                continue
            if segment is None or segment.key != key or not segment.payload:
                continue
            delta = (segment.seq - base - offset) & _MASK
            start = offset + (delta if delta < 1 << 31 else delta - (1 << 32))
            missing = _place(result, offset, missing, start, segment.payload)
            if not missing:
                return bytes(result)
        raise LostBytesError(f"stream bytes {offset} to {offset + length - 1} are not all in the capture")

    def _packets(self, first: int) -> Iterator[tuple[int, Packet]]:
        """Yield numbered packets, from frame `first` or earlier on."""
        if len(self._paths) == 1 and self._marks:
            at = bisect_right(self._marks, (max(first, 1), 1 << 62)) - 1
            if at >= 0:
                yield from self._entered(*self._marks[at])
                return
        files = [open_capture(path, as_format=self._as_format) for path in self._paths]
        number = 0
        for run in runs(file for file in files if isinstance(file, CaptureFile)):
            if not isinstance(run, Chunk):
                number += 1
                yield number, run
                continue
            while True:
                behind, packet = run.format.packet(run.buffer, run.consumed, run.end)
                if behind == run.consumed:
                    break
                run.consumed = behind
                if packet is not None:
                    number += 1
                    yield number, packet
        for file in files:
            file.close()

    def _entered(self, number: int, position: int) -> Iterator[tuple[int, Packet]]:
        """Yield packets of an uncompressed pcap file from a marked position on."""
        form = PcapFormat(self._paths[0])
        with Path(self._paths[0]).open("rb") as file:
            form.header(memoryview(file.read(24)))
            file.seek(position)
            rest = b""
            while block := file.read(_BLOCK):
                view = memoryview(rest + block)
                at = 0
                while True:
                    behind, packet = form.packet(view, at, len(view))
                    if packet is None:
                        break
                    at = behind
                    yield number, packet
                    number += 1
                rest = bytes(view[at:])


def seekable_pcap(paths: Sequence[str | os.PathLike[str]], file: object) -> bool:
    """Tell whether the input is one uncompressed pcap file that can be entered anywhere."""
    if len(paths) != 1 or not isinstance(file, CaptureFile) or not isinstance(file.format, PcapFormat):
        return False
    if not file.format.shape.startswith("pcap"):
        return False
    path = Path(os.fspath(paths[0]))
    if not path.is_file():
        return False
    with path.open("rb") as raw:
        return raw.read(2) in (b"\xd4\xc3", b"\xa1\xb2", b"\x4d\x3c", b"\xa1\xb2")


def _place(
    result: bytearray, offset: int, missing: list[tuple[int, int]], start: int, payload: memoryview
) -> list[tuple[int, int]]:
    """Copy what is still missing out of a payload at stream offset `start`; return what is missing after that."""
    end = start + len(payload)
    left = []
    for low, high in missing:
        a, b = max(low, start), min(high, end)
        if a >= b:
            left.append((low, high))
            continue
        result[a - offset : b - offset] = payload[a - start : b - start]
        if low < a:
            left.append((low, a))
        if b < high:
            left.append((b, high))
    return left
