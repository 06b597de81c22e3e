# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorder knows of the stream bytes that a packet carries: whether anybody needs them, and may see them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from dissector.recording.scrub import Span, bounded, harmless, spans
from dissector.sources.slim import LeftOut
from dissector.wire.frame import reverse_key
from dissector.wire.halfflow import ACK, NEXT_SEQ
from dissector.wire.machine import State

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from dissector.wire.flow import Connection
    from dissector.wire.unit import Unit

WORTHWHILE: Final = 64
"""A shorter stretch that nobody needs is kept: padding, so that small records stay whole for every reader."""
REMEMBERED: Final = 1024
"""Units remembered in each direction, for packets that come late or twice."""
EVERYTHING: Final = 1 << 64
_MASK: Final = 0xFFFFFFFF


def contents(unit: Unit) -> tuple[int, int]:
    """Return from where to where (stream offsets) a unit has bytes that the engine does not keep."""
    start = unit.offset + len(unit.body)
    return start if unit.type_id is None else start + unit.header_size, unit.end


class Side:
    """One direction of a connection.

    Args:
        connection: of the engine.
        index: which direction of it.
        scrub: remember what may be shown.
    """

    def __init__(self, connection: Connection, index: int, *, scrub: bool) -> None:
        self.connection = connection
        self._half = connection.halves[index]
        self._follower = connection.flow.followers[index]
        self._key = reverse_key(connection.key) if index else connection.key
        self._seq = self._half.fast[NEXT_SEQ]
        self._peer = connection.halves[1 - index]
        self._ack = self._told = -1
        self._left = 0
        self._left_seq = 0
        self._time: int | None = None
        self._regions: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._spans: deque[list[Span]] = deque(maxlen=REMEMBERED)
        self._scrub = scrub
        self._doubtful: Unit | None = None
        """The last unit framed, as long as nothing shows that it really ends where it says."""
        self._follower.observer = self._unit

    def offset(self, seq: int) -> int:
        """Return the stream offset of a sequence number."""
        return self._half.offset_of(seq)

    # -- what is left out --------------------------------------------------------------------------------------------

    def passed(self) -> None:
        """Count what the kernel passed since the last call: its packets are left out."""
        seq = self._half.fast[NEXT_SEQ]
        count = (seq - self._seq) & _MASK
        if not self._left:
            self._left_seq = self._seq
        if self._half.started:
            self._left += count
            if count:
                self._time = self._follower.last_time
        self._seq = seq
        self._ack = self._peer.fast[ACK]

    def taken(self) -> None:
        """Learn that the engine went on, by a packet that is not left out or by a mark; behind `mark`."""
        self._seq = self._half.fast[NEXT_SEQ]
        self._ack = self._told = self._peer.fast[ACK]

    def mark(self) -> LeftOut | None:
        """Say what was left out since the last call; None: nothing that matters."""
        if not self._left and self._ack == self._told:
            return None
        mark = LeftOut(self._key, self._left_seq, self._left, self._time if self._left else None, self._ack)
        self._left, self._told = 0, self._ack
        return mark

    # -- what is needed ----------------------------------------------------------------------------------------------

    def needed(self, start: int, end: int) -> int:
        """Return how many of the stream bytes from `start` to `end` have to stay; the others are page contents."""
        for low, high in self._contents():
            if low < end <= high:
                return max(0, low - start)
            if high < start:
                break
        return end - start

    def _contents(self) -> Iterator[tuple[int, int]]:
        framer = self._follower.framer
        if self._follower.search is None and framer.unit is not None and framer.skip >= WORTHWHILE:
            yield contents(framer.unit)
        yield from reversed(self._regions)

    def _unit(self, unit: Unit) -> None:
        region = contents(unit)
        if region[1] - region[0] >= WORTHWHILE:
            self._regions.append(region)
        if self._scrub:
            self._confirm()
            self._spans.append(list(spans(unit)))
            legacy = self._follower.framer.state is State.LEGACY  # nobody looks for what comes behind this unit
            self._doubtful = None if legacy or bounded(unit) else unit

    # -- what may be shown -------------------------------------------------------------------------------------------

    @property
    def known_until(self) -> int:
        """Stream offset up to which it is known what may be shown."""
        follower, framer = self._follower, self._follower.framer
        if follower.flow.ended or follower.ignored or follower.ended or follower.flow.uninteresting:
            self._confirm()
            return EVERYTHING
        if follower.search is not None:
            self._confirm()
            return follower.search.start
        if framer.begun:
            self._confirm()
        if self._doubtful is not None:
            return self._doubtful.offset
        return framer.position if self._showable() else framer.settled

    def _confirm(self) -> None:
        """Show of the last unit only its header if what came behind it is no other one: its length may be wrong."""
        unit, self._doubtful = self._doubtful, None
        if unit is None:
            return
        if self._follower.misframed == unit.end or (unit.cut_at is not None and harmless(unit)):
            self._spans[-1] = self._spans[-1][:1]

    def _showable(self) -> Unit | None:
        """Return the unit being framed when its contents are passed over already, and the rest of it may be shown."""
        follower, framer = self._follower, self._follower.framer
        unit = framer.unit
        if follower.search is not None or unit is None or not framer.skip or not harmless(unit):
            return None
        return unit

    def shown(self, start: int, payload: bytes, removed: Counter[str]) -> bytes:
        """Blank what is not known to be harmless.

        Args:
            start: stream offset of the payload.
            payload: what was captured of it.
            removed: counts the bytes blanked, by what they were.
        """
        end, told = start + len(payload), 0
        result = bytearray(len(payload))
        for span in self._shown_spans(start, end):
            low, high = max(start, span.start), min(end, span.end)
            if low >= high:
                continue
            told += high - low
            if span.filler is None:
                result[low - start : high - start] = payload[low - start : high - start]
            else:
                result[low - start : high - start] = span.filler[low - span.start : high - span.start]
                removed[span.element] += high - low
        removed[""] += len(payload) - told
        return bytes(result)

    def _shown_spans(self, start: int, end: int) -> Iterator[Span]:
        unit = self._showable()
        if unit is not None:
            yield Span(unit.offset, contents(unit)[0])
        for known in reversed(self._spans):
            if known[-1].end <= start:
                return
            if known[0].start < end:
                yield from known
