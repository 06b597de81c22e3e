# SPDX-License-Identifier: GPL-2.0-or-later
"""halfflow.lua makes the same calls as :mod:`dissector.wire.halfflow`, segment for segment."""

from __future__ import annotations

import random
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.wire.halfflow import NEXT_SEQ, Budget, HalfFlow
from dissector.wire.limits import Limits
from tests.cross.tools import modest
from tests.templates.test_framer import VERSIONS, lua
from tests.wire.test_halfflow import SMALL, STREAM, TABLE, Ack, Finish, Seg, traffic

DRIVER = b"""
local parts = ...
local driver = {}
local Recorder = {}
Recorder.__index = Recorder

local function number(value)
  return value and string.format("%d", value) or "-"
end

function Recorder:add(what, start, stop, more, frame)
  self.log[#self.log + 1] = table.concat({ what, number(start), number(stop), more, number(frame) }, " ")
end

function Recorder:move(count)
  local start = self.position
  self.position = start + count
  self.left = math.max(0, self.left - count)
  return start, self.position
end

function Recorder:skip() return self.left end
function Recorder:data(view, frame)
  local start, stop = self:move(view.length)
  self:add("data", start, stop, view:read(0, view.length), frame)
end
function Recorder:gap(count, frame)
  local start, stop = self:move(count)
  self:add("gap", start, stop, "", frame)
end
function Recorder:lost_bytes(start, stop, reason, frame) self:add("lost", start, stop, reason, frame) end
function Recorder:limit(id, limit, offset, frame) self:add("limit", limit, offset, id, frame) end
function Recorder:advance(count)
  local start, stop = self:move(count)
  self:add("advance", start, stop, "", nil)
end
function Recorder:passed(frame) self:add("passed", nil, nil, "", frame) end

-- A view that refuses to be read when its packet is over, and counts what is read.
local live

function driver.segment(half, seq, bytes, length, peer_ack, frame, time)
  local mine = {}
  live = mine
  local view = { length = #bytes, read = function(_, at, count)
    assert(live == mine and count > 0 and at >= 0 and at + count <= #bytes)
    return bytes:sub(at + 1, at + count)
  end }
  half:segment(seq, view, length, peer_ack, frame, time)
  live = nil
end

function driver.half(skip, budget)
  local recorder = setmetatable({ log = {}, position = 0, left = skip }, Recorder)
  return parts.halfflow.new(recorder, budget)
end

-- What was told since, and what is remembered.
function driver.state(half)
  local log = half.follower.log
  half.follower.log = {}
  log[#log + 1] = table.concat({ number(half.next), number(half.seq), tostring(half:waiting()),
    number(half.budget.used) }, " ")
  for _, hole in ipairs(half.holes) do
    log[#log + 1] = table.concat({ number(hole.start), number(hole.stop), number(hole.frame) }, " ")
  end
  return table.concat(log, "\\n")
end

return driver
"""


class Pass(NamedTuple):
    """Bytes that are counted without being looked at, as many of these as nobody needs."""

    count: int


