# SPDX-License-Identifier: GPL-2.0-or-later
"""framer.lua does what :mod:`dissector.wire.framer` does, byte for byte."""

from __future__ import annotations

import random
import struct
import time
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.guests import Guest, colo
from dissector.lua_writer import generate
from dissector.spec import findings
from dissector.wire.framer import Framer
from dissector.wire.limits import Limits
from dissector.wire.machine import State
from tests.cross.test_hostile import EXTREMES, SMALL, STREAMS, mutated
from tests.cross.test_segmentation import DIRECTIONS, TALKS, talk
from tests.cross.tools import modest

VERSIONS = ("lua52", "lua54")
FOREVER = 1 << 50
"""No stream is longer; a framer that ignores the rest skips even more, how much depends on the language."""

DRIVER = b"""
local parts = ...
local framer = parts.framer
local driver = { read = 0 }

local function text(value)
  return type(value) == "number" and string.format("%d", value) or tostring(value)
end

-- What is in a unit, on one line, with the body behind it.
function driver.line(unit)
  local extra = unit.extra
  local shown = { unit.record.layer, unit.name, text(unit.type_id), text(unit.offset), text(unit.size),
    text(unit.body_length), unit.order, text(unit.first_frame), text(unit.last_frame), text(unit.header_size),
    text(extra.header_size), text(extra.stray), text(extra.header_size_inferred), unit.body }
  return table.concat(shown, "|")
end

-- A view that counts the bytes it is asked for.
function driver.view(bytes)
  local view = framer.text_view(bytes)
  return { length = view.length, read = function(_, at, count)
    assert(count > 0 and at >= 0 and at + count <= view.length)
    driver.read = driver.read + count
    return view:read(at, count)
  end }
end

function driver.framer(state, position, order, strict, guest)
  local made = framer.new(state, position, { order = order, strict = strict })
  made.guest = guest
  return made
end

function driver.data(one, bytes, frame)
  return one:data(driver.view(bytes), frame)
end

function driver.state(one)
  local starts = {}
  for start in pairs(one.starts) do
    starts[#starts + 1] = start
  end
  table.sort(starts)
  for index, start in ipairs(starts) do
    starts[index] = text(start)
  end
  local units, found = {}, {}
  for index, unit in ipairs(one.units) do
    units[index] = driver.line(unit) .. "|" .. text(unit.cut_at)
  end
  for index, finding in ipairs(one.findings) do
    found[index] = finding.id .. "|" .. text(finding.offset) .. "|" .. finding.text
  end
  one.units, one.findings = {}, {}
  return table.concat({ one.state, text(one.position), text(math.min(one.skip, 1125899906842624)), text(one.need),
    text(one.start), text(one.start_frame), text(one.failed), text(one.mode), text(one.entered), one.order,
    one.xl_order, text(one.heads), text(one.weight), text(one.kept), text(one.list_header), text(one.unit ~= nil),
    table.concat(starts, ","), table.concat(found, "\\n"), table.concat(units, "\\n"), one:wanted() }, "\\n")
end

return driver
"""


class Lua:
    """The pure parts of the dissector in one version of Lua."""

    def __init__(self, version: str) -> None:
        runtime = import_module(f"lupa.{version}").LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self.runtime = runtime
        self.parts = runtime.execute(generate().encode())
        self.driver = self.load(DRIVER)
        self.limits = self.parts[b"LIMITS"]

    def load(self, code: bytes):
        """Run code that gets the parts."""
        return self.runtime.eval(b"function(code, ...) return assert(load(code))(...) end")(code, self.parts)

    @contextmanager
    def limited(self, limits: Limits):
        """Other limits for a while."""
        self.set_limits(limits)
        try:
            yield
        finally:
            self.set_limits(Limits())

    def set_limits(self, limits: Limits) -> None:
        for field in fields(Limits):
            self.limits[field.name.encode()] = getattr(limits, field.name)


@cache
def lua(version: str) -> Lua:
    """The parts, loaded once."""
    return Lua(version)


