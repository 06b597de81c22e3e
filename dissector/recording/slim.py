# SPDX-License-Identifier: GPL-2.0-or-later
"""Records a capture without page contents, without the guest's data, or without both.

The engine that dissects the packets knows which stream bytes are page contents: what lies there of a packet is cut off
(``cut``), or the packet is left out if the kernel passed it (``heads``). :mod:`dissector.sources.slim` says how readers
are told. Whatever is not known to be page contents stays: packets that wait behind a hole stay whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from dissector.recording.headers import headers_end, payload_at
from dissector.recording.pcapng import interface_statistics
from dissector.recording.sides import Side
from dissector.sources.slim import SNAPPED
from dissector.wire.frame import SYN, FrameDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dissector.recording.batch import Batch
    from dissector.recording.pcapng import Buffer
    from dissector.sources import CaptureFormat, Packet
    from dissector.sources.slim import LeftOut, Slim
    from dissector.wire.engine import Engine
    from dissector.wire.flow import Connection
    from dissector.wire.frame import Segment

OTHER_KEPT: Final = 64
"""Bytes kept of a packet that is no TCP segment: its headers."""
_MANY: Final = 64


class Output(Protocol):
    """Where packets go, see :class:`Plain` and :class:`~dissector.recording.scrubbing.Scrubbed`."""

    scrubs: bool

    def whole(self, interface: int, packet: Packet, data: Buffer, comment: str) -> None:
        """Take what is left of a packet, `data`, which may be shown."""

    def payload(self, interface: int, packet: Packet, segment: Segment, side: Side, cut: int, comment: str) -> None:
        """Take the first `cut` bytes of a packet with stream bytes of a migration."""

    def contents(self, interface: int, packet: Packet, at: int) -> None:
        """Take a packet that has nothing but page contents from byte `at` on."""

    def fragment(self, interface: int, packet: Packet, comment: str) -> None:
        """Take a fragment of an IP datagram."""

    def settle(self) -> None:
        """Write what need not wait any more."""


class Plain:
    """Writes packets as they are."""

    scrubs = False

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def whole(self, interface: int, packet: Packet, data: Buffer, comment: str) -> None:
        """See `Output.whole`."""
        self._batch.add(interface, packet.time, data, packet.wire_length, comment)

    def payload(self, interface: int, packet: Packet, segment: Segment, side: Side, cut: int, comment: str) -> None:
        """See `Output.payload`."""
        self._batch.add(interface, packet.time, packet.data[:cut], packet.wire_length, comment)

    def contents(self, interface: int, packet: Packet, at: int) -> None:
        """See `Output.contents`."""
        self._batch.add(interface, packet.time, packet.data, packet.wire_length)

    def fragment(self, interface: int, packet: Packet, comment: str) -> None:
        """See `Output.fragment`."""
        self._batch.add(interface, packet.time, packet.data, packet.wire_length, comment)

    def settle(self) -> None:
        """See `Output.settle`."""


class SlimRecorder:
    """A :class:`~dissector.walk.Recorder` that cuts out page contents.

    Args:
        engine: dissects the same packets.
        batch: where they go in the end.
        output: on the way there.
        slim: how; empty: page contents stay (or are blanked by `output`).
    """

    def __init__(self, engine: Engine, batch: Batch, output: Output, slim: Slim) -> None:
        self.left_out = 0
        """Packets left out."""
        self._engine = engine
        self._batch = batch
        self.output = output
        self._slim = slim
        self._decoder = FrameDecoder()
        self._sides: dict[Connection, tuple[Side, Side]] = {}
        self._many = _MANY
        self._fragments = 0
        engine.on_connection = self._connection

    # -- packets -----------------------------------------------------------------------------------------------------

    def passed(self, form: CaptureFormat, buffer: memoryview, position: int, behind: int) -> None:
        """See `Recorder.passed`."""
        if self._slim == "heads":
            for sides in self._sides.values():
                sides[0].passed()
                sides[1].passed()
            return
        if self._slim and form.interface_count == 1 and isinstance(self.output, Plain):
            linktype = form.linktype or 0
            number = self._batch.interface(form, 0, linktype)
            frames = form.frames(buffer, position, behind)
            self._batch.add_frames(number, frames, lambda data: payload_at(linktype, data, len(data), self._decoder))
            return
        take, interface, output = form.packet, self._batch.interface, self.output
        while position < behind:
            position, packet = take(buffer, position, behind)
            if packet is None:
                continue
            at = payload_at(packet.linktype, packet.data, packet.wire_length, self._decoder)
            if self._slim or at >= len(packet.data):
                output.whole(interface(form, packet.interface, packet.linktype), packet, packet.data[:at], "")
            else:
                output.contents(interface(form, packet.interface, packet.linktype), packet, at)

    def packet(self, packet: Packet, form: CaptureFormat | None) -> None:
        """See `Recorder.packet`."""
        engine, output = self._engine, self.output
        segment, current = engine.segment, engine.current
        fragment = engine.decoder.fragments != self._fragments
        self._fragments = engine.decoder.fragments
        interface = self._batch.interface(form, packet.interface, packet.linktype)
        sides = self._sides.get(current[0]) if current is not None else None
        if segment is not None and sides is None and not fragment and self._slim == "heads" and not packet.left_out:
            self.left_out += 1
            return
        comment = self._comment(packet.left_out)
        for known in self._sides.values() if packet.left_out else [sides] if sides is not None else []:
            known[0].taken()
            known[1].taken()
        if fragment:
            output.fragment(interface, packet, comment)
        elif segment is None:
            kept = headers_end(packet) if output.scrubs else OTHER_KEPT
            output.whole(interface, packet, packet.data[:kept], comment)
        elif current is None or sides is None or (output.scrubs and not segment.length):
            output.whole(interface, packet, packet.data[: segment.at], comment)
        elif not segment.length:
            output.whole(interface, packet, packet.data, comment)
        else:
            side = sides[current[1]]
            cut = len(packet.data)
            if self._slim and len(segment.payload) < segment.length and not (engine.slim and not engine.snapped):
                comment = f"{comment}\n{SNAPPED}".lstrip()
            elif self._slim:
                start = side.offset(segment.seq + bool(segment.flags & SYN))
                cut = min(cut, segment.at + side.needed(start, start + segment.length))
            output.payload(interface, packet, segment, side, cut, comment)
        output.settle()
        if current is not None and (current[0].flow.ended or current[0].flow.uninteresting):
            self._sides.pop(current[0], None)

    def flush(self) -> None:
        """See `Recorder.flush`."""
        self.output.settle()
        self._batch.flush()

    def finish(self) -> list[bytes]:
        """Write what waits, after the engine finished; give the blocks that belong behind all packets."""
        for sides in self._sides.values():
            for side in sides:
                side.passed()
        self.output.settle()
        self._batch.flush()
        comment = self._comment()
        return [interface_statistics(0, self._batch.time, comment=comment)] if comment else []

    # -- connections -------------------------------------------------------------------------------------------------

    def _connection(self, connection: Connection) -> None:
        """Look on from the first packet on."""
        if len(self._sides) >= self._many:
            self._sides = {one: sides for one, sides in self._sides.items() if not one.flow.ended}
            self._many = max(_MANY, 2 * len(self._sides))
        scrub = self.output.scrubs
        self._sides[connection] = (Side(connection, 0, scrub=scrub), Side(connection, 1, scrub=scrub))

    def _comment(self, more: Iterable[LeftOut] = ()) -> str:
        """Say what was left out before the packet that is written next; `more`: by who wrote the input."""
        marks: list[LeftOut] = []
        if self._slim == "heads":
            for sides in self._sides.values():
                marks += filter(None, (side.mark() for side in sides))
        return "\n".join(mark.comment() for mark in (*marks, *more))
