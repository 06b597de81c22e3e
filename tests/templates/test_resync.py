# SPDX-License-Identifier: GPL-2.0-or-later
"""resync.lua tries the same places as :mod:`dissector.wire.resync` and believes the same chains."""

from __future__ import annotations

import random
import struct
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.streams import BANNER, READY, REPORT
from dissector.spec import ALL_RECORDS, BY_TYPE, libxc, libxl, xl
from dissector.wire.limits import Limits
from dissector.wire.resync import Candidate, Search, head_pattern
from tests.cross.test_hostile import mutated
from tests.cross.tools import modest
from tests.templates.test_codec import ORDERS, body_of, key
from tests.templates.test_framer import VERSIONS, lua, streams
from tests.wire.test_resync import (
    BACK,
    CHECKPOINT,
    CHECKPOINT_END,
    EMULATOR,
    END,
    FILLER,
    GO,
    HVM_CONTEXT,
    HVM_PARAMS,
    JUNK,
    LIST,
    NEW,
    TSC,
    pages,
    record,
)

DRIVER = b"""
local parts = ...
local driver = {}

local function number(value)
  return value and string.format("%d", value) or "-"
end

function driver.search(start, role, order, alignment, guest, pages_seen)
  local search = parts.resync.new(start, { role = role, order = order, alignment = alignment })
  search.guest, search.pages_seen = guest, pages_seen
  return search
end

function driver.data(search, bytes, frame)
  local live = true
  local view = { length = #bytes, read = function(_, at, count)
    assert(live)
    return bytes:sub(at + 1, at + count)
  end }
  local found = search:data(view, frame)
  live = false
  return found
end

-- What is remembered of a chain that is tried.
function driver.candidate(one)
  if not one then
    return "nothing"
  end
  local framer = one.framer
  return table.concat({ number(one.start), one.first, one.role, framer.state, number(framer.start),
    number(framer.heads), number(framer.weight), number(#framer.units), number(framer:held_bytes()),
    tostring(framer.failed) }, " ")
end

function driver.state(search, found)
  local shown = { driver.candidate(found), number(search.start) .. " " .. number(search.position) .. " "
    .. tostring(search.crowded) }
  for _, one in ipairs(search.candidates) do
    shown[#shown + 1] = driver.candidate(one)
  end
  return table.concat(shown, "\\n")
end

function driver.looks_like(key, order, text, place)
  return parts.resync.looks_like(parts.resync.head_pattern(parts.RECORDS[key], order), text, place)
end

return driver
"""


@cache
def driver(version: str):
    """The driver, loaded once."""
    return lua(version).load(DRIVER)


def candidate(one: Candidate | None) -> str:
    """What is remembered of a chain that is tried, as the driver shows it."""
    if one is None:
        return "nothing"
    framer = one.framer
    numbers = (framer.start, framer.heads, framer.weight, len(framer.units), framer.kept + len(framer.want))
    failed = str(framer.failed).lower()
    return f"{one.start} {one.first} {one.role} {framer.state.name} {' '.join(map(str, numbers))} {failed}"


