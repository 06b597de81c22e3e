# SPDX-License-Identifier: GPL-2.0-or-later
"""Blanks the guest's data in packets before they are written.

Nothing is written that is not known to be harmless. A packet waits until it is known which units its stream bytes
belong to; if too much waits, payload is blanked altogether.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.recording.headers import headers_end, replace_payload
from dissector.wire.frame import SYN, FrameDecoder, UnknownLinkType

if TYPE_CHECKING:
    from dissector.recording.batch import Batch
    from dissector.recording.pcapng import Buffer
    from dissector.recording.sides import Side
    from dissector.sources import Packet
    from dissector.wire.frame import Segment

MAX_WAITING: Final = 32 << 20
"""Bytes of packets that wait."""
PACKET_COST: Final = 512
"""Memory that a waiting packet needs beside its bytes."""
_NOTHING: Final = memoryview(b"")


class _Item(NamedTuple):
    """A packet on its way."""

    interface: int
    time: int
    data: bytes
    wire_length: int
    comment: str
    segment: Segment | None = None
    side: Side | None = None
    start: int = 0
    """Stream offset of its payload."""


class Scrubbed:
    """An :class:`~dissector.recording.slim.Output` that blanks.

    Attributes:
        removed: Bytes blanked, by the name of the element they belonged to; "" is page contents, and what belongs to
            no record.
        fragments: IP fragments cut to their headers.
    """

    scrubs = True

    def __init__(self, batch: Batch) -> None:
        self.removed: Counter[str] = Counter()
        self.fragments = 0
        self._batch = batch
        self._queue: deque[_Item] = deque()
        self._waiting = 0
        self._decoder = FrameDecoder()

    def whole(self, interface: int, packet: Packet, data: Buffer, comment: str) -> None:
        """See `Output.whole`."""
        if self._queue:
            self._put(_Item(interface, packet.time, bytes(data), packet.wire_length, comment))
        else:
            self._batch.add(interface, packet.time, data, packet.wire_length, comment)

    def payload(self, interface: int, packet: Packet, segment: Segment, side: Side, cut: int, comment: str) -> None:
        """See `Output.payload`."""
        start = side.offset(segment.seq + bool(segment.flags & SYN))
        kept = segment._replace(payload=_NOTHING)  # the view is into memory that is used again
        data = bytes(packet.data[: min(cut, segment.at + segment.length)])  # behind it comes what is not of the stream
        self._put(_Item(interface, packet.time, data, packet.wire_length, comment, kept, side, start))

    def contents(self, interface: int, packet: Packet, at: int) -> None:
        """See `Output.contents`."""
        try:
            segment = self._decoder.decode(packet.linktype, packet.data, packet.wire_length)
        except UnknownLinkType:
            segment = None
        frame = bytearray(packet.data)
        if segment is not None and segment.at == at:
            del frame[at + segment.length :]
            replace_payload(frame, segment, bytes(len(frame) - at))
        else:
            del frame[at:]
        self.removed[""] += len(packet.data) - at
        self.whole(interface, packet, frame, "")

    def fragment(self, interface: int, packet: Packet, comment: str) -> None:
        """See `Output.fragment`."""
        self.fragments += 1
        self.whole(interface, packet, packet.data[: headers_end(packet)], comment)

    def settle(self) -> None:
        """See `Output.settle`."""
        queue = self._queue
        while queue:
            item = queue[0]
            segment, side = item.segment, item.side
            if segment is None or side is None:
                self._batch.add(item.interface, item.time, item.data, item.wire_length, item.comment)
            else:
                length = len(item.data) - segment.at
                known = side.known_until >= item.start + length
                if not known and self._waiting <= MAX_WAITING:
                    return
                frame = bytearray(item.data)
                payload = item.data[segment.at :]
                shown = side.shown(item.start, payload, self.removed) if known else bytes(length)
                if not known:
                    self.removed[""] += length
                replace_payload(frame, segment, shown)
                self._batch.add(item.interface, item.time, frame, item.wire_length, item.comment)
            queue.popleft()
            self._waiting -= len(item.data) + PACKET_COST

    def _put(self, item: _Item) -> None:
        self._queue.append(item)
        self._waiting += len(item.data) + PACKET_COST
