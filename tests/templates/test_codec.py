# SPDX-License-Identifier: GPL-2.0-or-later
"""codec.lua gives the answers of :mod:`dissector.wire.codec`: nodes, lengths, evidence."""

from __future__ import annotations

import random
import struct
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.spec import ALL_RECORDS, libxc
from dissector.spec.model import Array, Bytes, Field, Length, Pages, PfnList, Record
from dissector.wire import codec
from dissector.wire.framer import Framer
from dissector.wire.limits import Limits
from tests.cross.tools import modest
from tests.templates.test_framer import VERSIONS, lua, streams
from tests.wire.test_codec import DECODED, IMPOSSIBLE, SURE

ORDERS = ("little", "big")

DRIVER = b"""
local parts = ...
local codec = parts.codec
local driver = {}

local function number(value)
  return string.format("%.0f", value)
end

local show = {}

local function line(node)
  return node.element.name .. "|" .. number(node.offset) .. "|" .. number(node.size) .. "|"
    .. show[node.element.kind](node.value, node)
end

local function lines(nodes)
  local shown = {}
  for index, node in ipairs(nodes) do
    shown[index] = line(node)
  end
  return table.concat(shown, "\\n")
end

function show.field(value, node) return number(value) .. "|" .. node.raw end
function show.bytes(value) return value end
show.pfns = show.bytes
function show.array(value, node)
  local items = { tostring(node.more) }
  for _, item in ipairs(value) do
    items[#items + 1] = "(" .. lines(item) .. ")"
  end
  return table.concat(items)
end
function show.pairs(value)
  local shown = {}
  for index, one in ipairs(value) do
    shown[index] = one[1] .. "=" .. one[2]
  end
  return table.concat(shown, ";")
end

function driver.walk(key, body, order, most)
  return lines(codec.walk(parts.RECORDS[key], body, order, most))
end

function driver.judge(key, body, order, body_length)
  local record = parts.RECORDS[key]
  return tostring(codec.expected_length(record, body, order)) .. " " .. codec.evidence(record, body, order, body_length)
end

function driver.entries(raw, order)
  local pfns, types = codec.entries(raw, order)
  for index, pfn in ipairs(pfns) do
    pfns[index] = number(pfn) .. " " .. number(types[index])
  end
  return table.concat(pfns, ",")
end

function driver.length(minimum, step, maximum, exact, tolerated)
  local function array(text)
    local found = {}
    for one in text:gmatch("%d+") do
      found[#found + 1] = math.floor(tonumber(one))
    end
    return found
  end
  local length = { minimum = minimum, step = step, maximum = maximum, exact = array(exact),
    tolerated = array(tolerated) }
  return { text = codec.allowed_text(length), allows = function(count) return codec.allows(length, count) end }
end

return driver
"""


@cache
def driver(version: str):
    """The driver, loaded once."""
    return lua(version).load(DRIVER)


def key(record: Record) -> bytes:
    return f"{record.layer}.{record.name}".encode()


# -- nodes -----------------------------------------------------------------------------------------------------------


def line(node: codec.Node, order: str, body: bytes) -> bytes:
    """A node as the driver shows it."""
    element, value = node.element, node.value
    head = f"{element.name}|{node.offset}|{node.size}|".encode()
    if isinstance(element, Field):
        return head + b"%.0f|" % value + body[node.offset : node.offset + node.size]
    if isinstance(element, Array):
        return head + b"nil" + b"".join(b"(" + lines(item, order, body) + b")" for item in value)
    if isinstance(value, list):
        return head + b";".join(name + b"=" + text for name, text in value)
    return head + value


def lines(nodes, order: str, body: bytes) -> bytes:
    return b"\n".join(line(node, order, body) for node in nodes)


# -- bodies ----------------------------------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 3, 4, 8, 12, 24, 63, 64, 255, 256, 1024, 1025, 4096, 8191, 8192, 0xFFFFFFFF, 1 << 55, 0xF << 60)


