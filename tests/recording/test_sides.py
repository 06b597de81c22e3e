# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from collections import Counter

import pytest

from captures.guests import Guest, colo, hvm, plain
from dissector.recording.scrub import spans
from dissector.recording.sides import EVERYTHING, WORTHWHILE, Side, contents
from dissector.wire.engine import Engine
from dissector.wire.frame import reverse_key
from dissector.wire.halfflow import ACK, NEXT_SEQ
from tests.cross import tools
from tests.cross.tools import FIN, SYN

KEY = tools.ADDRESSES["forward"] + tools.PORTS["forward"]


class Pair:
    """An engine, the sides of its one connection, and how bytes get there."""

    def __init__(self, *, scrub=True):
        self.engine = Engine()
        self.sides = []
        self.number = 0
        self.engine.on_connection = lambda connection: self.sides.extend(
            Side(connection, index, scrub=scrub) for index in (0, 1)
        )
        self.send("forward", 0, flags=SYN)
        self.send("reverse", 0, 1, flags=SYN | tools.ACK)

    def send(self, direction, seq, ack=1, payload=b"", flags=tools.ACK):
        self.number += 1
        data = tools.frame(direction, seq, ack, flags, payload)
        return self.engine.packet(self.number, self.number, 1, data, len(data))


def stream(**more):
    conversation = plain(Guest(pages=4, **more), "libxc", passes=())
    return bytes(conversation.forward.data), conversation.forward.records


def page_data(records):
    return next(one for one in records if one["type"] == "PAGE_DATA")


def test_contents_of_page_data():
    data, records = stream()
    one = page_data(records)
    pair, found = Pair(), []
    pair.sides[0]._follower.observer = found.append
    pair.send("forward", 1, payload=data)
    unit = next(unit for unit in found if unit.name == "PAGE_DATA")
    assert contents(unit) == (one["offset"] + 16 + 8 * 4, one["offset"] + one["size"])


def test_what_is_needed():
    data, records = stream()
    one = page_data(records)
    low, high = one["offset"] + 48, one["offset"] + one["size"]
    pair = Pair()
    side = pair.sides[0]
    assert side.needed(0, 100) == 100
    pair.send("forward", 1, payload=data[: low + 10])
    for _ in (0, 1):  # while it comes, and when it is over
        assert side.needed(low - 5, low) == 5
        assert side.needed(low - 5, low + 100) == 5
        assert side.needed(low, high) == side.needed(low + 9, low + 10) == 0
        assert side.needed(high - 5, high + 1) == 6
        assert side.needed(low - 5, high + 1) == high - low + 6
        pair.send("forward", 1 + low + 10, payload=data[low + 10 :])
    assert side.needed(high, high + 20) == 20


def test_a_short_stretch_is_needed():
    """Padding."""
    data, _ = stream(emulator_bytes=301)
    pair = Pair()
    pair.send("forward", 1, payload=data)
    assert all(end - start >= WORTHWHILE for start, end in pair.sides[0]._regions)


def test_marks_say_what_was_passed():
    data, records = stream()
    inside = page_data(records)["offset"] + 100
    pair = Pair()
    pair.send("forward", 1, payload=data[:inside])
    for side in pair.sides:
        assert side.mark() is None
        side.taken()
    fast = pair.engine.fast
    fast[KEY][NEXT_SEQ] += 3000
    fast[reverse_key(KEY)][ACK] = 1 + inside + 1448
    time = pair.number
    for side in pair.sides:
        side.passed()
    assert pair.sides[0].mark() == (KEY, 1 + inside, 3000, time, 1 + inside + 1448)
    assert pair.sides[0].mark() is None
    assert pair.sides[1].mark() is None
    fast[reverse_key(KEY)][ACK] += 100
    pair.sides[0].passed()
    assert pair.sides[0].mark()[2:] == (0, None, 1 + inside + 1548)


def test_an_acknowledgement_that_is_kept_needs_no_mark():
    pair = Pair()
    pair.send("forward", 1, payload=stream()[0][:40])
    pair.send("reverse", 1, 41)
    for side in pair.sides:
        side.taken()
        side.passed()
        assert side.mark() is None