class Twins:
    """A search in Python and the same in Lua, which must agree after every step."""

    def __init__(
        self,
        version: str,
        limits: Limits,
        start: int = 0,
        *,
        role: str | None = "forward",
        order: str = "little",
        alignment: int | None = None,
        guest: str = "",
        pages_seen: bool = False,
    ) -> None:
        self.driver = driver(version)
        self.python = Search(start, limits, role=role, order=order, alignment=alignment)
        self.python.guest, self.python.pages_seen = guest, pages_seen
        self.lua = self.driver[b"search"](
            start, role and role.encode(), order.encode(), alignment, guest.encode(), pages_seen
        )
        self.frame = 0

    def agree(self, found: Candidate | None, there) -> bool:
        """Compare everything; return whether a chain is believed."""
        search = self.python
        shown = [candidate(found), f"{search.start} {search.position} {str(search.crowded).lower()}"]
        shown += map(candidate, search.candidates)
        assert self.driver[b"state"](self.lua, there).decode().split("\n") == shown
        return found is not None

    def data(self, data: bytes) -> bool:
        self.frame += 1
        found = self.python.data(memoryview(data), self.frame, None)
        return self.agree(found, self.driver[b"data"](self.lua, data, self.frame))

    def gap(self, count: int) -> bool:
        self.frame += 1
        found = self.python.gap(count, self.frame, None)
        return self.agree(found, self.lua[b"gap"](self.lua, count, self.frame))

    def skip_to(self, position: int) -> None:
        self.python.skip_to(position)
        self.lua[b"skip_to"](self.lua, position)

    def end(self) -> bool:
        return self.agree(self.python.end(self.frame, None), self.lua[b"end_of_stream"](self.lua, self.frame))

    def feed(self, parts, sizes, rng: random.Random) -> bool:
        """Bytes in pieces of about these sizes; numbers are lost bytes; up to a chain that is believed, or the end."""
        for part in parts:
            if isinstance(part, int):
                if self.gap(part):
                    return True
                continue
            at = 0
            while at < len(part):
                size = rng.choice(sizes)
                if self.data(part[at : at + size]):
                    return True
                at += size
        return self.end()


def play(parts, sizes=(1448,), limits: Limits | None = None, seed: int = 0, **options) -> None:
    """Search the same in all versions."""
    limits = limits or Limits()
    for version in VERSIONS:
        with lua(version).limited(limits):
            Twins(version, limits, **options).feed(parts, sizes, random.Random(seed))


# -- what a head looks like ------------------------------------------------------------------------------------------

TYPED = [one for one in ALL_RECORDS if one.type_id is not None]


@modest(1000)
@given(st.sampled_from(TYPED), st.sampled_from(ORDERS), st.integers(0, 1 << 32))
def test_patterns(definition, order, seed):
    rng = random.Random(seed)
    body = body_of(definition, rng, order)
    length = rng.choice((len(body), *definition.length.exact, *definition.length.tolerated, rng.getrandbits(32)))
    length = rng.choice(
        (length, length, definition.length.maximum or libxc.REC_LENGTH_MAX, 9 << 24, 8 << 24 | 0xFFFFFF)
    )
    type_id = rng.choice((definition.type_id, definition.type_id, definition.type_id, rng.getrandbits(32)))
    text = bytearray(type_id.to_bytes(4, order) + length.to_bytes(4, order) + body)
    if rng.random() < 0.5:
        place = rng.randrange(min(16, len(text)))
        text[place] = rng.choice((0, 1, text[place] ^ 1 << rng.randrange(8), 255))
    del text[rng.choice((7, 8, 12, 15, 16, 40)) :]
    before = rng.randrange(3)
    text = bytes(before) + bytes(text)
    wanted = head_pattern(definition, order).match(text, before) is not None
    for version in VERSIONS:
        assert driver(version)[b"looks_like"](key(definition), order.encode(), text, before) == wanted


# -- whole streams ---------------------------------------------------------------------------------------------------

ROLES = st.sampled_from(("forward", "forward", "reverse", None))
GUESTS = st.sampled_from(("", "", "PV", "HVM"))
LIMITS = st.sampled_from((None, None, Limits(max_candidates=2), Limits(max_flow_buffer=1500, max_body=1000)))
SIZES = st.sampled_from(((1,), (7, 40), (100, 536), (1448,), (1448, 9000), (1 << 20,)))


@pytest.mark.parametrize("sizes", [(3, 50), (1448,), (1 << 20,)])
def test_streams_without_their_beginning(sizes):
    for state, data in streams():
        role = "forward" if state.name == "START" else "reverse"
        begin = random.Random(f"{len(data)} {sizes}").randrange(len(data))
        rest = data[begin : begin + 6000] if sizes == (3, 50) else data[begin:]
        for told in (role, None):
            play((rest,), sizes, role=told, start=begin)


