# SPDX-License-Identifier: GPL-2.0-or-later
"""Records what passes, as packets in a capture; stops when the disk is full or slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from dissector.recording.batch import Batch
from dissector.recording.pcapng import packet_of_pieces
from dissector.recording.recording import recorder_for
from dissector.sources import Packet
from dissector.tap.bystander import QUEUE_BYTES, Bystander, Ended, GiveUp, Passed, Taken
from dissector.tap.synthetic import LINKTYPE, TcpConnection
from dissector.wire.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dissector.recording.pcapng import Buffer
    from dissector.sources.slim import Slim
    from dissector.tap.bystander import Step
    from dissector.tap.synthetic import Frame, Side

PATIENCE: Final = 4.0
"""Seconds without a byte written after which the end of the file is given up."""


_MOST_FRAMES: Final = 64
"""In one call of the writer: limits of a ring are looked at between calls."""


class Writer(Protocol):
    """What the recorder needs of :class:`dissector.recording.files.CaptureWriter`."""

    path: str
    packets: int
    failed: str | None
    stopped: str | None

    @property
    def filled(self) -> float:
        """How full its queue is, from 0 to 1."""

    @property
    def left(self) -> int | None:
        """Packets that may come in one call; None: any number."""

    def interface(self, linktype: int, name: str = "", filter_text: str = "", snap_length: int = 0) -> int:
        """Add an interface."""

    def write(self, parts: Iterable[Buffer], packets: int, time: int, *, copy: bool = True) -> bool:
        """Take blocks, without waiting; False: not taken."""

    def lend(self) -> memoryview:
        """Give a buffer to be filled."""

    def write_lent(self, buffer: memoryview, used: int, packets: int, time: int) -> bool:
        """Take the blocks in such a buffer; likewise."""

    def close(self, parts: Iterable[Buffer] = (), *, patience: float | None = None) -> None:
        """Write the rest and `parts`."""


class Conversation:
    """Steps to frames."""

    def __init__(self, port: int) -> None:
        self._connection = TcpConnection(port)
        self.sent = [0, 0]
        """Bytes of each side that frames were made of."""
        self._taken = [0, 0]
        self._over: list[Side] = []
        self._deaf: list[Side] = []
        """Sides whose bytes the other one takes no more."""

    def open(self, time: int) -> list[Frame]:
        """Make the handshake."""
        return self._connection.open(time)

    def step(self, step: Step) -> list[Frame]:
        """Make the frames of a step."""
        side = step.side
        if isinstance(step, Passed):
            self.sent[side] += len(step.data)
            return self._connection.data(side, step.data, step.time)
        if isinstance(step, Taken):
            self._taken[side] += step.size
            return self._connection.taken(side, step.size, step.time)
        return self._end(step)

    def _end(self, step: Ended) -> list[Frame]:
        self._over.append(step.side)
        frames = []
        if step.broken:
            # TCP has no packet for a side that takes no more: it shows when that side ends, or answers with a reset.
            self._deaf.append(step.side)
            self._taken[step.side] -= step.unread
        else:
            frames += self._connection.end(step.side, step.time)
        if len(self._over) == 2:
            for side in self._deaf:
                if self._taken[side] < self.sent[side]:
                    frames += self._connection.reset(0 if side else 1, step.time)
                else:
                    frames += self._connection.end(side, step.time)
        return frames

    def note(self, time: int) -> Frame:
        """Make a packet for a comment."""
        return self._connection.note(time)


class Recorder(Bystander):
    """Writes the packets of a conversation.

    Args:
        open_writer: opens the capture; called in the recorder's thread, so that a file system that hangs holds up
            nothing. OSError: there will be no recording.
        notice: takes lines for the user.
        name: for the interface in the capture: what the conversation is with.
        port: see :class:`dissector.tap.synthetic.TcpConnection`.
        queue_bytes: see :class:`Bystander`.
        slim: how page contents are cut out.
        scrub: blank what belongs to the guest.
    """

    too_slow = "packets can not be made as fast as data pass"

    def __init__(
        self,
        open_writer: Callable[[], Writer],
        notice: Callable[[str], None],
        *,
        name: str = "",
        port: int = 49152,
        queue_bytes: int = QUEUE_BYTES,
        slim: Slim = "",
        scrub: bool = False,
    ) -> None:
        super().__init__("recorder", queue_bytes)
        self.writer: Writer | None = None
        self._slim = slim
        self._scrub = scrub
        self._dissected: _Dissected | None = None
        self._open_writer = open_writer
        self._notice = notice
        self._name = name
        self._conversation = Conversation(port)
        self._latest = self.since

    @property
    def filled(self) -> float:
        """How full the fuller one is of two queues: its own and that of its writer."""
        own = super().filled
        return own if self.writer is None else max(own, self.writer.filled)

    def begin(self) -> None:
        """Open the file and write the handshake."""
        try:
            writer = self.writer = self._open_writer()
        except OSError as error:
            raise GiveUp(f"{error.filename or 'the file'}: {error.strerror or error}") from None
        self._notice(f"recording to {writer.path}")
        number = writer.interface(LINKTYPE, self._name)
        if self._slim or self._scrub:
            self._dissected = _Dissected(writer, number, self._slim, scrub=self._scrub)
        self._write(writer, self._conversation.open(self.since))

    def take(self, steps: Sequence[Step]) -> None:
        """Write the packets of steps."""
        if self.writer is None:
            return
        frames = []
        for step in steps:
            frames += self._conversation.step(step)
            if len(frames) >= _MOST_FRAMES:
                self._write(self.writer, frames)
                frames = []
        self._write(self.writer, frames)

    def finish(self) -> None:
        """Close the file; say so if it does not hold everything."""
        writer = self.writer
        if writer is None:
            self._notice(f"nothing is recorded, the transfer goes on: {self.gave_up}")
            return
        sent, received = self._conversation.sent
        rest: list[Buffer] = [*self._dissected.finish()] if self._dissected is not None else []
        if self.gave_up is None:
            writer.close(rest, patience=PATIENCE)
            if writer.failed:
                self._notice(f"the end of the recording is missing: {writer.failed}")
            return
        text = (
            f"recording stopped behind byte {sent} sent and {received} received, the transfer goes on: {self.gave_up}"
        )
        self._notice(text)
        note = self._conversation.note(self._latest)
        writer.close([*rest, *_blocks([note], f"xendissect tap: {text}")], patience=PATIENCE)

    def _write(self, writer: Writer, frames: Sequence[Frame]) -> None:
        if not frames:
            return
        self._latest = frames[-1].time
        if self._dissected is not None:
            self._dissected.write(frames)
            if writer.failed is not None or writer.stopped is not None:
                raise GiveUp(writer.failed or writer.stopped or "")
            return
        while frames:
            count = len(frames) if writer.left is None else max(writer.left, 1)
            now, frames = frames[:count], frames[count:]
            if not writer.write(_blocks(now), len(now), now[-1].time, copy=False):
                raise GiveUp(writer.failed or writer.stopped or "the file takes no more")


class _Dissected:
    """Dissects the packets, to know what to leave out of them."""

    def __init__(self, writer: Writer, interface: int, slim: Slim, *, scrub: bool) -> None:
        self._engine = Engine()
        self._batch = Batch(writer)
        self._batch.interfaces[None, 0, LINKTYPE] = interface
        self._recorder = recorder_for(self._engine, self._batch, slim, scrub=scrub)
        self._number = 0

    def write(self, frames: Sequence[Frame]) -> None:
        """Write what is left of packets."""
        for time, head, payload in frames:
            self._number += 1
            data = memoryview(head + payload)
            self._engine.packet(self._number, time, LINKTYPE, data, len(data))
            self._recorder.packet(Packet(time, LINKTYPE, data, len(data), 0), None)
        self._recorder.flush()

    def finish(self) -> list[bytes]:
        """Write what still waits; give what belongs behind it."""
        self._engine.finish()
        return self._recorder.finish()


def _blocks(frames: Sequence[Frame], comment: str = "") -> list[Buffer]:
    parts: list[Buffer] = []
    for time, head, payload in frames:
        parts += packet_of_pieces(0, time, (head, payload), comment)
    return parts