def shown(value: object) -> str:
    """A value as the driver shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nil" if value is None else str(value)


def line(unit) -> bytes:
    """What is in a unit or record, as the driver shows it."""
    extra = unit.extra
    values = (
        unit.definition.layer,
        unit.definition.name,
        unit.type_id,
        unit.offset,
        unit.size,
        unit.body_length,
        unit.order,
        unit.first_frame,
        unit.last_frame or None,
        unit.header_size,
        extra.get("header_size"),
        extra.get("stray"),
        extra.get("header_size_inferred"),
    )
    return "|".join(map(shown, values)).encode() + b"|" + unit.body


def state(one: Framer) -> bytes:
    """What a framer remembers, as the driver shows it."""
    values = (
        one.state.name,
        one.position,
        min(one.skip, FOREVER),
        one.need,
        one.start,
        one.start_frame,
        one.failed,
        one.mode or None,
        one.entered and one.entered.name,
        one.order,
        one.xl_order,
        one.heads,
        one.weight,
        one.kept,
        one.list_header,
        one.unit is not None,
        ",".join(map(str, sorted(one.starts))),
        "\n".join(f"{rule.id}|{offset}|{rule.text.format(**values)}" for rule, offset, values in one.findings),
    )
    units = b"\n".join(line(unit) + b"|" + shown(unit.cut_at).encode() for unit in one.units)
    return "\n".join(map(shown, values)).encode() + b"\n" + units + b"\n" + bytes(one.want)


class Twins:
    """A framer in Python and the same in Lua, which must agree after every step."""

    def __init__(self, one: Lua, begin: State, position: int = 0, limits: Limits | None = None, **options) -> None:
        guest = options.pop("guest", "")
        order = options.get("order", "little")
        self.python = Framer(begin, position, limits or Limits(), **options)
        self.python.guest = guest
        self.driver = one.driver
        self.framer = one.driver[b"framer"](
            begin.name.encode(), position, order.encode(), options.get("strict", False), guest.encode()
        )
        self.frame = 0

    def agree(self, used: int, there: int) -> None:
        """Compare everything, and take away what was found."""
        assert used == there
        assert self.driver[b"state"](self.framer) == state(self.python)
        self.python.units.clear()
        self.python.findings.clear()

    def data(self, data: bytes) -> None:
        self.frame += 1
        used = self.python.data(memoryview(data), self.frame, None)
        self.agree(used, self.driver[b"data"](self.framer, data, self.frame))

    def gap(self, count: int) -> None:
        self.frame += 1
        used = self.python.gap(count, self.frame, None)
        self.agree(used, self.framer[b"gap"](self.framer, count, self.frame))

    def advance(self, count: int) -> None:
        self.frame += 1
        count = min(count, self.python.skip)
        self.python.advance(count, self.frame, None)
        self.framer[b"advance"](self.framer, count, self.frame)
        self.agree(0, 0)

    def end(self) -> None:
        if self.python.strict:
            self.python.weigh_rest()
            self.framer[b"weigh_rest"](self.framer)
        else:
            self.python.end()
            self.framer[b"end_of_stream"](self.framer)
        self.agree(0, 0)

    def feed(self, data: bytes, rng: random.Random, sizes: tuple[int, ...], loss: float) -> None:
        """All of a stream in pieces of about these sizes, some of them lost, until framing is."""
        at = 0
        while at < len(data) and not self.python.failed:
            size = min(rng.randint(1, rng.choice(sizes)), len(data) - at)
            chance = rng.random()
            if chance < loss:
                self.gap(size)
            elif chance < 2 * loss and self.python.skip:
                size = min(size, self.python.skip)
                self.advance(size)
            else:
                self.data(data[at : at + size])
            at += size
        if not self.python.failed:
            self.end()


@pytest.fixture(params=VERSIONS, name="one")
def in_lua(request) -> Lua:
    return lua(request.param)


SMALL_TALKS = [name for name in TALKS if not name.startswith("large")]
BODIES = ((1,), (3, 20), (40, 700), (1460,), (9000,))


@cache
def streams() -> tuple[tuple[State, bytes], ...]:
    """Good streams of either direction, and the state they are read in."""
    found = []
    for name in SMALL_TALKS:
        for direction in DIRECTIONS:
            data = bytes(talk(name).half(direction).data)
            if data:
                found.append((State.START if direction == "forward" else State.REVERSE_START, data))
    return tuple(found)


@pytest.mark.parametrize("loss", [0, 0.02, 0.3])
def test_good_streams(one, loss):
    for begin, data in streams():
        for sizes in BODIES[1:]:
            rng = random.Random(f"{begin} {len(data)} {sizes} {loss}")
            Twins(one, begin).feed(data, rng, sizes, loss)


def test_one_byte_at_a_time(one):
    for begin, data in streams()[::5]:
        Twins(one, begin).feed(data[:2500], random.Random(1), (1,), 0)


@modest(100)
@given(st.integers(0, 1 << 32), st.sampled_from((None, SMALL)), st.sampled_from((0, 0, 0.05)))
def test_mutated_streams(seed, limits, loss):
    rng = random.Random(seed)
    begin, data = rng.choice(streams())
    data = mutated(data, rng)
    for version in VERSIONS:
        one = lua(version)
        with one.limited(limits or Limits()):
            Twins(one, begin, limits=limits).feed(data, random.Random(seed), BODIES[seed % 4 + 1], loss)


RANDOM = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from((b"\0", b"\1", b"\0\0\0\0", b"\5\0\0\0\4\0\0\0", b"\x0f\0\0\0\x10\0\0\0"))).map(b"".join),
    st.lists(st.sampled_from(EXTREMES)).map(lambda values: b"".join(struct.pack("<I", value) for value in values)),
    st.tuples(st.integers(0, 40), st.integers(0, 64), st.binary(max_size=80)).map(
        lambda parts: struct.pack("<II", *parts[:2]) + parts[2]
    ),
    st.tuples(st.integers(0, 40), st.integers(0, 64), st.binary(max_size=80)).map(
        lambda parts: struct.pack(">II", *parts[:2]) + parts[2]
    ),
)


@modest(500)
@given(
    begin=st.sampled_from(State),
    position=st.sampled_from((0, 5, 1 << 33)),
    order=st.sampled_from(("little", "big")),
    strict=st.booleans(),
    guest=st.sampled_from(("", "PV", "HVM")),
    limits=st.sampled_from((None, SMALL)),
    steps=st.lists(RANDOM | st.integers(1, 60) | st.integers(1, 60).map(float), max_size=12),
)
def test_any_bytes_in_any_state(begin, position, order, strict, guest, limits, steps):
    """Integers are lost bytes, floats are bytes that are passed."""
    for version in VERSIONS:
        one = lua(version)
        with one.limited(limits or Limits()):
            twins = Twins(one, begin, position, limits, order=order, strict=strict, guest=guest)
            for step in steps:
                if twins.python.failed:
                    break
                if isinstance(step, bytes):
                    twins.data(step)
                elif isinstance(step, float):
                    twins.advance(int(step))
                else:
                    twins.gap(step)
            else:
                twins.end()


def test_passing_nothing_changes_nothing(one):
    """Also of a record whose head is there, and nothing behind it."""
    twins = Twins(one, State.LIBXC, 0, None, order="little", strict=False, guest="HVM")
    twins.data(struct.pack("<II", 8, 24))
    before = state(twins.python)
    twins.advance(0)
    assert state(twins.python) == before


@pytest.mark.parametrize("order", ["little", "big"])
def test_strict_in_the_middle_of_good_streams(one, order):
    """From every record of a stream on, and from next to it, as a search does."""
    for name in SMALL_TALKS:
        for direction in DIRECTIONS:
            half = talk(name).half(direction)
            data = bytes(half.data)
            for record in half.records[:: 2 if order == "little" else 7]:
                place = record["offset"]
                for begin in (State.LIBXC, State.LIBXL_RESYNCED, State.BACK_CHANNEL):
                    for at in (place, place + 8):
                        twins = Twins(one, begin, at, strict=True, order=order)
                        twins.feed(data[at : at + 6000], random.Random(at), (1460,), 0)


@pytest.mark.parametrize("stray", [8, 16, 12])
@pytest.mark.parametrize("lost", [None, 0, 2, 4, 9, 13])
def test_dirty_lists(one, stray, lost):
    """Lists of any header size, cut in every way around their end; some with bytes lost behind them."""
    data = bytes(colo(Guest(pages=9, xen=(4, 20)), ((1, 4), (), (4, 7, 8)), stray).reverse.data)
    rng = random.Random(f"{stray} {lost}")
    for _ in range(40):
        twins = Twins(one, State.REVERSE_START)
        at = 0
        while at < len(data) and not twins.python.failed:
            size = rng.randint(1, 30)
            if lost is not None and at > 120 and rng.random() < 0.1:
                twins.gap(lost + 1)
                at += lost + 1
            else:
                twins.data(data[at : at + size])
                at += size
        if not twins.python.failed:
            twins.end()


def test_only_wanted_bytes_are_read(one):
    """Of page contents nothing is read: they are counted."""
    data = STREAMS["plain"]
    one.driver[b"read"] = 0
    twins = Twins(one, State.START)
    twins.feed(data, random.Random(3), (1460,), 0)
    rest = len(data) - 14 * 4096
    assert rest - 100 < one.driver[b"read"] <= rest


def test_a_large_body_is_not_copied_again_and_again(one):
    """16 MiB in segments of usual size; quadratic work would take minutes."""
    head = STREAMS["libxc"][:40] + struct.pack("<II", 9, 16 << 20)
    framer = one.driver[b"framer"](b"START", 0, b"little", False, b"")
    one.driver[b"data"](framer, head, 1)
    assert len(framer[b"units"]) == 2
    begin = time.process_time()
    segment = bytes(1448)
    for number in range((16 << 20) // 1448 + 1):
        one.driver[b"data"](framer, segment, number)
    assert time.process_time() - begin < 10
    assert len(framer[b"units"][3][b"body"]) == 16 << 20


def test_texts_of_findings(one):
    """Every rule's text comes out as in Python."""
    values = {"what": "it", "missing": 3, "layer": "libxc", "type_id": 0x80000013, "length": 5, "expected": "8 + 8n"}
    values |= {"size": 16, "unseen": 8, "share": 50, "count": 2, "linktype": 147, "kept": 4096, "limit": 1 << 24}
    table = one.runtime.table_from(
        {name.encode(): v.encode() if isinstance(v, str) else v for name, v in values.items()}
    )
    for rule in findings.RULES:
        text = one.parts[b"framer"][b"finding_text"](rule.id.encode(), table)
        assert text.decode() == rule.text.format(**values)
