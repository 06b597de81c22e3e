# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection: its two directions, who is the sender (by content, never by who sent the SYN), mode and end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from dissector.spec import findings
from dissector.wire import events
from dissector.wire.drops import Drops
from dissector.wire.follower import Follower
from dissector.wire.halfflow import ACK, IGNORE, LIMIT, NEXT_SEQ, Budget, HalfFlow
from dissector.wire.machine import Role, State
from dissector.wire.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from dissector.wire.limits import Limits

_EARLY_EVENTS = 4096
"""Gaps and findings kept until it is known whether the connection is a migration."""

Endpoint = tuple[str, int]


class Registry(Protocol):
    """What wants to know where the bytes of a flow lie in the capture."""

    def register(self, flow: int, direction: str, key: bytes, bases: list[int | None], index: int) -> None:
        """Learn the connection key of one direction; ``bases[index]`` is the sequence number of its offset 0."""

    def span(self, flow: int, first: int, last: int) -> None:
        """Learn which frames a flow lies in."""


class Flow:
    """The migration on one connection (or in one bare byte stream), or a candidate for one."""

    def __init__(
        self,
        limits: Limits,
        sink: Callable[[events.Event], None],
        next_number: Callable[[], int],
        endpoints: tuple[Endpoint, Endpoint] = (("", 0), ("", 0)),
    ) -> None:
        self.followers = (Follower(self, limits), Follower(self, limits))
        """First the direction of the first packet seen, then the other."""
        self.statistics = Statistics()
        self.drops = Drops()
        self.start: events.Start = "mid-stream"
        self.mode: events.Mode = "unknown"
        self.entry = "unknown"
        self.number = -1
        self.announced = False
        self.uninteresting = False
        """Known to be no migration."""
        self.ended = False
        self.forced = ""
        """What a bare stream is to be taken for if its first bytes do not tell."""
        self._limits = limits
        self._endpoints = endpoints
        self._sink = sink
        self.sink_records: Callable[[list[events.Record]], None] | None = None
        """Takes many records at once, in place of the sink that takes one."""
        self._next_number = next_number
        self._early: list[events.Gap | events.Finding] = []
        self.contents: Contents | None = None
        """Where the records of this flow can read their contents again."""
        self.keys: tuple[bytes, bytes] = (b"", b"")
        """Connection keys of the two followers' directions."""
        self.opened = 0
        """Number of the first frame of the connection."""
        self.latest = 0
        """Number of its latest frame."""
        self.short: tuple[bool, bool] = (False, False)
        """Whether the last bytes of either direction are known not to be in the capture."""
        self.begun = [False, False]
        """Whether a SYN told where either direction begins: its stream offset 0 is its first byte."""
        self.closer = -1
        """Which follower's side closed first, -1 before that; -2: that can not be told."""
        self.bases: list[int | None] = [None, None]
        """Sequence number of stream offset 0 of either direction."""

    # -- what the followers find out -------------------------------------------------------------------------------

    def other(self, follower: Follower) -> Follower:
        """Return the opposite direction."""
        first, second = self.followers
        return second if follower is first else first

    def assign(self, follower: Follower, role: Role, entry: str) -> None:
        """One direction knows what it is: the other one is the opposite."""
        other = self.other(follower)
        follower.role = role
        other.role = "reverse" if role == "forward" else "forward"
        if other.search is not None:
            other.search.role = other.role
        elif other.role == "reverse" and other.framer.state is State.START:
            other.framer.state = State.REVERSE_START
        other.ignored = False
        self.entry = entry
        self.number = self._next_number()
        self.announced = True
        statistics = self.statistics
        for one in self.followers:
            statistics.bytes[one.role or "forward"] = one.position
        if self.contents is not None:
            self.contents.span(self.number, self.opened, 1 << 62)
            for index, one in enumerate(self.followers):
                self.contents.register(self.number, one.role or "", self.keys[index], self.bases, index)
        self._emit(self._event("begin", follower))
        for event in self._early:
            direction = self._direction_at(event)
            self.emit(replace(event, flow=self.number, direction=direction))
        self._early.clear()

    def _direction_at(self, event: events.Gap | events.Finding) -> Role:
        """Early events carry the index of their follower in `flow`: -1 first, -2 second."""
        return cast("Role", self.followers[0 if event.flow == -1 else 1].role)

    def note_mode(self, mode: str) -> None:
        """Remember what a direction says about the mode; the first word counts."""
        if self.mode == "unknown":
            self.mode = cast("events.Mode", mode)

    def not_a_migration(self) -> None:
        """The first bytes of a direction say that this is something else."""
        self.uninteresting = True

    def nothing_found(self, frame: int, time: int | None) -> None:
        """A direction was searched long enough."""
        rule = findings.LIMIT_SEARCH
        self._sink(events.Finding(rule, rule.text.format(limit=self._limits.max_search), frame=frame, time=time))
        if all(follower.ignored or not follower.position for follower in self.followers):
            self.uninteresting = True

    def emit(self, event: events.Event) -> None:
        """Send an event on, or keep it until the flow is known to be a migration."""
        if self.announced:
            self._emit(event)
        elif isinstance(event, events.Gap | events.Finding) and len(self._early) < _EARLY_EVENTS:
            self._early.append(event)

    def emit_records(self, records: list[events.Record]) -> None:
        """Send on records of a flow that is known to be a migration."""
        if records:
            self.statistics.add_records(records)
            if self.sink_records is not None:
                self.sink_records(records)
            else:
                for record in records:
                    self._sink(record)

    def _emit(self, event: events.Event) -> None:
        self.statistics.add(event)
        self._sink(event)

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self, reason: str) -> None:
        """No more bytes in either direction: flush, say how it ended, summarise."""
        if self.ended:
            return
        self.ended = True
        # What one direction finds at its end may tell the other one what it is: those that know come first.
        for follower in sorted(self.followers, key=lambda one: (one.role is None, -one.position)):
            follower.conclude()
        for follower in self.followers:
            follower.end()
        if self.announced:
            if self.contents is not None:
                self.contents.span(self.number, self.opened, self.latest)
            self._emit(self._event("end", None, reason))
            self._sink(self.statistics.summary(self.number, self.mode, self.entry, reason))

    def _event(self, phase: str, follower: Follower | None, reason: str | None = None) -> events.Flow:
        first = self.followers[0].role
        sender, receiver = self._endpoints if first == "forward" else self._endpoints[::-1]
        latest = max(self.followers, key=lambda one: one.last_frame)
        return events.Flow(
            flow=self.number,
            phase="begin" if phase == "begin" else "end",
            sender=sender,
            receiver=receiver,
            start=self.start,
            entry=self.entry,
            mode=self.mode,
            time=latest.last_time if follower is None else follower.last_time,
            frame=latest.last_frame if follower is None else follower.last_frame,
            end=reason,
            begun=tuple(one.role or "forward" for one, known in zip(self.followers, self.begun, strict=True) if known),
            closer=self.followers[self.closer].role if self.closer >= 0 and reason in ("fin", "rst") else None,
            short=tuple(one.role or "forward" for one, short in zip(self.followers, self.short, strict=True) if short),
        )


