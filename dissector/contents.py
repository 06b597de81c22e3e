# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading page contents and large bodies again from the capture, when a script asks for them.

The engine never keeps page contents. A record knows its frames and stream offsets; from those the bytes are put
together again here, out of the same frames. One capture file is entered near the bytes (`Marks`, `Reentry`); several
files are read from the beginning.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissector.marks import Marks
from dissector.sources import (
    CaptureError,
    CaptureFile,
    Chunk,
    PcapFormat,
    PcapngFormat,
    Reentry,
    decompressor,
    is_capture,
    open_capture,
    resumed,
    runs,
)
from dissector.wire.events import LostBytesError
from dissector.wire.frame import FrameDecoder, UnknownLinkType, reverse_key
from dissector.wire.halfflow import ACK, IGNORE, LIMIT, NEXT_SEQ
from dissector.wire.kernel import make_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dissector.marks import Place
    from dissector.sources import CaptureFormat, Packet

_BEFORE = 2048
"""Frames in front of a record's first one that may hold bytes of it (segments out of order)."""
_BEHIND = 1 << 16
"""Frames behind its last one that may hold bytes of it (late retransmissions)."""
_FURTHER = 64 << 20
"""Bytes of file behind that which may hold them where frames have no numbers."""
_CACHED = 8 << 20
"""Longest range that is read as a whole and kept for the next question."""
_MASK = (1 << 32) - 1
_NEVER = 1 << 62
"""In place of a flow's last frame: it goes on."""