class Recorder:
    """What the driver's recorder is, for the core."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.held = 0
        self.last_time: int | None = None
        self.position = 0
        self.log: list[bytes] = []

    def add(self, what: str, start: int | None, stop: int | None, more: bytes, frame: int | None) -> None:
        shown = [b"-" if value is None else b"%d" % value for value in (start, stop, frame)]
        self.log.append(b" ".join((what.encode(), shown[0], shown[1], more, shown[2])))

    def move(self, count: int) -> tuple[int, int]:
        start, self.position = self.position, self.position + count
        self.skip = max(0, self.skip - count)
        return start, self.position

    def data(self, view: memoryview, frame: int, time: int | None) -> None:
        self.add("data", *self.move(len(view)), bytes(view), frame)

    def gap(self, count: int, frame: int, time: int | None) -> None:
        self.add("gap", *self.move(count), b"", frame)

    def lost(self, start: int, end: int, reason: str, frame: int, time: int | None, since: int | None) -> None:
        self.add("lost", start, end, reason.encode(), frame)

    def settled(self, until: int) -> None:
        pass

    def limit(self, rule, limit: int, offset: int, frame: int, time: int | None) -> None:
        self.add("limit", limit, offset, rule.id.encode(), frame or None)


class Twins:
    """Half flows in Python and the same in Lua, which must agree after every step."""

    def __init__(self, version: str, limits: Limits, skips: tuple[int, ...], isn: int) -> None:
        self.driver = driver(version)
        self.isn = isn
        budget, there = Budget(), lua(version).runtime.table_from({b"used": 0})
        self.python = [HalfFlow(Recorder(skip), limits, budget) for skip in skips]
        self.lua = [self.driver[b"half"](skip, there) for skip in skips]
        for half, other in zip(self.python, self.lua, strict=True):
            half.start(isn)
            assert not other[b"started"]
            other[b"start"](other, isn)
            assert other[b"started"]

    def sequence(self, offset: int) -> int:
        """The sequence number; -1 stays that."""
        return offset if offset < 0 else (self.isn + offset) & 0xFFFF_FFFF

    def step(self, step, frame: int, index: int = 0) -> None:
        half, other = self.python[index], self.lua[index]
        match step:
            case Seg():
                data = bytes(step.end - step.start) if step.wrong else STREAM[max(0, step.start) : step.end]
                data = data[: step.captured]
                seq, length, ack = (
                    (self.isn + step.start) & 0xFFFF_FFFF,
                    step.end - step.start,
                    self.sequence(step.ack),
                )
                half.segment(seq, memoryview(data), length, ack, frame, step.at * 1_000_000)
                self.driver[b"segment"](other, seq, data, length, ack, frame, step.at / 1000)
            case Ack():
                half.check(self.sequence(step.ack), frame, step.at * 1_000_000)
                other[b"check"](other, self.sequence(step.ack), frame, step.at / 1000)
            case Finish():
                half.finish(step.reason, self.sequence(step.ack))
                other[b"finish"](other, step.reason.encode(), self.sequence(step.ack))
            case Pass():
                count = min(step.count, half.consumer.skip)
                if count and not half.waiting:
                    self.fast_forward(half, count, frame)
                    other[b"pass"](other, count, frame)
        self.agree(half, other)

    def fast_forward(self, half: HalfFlow, count: int, frame: int) -> None:
        """What the kernel and the connection do in the core."""
        before = half.fast[NEXT_SEQ]
        half.fast[NEXT_SEQ] = (before + count) & 0xFFFF_FFFF
        half.consumer.add("advance", *half.consumer.move(half.catch_up(before)), b"", None)
        half.consumer.add("passed", None, None, b"", frame)

    def agree(self, half: HalfFlow, other) -> None:
        """Compare what the consumers were told, and what is remembered."""
        waiting = str(half.waiting).lower()
        log = [*half.consumer.log, f"{half.next} {half.fast[NEXT_SEQ]} {waiting} {half.budget.used}".encode()]
        log += [f"{hole.start} {hole.end} {hole.frame}".encode() for hole in half._holes]
        half.consumer.log.clear()
        assert self.driver[b"state"](other).split(b"\n") == b"\n".join(log).split(b"\n")
        for delta in (-5, 0, 5000):
            seq = (half.fast[NEXT_SEQ] + delta) & 0xFFFF_FFFF
            assert other[b"offset_of"](other, seq) == half.offset_of(seq)


@cache
def driver(version: str):
    """The driver, loaded once."""
    return lua(version).load(DRIVER)


def play(steps, skip: int, limits: Limits, isn: int) -> None:
    """Play the steps to both."""
    for version in VERSIONS:
        with lua(version).limited(limits):
            twins = Twins(version, limits, (skip,), isn)
            for frame, step in enumerate(steps, 1):
                twins.step(step, frame)


@pytest.mark.parametrize("isn", [0, (1 << 32) - 1, (1 << 32) - 15, (1 << 32) - 700])
def test_table(isn):
    for skip, steps, _ in TABLE.values():
        play(steps, skip, SMALL, isn)


# -- any traffic -----------------------------------------------------------------------------------------------------

TIGHT = Limits(reorder_window=300, max_flow_buffer=700, max_total_buffer=700, max_holes=2, loss_delay=250_000_000)
LIMITS = st.sampled_from((Limits(), SMALL, TIGHT, Limits(reorder_window=100, loss_delay=125_000_000)))
SEQUENCES = st.integers(0, 0xFFFF_FFFF) | st.integers(0xFFFF_FFFF - 4000, 0xFFFF_FFFF)


def decorated(steps: list[Seg], rng: random.Random, reason: str) -> list:
    """Traffic with acknowledgements, time, cut frames, and bytes that are passed."""
    found: list = []
    at, ack, highest = 0, rng.choice((-1, 0, 0)), 0
    eager = rng.choice((0.0, 0.3, 1.0))
    for step in steps:
        at += rng.choice((0, 0, 125, 250))
        highest = max(highest, step.end)
        if ack >= 0 and rng.random() < eager:
            ack = rng.choice((highest, max(ack, rng.randint(0, highest))))
        captured = rng.randint(0, step.end - step.start) if rng.random() < 0.1 else None
        found.append(step._replace(ack=ack, at=at, captured=captured))
        if rng.random() < 0.1:
            found.append(Pass(rng.randint(1, 500)))
        if ack >= 0 and rng.random() < 0.1:
            at += rng.choice((125, 1000))
            found.append(Ack(ack, at))
    found.append(Finish(reason, ack))
    return found


@modest(250)
@given(
    steps=traffic(),
    skip=st.sampled_from((0, 0, 100, 1000, 10_000)),
    limits=LIMITS,
    isn=SEQUENCES,
    seed=st.integers(0, 1 << 32),
    reason=st.sampled_from(("lost", "capture end")),
)
def test_any_traffic(steps, skip, limits, isn, seed, reason):
    play(decorated(steps, random.Random(seed), reason), skip, limits, isn)


def ordered(seed: int) -> list[Seg]:
    """Traffic as networks have it: in order but for a few, some lost, some again."""
    rng = random.Random(seed)
    size, window = rng.choice((20, 100, 700)), rng.choice((0, 1, 3, 30))
    cuts = [*range(0, 20_000, size)]
    pieces = [Seg(start, start + size) for start in cuts if rng.random() > 0.03]
    pieces += [Seg(max(0, piece.start - rng.randint(0, 30)), piece.end) for piece in rng.choices(pieces, k=10)]
    places = {id(piece): piece.start / size + rng.random() * window for piece in pieces}
    return sorted(pieces, key=lambda piece: places[id(piece)])


@modest(60)
@given(st.integers(0, 1 << 32), st.sampled_from((0, 3000, 30_000)), LIMITS, SEQUENCES)
def test_traffic_of_networks(seed, skip, limits, isn):
    play(decorated(ordered(seed), random.Random(seed), "capture end"), skip, limits, isn)


@modest(60)
@given(traffic(), traffic(), st.integers(0, 1 << 32), SEQUENCES)
def test_two_directions_share_a_budget(one, two, seed, isn):
    limits = Limits(max_total_buffer=3000, reorder_window=1 << 20)
    rng = random.Random(seed)
    queues = [decorated(one, rng, "lost"), decorated(two, rng, "lost")]
    sides = [0] * len(queues[0]) + [1] * len(queues[1])
    rng.shuffle(sides)
    for version in VERSIONS:
        with lua(version).limited(limits):
            twins = Twins(version, limits, (0, 200), isn)
            steps = [iter(queue) for queue in queues]
            for frame, side in enumerate(sides, 1):
                twins.step(next(steps[side]), frame, side)


def test_offsets_beyond_many_wraps():
    for version in VERSIONS:
        twins = Twins(version, Limits(), (1 << 40,), 99)
        for frame in range(1, 41):
            twins.step(Pass(0x7FFF_0000), frame)
        assert twins.python[0].next == 40 * 0x7FFF_0000


@pytest.mark.parametrize("version", VERSIONS)
def test_no_capture_time(version):
    """Then only later data makes a hole a loss."""
    twins = Twins(version, Limits(), (0,), 0)
    half, other = twins.python[0], twins.lua[0]
    half.segment(10, memoryview(STREAM[10:20]), 10, 20, 1, None)
    twins.driver[b"segment"](other, 10, STREAM[10:20], 10, 20, 1, None)
    twins.agree(half, other)
    twins.step(Ack(20, 5000), 2)
    assert half.waiting