class Contents(events.ContentsSource, Registry, Protocol):
    """Both: learns where flows lie, and reads their bytes again."""


class Connection:
    """A flow over TCP: the two half flows that feed it."""

    __slots__ = ("closing", "closing_since", "first", "flow", "halves", "isns", "key", "synced")

    def __init__(self, key: bytes, flow: Flow, limits: Limits, budget: Budget) -> None:
        self.key = key
        self.flow = flow
        self.halves = (HalfFlow(flow.followers[0], limits, budget), HalfFlow(flow.followers[1], limits, budget))
        self.synced = [0, 0]
        """Sequence number up to which each half has accounted for what the kernel passed."""
        self.isns: list[int | None] = [None, None]
        """First sequence number of each half, where a SYN told it."""
        self.first = -1
        """Which half sent the first payload, -1 before there is any."""
        self.closing = ""
        """Why this connection is about to end: ``rst`` or ``fin``; empty when it is not."""
        self.closing_since = 0
        """Capture time when that became known."""

    def start(self, index: int, seq: int) -> None:
        """Fix the sequence number of stream offset 0 of half `index`."""
        self.halves[index].start(seq)
        self.synced[index] = self.halves[index].fast[NEXT_SEQ]
        self.flow.bases[index] = self.synced[index]

    def catch_up(self) -> None:
        """Account for the bytes that the fast-forward kernel passed since the last visit."""
        for index in (0, 1):
            half = self.halves[index]
            if half.fast[NEXT_SEQ] != self.synced[index]:
                passed = half.catch_up(self.synced[index])
                self.synced[index] = half.fast[NEXT_SEQ]
                follower = self.flow.followers[index]
                follower.advance(passed)
                if not (follower.ignored or follower.ended):
                    self.flow.statistics.seen(follower.role or "forward", follower.position, None)

    def jump(self, index: int, count: int) -> None:
        """Go on `count` bytes further in half `index`, inside what nobody needs, without having seen them."""
        self.halves[index].jump(count)
        self.flow.followers[index].jump(count)
        self.publish()

    def publish(self) -> None:
        """Tell the kernel what it may pass from now on."""
        for index in (0, 1):
            half = self.halves[index]
            self.synced[index] = half.fast[NEXT_SEQ]
            if self.flow.uninteresting or self.flow.ended:
                half.fast[LIMIT] = IGNORE
            elif half.started and not half.waiting:
                # A segment across the sequence wrap is left to the engine: the kernel need not think of it.
                half.fast[LIMIT] = min(half.fast[NEXT_SEQ] + self.flow.followers[index].skip, 1 << 32)
            else:
                half.fast[LIMIT] = 0

    def peer_ack(self, index: int) -> int:
        """Return the last acknowledgement that the other side of half `index` sent, -1 when none."""
        return self.halves[1 - index].fast[ACK]

    @property
    def over(self) -> bool:
        """Whether both sides closed, and acknowledged that."""
        return self.halves[0].over(self.peer_ack(0)) and self.halves[1].over(self.peer_ack(1))

    def finish(self, reason: str) -> None:
        """End both directions and the flow."""
        hole = "capture end" if reason == "capture end" else "lost"
        self.catch_up()
        # What waits in one half may tell what the other one is. Whoever sent the SYN says nothing: first payload first.
        for index in (0, 1) if self.first < 1 else (1, 0):
            self.halves[index].finish(hole, self.peer_ack(index))
        self.flow.short = (self.halves[0].falls_short(self.peer_ack(0)), self.halves[1].falls_short(self.peer_ack(1)))
        self.flow.finish(reason)
        self.publish()
