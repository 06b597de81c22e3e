# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of a ring block to packets: VLAN tags put back, cooked frames, and nonsense refused."""

from __future__ import annotations

import random
import struct
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.live.ring_format import RingFormat
from dissector.sources import CaptureError
from tests.cross.tools import modest
from tests.live.blocks import TPID_VALID, VLAN_VALID, Record, block

ORDER = "<" if sys.byteorder == "little" else ">"
TIME = 1_795_383_310_123_456_789
FRAME = bytes(range(14)) + b"\x45" + bytes(49)


def packets(content, linktype=1, start=0):
    form, position, found = RingFormat("eth0", linktype), start, []
    buffer = memoryview(content)
    while True:
        behind, packet = form.packet(buffer, position, len(content))
        if packet is None:
            assert behind == position == len(content)
            return found
        assert form.time_at(buffer, position) == packet.time
        position = behind
        found.append(packet)


def test_packets_of_a_block():
    records = [Record(TIME + n, FRAME[: 40 + n], 1514) for n in range(9)]
    found = packets(block(records, ORDER))
    assert [(p.time, p.linktype, bytes(p.data), p.wire_length) for p in found] == [
        (TIME + n, 1, FRAME[: 40 + n], 1514) for n in range(9)
    ]


def test_block_in_the_middle_of_a_ring():
    assert len(packets(bytes(4096) + block([Record(TIME, FRAME)] * 2, ORDER), start=4096)) == 2


def test_shape_and_header():
    form = RingFormat("eth0", 1)
    assert (form.shape, form.linktype, form.path) == (f"ring{ORDER}", 1, "eth0")
    assert form.header(memoryview(b"")) == 0
    assert form.cut(memoryview(b""), 3, 10) == "7 bytes of a ring block"


@pytest.mark.parametrize(
    ("status", "kind", "tag"),
    [(VLAN_VALID | TPID_VALID, 0x88A8, b"\x88\xa8"), (VLAN_VALID, 0x1234, b"\x81\x00"), (VLAN_VALID, 0, b"\x81\x00")],
)
def test_vlan_tag_is_put_back(status, kind, tag):
    (packet,) = packets(block([Record(TIME, FRAME, 100, status=status | 1, vlan=(0x6042, kind))], ORDER))
    assert bytes(packet.data) == FRAME[:12] + tag + b"\x60\x42" + FRAME[12:]
    assert packet.wire_length == 104


def test_no_tag_without_its_status_bit():
    (packet,) = packets(block([Record(TIME, FRAME, vlan=(0x42, 0x8100))], ORDER))
    assert bytes(packet.data) == FRAME


def test_tag_of_a_frame_cut_before_it_is_left_out():
    (packet,) = packets(block([Record(TIME, FRAME[:11], status=VLAN_VALID | 1)], ORDER))
    assert bytes(packet.data) == FRAME[:11]


def test_raw_ip_is_given_as_it_is():
    (packet,) = packets(block([Record(TIME, FRAME[14:], frame_at=96, status=VLAN_VALID | 1)], ORDER), 101)
    assert (packet.linktype, bytes(packet.data)) == (101, FRAME[14:])


def test_cooked_frames_get_their_header():
    (packet,) = packets(block([Record(TIME, FRAME[14:], 1500, frame_at=96, protocol=0x86DD)], ORDER), 276)
    header = b"\x86\xdd\0\0" + struct.pack(">iHBB", 3, 1, 0, 6) + b"\x00\x16\x3e\x00\x00\x0a\0\0"
    assert bytes(packet.data) == header + FRAME[14:]
    assert (packet.linktype, packet.wire_length) == (276, 1520)


def test_latest_time():
    content = block([Record(TIME + n, FRAME) for n in (5, 9, 3)], ORDER)
    form = RingFormat("eth0", 1)
    assert form.latest(memoryview(content), 0, len(content)) == TIME + 9
    assert form.latest(memoryview(content), 0, 0) == 0
    assert form.latest(memoryview(content), 0, len(content) - 1) == TIME + 9
    content = struct.pack(ORDER + "I", 8) + content[4:]
    assert form.latest(memoryview(content), 0, len(content)) == 0


GOOD = block([Record(TIME, FRAME), Record(TIME, FRAME)], ORDER)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, struct.pack(ORDER + "I", 8)),  # the next record in this one
        (0, struct.pack(ORDER + "I", 1 << 31)),
        (12, struct.pack(ORDER + "I", 0xFFFFFFFF)),  # captured length
        (24, struct.pack(ORDER + "H", 20)),  # the frame in the header
        (24, struct.pack(ORDER + "H", 0xFFFF)),
    ],
)
def test_nonsense_is_refused(at, value):
    content = GOOD[:at] + value + GOOD[at + len(value) :]
    with pytest.raises(CaptureError, match=r"^eth0: the capture ring is damaged at byte 0: "):
        RingFormat("eth0", 1).packet(memoryview(content), 0, len(content))


def test_rest_of_a_block_that_is_no_record():
    with pytest.raises(CaptureError, match="40 bytes are no record"):
        RingFormat("eth0", 1).packet(memoryview(GOOD), 0, 40)


@modest(200)
@given(seed=st.integers(0, 1 << 32), linktype=st.sampled_from((1, 101, 276)))
def test_any_bytes(seed, linktype):
    """Whatever the bytes: packets inside the block that go forward, or one clear error."""
    rng = random.Random(seed)
    content = bytearray(block([Record(TIME, FRAME)] * 5, ORDER))
    for _ in range(rng.randrange(1, 20)):
        content[rng.randrange(len(content))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
    form, position = RingFormat("eth0", linktype), 0
    form.latest(memoryview(content), 0, len(content))
    try:
        while True:
            behind, packet = form.packet(memoryview(content), position, len(content))
            if packet is None:
                break
            assert position < behind <= len(content)
            position = behind
    except CaptureError:
        pass


def test_record_is_what_the_test_says():
    assert len(block([replace(Record(TIME, FRAME), frame_at=96)], ORDER)) == 160