def test_marks_count_across_the_wrap_of_sequence_numbers():
    pair = Pair()
    side = pair.sides[0]
    half = side._half
    half.fast[NEXT_SEQ] = 0xFFFF_FF00
    side.taken()
    half.fast[NEXT_SEQ] = 0x100
    side.passed()
    assert side.mark()[1:3] == (0xFFFF_FF00, 0x200)


def test_it_is_known_only_when_the_unit_is_framed():
    data, records = stream()
    pair = Pair()
    side = pair.sides[0]
    assert side.known_until == 0
    at = 0
    for one in records:
        for end in range(one["offset"], min(one["offset"] + one["size"], one["offset"] + 300), 7):
            if end > at:
                pair.send("forward", 1 + at, payload=data[at:end])
                at = end
            assert side.known_until <= at
    pair.send("forward", 1 + at, payload=data[at:], flags=FIN | tools.ACK)
    pair.engine.finish()
    assert side.known_until == EVERYTHING


def test_shown_is_what_the_spans_say():
    data, _ = stream()
    pair, units = Pair(), []
    side = pair.sides[0]
    observe = side._follower.observer
    side._follower.observer = lambda unit: (units.append(unit), observe(unit))
    for at in range(0, len(data), 1000):
        pair.send("forward", 1 + at, payload=data[at : at + 1000])
    pair.engine.finish()
    expected = bytearray(len(data))
    for unit in units:
        for span in spans(unit):
            expected[span.start : span.end] = data[span.start : span.end] if span.filler is None else span.filler
    removed = Counter()
    assert side.shown(0, data, removed) == expected
    assert sum(removed.values()) < len(data)
    for start, end in ((0, 10), (5, 900), (700, 20_000), (len(data) - 9, len(data))):
        assert side.shown(start, data[start:end], Counter()) == expected[start:end]
    assert side.shown(-50, data[:50], Counter()) == bytes(50)
    assert side.shown(len(data), data[:50], Counter()) == bytes(50)


@pytest.mark.parametrize("damage", [2080, 1000])
def test_a_record_whose_length_is_damaged_is_not_shown(damage):
    """X86_CPUID_POLICY has any length; when no record follows, it swallowed something."""
    data, records = stream(contents=lambda pfn, generation: b"secret.." * 512)
    policy = next(one for one in records if one["type"] == "X86_CPUID_POLICY")
    broken = bytearray(data)
    broken[policy["offset"] + 4 : policy["offset"] + 8] = damage.to_bytes(4, "little")
    pair = Pair()
    for at in range(0, len(broken), 500):
        pair.send("forward", 1 + at, payload=bytes(broken[at : at + 500]))
    pair.engine.finish()
    shown = pair.sides[0].shown(0, bytes(broken), Counter())
    assert b"secret" not in shown
    assert shown[: policy["offset"] + 8] == broken[: policy["offset"] + 8]


def test_a_connection_that_is_no_migration_is_not_shown():
    pair = Pair()
    pair.send("forward", 1, payload=b"GET / HTTP/1.1\r\nCookie: secret\r\n\r\n" * 70)
    assert pair.sides[0].known_until == EVERYTHING
    assert not any(pair.sides[0].shown(0, b"GET / HTTP/1.1\r\nCookie: secret\r\n\r\n", Counter()))


def test_a_list_is_not_known_before_it_is_decided_how_long_its_header_is():
    conversation = colo(hvm(), ((1, 5, 9), (4, 6), (7,)))
    data = bytes(conversation.reverse.data)
    held = next(one for one in conversation.reverse.records if one["type"] == "CHECKPOINT_DIRTY_PFN_LIST")
    pair = Pair()
    for at in range(held["offset"] + held["size"] + 3):
        pair.send("reverse", 1 + at, payload=data[at : at + 1])
        if at >= held["offset"]:
            assert pair.sides[1].known_until <= held["offset"]
