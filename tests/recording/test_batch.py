# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.recording.batch import MOST, Batch
from dissector.recording.pcapng import enhanced_packet
from dissector.sources.formats import PcapFormat


class Writer:
    """Remembers what it was told."""

    def __init__(self, left=None):
        self.left = left
        self.described = []
        self.written = []

    def interface(self, linktype, name="", filter_text="", snap_length=0):
        self.described.append((linktype, name, filter_text))
        return len(self.described) - 1

    def write(self, parts, packets, time):
        self.written.append((b"".join(parts), packets, time))
        return True


def block(number, data, **more):
    return b"".join(enhanced_packet(0, number, data, 99, **more))


def test_interfaces_are_described_once():
    writer = Writer()
    batch, one, other = Batch(writer, "tcp"), PcapFormat(), PcapFormat()
    known = [(one, 0, 1), (one, 0, 1), (one, 1, 1), (other, 0, 1), (None, 0, 113), (None, 0, 113)]
    assert [batch.interface(*args) for args in known] == [0, 0, 1, 2, 3, 3]
    assert writer.described == [(1, "", "tcp")] * 3 + [(113, "", "tcp")]
    assert list(batch.interfaces.values()) == [0, 1, 2, 3]


def test_packets_are_handed_on_together():
    writer = Writer()
    batch = Batch(writer)
    for number in range(MOST + 3):
        batch.add(0, number, b"data", 99)
    assert [(packets, time) for _, packets, time in writer.written] == [(MOST, MOST - 1)]
    batch.flush()
    batch.flush()
    assert [packets for _, packets, _ in writer.written] == [MOST, 3]
    assert b"".join(data for data, *_ in writer.written) == b"".join(block(n, b"data") for n in range(MOST + 3))
    assert (batch.packets, batch.time) == (MOST + 3, MOST + 2)


@pytest.mark.parametrize(("left", "most"), [(5, 5), (1, 1), (0, 1), (-3, 1), (10 * MOST, MOST)])
def test_no_more_than_are_left(left, most):
    writer = Writer(left)
    batch = Batch(writer)
    for number in range(3 * most):
        batch.add(0, number, b"data", 99)
    assert [packets for _, packets, _ in writer.written] == [most] * 3


def test_comments_are_written():
    writer = Writer()
    batch = Batch(writer)
    batch.add(0, 1, b"data", 99, "said")
    batch.flush()
    assert writer.written[0][0] == block(1, b"data", comment="said")


@pytest.mark.parametrize("left", [None, 1, 3])
@pytest.mark.parametrize("cut", [False, True])
def test_many_frames_are_what_single_packets_are(cut, left):
    """The same bytes as packet by packet, of any length."""
    frames = [(number << 33, memoryview(bytes([number]) * number), 99) for number in range(20)]
    writer = Writer(left)
    batch = Batch(writer)
    batch.add(2, 0, b"before", 6)
    batch.add_frames(2, iter(frames), (lambda data: len(data) // 2) if cut else None)
    expected = [*enhanced_packet(2, 0, b"before", 6)]
    for number in range(20):
        expected += enhanced_packet(2, number << 33, bytes([number]) * (number // 2 if cut else number), 99)
    assert b"".join(data for data, *_ in writer.written) == b"".join(expected)
    assert all(packets <= (left or MOST) for _, packets, _ in writer.written)
    assert (batch.packets, batch.time) == (21, 19 << 33)
