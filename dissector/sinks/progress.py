# SPDX-License-Identifier: GPL-2.0-or-later
"""How far each migration is while it goes on: phase, rate, dirty pages, checkpoint timing, loss; one line for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.sinks import OneByOne
from dissector.sinks.summary import duration_text, rate_text, size_text
from dissector.sinks.text import endpoint
from dissector.spec import libxc, libxl
from dissector.wire.codec import data_pages
from dissector.wire.events import Flow, Gap, Record, Resync, Summary
from dissector.wire.passes import Passes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dissector.wire.events import Event

MODES: Final[Mapping[str, str]] = {"plain": "plain", "remus": "Remus", "colo": "COLO", "unknown": "migration"}
NEW, RESUMED = 0, 3
_SPAN: Final = 5.0
"""Seconds that a rate is the mean of."""


class FlowProgress:
    """One migration."""

    def __init__(self, flow: Flow) -> None:
        self.number = flow.flow
        self.sender, self.receiver = endpoint(*flow.sender), endpoint(*flow.receiver)
        self.mode: str = flow.mode
        self.ended: str | None = None
        self.lost = 0
        self.skipped = 0
        self.incomplete = 0
        self._passes = Passes()
        self._at = "headers"
        self._checkpoints = 0
        self._pages = 0
        self._dirty: int | None = None
        self._list: int | None = None
        self._began: int | None = None
        self._interval: float | None = None
        self._length: float | None = None
        self._last_end: int | None = None
        self._positions: list[tuple[float, int, int]] = []

    def add(self, event: Event) -> None:
        """Take an event of this migration."""
        if isinstance(event, Record):
            self._record(event)
        elif isinstance(event, Gap):
            self.lost += event.length
        elif isinstance(event, Resync):
            self.skipped += event.skipped
        elif isinstance(event, Summary):
            self.mode = event.mode
            self.ended = event.outcome
        elif isinstance(event, Flow):
            self.mode = event.mode

    def positions(self, now: float, forward: int, reverse: int) -> None:
        """Learn how many stream bytes were seen until `now` (seconds of any clock)."""
        known = self._positions
        known.append((now, forward, reverse))
        while len(known) > 2 and now - known[1][0] >= _SPAN:
            del known[0]

    def rates(self) -> tuple[str, str] | None:
        """Give the rates forward and reverse; None before they are known."""
        if len(self._positions) < 2 or self._positions[-1][0] <= self._positions[0][0]:
            return None
        first, last = self._positions[0], self._positions[-1]
        seconds = last[0] - first[0]
        return rate_text(last[1] - first[1], seconds), rate_text(last[2] - first[2], seconds)

    @property
    def sent(self) -> int:
        """Stream bytes forward."""
        return self._positions[-1][1] if self._positions else 0

    def phase(self) -> str:
        """Say where it is."""
        if self.ended is not None:
            return self.ended
        if self._checkpoints:
            said = f"checkpoint {self._checkpoints}"
            if self._dirty is not None:
                said += f", {self._dirty:,} pages"
            if self._list is not None:
                said += f", {self._list:,} dirty at the secondary"
            if self._interval is not None:
                said += f", every {duration_text(self._interval)}"
            if self._length is not None:
                said += f", {duration_text(self._length)} long"
            return said
        if self._at != "memory":
            return self._at
        said = f"pass {self._passes.number}, {self._passes.pages:,} pages"
        if self._passes.before is not None:
            said += f" ({self._passes.before:,} in the one before)"
        return said

    def loss(self) -> str:
        """Say what is missing; empty when nothing is."""
        said = [f"{size_text(self.lost)} lost"] if self.lost else []
        if self.skipped:
            said.append(f"{size_text(self.skipped)} passed over")
        if self.incomplete:
            said.append(f"{self.incomplete:,} record{'s' if self.incomplete > 1 else ''} incomplete")
        return ", ".join(said)

    def _record(self, record: Record) -> None:
        self.incomplete += record.complete is False
        definition = record.definition
        if definition is libxl.CHECKPOINT_STATE:
            self._control(record)
        elif definition is libxc.CHECKPOINT_DIRTY_PFN_LIST:
            self._list = len(record.body) // 8
        elif record.direction == "reverse":
            if record.type == "REPORT" or record.type == "REPORT_STATUS":
                self._at = "report of the receiver"
        elif definition is libxc.PAGE_DATA:
            self._at = "memory"
            self._begin(record)
            if self._checkpoints:
                self._pages += data_pages(record.body, record.order, 8)
            else:
                self._passes.add(record)
        elif definition is libxc.CHECKPOINT:
            self._checkpoint()
        elif definition is libxl.CHECKPOINT_END:
            self._at = "between checkpoints"
            if self.mode != "colo":
                self.mode = "remus" if self.mode == "unknown" else self.mode
                self._end(record)
        elif definition is libxc.END:
            self._at = "device state"
            self.mode = "plain" if self.mode == "unknown" else self.mode
        elif self._passes.number and record.layer == "libxc":
            self._at = "processors and hypervisor state"

    def _control(self, record: Record) -> None:
        step = record.body[:1]
        self.mode = "colo"
        if step == bytes([NEW]):
            self._began = record.time
        elif step == bytes([RESUMED]):
            self._end(record)

    def _begin(self, record: Record) -> None:
        if self._began is None and self._checkpoints:
            self._began = record.time

    def _checkpoint(self) -> None:
        self._checkpoints += 1
        self._dirty = self._pages if self._checkpoints > 1 else None
        self._pages = 0

    def _end(self, record: Record) -> None:
        """A checkpoint is over."""
        time = record.time_end
        if time is None:
            return
        if self._began is not None:
            self._length = (time - self._began) / 1e9
        if self._last_end is not None:
            self._interval = (time - self._last_end) / 1e9
        self._last_end, self._began = time, None


class ProgressSink(OneByOne):
    """Follows all migrations; a :class:`~dissector.sinks.Sink` that writes nothing by itself."""

    def __init__(self) -> None:
        self.flows: dict[int, FlowProgress] = {}

    def write(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Flow) and event.phase == "begin":
            self.flows[event.flow] = FlowProgress(event)
        number = getattr(event, "flow", None)
        if number is not None and number in self.flows:
            self.flows[number].add(event)

    def close(self) -> None:
        """Nothing is held back."""

    def positions(self, now: float, found: Sequence[tuple[int, str, int]]) -> None:
        """Learn stream positions, as `Engine.progress` gives them."""
        seen: dict[int, dict[str, int]] = {}
        for number, role, position in found:
            seen.setdefault(number, {})[role] = position
        for number, roles in seen.items():
            if number in self.flows:
                self.flows[number].positions(now, roles.get("forward", 0), roles.get("reverse", 0))

    def running(self) -> list[FlowProgress]:
        """Give the migrations that have not ended."""
        return [flow for flow in self.flows.values() if flow.ended is None]
