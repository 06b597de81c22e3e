# SPDX-License-Identifier: GPL-2.0-or-later
"""follower.lua gives the same records, gaps, findings and roles as :mod:`dissector.wire.follower` and its flow."""

from __future__ import annotations

import gzip
import random
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.guests import Guest, colo, hvm, plain
from dissector.spec import findings
from dissector.wire import legacy
from dissector.wire.events import Finding, Gap, Record, Resync
from dissector.wire.flow import Flow
from dissector.wire.limits import Limits
from tests.cross import tools
from tests.cross.test_hostile import BEGINNINGS, GOOD, SMALL, STREAMS, mutated
from tests.cross.test_loss import REAL, SYNTHETIC, dreaming, segments
from tests.cross.test_segmentation import TALKS, talk
from tests.cross.tools import DIRECTIONS, modest
from tests.templates.test_framer import FOREVER, VERSIONS, Lua, in_lua, line, lua, shown

__all__ = ["in_lua"]

DRIVER = b"""
local parts, base = ...
local follower = parts.follower
local driver = {}

local function text(value)
  return type(value) == "number" and string.format("%d", value) or tostring(value)
end

function driver.data(flow, side, bytes, frame)
  flow.followers[side]:data(base.view(bytes), frame)
end

function driver.gap(flow, side, count, frame)
  flow.followers[side]:gap(count, frame)
end

function driver.lost(flow, side, start, stop, reason, frame)
  flow.followers[side]:lost_bytes(start, stop, reason, frame)
end

function driver.advance(flow, side, count, frame)
  flow.followers[side]:advance(count)
  flow.followers[side]:passed(frame)
end

function driver.skip(flow, side)
  return math.min(flow.followers[side]:skip(), 1125899906842624)
end

-- What a follower is about.
function driver.doing(flow, side)
  local one = flow.followers[side]
  local framer, search = one.framer, one.search
  if not search then
    return table.concat({ framer.state, text(framer.list_header), text(framer.entered ~= nil), framer.order }, "|")
  end
  return table.concat({ text(search.start), text(search.position), search.order, text(search.role),
    text(search.alignment), text(search.pages_seen), search.guest, text(#search.candidates) }, "|")
end

-- What a follower found, units and notes; the numbers of units must go on from `before`.
function driver.found(flow, side, before)
  local one = flow.followers[side]
  local units, notes = {}, {}
  for index, unit in ipairs(one.units) do
    assert(unit.number == index + before)
    local missing = {}
    for _, part in ipairs(follower.missing(one, unit)) do
      missing[#missing + 1] = text(part.offset) .. "+" .. text(part.length)
    end
    units[index] = table.concat(missing, ",") .. "|" .. text(unit.decided) .. "|" .. base.line(unit)
  end
  for index, note in ipairs(one.notes) do
    local shown = { note.kind, text(note.frame), text(note.offset) }
    for _, name in ipairs({ "length", "reason", "skipped", "found", "id", "severity", "text" }) do
      shown[#shown + 1] = note[name] and text(note[name])
    end
    notes[index] = table.concat(shown, "|")
  end
  return units, notes
end

function driver.summary(flow)
  local shown = { flow.mode, flow.entry, text(flow.announced), text(flow.uninteresting), flow.guest }
  for _, one in ipairs(flow.followers) do
    shown[#shown + 1] = text(one.role) .. " " .. text(one.position) .. " " .. text(one.ignored)
  end
  return table.concat(shown, "|")
end

function driver.missing(flow, side, number, holes)
  local one = flow.followers[side]
  return follower.missing(one, one.units[number], holes)
end

return driver
"""


@cache
def driver(version: str):
    one = lua(version)
    code = b"function(code, ...) return assert(load(code))(...) end"
    return one.runtime.eval(code)(DRIVER, one.parts, one.driver)


@dataclass
class Found:
    """What one direction gave."""

    units: list[bytes] = field(default_factory=list)
    notes: list[bytes] = field(default_factory=list)


