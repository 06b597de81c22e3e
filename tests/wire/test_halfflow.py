# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments in, stream bytes, holes and losses out: tables of what is received and what must come of it."""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.wire.halfflow import ACK, NEXT_SEQ, Budget, HalfFlow
from dissector.wire.limits import Limits
from tests.cross.tools import modest

STREAM = random.Random(1).randbytes(1 << 16)
MS = 1_000_000


class Recorder:
    """A consumer that writes down what it is told, and checks that bytes are the right ones."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.held = 0
        self.last_time: int | None = None
        self.position = 0
        self.log: list[str] = []
        self.told_settled = 0
        self.seen: list[tuple[int, int]] = []
        self.gone: list[tuple[int, int]] = []

    def _move(self, count: int) -> tuple[int, int]:
        start, self.position = self.position, self.position + count
        self.skip = max(0, self.skip - count)
        return start, self.position

    def data(self, view: memoryview, frame: int, time: int | None) -> None:
        start, end = self._move(len(view))
        assert bytes(view) == STREAM[start:end]
        self.seen.append((start, end))
        self.log.append(f"data {start}-{end}")

    def gap(self, count: int, frame: int, time: int | None) -> None:
        assert count > 0
        start, end = self._move(count)
        self.log.append(f"pass {start}-{end}")

    def passed(self, frame: int, time: int | None) -> None:
        self.log.append("passed")

    def lost(self, start: int, end: int, reason: str, frame: int, time: int | None, since: int | None) -> None:
        assert start < end
        self.gone.append((start, end))
        self.log.append(f"{reason} {start}-{end}")

    def settled(self, until: int) -> None:
        assert until >= self.told_settled
        assert until <= self.position
        self.told_settled = until

    def limit(self, rule: object, limit: int, offset: int, frame: int, time: int | None) -> None:
        self.log.append(f"{rule.id} {limit}")  # type: ignore[attr-defined]


class Seg(NamedTuple):
    """Bytes start to end of the stream in one segment."""

    start: int
    end: int
    ack: int = -1
    """What the peer has acknowledged by then, as stream offset; -1: nothing seen."""
    at: int = 0
    """Capture time, ms."""
    captured: int | None = None
    wrong: bool = False
    """Other bytes than the stream has there, as in keep-alive probes."""


class Ack(NamedTuple):
    """An acknowledgement of the peer, without data."""

    ack: int
    at: int = 0


class Finish(NamedTuple):
    """The connection is over."""

    reason: str = "lost"
    ack: int = -1


def run(steps: tuple, skip: int, limits: Limits, isn: int) -> tuple[list[str], HalfFlow, Recorder]:
    """Play the steps."""
    recorder = Recorder(skip)
    half = HalfFlow(recorder, limits, Budget())
    half.start(isn)
    for frame, step in enumerate(steps, 1):
        match step:
            case Seg():
                data = bytes(step.end - step.start) if step.wrong else STREAM[max(0, step.start) : step.end]
                ack = step.ack if step.ack < 0 else (isn + step.ack) & 0xFFFF_FFFF
                seq = (isn + step.start) & 0xFFFF_FFFF
                payload = memoryview(data[: step.captured])
                half.segment(seq, payload, step.end - step.start, ack, frame, step.at * MS)
            case Ack():
                half.check((isn + step.ack) & 0xFFFF_FFFF, frame, step.at * MS)
            case Finish():
                half.finish(step.reason, step.ack if step.ack < 0 else (isn + step.ack) & 0xFFFF_FFFF)
        assert half.next == recorder.position
        assert half.fast[NEXT_SEQ] == (isn + half.next) & 0xFFFF_FFFF
    return recorder.log, half, recorder


SMALL = Limits(reorder_window=1000, max_flow_buffer=3000, max_holes=3, loss_delay=1000 * MS)
END = Finish()

TABLE: dict[str, tuple[int, tuple, str]] = {
    "in order": (0, (Seg(0, 10), Seg(10, 30), END), "data 0-10, data 10-30"),
    "swapped": (0, (Seg(10, 30), Seg(0, 10), END), "data 0-10, data 10-30"),
    "three in reverse order": (0, (Seg(20, 30), Seg(10, 20), Seg(0, 10)), "data 0-10, data 10-20, data 20-30"),
    "the same again": (0, (Seg(0, 10), Seg(0, 10), END), "data 0-10"),
    "again with more": (0, (Seg(0, 10), Seg(0, 25), END), "data 0-10, data 10-25"),
    "overlap": (0, (Seg(0, 10), Seg(5, 20), END), "data 0-10, data 10-20"),
    "inside what was seen": (0, (Seg(0, 30), Seg(10, 20), END), "data 0-30"),
    "overlaps what waits": (0, (Seg(0, 10), Seg(20, 30), Seg(5, 25)), "data 0-10, data 10-25, data 25-30"),
    "covers what waits": (0, (Seg(0, 10), Seg(20, 30), Seg(10, 40)), "data 0-10, data 10-40"),
    "what waits comes twice": (0, (Seg(10, 20), Seg(10, 20), Seg(0, 10)), "data 0-10, data 10-20"),
    "what waits overlaps": (
        0,
        (Seg(10, 20), Seg(15, 30), Seg(12, 18), Seg(0, 10)),
        "data 0-10, data 10-20, data 20-30",
    ),
    "keep-alive": (0, (Seg(0, 10), Seg(9, 10, wrong=True), Seg(10, 20)), "data 0-10, data 10-20"),
    "keep-alive before the first byte": (0, (Seg(-1, 0, wrong=True), Seg(0, 10)), "data 0-10"),
    "zero-window probe": (0, (Seg(0, 10), Seg(10, 11), Seg(10, 11), Seg(10, 40)), "data 0-10, data 10-11, data 11-40"),
    # holes where nobody needs the bytes
    "hole inside skip is passed at once": (100, (Seg(0, 10), Seg(20, 30)), "data 0-10, pass 10-20, data 20-30"),
    "and closes silently": (
        100,
        (Seg(0, 10), Seg(20, 30), Seg(10, 20), END),
        "data 0-10, pass 10-20, data 20-30",
    ),
    "partly closed": (
        100,
        (Seg(0, 10), Seg(20, 30), Seg(13, 15), END),
        "data 0-10, pass 10-20, data 20-30, lost 10-13, lost 15-20",
    ),
    "closed from both ends": (
        100,
        (Seg(0, 10), Seg(20, 30), Seg(5, 14), Seg(16, 25), END),
        "data 0-10, pass 10-20, data 20-30, lost 14-16",
    ),
    "two holes closed by one segment": (
        100,
        (Seg(0, 10), Seg(20, 30), Seg(40, 50), Seg(8, 45), END),
        "data 0-10, pass 10-20, data 20-30, pass 30-40, data 40-50",
    ),
    "hole that ends where skip ends": (20, (Seg(0, 10), Seg(20, 30)), "data 0-10, pass 10-20, data 20-30"),
    "hole that goes beyond skip waits": (
        19,
        (Seg(0, 10), Seg(20, 30), Seg(10, 20)),
        "data 0-10, data 10-20, data 20-30",
    ),
    "hole that begins behind skip waits": (
        10,
        (Seg(0, 10), Seg(20, 30), Seg(10, 20)),
        "data 0-10, data 10-20, data 20-30",
    ),
    "hole of the first bytes": (50, (Seg(5, 10), END), "pass 0-5, data 5-10, lost 0-5"),
    "passed while other data wait": (
        25,
        (Seg(0, 10), Seg(40, 50), Seg(20, 30), Seg(10, 20), Seg(30, 40)),
        "data 0-10, data 10-20, data 20-30, data 30-40, data 40-50",
    ),
    # when a hole is lost
    "not acknowledged: not lost": (0, (Seg(0, 10), Seg(20, 30, 10), Seg(30, 1500, 10), Ack(10, 9000)), "data 0-10"),
    "no ACK ever seen: not lost": (0, (Seg(0, 10), Seg(20, 30), Seg(30, 1500, at=5000)), "data 0-10"),
    "acknowledged, little later data: not lost": (0, (Seg(0, 10), Seg(20, 30, 30), Ack(30, 999)), "data 0-10"),
    "acknowledged in part: not lost": (0, (Seg(0, 10), Seg(20, 30), Seg(30, 1500, 19)), "data 0-10"),
    "acknowledged and a window of later data": (
        0,
        (Seg(0, 10), Seg(20, 30), Seg(30, 1500, 20)),
        "data 0-10, lost 10-20, pass 10-20, data 20-30, data 30-1500",
    ),
    "acknowledged and time has passed": (
        0,
        (Seg(0, 10), Seg(20, 30, 30), Ack(30, 1000)),
        "data 0-10, lost 10-20, pass 10-20, data 20-30",
    ),
    "the clock starts when the first data wait": (
        0,
        (Seg(0, 10, at=0), Seg(20, 30, 30, at=700), Ack(30, 1699), Seg(10, 20, 30, at=1699)),
        "data 0-10, data 10-20, data 20-30",
    ),
    "lost in skipped bytes, by the window": (
        5000,
        (Seg(0, 10), Seg(20, 1020, 20)),
        "data 0-10, pass 10-20, data 20-1020, lost 10-20",
    ),
    "lost in skipped bytes, by time": (
        5000,
        (Seg(0, 10), Seg(20, 30, 30), Ack(30, 1000)),
        "data 0-10, pass 10-20, data 20-30, lost 10-20",
    ),
    "what comes after it is lost is too late": (
        0,
        (Seg(0, 10), Seg(20, 30, 30), Ack(30, 1000), Seg(10, 20, 30, at=1001), END),
        "data 0-10, lost 10-20, pass 10-20, data 20-30",
    ),
    "two holes, one after the other": (
        0,
        (Seg(0, 10), Seg(20, 30, 30), Seg(40, 50, 50), Ack(50, 1000), Ack(50, 2000)),
        "data 0-10, lost 10-20, pass 10-20, data 20-30, lost 30-40, pass 30-40, data 40-50",
    ),
    "the end": (0, (Seg(0, 10), Seg(20, 30), END), "data 0-10, lost 10-20, pass 10-20, data 20-30"),
    "the end of the capture": (
        15,
        (Seg(0, 10), Seg(12, 14), Seg(20, 30), Finish("capture end")),
        "data 0-10, pass 10-12, data 12-14, capture end 10-12, capture end 14-20, pass 14-20, data 20-30",
    ),
    "the end of the capture, but the peer has one of them": (
        15,
        (Seg(0, 10), Seg(12, 14), Seg(20, 30), Finish("capture end", 12)),
        "data 0-10, pass 10-12, data 12-14, lost 10-12, capture end 14-20, pass 14-20, data 20-30",
    ),
    # limits
    "too much waits": (
        0,
        (Seg(0, 10), Seg(20, 1500), Seg(1500, 3500)),
        "data 0-10, limit.flow_buffer 3000, limit 10-20, pass 10-20, data 20-1500, data 1500-3500",
    ),
    "too far ahead of an open hole": (
        9000,
        (Seg(0, 10), Seg(20, 3021)),
        "data 0-10, pass 10-20, data 20-3021, limit.flow_buffer 3000, limit 10-20",
    ),
    "too many holes": (
        9000,
        (Seg(5, 10), Seg(15, 20), Seg(25, 30), Seg(35, 40)),
        (
            "pass 0-5, data 5-10, pass 10-15, data 15-20, pass 20-25, data 25-30, pass 30-35, data 35-40, "
            "limit.holes 3, limit 0-5"
        ),
    ),
    # snap length
    "cut": (0, (Seg(0, 10, captured=4), Seg(10, 20)), "data 0-4, snaplen 4-10, pass 4-10, data 10-20"),
    "nothing captured": (0, (Seg(0, 10, captured=0), Seg(10, 20)), "snaplen 0-10, pass 0-10, data 10-20"),
    "cut, and then overlapped": (
        0,
        (Seg(0, 10, captured=4), Seg(2, 14, captured=10)),
        "data 0-4, snaplen 4-10, pass 4-10, data 10-12, snaplen 12-14, pass 12-14",
    ),
    "cut while waiting": (
        0,
        (Seg(10, 20, captured=3), Seg(0, 10)),
        "data 0-10, data 10-13, snaplen 13-20, pass 13-20",
    ),
    "cut and behind an open hole": (
        100,
        (Seg(0, 10), Seg(20, 30, captured=4), Seg(10, 20), END),
        "data 0-10, pass 10-20, data 20-24, snaplen 24-30, pass 24-30",
    ),
    "a hole is filled by a cut copy": (
        100,
        (Seg(0, 10), Seg(20, 30), Seg(10, 20, captured=4), END),
        "data 0-10, pass 10-20, data 20-30, lost 14-20",
    ),
}


@pytest.mark.parametrize("isn", [0, 12345, (1 << 32) - 1, (1 << 32) - 15, (1 << 32) - 700])
@pytest.mark.parametrize("name", TABLE)
def test_table(name, isn):
    skip, steps, wanted = TABLE[name]
    log, _, _ = run(steps, skip, SMALL, isn)
    assert "\n".join(log) == wanted.replace(", ", "\n")


def test_fin_is_the_end_once_everything_is_there():
    _, half, _ = run((Seg(0, 10), Seg(20, 30)), 0, SMALL, 7)
    half.fin = 30
    assert not half.at_end
    half.segment(17, memoryview(STREAM[10:20]), 10, -1, 3, 0)
    assert half.at_end


def test_fin_is_not_the_end_while_a_hole_is_open():
    _, half, _ = run((Seg(0, 10), Seg(20, 30)), 50, SMALL, 7)
    half.fin = 30
    assert not half.at_end


def test_over_when_the_peer_acknowledged_the_fin():
    """Also when bytes of it were never seen: the hole is in the capture, not in the connection."""
    _, half, _ = run((Seg(0, 10), Seg(20, 30)), 50, SMALL, 7)
    assert not half.over(7 + 31)
    half.fin = 30
    assert [half.over(ack) for ack in (-1, 7 + 10, 7 + 30, 7 + 31)] == [False, False, False, True]


def test_offsets_go_on_beyond_many_wraps():
    """The kernel passes gigabytes; what comes then has a 64-bit offset."""
    recorder = Recorder(0)
    half = HalfFlow(recorder, Limits(), Budget())
    half.start(99)
    for _ in range(40):
        before = half.fast[NEXT_SEQ]
        half.fast[NEXT_SEQ] = (before + 0x7FFF_0000) & 0xFFFF_FFFF
        assert half.catch_up(before) == 0x7FFF_0000
    assert half.next == 40 * 0x7FFF_0000
    assert half.offset_of((99 + half.next) & 0xFFFF_FFFF) == half.next
    assert half.offset_of((99 + half.next + 5000) & 0xFFFF_FFFF) == half.next + 5000
    assert half.offset_of((99 + half.next - 5000) & 0xFFFF_FFFF) == half.next - 5000


def test_state_for_the_kernel_is_one_list():
    half = HalfFlow(Recorder(0), Limits(), Budget())
    assert (half.fast, half.started) == ([0, 0, -1], False)
    half.start(1 << 32 | 5)
    assert half.fast[NEXT_SEQ] == 5
    assert half.fast[ACK] == -1
    assert half.started


def test_total_buffer_is_shared():
    limits = Limits(max_total_buffer=2000)
    budget = Budget()
    first, second = Recorder(0), Recorder(0)
    halves = [HalfFlow(one, limits, budget) for one in (first, second)]
    for half in halves:
        half.start(0)
    halves[0].segment(10, memoryview(STREAM[10:1000]), 990, -1, 1, 0)
    assert first.log == []
    halves[1].segment(10, memoryview(STREAM[10:1000]), 990, -1, 2, 0)
    assert second.log == ["limit.total_buffer 2000", "limit 0-10", "pass 0-10", "data 10-1000"]
    halves[0].segment(0, memoryview(STREAM[:10]), 10, -1, 3, 0)
    assert first.log == ["data 0-10", "data 10-1000"]
    assert budget.used == 0


def test_settled_follows_the_first_open_hole():
    _, half, recorder = run((Seg(0, 10), Seg(20, 30), Seg(40, 50)), 100, SMALL, 0)
    assert recorder.told_settled == 10
    half.segment(10, memoryview(STREAM[10:20]), 10, -1, 4, 0)
    assert recorder.told_settled == 30
    half.finish("lost", -1)
    assert recorder.told_settled == 50


@st.composite
def traffic(draw):
    """Segments of a stream in any order, some twice, some missing, some with other borders."""
    length = draw(st.integers(1, 4000))
    cuts = sorted({0, length, *draw(st.lists(st.integers(1, max(1, length - 1)), max_size=30))})
    pieces = list(itertools.pairwise(cuts))
    extra = draw(st.lists(st.tuples(st.integers(0, length), st.integers(0, length)), max_size=6))
    pieces += [(min(a, b), max(a, b)) for a, b in extra if a != b]
    pieces = draw(st.permutations(pieces))
    gone = draw(st.sets(st.integers(0, max(0, len(pieces) - 1)), max_size=4))
    return [Seg(*piece) for index, piece in enumerate(pieces) if index not in gone]


@modest(200)
@given(traffic(), st.integers(0, 5000), st.integers(0, 0xFFFF_FFFF))
def test_every_byte_is_accounted_for(steps, skip, isn):
    """With ample limits: what came is handed on or fills a hole, what never came is lost, nothing else."""
    _, _, recorder = run((*steps, END), skip, Limits(), isn)
    came = {n for step in steps for n in range(step.start, step.end)}
    gone = [n for start, end in recorder.gone for n in range(start, end)]
    handed = [n for start, end in recorder.seen for n in range(start, end)]
    assert len(gone) == len(set(gone))
    assert set(gone) == set(range(recorder.position)) - came
    assert len(handed) == len(set(handed))
    assert set(handed) <= came
    assert recorder.position == max(came, default=-1) + 1
    assert recorder.told_settled == recorder.position
    if not skip:
        assert set(handed) == came


@modest(100)
@given(traffic(), st.integers(0, 3000), st.integers(0, 0xFFFF_FFFF))
def test_small_limits_lose_more_but_never_twice(steps, skip, isn):
    limits = Limits(reorder_window=300, max_flow_buffer=700, max_total_buffer=700, max_holes=2)
    _, half, recorder = run((*steps, END), skip, limits, isn)
    gone = [n for start, end in recorder.gone for n in range(start, end)]
    handed = [n for start, end in recorder.seen for n in range(start, end)]
    assert len(gone) == len(set(gone))
    assert not set(gone) & set(handed)
    assert recorder.position == max((step.end for step in steps), default=0)
    assert half.budget.used == 0


# -- slim captures ----------------------------------------------------------------------------------------------------


def slim_half(skip: int) -> tuple[HalfFlow, Recorder]:
    recorder = Recorder(skip)
    half = HalfFlow(recorder, Limits(), Budget())
    half.start(1)
    half.slim = True
    return half, recorder


def test_what_was_cut_out_on_purpose_is_no_loss():
    half, recorder = slim_half(1000)
    half.segment(1, memoryview(b""), 400, -1, 1, 0)
    half.segment(401, memoryview(STREAM[400:410]), 300, -1, 2, 0)
    assert recorder.log == ["pass 0-400", "passed", "data 400-410", "pass 410-700", "passed"]
    assert recorder.gone == []


@pytest.mark.parametrize("skip", [0, 299])
def test_what_is_missing_of_a_record_is_lost_even_in_a_slim_capture(skip):
    half, recorder = slim_half(skip)
    half.segment(1, memoryview(b""), 300, -1, 1, 0)
    assert recorder.log == ["snaplen 0-300", "pass 0-300"]


def test_what_waits_remembers_how_it_was_cut():
    half, recorder = slim_half(0)
    half.segment(101, memoryview(STREAM[100:110]), 200, -1, 1, 0)
    half.slim = False
    recorder.skip = 400
    half.segment(1, memoryview(STREAM[:100]), 100, -1, 2, 0)
    assert recorder.gone == []


@pytest.mark.parametrize(
    ("seq", "length", "skip", "log"),
    [
        (1, 100, 100, ["pass 0-100", "passed"]),
        (1, 101, 100, []),  # more than nobody needs
        (2, 50, 100, []),  # not here
        (0, 50, 100, []),
        (0xFFFF_FF00, 50, 100, []),
        (1, 1 << 60, 100, []),
        (1, 50, 0, []),
    ],
)
def test_what_was_left_out_is_passed_only_where_nobody_needs_it(seq, length, skip, log):
    half, recorder = slim_half(skip)
    half.left_out(seq, length, 1, 0)
    assert recorder.log == log
    assert half.next == (length if log else 0)


def test_nothing_was_left_out_before_the_beginning_or_behind_a_hole():
    recorder = Recorder(1000)
    half = HalfFlow(recorder, Limits(), Budget())
    half.left_out(1, 100, 1, 0)
    assert recorder.log == []
    half, recorder = slim_half(0)
    half.segment(101, memoryview(STREAM[100:110]), 10, -1, 1, 0)
    recorder.skip = 1000
    half.left_out(1, 50, 1, 0)
    assert recorder.log == []


@pytest.mark.parametrize(
    ("fin", "reset", "ack", "short"),
    [
        (None, 0, -1, False),
        (30, 0, 7 + 31, False),
        (31, 0, -1, True),
        (None, 0, 7 + 30, False),
        (None, 0, 7 + 40, True),
        (30, 0, 7 + 40, False),
        (None, 30, -1, False),
        (None, 31, -1, True),
    ],
)
def test_last_bytes_that_are_known_to_be_missing(fin, reset, ack, short):
    _, half, _ = run((Seg(0, 30),), 0, SMALL, 7)
    half.fin, half.reset = fin, reset
    assert half.falls_short(ack) is short


def test_a_half_without_any_byte_is_not_short():
    assert not HalfFlow(Recorder(0), SMALL, Budget()).falls_short(500)
