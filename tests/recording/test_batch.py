# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.live.ring_format import LINUX_SLL2, ORDER, RingFormat
from dissector.recording.batch import MOST, Batch
from dissector.recording.pcapng import enhanced_packet
from dissector.sources import CaptureError
from dissector.sources.formats import PcapFormat
from dissector.wire.kernel import VARIABLE
from tests.cross.tools import modest
from tests.live.blocks import CSUM_VALID, TPID_VALID, VLAN_VALID, Record
from tests.live.blocks import block as ring_block
from tests.wire.kernels import need_c


class Writer:
    """Remembers what it was told."""

    def __init__(self, left=None, room=1 << 16):
        self.left = left
        self.room = room
        self.lent = 0
        self.described = []
        self.written = []

    def interface(self, linktype, name="", filter_text="", snap_length=0):
        self.described.append((linktype, name, filter_text))
        return len(self.described) - 1

    def write(self, parts, packets, time):
        self.written.append((b"".join(parts), packets, time))
        return True

    def lend(self):
        self.lent += 1
        return memoryview(bytearray(b"\xff" * self.room))

    def write_lent(self, buffer, used, packets, time):
        if packets:
            self.written.append((bytes(buffer[:used]), packets, time))
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


def recorded(kernel, form, content, behind=None, **limits):
    """Give what a batch makes of the records in `content`, with the function in C or with what stands in for it."""
    need_c()
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = kernel
    try:
        writer = Writer(**limits)
        batch = Batch(writer)
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
    end = len(content) if behind is None else behind
    batch.add_records(7, form, memoryview(content), 0, end)
    batch.flush()
    assert bool(writer.lent) == (kernel == "c" and bool(form.tick) and bool(end))
    return b"".join(data for data, *_ in writer.written), batch.packets, batch.time, writer.written


def pcap_of(order, magic):
    form = PcapFormat()
    form.header(memoryview(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)))
    return form


RING_RECORDS = st.lists(
    st.builds(
        Record,
        st.integers(0, (1 << 32) * 10**9 - 1),
        st.binary(max_size=80),
        st.integers(0, 0xFFFFFF00),
        st.sampled_from([68, 70, 82, 96]),
        st.sampled_from([1, 1 | CSUM_VALID, 1 | VLAN_VALID, 1 | VLAN_VALID | TPID_VALID]),
        st.tuples(st.integers(0, 0xFFFF), st.sampled_from([0x8100, 0x88A8, 0])),
        st.integers(0, 0xFFFF),
    ),
    max_size=12,
)
LIMITS = st.fixed_dictionaries({"left": st.sampled_from([None, 1, 3]), "room": st.sampled_from([100, 500, 1 << 16])})


@modest(300)
@given(RING_RECORDS, st.sampled_from([1, LINUX_SLL2, 101]), LIMITS)
def test_ring_blocks_in_c_are_those_of_python(records, linktype, limits):
    """VLAN tags put back and link headers of "any" made, in C as in Python, with little room and much."""
    content = ring_block(records, ORDER)
    found = recorded("c", RingFormat("any", linktype), content, **limits)
    assert found[:3] == recorded("python", RingFormat("any", linktype), content)[:3]
    assert found[1] == len(records)
    assert all(packets <= (limits["left"] or MOST) for _, packets, _ in found[3])


@modest(150)
@given(
    st.sampled_from("<>"),
    st.sampled_from([0xA1B2C3D4, 0xA1B23C4D]),
    st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 10**6), st.binary(max_size=90)), max_size=9),
    LIMITS,
)
def test_pcap_records_in_c_are_those_of_python(order, magic, packets, limits):
    content = b"".join(
        struct.pack(order + "IIII", seconds, fraction, len(data), 1514) + data for seconds, fraction, data in packets
    )
    found = recorded("c", pcap_of(order, magic), content, **limits)
    assert found[:3] == recorded("python", pcap_of(order, magic), content)[:3]
    assert found[1] == len(packets)


@modest(300)
@given(RING_RECORDS, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), st.data())
def test_damaged_rings(records, damage, data):
    """Never a byte from outside: what the format refuses is not written, and nothing behind it."""
    content = bytearray(ring_block(records, ORDER))
    for place, value in damage:
        if content:
            content[place % len(content)] = value
    behind = data.draw(st.integers(0, len(content)))
    form, expected, position = RingFormat("eth0", 1), b"", 0
    try:
        while position < behind:
            position, packet = form.packet(memoryview(content), position, behind)
            expected += b"".join(enhanced_packet(7, packet.time, packet.data, packet.wire_length))
    except (CaptureError, struct.error):
        pass
    need_c()
    from dissector.recording import _blocks

    room = memoryview(bytearray(1 << 16))
    where, used, _, _ = _blocks.blocks(memoryview(content), 0, behind, form.shape, 1, 1, 7, room, 100)
    assert bytes(room[:used]) == expected
    assert where == position


def test_blocks_of_no_known_shape():
    need_c()
    from dissector.recording._blocks import blocks

    for shape in ("pcapng<", "kuznetzov>", "ring", "pcap=", ""):
        assert blocks(memoryview(bytes(100)), 0, 100, shape, 1, 1, 0, memoryview(bytearray(100)), 9) == (0, 0, 0, 0)
    with pytest.raises(TypeError):
        blocks(memoryview(bytes(100)), 0, 100, "pcap<", 1, 1, 0, memoryview(bytes(100)), 9)  # it can not be written


def test_a_format_with_other_times_goes_packet_by_packet():
    form = PcapFormat()
    form.tick = 0
    content = struct.pack("<IIII", 1, 2, 4, 4) + b"data"
    assert recorded("c", form, content)[:2] == recorded("python", form, content)[:2]