@modest(100)
@given(
    seed=st.integers(0, 1 << 32),
    sizes=st.sampled_from(((100, 536), (1448,), (1 << 20,))),
    role=ROLES,
    guest=GUESTS,
    limits=LIMITS,
    aligned=st.booleans(),
    pages_seen=st.booleans(),
)
def test_damaged_streams(seed, sizes, role, guest, limits, aligned, pages_seen):
    rng = random.Random(seed)
    data = rng.choice(streams())[1][:120_000]
    begin = rng.randrange(len(data))
    data = mutated(data, rng)[begin:]
    parts: list[bytes | int] = []
    while data:
        size = rng.randrange(1, 2 * len(data) + 2000)
        parts += [data[:size], rng.choice((1, 8, 700, 1448))]
        data = data[size + parts[-1] :]
    alignment = rng.randrange(8) if aligned else None
    options = {"role": role, "guest": guest, "alignment": alignment, "pages_seen": pages_seen, "start": begin}
    play(parts, sizes, limits, seed, **options)


# -- bytes full of what could be heads -------------------------------------------------------------------------------


def piece(rng: random.Random, order: str) -> bytes:
    """A record with some mistakes, a text, or guest memory."""
    kind = rng.random()
    if kind < 0.6:
        definition = rng.choice(TYPED)
        body = body_of(definition, rng, order)
        if definition is libxc.PAGE_DATA and len(body) >= 8:
            body += bytes(rng.choice((0, 0, 4096)))
        length = len(body) if rng.random() < 0.9 else rng.choice((0, 4, 8, 16, 24, 1 << 20))
        head = definition.type_id.to_bytes(4, order) + length.to_bytes(4, order)
        return head + body + bytes(-len(body) % rng.choice((8, 8, 8, 1)))
    if kind < 0.75:
        return rng.choice((
            END,
            END + GO,
            GO,
            END + EMULATOR,
            xl.XL_MAGIC + struct.pack("<IIII", 0x01020304, 3, 0, 12),
            libxl.LIBXL_IDENT + b"\0\0\0\2\0\0\0" + rng.choice((b"\0", b"\1")),
            b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, rng.randrange(2), 0, 0),
            struct.pack("<IHHII", rng.choice((1, 2)), 12, 0, 4, 17),
            BANNER,
            READY,
            REPORT,
        ))  # fmt: skip
    if kind < 0.9:
        return rng.choice(
            (TSC, HVM_CONTEXT, HVM_PARAMS, CHECKPOINT, CHECKPOINT_END, NEW, *BACK, pages(rng.randrange(30)))
        )
    return rng.choice((rng.randbytes(50), bytes(rng.randrange(60)), b"\0" * 7 + b"\1", *JUNK.values()))[:2000]


@modest(250)
@given(
    seed=st.integers(0, 1 << 32),
    sizes=SIZES,
    role=ROLES,
    order=st.sampled_from(("little", "little", "little", "big")),
    guest=GUESTS,
    limits=LIMITS,
    aligned=st.booleans(),
    pages_seen=st.sampled_from((False, False, True)),
)
def test_any_heads(seed, sizes, role, order, guest, limits, aligned, pages_seen):
    rng = random.Random(seed)
    parts: list[bytes | int] = [b"".join(piece(rng, order) for _ in range(rng.randrange(1, 8)))]
    while rng.random() < 0.4:
        parts += [rng.choice((1, 4, 16, 800)), b"".join(piece(rng, order) for _ in range(rng.randrange(1, 8)))]
    if sizes == (1,):
        parts = [part if isinstance(part, int) else part[:1500] for part in parts]
    alignment = rng.choice((0, 0, 3)) if aligned else None
    options = {"role": role, "order": order, "guest": guest, "alignment": alignment, "pages_seen": pages_seen}
    play(parts, sizes, limits, seed, **options)