def pfns(rng: random.Random, count: int, order: str) -> bytes:
    """A list, mostly in ascending order and with legal types, sometimes with something wrong."""
    found, pfn = [], rng.choice((0, 0, 1, rng.randrange(1 << 40)))
    for _ in range(count):
        found.append(rng.choice((0, 0, 9, 12, 13, 15)) << 60 | pfn)
        pfn += rng.choice((1, 1, 2, 1 << 31, 1 << 32))
    if found and rng.random() < 0.3:
        place = rng.randrange(len(found))
        found[place] = rng.choice((found[0], 5 << 60, 1 << 52, 1 << 59, found[place] ^ 1 << rng.randrange(64)))
    if rng.random() < 0.3:
        found = [one & (1 << 60) - 1 for one in found]
    return struct.pack(f"{'<' if order == 'little' else '>'}{len(found)}Q", *(one & (1 << 64) - 1 for one in found))


def number(rng: random.Random, field: Field) -> int:
    """A value for a field, mostly one that a toolstack writes."""
    if rng.random() < 0.05:
        return rng.choice((*NUMBERS, rng.getrandbits(64))) & (1 << 8 * field.size) - 1
    if field.const is not None:
        return field.const
    if field.reserved:
        return 0
    return rng.randint(0, min((1 << 8 * field.size) - 1, field.maximum if field.maximum is not None else 80))


def body_of(record: Record, rng: random.Random, order: str) -> bytes:
    """A body by its definition, with some mistakes."""
    out = b""
    count = rng.choice((0, 1, 2, 3, 17, 40))
    counts = {element.count for element in record.body if isinstance(element, Array | PfnList)}
    for element in record.body:
        match element:
            case Field():
                right = element.name in counts and rng.random() < 0.9
                value = count if right else number(rng, element)
                out += value.to_bytes(element.size, codec.field_order(element, order))
            case Bytes() if element.const is not None and rng.random() < 0.9:
                out += element.const
            case Bytes():
                out += rng.randbytes(element.length if isinstance(element.length, int) else rng.randrange(60))
            case PfnList():
                out += pfns(rng, count, order)
            case Array():
                for _ in range(count):
                    for inner in element.items:
                        if isinstance(inner, Field):
                            out += number(rng, inner).to_bytes(inner.size, codec.field_order(inner, order))
                        else:
                            out += rng.randbytes(rng.randrange(20))
            case Pages():
                pass
            case _:
                out += b"".join(rng.choice((b"a", b"key", b"\0", b"\0", b"x\0")) for _ in range(rng.randrange(12)))
    if record.signature is not None and rng.random() < 0.7:
        at, text = record.signature
        out = out[:at] + text + out[at + len(text) :]
    if rng.random() < 0.3:
        out = out[: rng.randrange(len(out) + 1)]
    return out


def body_length(record: Record, body: bytes, rng: random.Random, order: str) -> int | None:
    """What a record header may say."""
    if record.type_id is None:
        return None
    wanted = codec.expected_length(record, body, order)
    exact = (*record.length.exact, *record.length.tolerated)
    right = (len(body), *([wanted] if wanted is not None else ()), *exact)
    return rng.choice(right) if rng.random() < 0.9 else rng.choice((0, 8, len(body) + 8, 1 << 24, 1 << 31))


def agree(record: Record, body: bytes, order: str, length: int | None) -> None:
    """All answers about a body are the same."""
    for version in VERSIONS:
        one = driver(version)
        assert one[b"walk"](key(record), body, order.encode()) == lines(codec.walk(record, body, order), order, body)
        wanted = codec.expected_length(record, body, order)
        weight = codec.evidence(record, body, order, length)
        text = f"{'nil' if wanted is None else wanted} {weight}".encode()
        assert one[b"judge"](key(record), body, order.encode(), length) == text, (record.name, body, length)


@modest(1200)
@given(st.integers(0, 1 << 32), st.sampled_from(ALL_RECORDS), st.sampled_from(ORDERS))
def test_bodies_by_definition(seed, record, order):
    rng = random.Random(seed)
    body = body_of(record, rng, order)
    agree(record, body, order, body_length(record, body, rng, order))


