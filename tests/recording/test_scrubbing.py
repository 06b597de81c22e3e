# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from collections import Counter

import pytest

from dissector.recording import scrubbing
from dissector.recording.scrubbing import Scrubbed
from dissector.sources.formats import Packet
from dissector.wire.frame import FrameDecoder
from tests.cross import tools


class Batch:
    """Remembers what is written."""

    def __init__(self):
        self.written = []

    def add(self, interface, time, data, wire_length, comment=""):
        self.written.append((time, bytes(data), comment))


class Side:
    """Knows as much as it is told."""

    def __init__(self):
        self.known_until = 0

    def offset(self, seq):
        return seq

    def shown(self, start, payload, removed):
        removed["x"] += len(payload)
        return b"." * len(payload)


def packet(time, payload=b"secret", seq=0, trailer=b""):
    data = tools.frame("forward", seq, 1, payload=payload) + trailer
    return Packet(time, 1, memoryview(data), len(data), 0)


def put(scrubbed, side, one, cut=None):
    segment = FrameDecoder().decode(1, one.data, one.wire_length)
    scrubbed.payload(0, one, segment, side, len(one.data) if cut is None else cut, "")
    scrubbed.settle()


def test_packets_wait_until_it_is_known_what_is_in_them():
    batch, side = Batch(), Side()
    scrubbed = Scrubbed(batch)
    put(scrubbed, side, packet(1))
    put(scrubbed, side, packet(2, seq=6))
    scrubbed.whole(0, packet(3, b""), b"after", "said")
    scrubbed.settle()
    assert batch.written == []
    side.known_until = 6
    scrubbed.settle()
    assert [(time, data[54:]) for time, data, _ in batch.written] == [(1, b"......")]
    side.known_until = 12
    scrubbed.settle()
    assert [time for time, *_ in batch.written] == [1, 2, 3]
    assert batch.written[2] == (3, b"after", "said")
    assert scrubbed.removed == Counter({"x": 12})


def test_nothing_waits_when_nothing_has_to():
    batch = Batch()
    scrubbed = Scrubbed(batch)
    scrubbed.whole(0, packet(3, b""), b"after", "")
    assert batch.written == [(3, b"after", "")]


def test_too_much_that_waits_is_blanked(monkeypatch):
    monkeypatch.setattr(scrubbing, "MAX_WAITING", 2000)
    batch, side = Batch(), Side()
    scrubbed = Scrubbed(batch)
    for number in range(6):
        put(scrubbed, side, packet(number, seq=6 * number))
    assert len(batch.written) == 3
    assert all(data[54:] == bytes(6) for _, data, _ in batch.written)
    assert scrubbed.removed == Counter({"": 18})
    side.known_until = 100
    scrubbed.settle()
    assert [data[54:] for _, data, _ in batch.written[3:]] == [b"......"] * 3


@pytest.mark.parametrize("trailer", [b"", b"secret" * 9])
def test_bytes_behind_the_datagram_are_dropped(trailer):
    batch, side = Batch(), Side()
    scrubbed = Scrubbed(batch)
    side.known_until = 100
    put(scrubbed, side, packet(1, trailer=trailer))
    scrubbed.contents(0, packet(2, trailer=trailer), 54)
    scrubbed.contents(0, packet(3, b"", trailer=trailer), 54)
    assert [data[54:] for _, data, _ in batch.written] == [b"......", bytes(6), b""]
    assert sum(scrubbed.removed.values()) == 12 + 2 * len(trailer)


def test_a_packet_that_is_cut_stays_cut():
    batch, side = Batch(), Side()
    scrubbed = Scrubbed(batch)
    side.known_until = 2
    put(scrubbed, side, packet(1), cut=56)
    assert batch.written[0][1][54:] == b".."


def test_contents_of_what_can_not_be_read_are_dropped():
    batch = Batch()
    scrubbed = Scrubbed(batch)
    one = packet(1)._replace(linktype=147)
    scrubbed.contents(0, one, 20)
    assert len(batch.written[0][1]) == 20


@pytest.mark.parametrize(("linktype", "lead", "kept"), [(1, 0, 34), (101, 14, 20)])
def test_of_fragments_the_headers_are_kept(linktype, lead, kept):
    batch = Batch()
    scrubbed = Scrubbed(batch)
    one = packet(1)
    scrubbed.fragment(0, one._replace(linktype=linktype, data=one.data[lead:]), "said")
    assert batch.written == [(1, bytes(one.data[lead : lead + kept]), "said")]
    assert scrubbed.fragments == 1
