# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments that no TCP sends through one direction's reassembly; the consumer knows every byte of the stream."""

from __future__ import annotations

import random
from bisect import bisect_left

from dissector.wire.halfflow import NEXT_SEQ, Budget, HalfFlow
from tests.fuzz.invariants import SMALL

STREAM = random.Random(1).randbytes(1 << 16) * 2
MASK = (1 << 32) - 1
HALF = len(STREAM) // 2


def true_bytes(offset, length):
    """Give bytes of a stream that repeats itself in a power of two, so that no wrap of sequence numbers matters."""
    at = offset % HALF
    return STREAM[at : at + length]


class Consumer:
    """Takes what is delivered, and holds the half flow to what it promises."""

    def __init__(self, skips):
        self.skip = 0
        self.held = 0
        self.last_time = None
        self.position = 0
        self.seen = self.passed_over = self.gone = 0
        self.delivered = []
        self.told = 0
        self._skips = skips

    def _move(self, count):
        assert count > 0
        self.position += count
        self.skip = max(0, self.skip - count)
        if not self.skip and self._skips:
            self.skip = self._skips.pop()

    def data(self, view, frame, time):
        assert view.tobytes() == true_bytes(self.position, len(view))
        self.delivered.append((self.position, self.position + len(view)))
        self.seen += len(view)
        self.last_time = time
        self._move(len(view))

    def gap(self, count, frame, time):
        self.passed_over += count
        self._move(count)

    def passed(self, frame, time):
        self.last_time = time

    def lost(self, start, end, reason, frame, time, since):
        assert reason in ("lost", "limit", "capture end", "snaplen")
        assert 0 <= start < end
        assert end <= self.half.next
        assert not self.overlaps(start, end)
        self.gone += end - start

    def overlaps(self, start, end):
        """Tell whether any of these bytes was delivered."""
        at = bisect_left(self.delivered, start, key=lambda span: span[1])
        return any(a < end and start < b for a, b in self.delivered[at : at + 2])

    def settled(self, until):
        assert self.told <= until <= self.half.next
        self.told = until

    def limit(self, rule, limit, offset, frame, time):
        assert rule.id.startswith("limit.")


def check(draw):
    """Feed segments as the bytes say, and look at everything after each."""
    consumer = Consumer([draw.number(2) * draw.below(3) for _ in range(draw.below(6))])
    budget = Budget()
    half = consumer.half = HalfFlow(consumer, SMALL, budget)
    base = draw.number(4)
    half.start(base)
    peer, time, number = -1, 0, 0
    while draw and number < 300:
        number += 1
        action, where = draw.below(16), draw.below(8)
        near = draw.number(2)
        far = draw.number(1) * 100 if where == 5 else 1
        steps = (0, near % 3000, -(near % 3000), near - half.next, near, far, 100)
        offset = half.next + steps[where] if where < 7 else draw.number(4)
        length = draw.number(2) % 3000
        time += draw.below(4) * 300_000_000
        seq = base + offset & MASK
        if action == 1:
            peer = seq
        elif action == 2:
            peer = base + half.next & MASK
        if action == 3 and length:
            half.left_out(seq, length, number, time)
        elif action == 4 and consumer.skip > 1 and half.in_order:
            count = 1 + near % (consumer.skip - 1)  # what the kernel does
            before = half.fast[NEXT_SEQ]
            half.fast[NEXT_SEQ] = before + count & MASK
            assert half.catch_up(before) == count
            consumer.passed_over += count
            consumer._move(count)
        elif action == 5:
            half.slim = not half.slim
        elif action == 6:
            consumer.held = near % 80
        elif action == 7:
            half.check(peer, number, time)
        else:
            payload = true_bytes(offset, length)
            if action == 8:
                payload = payload[: near % (length + 1)]
            elif action == 9:
                length += near << draw.below(16)  # as much as an IPv6 jumbo payload says it has
            if length:
                half.segment(seq, memoryview(payload), length, peer, number, time)
        look_at(half, consumer, budget, base)
    half.finish("capture end", peer)
    look_at(half, consumer, budget, base)
    assert budget.used == half._waiting_bytes == 0
    assert not half.waiting
    assert half.in_order
    assert consumer.told == half.next
    assert consumer.gone <= consumer.passed_over


def look_at(half, consumer, budget, base):
    """What must hold between two segments."""
    assert half.next == consumer.position == consumer.seen + consumer.passed_over
    assert half.fast[NEXT_SEQ] == base + half.next & MASK
    assert budget.used <= SMALL.max_total_buffer or not half.waiting
    assert budget.used == sum(len(item.data) + 256 for item in half._waiting)
    assert half._waiting_bytes == sum(item.length + 256 for item in half._waiting)
    assert len(half._holes) <= SMALL.max_holes
    reached = 0
    for hole in half._holes:
        assert reached <= hole.start < hole.end <= half.next
        assert not consumer.overlaps(hole.start, hole.end)
        reached = hole.end
    for item in half._waiting:
        assert item.offset + item.length > half.next


def seeds():
    """Give some conversations: in order, out of order, with holes, repeats and wraps."""
    rng = random.Random(7)
    for kind in range(12):
        out = bytearray([kind % 6]) + rng.randbytes(3 * (kind % 6)) + rng.choice((b"\0\0\0\0", b"\0\xff\xff\xff"))
        for _ in range(30):
            where = rng.choice((0, 0, 0, 1, 2, 4)) if kind else 0
            out += bytes([rng.choice((0, 0, 0, 2, kind)), where]) + rng.randbytes(2)
            if where == 5:
                out += rng.randbytes(1)
            out += rng.randrange(1500).to_bytes(2, "little") + bytes([rng.choice((0, 0, 1))])
        yield bytes(out)
