# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows the records of what passes while it passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.tap.bystander import QUEUE_BYTES, Bystander, GiveUp
from dissector.tap.recorder import Conversation
from dissector.tap.synthetic import LINKTYPE
from dissector.wire.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TextIO

    from dissector.sinks import Sink
    from dissector.tap.bystander import Step
    from dissector.tap.synthetic import Frame
    from dissector.wire.events import Event


class LiveView(Bystander):
    """Dissects a conversation; frame numbers are those of the recording.

    Args:
        open_output: opens what is written to, in the view's thread; it is closed at the end.
        make_sinks: makes the sinks that write to it.
        notice: takes a line for the user when the view stops.
        port: see :class:`dissector.tap.synthetic.TcpConnection`.
        queue_bytes: see :class:`Bystander`.
    """

    too_slow = "records can not be shown as fast as data pass"

    def __init__(
        self,
        open_output: Callable[[], TextIO],
        make_sinks: Callable[[TextIO], Sequence[Sink]],
        notice: Callable[[str], None],
        *,
        port: int = 49152,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        super().__init__("live view", queue_bytes)
        self._open_output, self._make_sinks, self._notice = open_output, make_sinks, notice
        self._conversation = Conversation(port)
        self._engine = Engine()
        self._number = 0
        self._output: TextIO | None = None
        self._sinks: Sequence[Sink] = ()

    def begin(self) -> None:
        """Open the output."""
        try:
            self._output = self._open_output()
        except OSError as error:
            raise GiveUp(f"{error.filename or 'the output'}: {error.strerror or error}") from None
        self._sinks = self._make_sinks(self._output)
        self._dissect(self._conversation.open(self.since))

    def take(self, steps: Sequence[Step]) -> None:
        """Show what became known with some steps."""
        for step in steps:
            self._dissect(self._conversation.step(step))
        if self._output is not None:
            self._flush(self._output)

    def finish(self) -> None:
        """Show what was held back, and the summary."""
        if self.gave_up is not None:
            self._notice(f"no more records are shown, the transfer goes on: {self.gave_up}")
        if self._output is None:
            return
        try:
            self._show(self._engine.finish())
            for sink in self._sinks:
                sink.close()
            self._output.close()
        except OSError as error:
            if self.gave_up is None:
                self._notice(f"the last records are not shown: {error.strerror or error}")

    def _dissect(self, frames: Iterable[Frame]) -> None:
        for time, head, payload in frames:
            self._number += 1
            data = head + payload if payload else head
            self._show(self._engine.packet(self._number, time, LINKTYPE, data, len(data)))

    def _flush(self, output: TextIO) -> None:
        try:
            output.flush()
        except OSError as error:
            raise GiveUp(f"{error.strerror or error}") from None

    def _show(self, events: Sequence[Event]) -> None:
        if not events or self._output is None:
            return
        try:
            for event in events:
                for sink in self._sinks:
                    sink.write(event)
        except OSError as error:
            raise GiveUp(f"{error.strerror or error}") from None
