# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames: checksums by hand, fragments, snap length."""

from __future__ import annotations

import struct

import pytest

from captures.guests import hvm, plain
from captures.network import Link, converse
from captures.packets import Packet, Style, checksum, pieces, travel


def test_checksum_of_the_example_in_rfc_1071():
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_checksum_agrees_with_the_slow_way():
    for size in range(1, 60):
        data = bytes((7 * n * n + size) % 256 for n in range(size))
        padded = data + b"\0" * (size % 2)
        total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
        while total > 0xFFFF:
            total = (total >> 16) + (total & 0xFFFF)
        assert checksum(data) == 0xFFFF - total or total == 0


@pytest.mark.parametrize("number", range(4))
def test_fragments_cover_the_datagram(number):
    data = bytes(n % 251 for n in range(1500))
    buffer = bytearray(len(data))
    for offset, part, more in pieces(data, 552, number):
        assert offset % 8 == 0
        assert more == (offset + len(part) < len(data))
        buffer[offset : offset + len(part)] = part
    assert buffer == data


@pytest.mark.parametrize("link", ["ethernet", "sll", "sll2", "raw", "null", "null-be", "loop"])
def test_payload_position_is_known(link):
    conversation = plain(hvm(pages=4))
    for packet in travel(converse(conversation, Link()), Link(), Style(link)):
        if packet.length:
            payload = packet.data[packet.head : packet.head + packet.length]
            assert payload == conversation.half(packet.direction).data[packet.offset : packet.offset + packet.length]


@pytest.mark.parametrize(("snap", "kept"), [(60, 0), (66, 0), (70, 4), (200, 100)])
def test_snap_length_shrinks_what_is_held(snap, kept):
    packet = Packet(0, bytes(166), offset=5, length=100, head=66).snapped(snap)
    assert packet.length == kept
    assert len(packet.data) == min(snap, 166)
    assert (packet.wire_length or len(packet.data)) == 166