def doing(one) -> bytes:
    """What a follower is about, as the driver shows it."""
    framer, search = one.framer, one.search
    if search is None:
        values = (framer.state.name, framer.list_header, framer.entered is not None, framer.order)
    else:
        values = (search.start, search.position, search.order, search.role, search.alignment, search.pages_seen)
        values += (search.guest, len(search.candidates))
    return "|".join(map(shown, values)).encode()


class PythonPair:
    """A flow of the core, with what it emits sorted by direction."""

    def __init__(self, start: str, limits: Limits | None) -> None:
        self.events: list[tuple[int, object]] = []
        self.flow = Flow(limits or Limits(), self.take, count(1).__next__)
        self.flow.start = start
        self.latest = (0, 0)

    def take(self, event) -> None:
        decided = 0
        if isinstance(event, Record):
            decided = next(one for one in self.flow.followers if one.role == event.direction).last_frame
        self.events.append((decided, event))

    def found(self, side: int) -> Found:
        """As the driver shows it. Notes are sorted: some are emitted at once, some with the records before them."""
        role = self.flow.followers[side].role
        found = Found()
        for decided, event in self.events:
            if getattr(event, "direction", "") != role:
                continue
            if isinstance(event, Record):
                lost = ",".join(f"{offset}+{length}" for offset, length in event.lost)
                found.units.append(f"{lost}|{decided}|".encode() + line(event))
            elif isinstance(event, Gap):
                found.notes.append(f"gap|{event.frame}|{event.offset}|{event.length}|{event.reason}".encode())
            elif isinstance(event, Resync):
                found.notes.append(f"resync|{event.frame}|{event.offset}|{event.skipped}|{event.found}".encode())
            elif isinstance(event, Finding):
                found.notes.append(
                    f"finding|{event.frame}|{event.offset}|{event.id}|{event.severity}|{event.text}".encode()
                )
        found.notes.sort()
        return found

    def summary(self) -> bytes:
        flow = self.flow
        values = [flow.mode, flow.entry, flow.announced, flow.uninteresting, flow.statistics.guest]
        values += [f"{shown(one.role)} {one.position} {shown(one.ignored)}" for one in flow.followers]
        return "|".join(map(shown, values)).encode()