class CaptureContents:
    """Stream bytes of the flows in `paths`, read again on demand."""

    def __init__(self, paths: Sequence[str], as_format: str | None = None) -> None:
        self._paths = list(paths)
        self._as_format = as_format
        self._places: dict[tuple[int, str], tuple[bytes, list[int | None], int]] = {}
        self._spans: dict[int, tuple[int, int]] = {}
        self._under_way: dict[int, None] = {}
        self._marks = Marks()
        self._reentry = Reentry(self._paths[0])
        self._cache: OrderedDict[tuple[int, str, int, int], bytes] = OrderedDict()

    def register(self, flow: int, direction: str, key: bytes, bases: list[int | None], index: int) -> None:
        """Learn the connection key of one direction; ``bases[index]`` is the sequence number of its offset 0."""
        self._places[flow, direction] = (key, bases, index)

    def span(self, flow: int, first: int, last: int) -> None:
        """Learn which frames a flow lies in: before and behind them its ports may belong to another connection."""
        self._spans[flow] = (first, last)
        if last < _NEVER:
            self._under_way.pop(flow, None)
        else:
            self._under_way[flow] = None

    def mark(self, frame: int, position: int, form: CaptureFormat, fast: Mapping[bytes, list[int]]) -> None:
        """Learn that the record of frame `frame` begins at position `position` of the (decompressed) file.

        Args:
            frame: Number of the next packet.
            position: File offset.
            form: The format, as it is there.
            fast: As in :class:`~dissector.wire.engine.Engine`: how far each connection is.
        """
        if isinstance(form, PcapFormat | PcapngFormat):
            offsets: dict[tuple[int, str], int] = {}
            for flow in self._under_way:
                for direction in ("forward", "reverse"):
                    key, bases, index = self._places[flow, direction]
                    base, state = bases[index], fast.get(key)
                    if base is not None and state is not None and state[LIMIT] != IGNORE:
                        before = self._marks.latest((flow, direction))
                        offsets[flow, direction] = before + (state[NEXT_SEQ] - base - before & _MASK)
            self._marks.add(frame, position, form.state(), offsets)

    def dump(self) -> dict[str, Any]:
        """Return what was learned in lists of numbers and texts, for :meth:`load`."""
        return {
            "places": [
                [flow, direction, key.hex(), bases[index]]
                for (flow, direction), (key, bases, index) in self._places.items()
            ],
            "spans": [[flow, *span] for flow, span in self._spans.items()],
            "marks": self._marks.dump(),
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Learn again what :meth:`dump` returned."""
        for flow, direction, key, base in dumped["places"]:
            self._places[flow, direction] = (bytes.fromhex(key), [base], 0)
        self._spans = {flow: (first, last) for flow, first, last in dumped["spans"]}
        self._marks = Marks.load(dumped["marks"])

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
            opened, closed = self._spans.get(flow, (0, _NEVER))
            within = (max(frames[0] - _BEFORE, opened), min(frames[1] + _BEHIND, closed))
            wanted = _Wanted(key, base or 0, offset, length)
            near = self._marks.near((flow, direction), offset) if len(self._paths) == 1 else None
            if not all(frames):  # nobody knows the numbers: see dissector.skim
                place = near or self._marks.before(frames[0] or opened)
                if place is not None:
                    most = 2 * (offset + length - (place.offset or 0)) + _FURTHER
                    wanted.find(self._entered(place, wanted if near else None, most), (0, _NEVER))
            elif near is None or not wanted.find(self._entered(near, wanted), within):
                wanted.find(self._packets(within[0]), within)
            found = wanted.result()
        else:
            found = self._from_stream(offset, length)
        if length <= _CACHED:
            self._cache[name] = found
            while sum(map(len, self._cache.values())) > _CACHED:
                self._cache.popitem(last=False)
        return found

    def _from_stream(self, offset: int, length: int) -> bytes:
        found = bytearray()
        for block in self._reentry.blocks(offset):
            found += block[: length - len(found)]
            if len(found) >= length:
                return bytes(found)
        raise LostBytesError("the file ends before these bytes")

    def _packets(self, first: int) -> Iterator[tuple[int, Packet]]:
        """Yield numbered packets, from frame `first` or earlier on."""
        place = self._marks.before(max(first, 1)) if len(self._paths) == 1 else None
        if place is not None:
            yield from self._entered(place)
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

    def _entered(self, place: Place, wanted: _Wanted | None = None, most: int = _NEVER) -> Iterator[tuple[int, Packet]]:
        """Yield numbered packets of a file from a mark on.

        Args:
            place: The mark.
            wanted: Leave out packets that can have no byte of this.
            most: Bytes of the file to read at most.
        """
        form = resumed(self._paths[0], place.state)
        number = place.frame
        kernel, fast = make_kernel(), wanted.passing(place) if wanted is not None else None
        rest = b""
        for block in self._reentry.blocks(place.position):
            most -= len(block)
            buffer = memoryview(rest + block)
            at, end = 0, len(buffer)
            while True:
                if fast is not None and form.linktype is not None:
                    kernel.slim = bool(form.slim)
                    at, passed = kernel.forward(buffer, at, end, form.shape, form.linktype, fast)
                    number += passed
                try:
                    behind, packet = form.packet(buffer, at, end)
                except CaptureError:  # where reading ended the first time too
                    return
                if behind == at:
                    break
                at = behind
                if packet is not None:
                    yield number, packet
                    number += 1
            if most <= 0:
                return
            rest = bytes(buffer[at:])


class _Wanted:
    """Stream bytes that are being put together out of packets; of several copies of a byte the first one counts."""

    def __init__(self, key: bytes, base: int, offset: int, length: int) -> None:
        self._key, self._base, self._offset, self._length = key, base, offset, length
        self._result = bytearray(length)
        self._missing = [(offset, offset + length)]
        self._decoder = FrameDecoder()
        self._fast = [0, 0, -1]

    def passing(self, place: Place) -> dict[bytes, list[int]]:
        """Return what lets the kernel pass the packets from a mark on that lie before the wanted bytes."""
        self._fast[NEXT_SEQ] = self._base + (place.offset or 0) & _MASK
        self._limit(self._offset - (place.offset or 0))
        return {self._key: self._fast, reverse_key(self._key): [0, IGNORE, -1]}

    def _limit(self, left: int) -> None:
        """A segment across the sequence wrap is not passed: as in :meth:`~dissector.wire.flow.Connection.publish`."""
        self._fast[LIMIT] = min(self._fast[NEXT_SEQ] + max(left, 0), 1 << 32)
        self._fast[ACK] = -1

    def find(self, packets: Iterator[tuple[int, Packet]], within: tuple[int, int]) -> bool:
        """Take numbered packets, those of the given first to last frame; whether all bytes were found."""
        first, last = within
        for number, packet in packets:
            if number > last:
                break
            if number >= first:
                self._take(packet)
                if not self._missing:
                    break
        return not self._missing

    def _take(self, packet: Packet) -> None:
        try:
            segment = self._decoder.decode(packet.linktype, packet.data, packet.wire_length)
        except UnknownLinkType:
            return
        if segment is None or segment.key != self._key or not segment.payload:
            return
        delta = (segment.seq - self._base - self._offset) & _MASK
        start = self._offset + (delta if delta < 1 << 31 else delta - (1 << 32))
        self._missing = _place(self._result, self._offset, self._missing, start, segment.payload)
        behind = start + segment.length
        self._fast[NEXT_SEQ] = self._base + behind & _MASK
        self._limit(self._offset - behind)

    def result(self) -> bytes:
        """Return them.

        Raises:
            LostBytesError: not all of them were found.
        """
        if self._missing:
            last = self._offset + self._length - 1
            raise LostBytesError(f"stream bytes {self._offset} to {last} are not all in the capture")
        return bytes(self._result)


def can_be_entered(paths: Sequence[str | os.PathLike[str]], file: object) -> bool:
    """Tell whether the input is one capture file that can be read again, from a place in it."""
    if len(paths) != 1 or not isinstance(file, CaptureFile):
        return False
    path = Path(os.fspath(paths[0]))
    if not path.is_file():
        return False
    with path.open("rb") as raw:
        head = raw.read(4)
    return is_capture(head) or decompressor(head) is not None


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
