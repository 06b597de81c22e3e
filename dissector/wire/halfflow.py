# SPDX-License-Identifier: GPL-2.0-or-later
"""One direction of a TCP connection: segments in, stream bytes and holes out, in order.

Offsets are 64-bit and count from the first byte of the direction, over any number of sequence wraps.

**When is a hole a loss?** A hole is a range of stream bytes that has not come while later bytes have. It is lost when

1. the peer acknowledged the byte behind it (so it will not be sent again) *and* `reorder_window` bytes of later data
   have been seen or `loss_delay` of capture time has passed (so it is not just out of order in the capture), or
2. later data runs more than `max_flow_buffer` ahead of it, or all connections together hold more than
   `max_total_buffer`, or there are more than `max_holes` holes, or
3. the connection or the capture ends.

A hole that lies wholly in bytes nobody needs (``consumer.skip``) is passed at once, without buffering; it stays open
and closes silently when the late segment comes. Only other holes make later data wait.

Bytes that a frame lost to the snap length are lost at once: every copy of them is cut the same way.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dissector.spec import findings

if TYPE_CHECKING:
    from dissector.spec.findings import Rule
    from dissector.wire.limits import Limits

_HALF = 1 << 31
_SEGMENT_COST = 256
"""Memory of a waiting segment beside its bytes: makes the limits hold for streams of tiny segments too."""
_MASK = (1 << 32) - 1

NEXT_SEQ, LIMIT, ACK = range(3)
"""Places in the list that a half flow shares with the fast-forward kernel (:mod:`dissector.wire.forward`)."""

IGNORE = 1 << 60
"""In place of LIMIT: this direction is of no interest, whatever it sends."""


class Consumer(Protocol):
    """What a half flow delivers to."""

    @property
    def skip(self) -> int:
        """Stream bytes from here on that nobody needs."""

    @property
    def held(self) -> int:
        """Records and other events that wait until no hole before them is open."""

    def data(self, view: memoryview, frame: int, time: int | None) -> None:
        """Take the next bytes."""

    def gap(self, count: int, frame: int, time: int | None) -> None:
        """Pass over bytes that are not there, now or never."""

    def passed(self, frame: int, time: int | None) -> None:
        """Learn that the bytes passed over last were captured, though nobody can look at them."""

    last_time: int | None
    """Capture time of the last bytes that were taken or passed."""

    def lost(self, start: int, end: int, reason: str, frame: int, time: int | None, since: int | None) -> None:
        """Learn that stream bytes `start` to `end` will never come; the capture times around them are given."""

    def settled(self, until: int) -> None:
        """Learn that no hole before offset `until` is open any more."""

    def limit(self, rule: Rule, limit: int, offset: int, frame: int, time: int | None) -> None:
        """Learn that a limit was hit."""


class Budget:
    """Bytes waiting behind holes in all connections together."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0


class _Waiting(NamedTuple):
    """A segment that waits behind a hole."""

    offset: int
    data: bytes
    length: int
    frame: int
    time: int | None
    slim: bool


class _Hole:
    """Bytes passed over that may still come."""

    __slots__ = ("end", "frame", "since", "start", "time")

    def __init__(self, start: int, end: int, frame: int, time: int | None, since: int | None) -> None:
        self.start = start
        self.end = end
        self.frame = frame
        self.time = time
        self.since = since
        """Capture time of the packet before the hole."""