class Pairs:
    """A flow in Python and the pair in Lua, given the same."""

    def __init__(self, version: str, start: str = "syn", limits: Limits | None = None) -> None:
        self.driver = driver(version)
        self.python = PythonPair(start, limits)
        self.lua = lua(version).parts[b"follower"][b"pair"](start.encode())
        self.frame = 0
        self.holes: list[list[tuple[int, int]]] = [[], []]

    def follower(self, side: int):
        return self.python.flow.followers[side]

    def step(self, side: int) -> None:
        """After each step: let Python hand out what it can, and compare what comes next."""
        one = self.follower(side)
        one.settled(self.holes[side][0][0] if self.holes[side] else one.position)
        assert min(one.skip, FOREVER) == self.driver[b"skip"](self.lua, side + 1)
        assert self.driver[b"doing"](self.lua, side + 1) == doing(one)

    def data(self, side: int, data: bytes) -> None:
        self.frame += 1
        self.follower(side).data(memoryview(data), self.frame, None)
        self.driver[b"data"](self.lua, side + 1, data, self.frame)
        self.step(side)

    def lost(self, side: int, start: int, stop: int, reason: str) -> None:
        self.follower(side).lost(start, stop, reason, self.frame, None, None)
        self.driver[b"lost"](self.lua, side + 1, start, stop, reason.encode(), self.frame)

    def gap(self, side: int, size: int, reason: str = "lost") -> None:
        """Bytes that are lost for good."""
        self.frame += 1
        start = self.follower(side).position
        self.lost(side, start, start + size, reason)
        self.only_gap(side, size)

    def only_gap(self, side: int, size: int) -> None:
        self.follower(side).gap(size, self.frame, None)
        self.driver[b"gap"](self.lua, side + 1, size, self.frame)
        self.step(side)

    def hole(self, side: int, size: int) -> None:
        """Bytes inside skip that may still come."""
        self.frame += 1
        start = self.follower(side).position
        self.holes[side].append((start, start + size))
        self.only_gap(side, size)

    def close(self, side: int, *, lost: bool) -> None:
        """The first open hole is lost, or its bytes came late."""
        start, stop = self.holes[side].pop(0)
        if lost:
            self.lost(side, start, stop, "lost")
        self.step(side)

    def advance(self, side: int, size: int) -> None:
        self.frame += 1
        self.follower(side).advance(size)
        self.follower(side).passed(self.frame, None)
        self.driver[b"advance"](self.lua, side + 1, size, self.frame)
        self.step(side)

    def finish(self) -> None:
        self.python.flow.finish("fin")
        self.lua[b"finish"](self.lua)

    def found(self, side: int, flow=None, before: int = 0) -> Found:
        """What the Lua pair, or a preview of it, found."""
        units, notes = self.driver[b"found"](flow or self.lua, side + 1, before)
        return Found(list(units.values()), list(notes.values()))

    def compare(self, *, decided: bool = True) -> None:
        """Everything, after the end. Where bytes are missing, Python may hand out a record in a later frame."""
        flow = self.python.flow
        assert self.driver[b"summary"](self.lua) == self.python.summary()
        searched = [b"finding|%d|" % one.frame for _, one in self.python.events if getattr(one, "flow", 0) is None]
        for side in (0, 1):
            mine, theirs = self.found(side), self.python.found(side)
            gave_up = [note for note in mine.notes if b"|limit.search|" in note]
            assert all(any(note.startswith(one) for one in searched) for note in gave_up)
            if not flow.announced:
                assert mine.units == []
                continue
            mine.notes = sorted(note for note in mine.notes if note not in gave_up)
            if not decided:
                for found in (mine, theirs):
                    found.units = [b"|".join(unit.split(b"|", 2)[::2]) for unit in found.units]
            assert mine == theirs


def run(pairs: Pairs, streams: tuple[bytes, bytes], rng: random.Random, **how) -> None:
    """Both directions, in pieces of random sizes and in turns; some pieces do not come."""
    for _ in steps(pairs, streams, rng, **how):
        pass
    for side in (0, 1):
        while pairs.holes[side]:
            pairs.close(side, lost=rng.random() < 0.5)
    pairs.finish()


def steps(
    pairs: Pairs,
    streams: tuple[bytes, bytes],
    rng: random.Random,
    *,
    size: int = 1460,
    loss: float = 0,
    holes: float = 0,
):
    """The same, one step at a time."""
    at = [0, 0]
    while left := [side for side in (0, 1) if at[side] < len(streams[side])]:
        side = rng.choice(left)
        for _ in range(rng.randint(1, 4)):
            length = min(rng.randint(1, size), len(streams[side]) - at[side])
            if not length:
                break
            skip = pairs.follower(side).skip
            chance = rng.random()
            if chance < loss:
                pairs.gap(side, length, rng.choice(("lost", "snaplen", "limit")))
            elif chance < loss + holes and skip:
                length = min(length, skip)
                pairs.hole(side, length)
            elif skip >= length and chance > 0.9:
                pairs.advance(side, length)
            else:
                pairs.data(side, streams[side][at[side] : at[side] + length])
            at[side] += length
            if pairs.holes[side] and rng.random() < 0.1:
                pairs.close(side, lost=rng.random() < 0.5)
            yield


@pytest.fixture(params=VERSIONS, name="version")
def versions(request) -> str:
    return request.param


def check(version: str, streams, rng, start: str = "syn", limits: Limits | None = None, **how) -> Pairs:
    one: Lua = lua(version)
    with one.limited(limits or Limits()):
        pairs = Pairs(version, start, limits)
        run(pairs, streams, rng, **how)
        pairs.compare(decided=not how.get("holes") and not how.get("loss"))
    return pairs


