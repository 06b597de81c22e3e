# SPDX-License-Identifier: GPL-2.0-or-later
"""Captured frames for writers: where their headers end, and checksums that stay right when bytes are replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.wire.frame import ETHERNET, FRAGMENT, IPV4, IPV6, FrameDecoder, UnknownLinkType, network
from dissector.wire.frame import TCP as PROTOCOL_TCP

if TYPE_CHECKING:
    from dissector.sources import Packet
    from dissector.wire.frame import Segment

_CHECKSUM: Final = 16
"""Where the checksum lies in a TCP header."""
_MASK: Final = 0xFFFF


def payload_at(linktype: int, data: memoryview, wire_length: int, decoder: FrameDecoder) -> int:
    """Return where the TCP payload of a frame begins, at most its captured length; -1 when it is no TCP segment."""
    captured = len(data)
    if (
        captured >= 54
        and data[12] == 8
        and data[14] == 0x45
        and data[23] == 6
        and linktype == ETHERNET
        and not data[13]
    ):
        at = 34 + (data[46] >> 2 & 0x3C)
        return min(captured, at)
    try:
        segment = decoder.decode(linktype, data, wire_length)
    except UnknownLinkType:
        return -1
    return min(segment.at, captured) if segment is not None else -1


def headers_end(packet: Packet) -> int:
    """Return where the link and IP headers of a packet end, of which nothing else is known; without IP options."""
    data = packet.data
    try:
        protocol, at = network(packet.linktype, data)
    except UnknownLinkType:
        return 0
    if protocol == IPV4:
        at += 20
    elif protocol == IPV6:
        at += 48 if len(data) >= at + 40 and data[at + 6] == FRAGMENT else 40
    return min(at, len(data))


def replace_payload(frame: bytearray, segment: Segment, payload: bytes) -> None:
    """Write other payload bytes into a frame and correct its TCP checksum by the difference (RFC 1624).

    A checksum that was right stays right, one that was wrong stays wrong. One that was left to the network card (it
    covers the pseudo header only, with the length or without) is left alone.

    Args:
        frame: the captured frame; changed in place.
        segment: what it holds, not put together from fragments.
        payload: at most as many bytes as were captured of the payload; the others stay.
    """
    at, behind = segment.at, segment.at + len(payload)
    before = bytes(frame[at:behind])
    if payload == before:
        return
    place = at - segment.header + _CHECKSUM
    old = int.from_bytes(frame[place : place + 2], "big")
    if not _partial(frame[at - segment.header : behind], segment, old):
        change = _words(payload) - _words(before)
        frame[place : place + 2] = (_MASK - (_MASK - old + change) % _MASK).to_bytes(2, "big")
    frame[at:behind] = payload


def _partial(tcp: bytearray, segment: Segment, checksum: int) -> bool:
    """Tell whether a checksum covers the pseudo header only."""
    addresses = _words(segment.key[:-4]) + PROTOCOL_TCP
    pseudo = addresses + segment.header + segment.length
    if (checksum - pseudo) % _MASK and (checksum - addresses) % _MASK:
        return False
    whole = len(tcp) == segment.header + segment.length
    return not whole or (pseudo + _words(tcp)) % _MASK != 0  # one in 65536 is right and looks like this


def _words(data: bytes | bytearray) -> int:
    """Add up 16-bit words modulo 65535, in one go as a large number."""
    return int.from_bytes(data, "big") * (256 if len(data) & 1 else 1) % _MASK