@modest(150)
@given(
    words=st.lists(
        st.sampled_from(
            [struct.pack("<I", low) for low in (0, 1, 2, 4, 5, 8, 14, 15, 16, 24)] + [b"\0", b"\1", b"\0\0\0"]
        ),
        max_size=200,
    ),
    chunk=st.sampled_from((1, 5, 64, 5000)),
    role=ROLES,
    order=st.sampled_from(ORDERS),
)
def test_small_numbers(words, chunk, role, order):
    data = b"".join(words)
    play((data, 5, data[:100]), (chunk,), role=role, order=order)


@pytest.mark.parametrize("role", ["forward", None])
@pytest.mark.parametrize("name", JUNK)
def test_junk(name, role):
    play((JUNK[name][:30_000], 700, JUNK[name][:5000]), role=role)


# -- chains that are believed ----------------------------------------------------------------------------------------

CHAINS = {
    "pages": (FILLER, pages(100), TSC, HVM_CONTEXT, HVM_PARAMS),
    "checkpoint": (FILLER, HVM_PARAMS, CHECKPOINT, EMULATOR, CHECKPOINT_END, NEW, pages(50), TSC),
    "ends": (FILLER, END, EMULATOR, END, GO),
    "ends of a PV guest": (FILLER, END, END, GO),
    "nothing before the ends": (END + END + GO + FILLER[:60],),
    "a number before a CHECKPOINT_END": (FILLER, struct.pack("<Q", 3), CHECKPOINT_END, pages(50), TSC),
    "a CHECKPOINT before a CHECKPOINT_END": (FILLER, CHECKPOINT, CHECKPOINT_END, pages(50), TSC),
    "back": (FILLER, *BACK),
    "list": (LIST, BACK[2], struct.pack("<II", 15, 16) + bytes(8) + struct.pack("<2Q", 5, 9), *BACK[:2]),
    "texts": (bytes(40), READY, REPORT, b"\0"),
    "broken off": (FILLER, pages(100), TSC, HVM_CONTEXT[:100], 50, FILLER),
    "cut": (FILLER, TSC, HVM_CONTEXT[:100]),
    "short head at the end": (FILLER, pages(100), record(8)[:4] + struct.pack("<I", 24) + bytes(3)),
    "head before a gap": (FILLER, TSC[:12], 300, pages(40), TSC),
}


@pytest.mark.parametrize("guest", ["", "PV", "HVM"])
@pytest.mark.parametrize("name", CHAINS)
def test_chains(name, guest):
    for role in ("forward", "reverse", None):
        for sizes in ((5,), (100, 1448), (1 << 20,)):
            parts = CHAINS[name] if sizes != (5,) else (CHAINS[name][0][-500:], *CHAINS[name][1:])
            play(parts, sizes, role=role, guest=guest)


def test_a_chain_that_leaves_the_largest_page_data():
    body = struct.pack("<II500Q", 500, 0, *range(500)) + bytes(500 * 4096)
    play((FILLER, record(1, body) * 4), (1 << 16,))


def test_a_long_chain():
    play((FILLER, (pages(1) + TSC) * 8250), (1 << 18,))


def test_search_goes_on_behind_what_is_lost():
    for version in VERSIONS:
        twins = Twins(version, Limits(), 100)
        twins.data(pages(3)[:20])
        twins.skip_to(500)
        twins.data(pages(100) + TSC + HVM_CONTEXT)
        assert twins.end()


@pytest.mark.parametrize("version", VERSIONS)
def test_candidates_are_bounded(version):
    heads = b"".join(struct.pack("<IIII", 1, 8 + 8 * 1000, 1000, 0) for _ in range(100))
    limits = Limits(max_candidates=3)
    with lua(version).limited(limits):
        twins = Twins(version, limits)
        twins.data(heads + bytes(100))
        assert twins.python.crowded


def test_every_type_number_may_begin_a_chain():
    for (_, number), definition in BY_TYPE.items():
        rng = random.Random(number)
        for order in ORDERS:
            body = body_of(definition, rng, order)
            head = number.to_bytes(4, order) + len(body).to_bytes(4, order)
            play((bytes(40) + head + body + bytes(64),), role=None, order=order)
