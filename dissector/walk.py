# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets as they lie in a capture buffer to events: the kernel first, the engine for what it stops at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dissector.sources import CaptureError
from dissector.wire.kernel import make_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.sources import CaptureFormat, Chunk, Packet
    from dissector.wire.engine import Engine
    from dissector.wire.events import Event


class Recorder(Protocol):
    """Who wants to write what goes by into a file."""

    def passed(self, form: CaptureFormat, buffer: memoryview, position: int, behind: int) -> None:
        """Take packets that the kernel passed, which lie in buffer[position:behind], until `flush`."""

    def packet(self, packet: Packet, form: CaptureFormat | None) -> None:
        """Take a packet right after the engine took it; likewise."""

    def flush(self) -> None:
        """Let go of the memory that packets lie in: it is used again after the call."""


class Walk:
    """Takes the chunks and packets of one input, and counts its frames.

    Raises:
        ImportError: XENDISSECT_KERNEL asks for a kernel that is not there.
    """

    def __init__(self, engine: Engine, recorder: Recorder | None = None) -> None:
        self.number = 0
        """Number of the last frame taken."""
        self.numbered = True
        """False once part of the capture was passed over: nobody knows the numbers of frames any more."""
        self.recorder = recorder
        self.engine = engine
        self._kernel = make_kernel()

    def chunk(self, chunk: Chunk) -> Iterator[list[Event]]:
        """Go through one chunk, and write into it how far it was taken; yield the events as they become known."""
        engine, kernel, recorder = self.engine, self._kernel, self.recorder
        form, fast = chunk.format, engine.fast
        buffer, position, end = chunk.buffer, chunk.start, chunk.end
        number = first = self.number
        if form.slim:
            engine.capture_slim()
        kernel.slim = engine.slim
        while position < end:
            linktype = form.linktype
            if linktype is not None:
                start = position
                position, passed = kernel.forward(buffer, position, end, form.shape, linktype, fast)
                if kernel.latest is not None:
                    time = self._time_at(form, buffer, kernel.latest_at)
                    engine.passed(kernel.latest, number + kernel.latest_number + 1 if self.numbered else 0, time)
                number += passed
                if passed and recorder is not None:
                    recorder.passed(form, buffer, start, position)
            try:
                behind, packet = form.packet(buffer, position, end)
            except CaptureError as error:
                chunk.abandon(str(error))
                break
            if packet is None:
                if behind == position:
                    break
                position = behind
                continue
            position = behind
            number += 1
            self.number = number
            chunk.consumed = position
            chunk.packets = number - first
            events = self.packet(packet, form, number)
            if events:
                yield events
        chunk.consumed = position
        chunk.packets = number - first
        self.number = number
        if self.numbered:
            engine.frames = number
        if recorder is not None:
            recorder.flush()

    @staticmethod
    def _time_at(form: CaptureFormat, buffer: memoryview, position: int) -> int | None:
        """Give the time of a packet that the kernel passed; None: of an interface that was never described."""
        try:
            return form.time_at(buffer, position)
        except CaptureError:  # the kernel does not look at interfaces, and no packet that matters is concerned
            return None

    def packet(self, packet: Packet, form: CaptureFormat | None = None, number: int = 0) -> list[Event]:
        """Take one packet; give the events that became known."""
        alone = not number
        if alone:
            self.number = number = self.number + 1
        engine = self.engine
        for key, seq, length, time, ack in packet.left_out:
            engine.left_out(key, seq, length, ack, number - 1, time)
        engine.snapped = packet.snapped
        shown = number if self.numbered else 0
        events = engine.packet(shown, packet.time, packet.linktype, packet.data, packet.wire_length)
        if self.recorder is not None:
            self.recorder.packet(packet, form)
            if alone:
                self.recorder.flush()
        return events