# -- good streams ---------------------------------------------------------------------------


@cache
def captured(name: str) -> tuple[bytes, bytes]:
    """Both directions of a capture of which nothing is missing."""
    found = {direction: bytearray(tools.truth(name)["flows"][0][direction]["bytes"]) for direction in DIRECTIONS}
    for packet, place in zip(tools.packets(name), segments(name)[1], strict=True):
        if place is not None:
            direction, start, stop = place
            found[direction][start:stop] = tools.tcp(packet).payload
    return bytes(found["forward"]), bytes(found["reverse"])


@pytest.mark.parametrize("name", [*SYNTHETIC, *REAL])
def test_captures(name, version):
    for seed, loss in enumerate((0, 0.02)):
        streams = captured(name)
        pairs = check(version, streams, random.Random(f"{name} {seed}"), size=9000, loss=loss)
        assert pairs.python.flow.announced
        if not loss:
            for side, direction in enumerate(DIRECTIONS):
                assert len(pairs.found(side).units) == len(tools.true_records(name, direction))


@cache
def conversation(name: str) -> tuple[bytes, bytes]:
    talked = talk(name)
    return bytes(talked.forward.data), bytes(talked.reverse.data)


SMALL_TALKS = [name for name in TALKS if not name.startswith("large")]


@modest(150)
@given(
    name=st.sampled_from(SMALL_TALKS),
    seed=st.integers(0, 1 << 32),
    size=st.sampled_from((40, 500, 1460, 20_000)),
    loss=st.sampled_from((0, 0.01, 0.1, 0.4)),
    holes=st.sampled_from((0, 0, 0.2)),
    start=st.sampled_from(("syn", "syn", "mid-stream")),
    begin=st.sampled_from((0, 0, 1, 10, 100, 5000)),
    first=st.integers(0, 1),
)
def test_loss_holes_and_late_starts(name, seed, size, loss, holes, start, begin, first):
    streams = conversation(name)
    if start == "mid-stream":
        streams = streams[0][begin:], streams[1][begin // 10 :]
    if first:
        streams = streams[::-1]
    for version in VERSIONS:
        check(version, streams, random.Random(seed), start, size=size, loss=loss, holes=holes)


def test_one_byte_at_a_time(version):
    for name in ("colo 16", "failed"):
        check(version, tuple(data[:3000] for data in conversation(name)), random.Random(name), size=1, loss=0.005)


@pytest.mark.parametrize("mode", ["plain", "remus", "colo"])
def test_old_streams_in_guest_memory(mode, version):
    talked = dreaming("a whole migration", mode, 8)
    streams = bytes(talked.forward.data), bytes(talked.reverse.data)
    pages = talked.find("PAGE_DATA", 1)["offset"]
    pairs = Pairs(version)
    pairs.data(1, streams[1][:54])
    pairs.data(0, streams[0][:pages])
    pairs.gap(0, 16)
    pairs.data(0, streams[0][pages + 16 :])
    pairs.data(1, streams[1][54:])
    pairs.finish()
    pairs.compare()
    assert any(note.startswith(b"resync") for note in pairs.found(0).notes)


# -- hostile streams ---------------------------------------------------------------------------


@modest(120)
@given(
    begin=st.sampled_from(BEGINNINGS),
    rest=st.binary(max_size=600),
    back=st.sampled_from(BEGINNINGS),
    limits=st.sampled_from((None, SMALL)),
    start=st.sampled_from(("syn", "mid-stream", "file")),
    seed=st.integers(0, 1 << 32),
)
def test_random_bytes(begin, rest, back, limits, start, seed):
    for version in VERSIONS:
        streams = begin + rest, back + rest[::-1]
        check(version, streams, random.Random(seed), start, limits, size=200, loss=0.05)


@modest(30)
@given(st.integers(0, 1 << 32), st.sampled_from((b"\0", b"\0\1", b"\0\1\2\3\4\5\x08\x0f\x10", bytes(range(256)))))
def test_random_bytes_of_few_values(seed, values):
    rng = random.Random(seed)
    data = bytes(rng.choices(values, k=3000))
    reverse = bytes(GOOD["colo"]().reverse.data)[:80]
    for version in VERSIONS:
        check(version, (STREAMS["libxc"][:48] + data, b""), random.Random(seed), limits=rng.choice((None, SMALL)))
        check(version, (STREAMS["remus"][:2000] + data, reverse + data), random.Random(seed))


REVERSES = {name: bytes(make().reverse.data) for name, make in GOOD.items()}


@modest(150)
@given(
    name=st.sampled_from(list(GOOD)),
    seed=st.integers(0, 1 << 32),
    limits=st.sampled_from((None, SMALL)),
    start=st.sampled_from(("syn", "mid-stream")),
    loss=st.sampled_from((0, 0, 0.05)),
)
def test_mutated_streams(name, seed, limits, start, loss):
    rng = random.Random(seed)
    data = mutated(STREAMS[name], rng)
    reverse = mutated(REVERSES[name], rng) if seed % 2 and REVERSES[name] else REVERSES[name]
    for version in VERSIONS:
        check(version, (data, reverse), random.Random(seed), start, limits, size=1000, loss=loss)


SHELL = b"Last login: Mon Nov 23 on pts/0\r\n\x1b[1mbash: warning: setlocale\x1b[0m \xc3\xa4\n"


@pytest.mark.parametrize("start", ["syn", "mid-stream"])
@pytest.mark.parametrize("size", [1, 30, 1000])
@pytest.mark.parametrize(
    ("data", "reverse"),
    [
        (b"", SHELL + REVERSES["plain"]),
        (b"", SHELL * 40 + REVERSES["plain"]),
        (b"", SHELL),
        (STREAMS["plain"], SHELL),
        (STREAMS["plain"], SHELL + REVERSES["plain"]),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n"),
        (b"", b"\x16\x03\x01" + SHELL + REVERSES["plain"]),
        (SHELL + STREAMS["plain"], REVERSES["plain"]),
    ],
)
def test_text_before_the_banner(version, start, size, data, reverse):
    for seed in range(3):
        check(version, (data, reverse), random.Random(seed), start, size=size)


def test_searching_ends(version):
    """What holds no record head is given up, unless the other direction turns out to be a migration."""
    rng = random.Random(5)
    noise = rng.randbytes(60_000)
    check(version, (noise, noise[::-1]), rng, "mid-stream", SMALL)
    pairs = check(version, (noise, REVERSES["colo"][54:]), random.Random(6), "mid-stream", SMALL)
    assert pairs.python.flow.announced


def test_what_is_lost_is_not_searched(version):
    with lua(version).limited(SMALL):
        pairs = Pairs(version, limits=SMALL)
        pairs.gap(0, 10 * SMALL.max_search)
        stream = STREAMS["libxc"][64:]
        for at in range(0, len(stream), 1000):
            pairs.data(0, stream[at : at + 1000])
        pairs.finish()
        pairs.compare()
    assert pairs.python.flow.announced


def test_what_one_direction_finds_at_its_end_revives_the_other(version):
    """The longer direction is asked first, but is ignored until the other one has told what it is."""
    noise = random.Random(7).randbytes(60_000)
    pairs = check(version, (noise, STREAMS["libxc"][3000:]), random.Random(8), "mid-stream", SMALL)
    assert any(note.startswith(b"resync") for note in pairs.found(0).notes)


def test_lost_ranges_are_limited(version):
    """More than max_lost in one record: neighbouring ones are joined; those of records before do not count."""
    stream = bytes(plain(Guest(pages=40), passes=(range(20), range(20))).forward.data)
    with lua(version).limited(SMALL):
        pairs = Pairs(version, limits=SMALL)
        at = 0
        while at < len(stream):
            if pairs.follower(0).skip > 500 and at % 3:
                pairs.gap(0, 100)
                at += 100
            else:
                pairs.data(0, stream[at : at + 1000])
                at += 1000
        pairs.finish()
        pairs.compare()
    assert sum(b"|limit.lost_ranges|" in note for note in pairs.found(0).notes) == 1


def test_a_connection_that_never_tells_keeps_few_notes(version):
    pairs = Pairs(version, "mid-stream")
    for _ in range(5000):
        pairs.gap(0, 10)
        pairs.gap(0, 10, "limit")
    pairs.finish()
    assert len(pairs.found(0).notes) == 4096
    assert not pairs.python.flow.announced


# -- legacy streams ---------------------------------------------------------------------------

WORDS = (b"\0" * 4, b"\xff" * 4, b"vcpu", b"extv", b"xcnt", b"\1\0\0\0", b"\0\4\0\0", b"\1\4\0\0", b"\xec\xff\xff\xff")
WORDS += (b"\xeb\xff\xff\xff", b"\xfe\xff\xff\xff", b"\0\0\0\x80", b"\0\0\1\0", b"\x0f\0\0\0", b"\x10\0\0\0")


@modest(400)
@given(st.lists(st.sampled_from(WORDS) | st.binary(min_size=4, max_size=4), max_size=9).map(b"".join), st.booleans())
def test_names_of_legacy_streams(prefix, named):
    prefix = b"LinuxGuestRecord"[: len(prefix)] if named and len(prefix) < 20 else prefix
    for version in VERSIONS:
        name = lua(version).parts[b"follower"][b"identify_legacy"](prefix)
        assert (name or b"").decode() == legacy.identify(prefix)


@pytest.mark.parametrize("start", ["syn", "mid-stream", "file"])
def test_legacy_streams(start, version):
    data = gzip.decompress((tools.CAPTURES / "legacy-linux-guest-record.xmsave.gz").read_bytes())[:9000]
    check(version, (data, b""), random.Random(start), start)
    hvm64 = gzip.decompress((tools.CAPTURES / "legacy-libxc-hvm64.legacy.gz").read_bytes())[:9000]
    check(version, (hvm64, b"xl migration receiver ready"), random.Random(start), start, size=100)


# -- what the display asks ---------------------------------------------------------------------------


def test_missing_bytes_with_open_holes(version):
    """Lost ranges and holes that are still open, joined and clipped to the unit."""
    stream = STREAMS["libxc"]
    pairs = Pairs(version)
    start = stream.index(b"\1\0\0\0" + (8 + 6 * 4104).to_bytes(4, "little")) + 200
    pairs.data(0, stream[:start])
    pairs.gap(0, 100)
    pairs.data(0, stream[start + 100 : start + 1000])
    pairs.hole(0, 50)
    pairs.gap(0, 50)
    pairs.data(0, stream[start + 1100 :])
    units = pairs.lua[b"followers"][1][b"units"]
    number = next(n for n in range(1, 9) if units[n][b"name"] == b"PAGE_DATA")
    end = units[number][b"offset"] + units[number][b"size"]
    table = lua(version).runtime.table_from
    holes = [(start + 1000, start + 1050), (end - 10, end + 10)]
    made = table([table({b"start": a, b"stop": b}) for a, b in holes])
    for open_holes, wanted in (
        (made, [(start, 100), (start + 1000, 100), (end - 10, 10)]),
        (None, [(start, 100), (start + 1050, 50)]),
    ):
        missing = pairs.driver[b"missing"](pairs.lua, 1, number, open_holes)
        assert [(one[b"offset"], one[b"length"]) for one in missing.values()] == wanted
    assert list(pairs.driver[b"missing"](pairs.lua, 1, 1, made).values()) == []


def preview_cases():
    lossy = {"size": 1460, "loss": 0.1}
    yield "plain", conversation("plain"), {"size": 700}, "syn"
    yield "lossy", conversation("remus"), lossy, "syn"
    yield "colo 16", conversation("colo 16"), {"size": 50, "loss": 0.02}, "syn"
    yield "late", tuple(data[3000:] for data in conversation("remus")), {"size": 700}, "mid-stream"
    yield "late colo", (conversation("colo 12")[0][2000:], conversation("colo 12")[1][60:]), {"size": 60}, "mid-stream"
    noise = random.Random(1).randbytes(5000)
    yield "noise", (noise, noise), {"size": 700, "loss": 0.1}, "mid-stream"


@pytest.mark.parametrize("case", list(preview_cases()), ids=lambda case: case[0])
def test_preview(case, version):
    """At any time a preview, when finished, tells what the end would add, and changes nothing."""
    name, streams, how, start = case

    def fresh() -> Pairs:
        return Pairs(version, start)

    pairs = fresh()
    total = sum(1 for _ in steps(pairs, streams, random.Random(name), **how))
    chosen = set(random.Random(name).sample(range(1, total + 1), min(12, total))) | {total}
    pairs = fresh()
    for number, _ in enumerate(steps(pairs, streams, random.Random(name), **how), 1):
        if number not in chosen:
            continue
        so_far = [pairs.found(side) for side in (0, 1)]
        preview = pairs.lua[b"preview"](pairs.lua)
        preview[b"finish"](preview)
        assert [pairs.found(side) for side in (0, 1)] == so_far
        ended = fresh()
        for at, _ in enumerate(steps(ended, streams, random.Random(name), **how), 1):
            if at == number:
                break
        ended.finish()
        ended.compare(decided=not how.get("loss"))
        for side in (0, 1):
            added, whole = pairs.found(side, preview, len(so_far[side].units)), ended.found(side)
            assert so_far[side].units + added.units == whole.units
            assert so_far[side].notes + added.notes == whole.notes
        assert pairs.driver[b"summary"](preview) == ended.driver[b"summary"](ended.lua)
    pairs.finish()
    pairs.compare(decided=not how.get("loss"))


def test_limits_of_the_half_flow_are_reported_once(version):
    pairs = Pairs(version)
    pairs.data(0, STREAMS["plain"][:100])
    for _ in range(2):
        pairs.follower(0).limit(findings.LIMIT_HOLES, 4096, 7, 0, None)
        one = pairs.lua[b"followers"][1]
        one[b"limit"](one, findings.LIMIT_HOLES.id.encode(), 4096, 7)
    pairs.finish()
    pairs.compare()
    assert sum(b"|limit.holes|" in note for note in pairs.found(0).notes) == 1


def test_a_back_channel_alone(version):
    """The receiver's direction may be all there is."""
    reverse = bytes(colo(hvm(pages=6), ((1, 5), (), (3,)), 16).reverse.data)
    for start in ("syn", "mid-stream"):
        check(version, (b"", reverse[54 * (start != "syn") :]), random.Random(start), start, size=40)


def test_the_header_size_of_lists_outlives_a_loss(version):
    """Known from the lists before, it need not be found out again."""
    reverse = bytes(colo(hvm(pages=6), ((1, 5), (2,), (3,), (4,)), 16).reverse.data)
    steps_sent = [at for at in range(0, len(reverse) - 8, 2) if reverse[at : at + 8] == b"\5\0\0\0\4\0\0\0"]
    lost = steps_sent[4]
    pairs = Pairs(version)
    pairs.data(1, reverse[: lost + 2])
    pairs.gap(1, 4)
    for at in range(lost + 6, len(reverse)):
        pairs.data(1, reverse[at : at + 1])
    pairs.finish()
    pairs.compare(decided=False)
    lists = [unit for unit in pairs.found(1).units if b"|CHECKPOINT_DIRTY_PFN_LIST|" in unit]
    assert len(lists) > 2
    assert all(b"|16|16|0000000000000000|nil|" in unit for unit in lists)
