# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
import struct

import pytest

from captures.guests import Guest, plain
from captures.network import Host, Link, converse
from captures.packets import Style, checksum, travel
from dissector.recording.headers import headers_end, payload_at, replace_payload
from dissector.sources.formats import Packet
from dissector.wire.frame import FrameDecoder

LINK4 = Link()
LINK6 = Link(Host("2001:db8::1", 41234, b"\x00\x16\x3e\0\0\x0a"), Host("2001:db8::2", 8002, b"\x00\x16\x3e\0\0\x0b"))
STYLES = {
    "ethernet": (LINK4, Style(), 14),
    "ethernet 6": (LINK6, Style(), 14),
    "vlan": (LINK4, Style(vlans=((0x8100, 42),)), 18),
    "sll": (LINK4, Style("sll"), 16),
    "sll2 6": (LINK6, Style("sll2"), 20),
    "raw": (LINK4, Style("raw"), 0),
    "ipv6": (LINK6, Style("ipv6"), 0),
    "null": (LINK4, Style("null"), 4),
    "options": (LINK4, Style(ip_options=b"\x07\x0b\x04" + bytes(8) + b"\0"), 14),
}


def frames(style):
    link, kind, _ = STYLES[style]
    return travel(converse(plain(Guest(pages=2), passes=()), link), link, kind)


def packet(data, linktype=1):
    return Packet(0, linktype, memoryview(data), len(data), 0)


def tcp_sum(frame, segment):
    """What the TCP checksum of a whole segment adds up to; 0: it is right."""
    start, end = segment.at - segment.header, segment.at + segment.length
    half = (len(segment.key) - 4) // 2
    pseudo = segment.key[: 2 * half] + struct.pack(">II", end - start, 6)
    return checksum(pseudo + bytes(frame[start:end]))


@pytest.mark.parametrize("style", STYLES)
def test_payload_begins_where_the_frame_decoder_says(style):
    decoder = FrameDecoder()
    for one in frames(style):
        segment = decoder.decode(one.linktype, memoryview(one.data), len(one.data))
        assert payload_at(one.linktype, memoryview(one.data), len(one.data), decoder) == segment.at


@pytest.mark.parametrize("data", [b"", bytes(60), b"\xff" * 13, bytes(12) + b"\x08\x06" + bytes(46)])
def test_no_tcp(data):
    assert payload_at(1, memoryview(data), len(data), FrameDecoder()) == -1


def test_unknown_link_type():
    assert payload_at(147, memoryview(bytes(60)), 60, FrameDecoder()) == -1
    assert headers_end(packet(bytes(60), 147)) == 0


@pytest.mark.parametrize("style", STYLES)
def test_headers_end_behind_the_ip_header(style):
    version = 40 if "6" in style else 20
    for one in frames(style)[:4]:
        end = headers_end(packet(one.data, one.linktype))
        assert end == STYLES[style][2] + version
        assert headers_end(packet(one.data[: end - 7], one.linktype)) <= end - 7


def test_headers_of_a_fragment_with_ipv6():
    link = LINK6
    found = travel(converse(plain(Guest(pages=2), passes=()), link), link, Style("ipv6", fragment=504))
    fragment = next(one for one in found if one.data[6] == 44)
    assert headers_end(packet(fragment.data, fragment.linktype)) == 48


def test_headers_of_what_is_no_ip():
    assert headers_end(packet(bytes(12) + b"\x08\x06" + b"secret")) == 14
    assert headers_end(packet(b"secret")) == 0


@pytest.mark.parametrize("style", STYLES)
def test_a_right_checksum_stays_right_and_a_wrong_one_wrong(style):
    rng = random.Random(style)
    for one in frames(style):
        for wrong in (0, 1):
            frame = bytearray(one.data)
            segment = FrameDecoder().decode(one.linktype, memoryview(bytes(frame)), len(frame))
            place = segment.at - segment.header + 16
            frame[place] ^= wrong
            before = tcp_sum(frame, segment)
            replace_payload(frame, segment, rng.randbytes(segment.length))
            assert (tcp_sum(frame, segment) % 0xFFFF == 0) == (not wrong)
            assert before % 0xFFFF == 0 or wrong
            assert frame[:place] == bytearray(one.data[:place])


@pytest.mark.parametrize("with_length", [True, False])
def test_a_checksum_left_to_the_network_card_stays(with_length):
    one = next(one for one in frames("ethernet") if one.length > 100)
    frame = bytearray(one.data)
    segment = FrameDecoder().decode(1, memoryview(bytes(frame)), len(frame))
    length = segment.header + segment.length if with_length else 0
    partial = 0xFFFF - checksum(segment.key[:8] + struct.pack(">II", length, 6))
    frame[50:52] = struct.pack(">H", partial)
    replace_payload(frame, segment, bytes(segment.length))
    assert frame[50:52] == struct.pack(">H", partial)


def test_a_right_checksum_that_looks_like_one_left_to_the_card_is_corrected():
    """One segment in 65536 is so."""
    one = next(one for one in frames("ethernet") if one.length > 100)
    frame = bytearray(one.data)
    segment = FrameDecoder().decode(1, memoryview(bytes(frame)), len(frame))
    partial = 0xFFFF - checksum(segment.key[:8] + struct.pack(">II", segment.header + segment.length, 6))
    frame[50:52] = bytes(2)
    frame[54:56] = bytes(2)  # of the sequence number or options: anything that is not payload
    frame[38:40] = bytes(2)
    rest = tcp_sum(frame, segment)
    frame[38:40] = struct.pack(">H", (rest - partial) % 0xFFFF)
    frame[50:52] = struct.pack(">H", partial)
    assert tcp_sum(frame, segment) % 0xFFFF == 0
    replace_payload(frame, segment, bytes(segment.length))
    assert tcp_sum(frame, segment) % 0xFFFF == 0


def test_the_same_payload_changes_nothing():
    for one in frames("ethernet"):
        frame = bytearray(one.data)
        frame[50:52] = bytes(2)
        segment = FrameDecoder().decode(1, memoryview(one.data), len(one.data))
        before = bytes(frame)
        replace_payload(frame, segment, before[segment.at : segment.at + segment.length])
        assert frame == before


def test_odd_and_partly_captured_payload():
    """Of a payload that was cut, only what is there counts: the checksum changes by the difference."""
    one = next(one for one in frames("ethernet") if one.length > 100)
    segment = FrameDecoder().decode(1, memoryview(one.data), len(one.data))
    for kept in (1, 2, 7, 99):
        frame = bytearray(one.data[: segment.at + kept])
        replace_payload(frame, segment, bytes(kept))
        whole = frame + one.data[segment.at + kept :]
        assert tcp_sum(whole, segment) % 0xFFFF == 0