@modest(300)
@given(st.sampled_from(ALL_RECORDS), st.binary(max_size=200), st.sampled_from(ORDERS), st.integers(0, 1 << 32))
def test_any_bytes(record, body, order, seed):
    agree(record, body, order, body_length(record, body, random.Random(seed), order))


@pytest.mark.parametrize("table", [DECODED, IMPOSSIBLE, SURE], ids=["decoded", "impossible", "sure"])
def test_known_bodies_and_their_prefixes(table):
    for record, body, *_ in table.values():
        for end in {*range(min(len(body), 70)), len(body)}:
            for length in (len(body), end):
                agree(record, body[:end], "little", length if record.type_id is not None else None)


def test_bodies_of_whole_streams():
    for state, data in streams():
        framer = Framer(state, 0, Limits())
        framer.data(memoryview(data), 1, None)
        for unit in framer.units:
            agree(unit.definition, unit.body, unit.order, unit.body_length)


def test_part_of_an_array():
    body = struct.pack("<12I", *range(12))
    for version in VERSIONS:
        walk = driver(version)[b"walk"]
        whole = walk(b"libxc.X86_CPUID_POLICY", body, b"little")
        assert walk(b"libxc.X86_CPUID_POLICY", body, b"little", 2) == whole
        assert walk(b"libxc.X86_CPUID_POLICY", body, b"little", 1) == whole[: whole.rindex(b"(")].replace(
            b"48|nil", b"24|true"
        )


# -- lists and lengths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_plans(version):
    parts = lua(version).parts
    for record in ALL_RECORDS:
        assert parts[b"codec"][b"list_plan"](parts[b"RECORDS"][key(record)]) == codec.list_plan(record)


def test_an_array_is_the_last_element():
    """What codec.lua relies on where it reads a part of one."""
    for record in ALL_RECORDS:
        assert not any(isinstance(element, Array) for element in record.body[:-1])


@modest(150)
@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=60), st.binary(max_size=7), st.sampled_from(ORDERS))
def test_lists(values, rest, order):
    raw = struct.pack(f"{'<' if order == 'little' else '>'}{len(values)}Q", *values)
    shown = ",".join(f"{value & libxc.PFN_MASK} {value >> libxc.PFN_TYPE_SHIFT}" for value in values)
    for version in VERSIONS:
        assert driver(version)[b"entries"](raw + rest, order.encode()) == shown.encode()
        pages = lua(version).parts[b"codec"][b"data_pages"]
        assert pages(raw + rest, order.encode()) == codec.data_pages(raw + rest, order)


@modest(100)
@given(st.binary(min_size=8, max_size=20), st.integers(0, 12), st.sampled_from((1, 2, 4, 8)), st.sampled_from(ORDERS))
def test_integers(data, at, size, order):
    at = min(at, len(data) - size)
    for version in VERSIONS:
        uint = lua(version).parts[b"codec"][b"uint"]
        assert uint(data, at + 1, size, order.encode()) == float(int.from_bytes(data[at : at + size], order))


LENGTHS = st.builds(
    Length,
    minimum=st.integers(0, 40),
    step=st.sampled_from((1, 1, 8, 16)),
    maximum=st.none() | st.integers(0, 80),
    exact=st.lists(st.integers(0, 60), max_size=2).map(tuple),
    tolerated=st.lists(st.integers(0, 60), max_size=2).map(tuple),
)


@modest(60)
@given(LENGTHS | st.sampled_from([record.length for record in ALL_RECORDS]))
def test_lengths(length):
    for version in VERSIONS:
        exact, tolerated = (" ".join(map(str, values)).encode() for values in (length.exact, length.tolerated))
        there = driver(version)[b"length"](length.minimum, length.step, length.maximum, exact, tolerated)
        assert there[b"text"].decode() == str(length)
        for count in (*range(100), 5176, 1 << 20, 128 << 20, (128 << 20) + 8):
            assert there[b"allows"](count) == length.allows(count)