class HalfFlow:
    """One direction of one TCP connection."""

    __slots__ = (
        "_holes",
        "_waited_since",
        "_waiting",
        "_waiting_bytes",
        "budget",
        "consumer",
        "fast",
        "fin",
        "limits",
        "next",
        "reset",
        "slim",
        "started",
    )

    def __init__(self, consumer: Consumer, limits: Limits, budget: Budget) -> None:
        self.consumer = consumer
        self.limits = limits
        self.budget = budget
        self.fast: list[int] = [0, 0, -1]
        """Next sequence number, bytes the kernel may pass, last acknowledgement sent by this side."""
        self.next = 0
        """Stream offset of the next byte expected in order."""
        self.fin: int | None = None
        """Stream offset of the end of the stream, once a FIN came."""
        self.reset = 0
        """Stream offset up to which this side had sent, as its RST says."""
        self.started = False
        self.slim = False
        """What is missing of the segment at hand where nobody needs it was cut out on purpose, and is no loss."""
        self._holes: list[_Hole] = []
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._waited_since: int | None = None

    def start(self, seq: int) -> None:
        """Fix the sequence number of stream offset 0."""
        self.fast[NEXT_SEQ] = seq & _MASK
        self.started = True

    @property
    def at_end(self) -> bool:
        """Whether everything up to the FIN was delivered."""
        return self.fin is not None and self.next >= self.fin and not self._holes

    @property
    def waiting(self) -> bool:
        """Whether later data waits behind a hole."""
        return bool(self._waiting)

    def catch_up(self, seq: int) -> int:
        """Account for what the kernel passed up to sequence number `seq`; return the number of bytes."""
        passed = (self.fast[NEXT_SEQ] - seq) & _MASK
        self.next += passed
        return passed

    def offset_of(self, seq: int) -> int:
        """Return the stream offset of a sequence number: the one nearest to the next expected byte."""
        delta = (seq - self.fast[NEXT_SEQ]) & _MASK
        return self.next + (delta if delta < _HALF else delta - (1 << 32))

    def segment(self, seq: int, payload: memoryview, length: int, peer_ack: int, frame: int, time: int | None) -> None:
        """Take one segment with payload.

        Args:
            seq: its sequence number.
            payload: the captured payload bytes.
            length: payload bytes on the wire, at least ``len(payload)``.
            peer_ack: last acknowledgement number of the other side, -1 when none was seen.
            frame: its frame number.
            time: capture time, ns.
        """
        offset = self.offset_of(seq)
        if offset < self.next:
            seen = min(self.next - offset, length)
            self._fill(offset, offset + (seen if self.slim else min(len(payload), seen)))
            payload, length, offset = payload[seen:], length - seen, offset + seen
        if length > 0:
            if offset == self.next:
                self._deliver(payload, length, frame, time)
            elif not self._waiting and offset - self.next <= self.consumer.skip:
                self._pass_hole(offset, frame, time)
                self._deliver(payload, length, frame, time)
            else:
                self._wait(offset, payload, length, frame, time)
        self.check(peer_ack, frame, time)

    @property
    def in_order(self) -> bool:
        """Whether no hole is open."""
        return self.started and not self._waiting and not self._holes

    def jump(self, count: int) -> None:
        """Take the next `count` bytes for passed; its consumer is told by who calls this."""
        self._move(count)

    def left_out(self, seq: int, length: int, frame: int, time: int | None) -> None:
        """Pass bytes that were captured, but left out of the file on purpose; elsewhere they count as a hole."""
        in_order = self.started and not self._waiting and self.offset_of(seq) == self.next
        if in_order and length <= self.consumer.skip:
            self._move(length)
            self.consumer.gap(length, frame, time)
            self.consumer.passed(frame, time)

    def check(self, peer_ack: int, frame: int, time: int | None) -> None:
        """Decide which holes are lost by now, and tell how far everything is settled."""
        limits = self.limits
        while self._waiting:
            first = self._waiting[0]
            reason = self._verdict(first.offset, self._waiting_bytes, self._waited_since, peer_ack, first, time)
            if not reason:
                break
            self._give_up(reason)
        while self._holes:
            hole = self._holes[0]
            reason = self._verdict(hole.end, self.next - hole.end, hole.time, peer_ack, None, time)
            crowded = len(self._holes) > limits.max_holes or self.consumer.held > limits.max_held
            if not reason and not crowded:
                break
            if not reason:
                self.consumer.limit(findings.LIMIT_HOLES, limits.max_holes, hole.start, frame, time)
            del self._holes[0]
            self.consumer.lost(hole.start, hole.end, reason or "limit", hole.frame, hole.time, hole.since)
        self.consumer.settled(self._holes[0].start if self._holes else self.next)

    def finish(self, reason: str, peer_ack: int) -> None:
        """The connection or capture is over: every open hole is lost, for `reason` unless the peer had the bytes."""
        while self._waiting or self._holes:
            end = self._holes[0].end if self._holes else self._waiting[0].offset
            why = "lost" if peer_ack >= 0 and self.offset_of(peer_ack) >= end else reason
            if self._holes:
                hole = self._holes.pop(0)
                self.consumer.lost(hole.start, hole.end, why, hole.frame, hole.time, hole.since)
            else:
                self._give_up(why)
        self.consumer.settled(self.next)

    def falls_short(self, peer_ack: int) -> bool:
        """Tell whether a FIN or RST, or what the peer acknowledged, shows that the last bytes were not captured."""
        if not self.started:
            return False
        if self.fin is not None:
            return self.next < self.fin
        return self.reset > self.next or (peer_ack >= 0 and self.offset_of(peer_ack) > self.next)

    def over(self, peer_ack: int) -> bool:
        """Tell whether a FIN came and the peer acknowledged everything up to it."""
        return self.fin is not None and (self.at_end or (peer_ack >= 0 and self.offset_of(peer_ack) > self.fin))

    # -- holes ---------------------------------------------------------------------------------------------------

    def _verdict(
        self, hole_end: int, ahead: int, since: int | None, peer_ack: int, waiting: _Waiting | None, time: int | None
    ) -> str:
        """Return why a hole that ends at `hole_end` is lost, or an empty string."""
        limits = self.limits
        if peer_ack >= 0:
            acked = self.offset_of(peer_ack)
            late = since is not None and time is not None and time - since >= limits.loss_delay
            if acked >= hole_end and (ahead >= limits.reorder_window or late):
                return "lost"
        if ahead > limits.max_flow_buffer:
            self.consumer.limit(findings.LIMIT_FLOW, limits.max_flow_buffer, self.next, 0, time)
            return "limit"
        if waiting is not None and self.budget.used > limits.max_total_buffer:
            self.consumer.limit(findings.LIMIT_TOTAL, limits.max_total_buffer, self.next, 0, time)
            return "limit"
        return ""

    def _pass_hole(self, end: int, frame: int, time: int | None) -> None:
        start = self.next
        self._holes.append(_Hole(start, end, frame, time, self.consumer.last_time))
        self._move(end - start)
        self.consumer.gap(end - start, frame, time)

    def _fill(self, start: int, end: int) -> None:
        """Bytes that came late: take them out of the open holes."""
        if not self._holes or end <= self._holes[0].start:
            return
        left: list[_Hole] = []
        for hole in self._holes:
            if end <= hole.start or start >= hole.end:
                left.append(hole)
                continue
            if hole.start < start:
                left.append(_Hole(hole.start, start, hole.frame, hole.time, hole.since))
            if end < hole.end:
                left.append(_Hole(end, hole.end, hole.frame, hole.time, hole.since))
        self._holes = left

    def _give_up(self, reason: str) -> None:
        """The hole in front of the waiting data is lost: tell so, and go on behind it."""
        first = self._waiting[0]
        start = self.next
        self._move(first.offset - start)
        self.consumer.lost(start, first.offset, reason, first.frame, first.time, self.consumer.last_time)
        self.consumer.gap(first.offset - start, first.frame, first.time)
        self._drain()

    # -- data ----------------------------------------------------------------------------------------------------

    def _move(self, count: int) -> None:
        self.next += count
        self.fast[NEXT_SEQ] = (self.fast[NEXT_SEQ] + count) & _MASK

    def _deliver(self, payload: memoryview, length: int, frame: int, time: int | None) -> None:
        """Hand on an in-order segment, and what waited for it."""
        self._hand_on(payload, length, frame, time, slim=self.slim)
        if self._waiting:
            self._drain()

    def _hand_on(self, payload: memoryview, length: int, frame: int, time: int | None, *, slim: bool) -> None:
        captured = len(payload)
        if captured:
            self._move(captured)
            self.consumer.data(payload, frame, time)
        if captured < length:
            start, missing = self.next, length - captured
            self._move(missing)
            slim = slim and missing <= self.consumer.skip
            if not slim:
                self.consumer.lost(start, self.next, "snaplen", frame, time, None)
            self.consumer.gap(missing, frame, time)
            if slim:
                self.consumer.passed(frame, time)

    def _wait(self, offset: int, payload: memoryview, length: int, frame: int, time: int | None) -> None:
        """Keep a segment until the hole in front of it is closed or lost."""
        item = _Waiting(offset, bytes(payload), length, frame, time, self.slim)
        if not self._waiting:
            self._waited_since = time
        insort(self._waiting, item, key=lambda waiting: waiting.offset)
        self._waiting_bytes += length + _SEGMENT_COST
        self.budget.used += len(payload) + _SEGMENT_COST

    def _drain(self) -> None:
        """Hand on waiting segments as far as they connect (or as the holes between them need no waiting)."""
        while self._waiting:
            item = self._waiting[0]
            if item.offset > self.next:
                if item.offset - self.next > self.consumer.skip:
                    break
                self._pass_hole(item.offset, item.frame, item.time)
            del self._waiting[0]
            self._waiting_bytes -= item.length + _SEGMENT_COST
            self.budget.used -= len(item.data) + _SEGMENT_COST
            seen = self.next - item.offset
            if seen < item.length:
                rest = memoryview(item.data)[seen:]
                self._hand_on(rest, item.length - seen, item.frame, item.time, slim=item.slim)
        self._waited_since = self._waiting[0].time if self._waiting else None
