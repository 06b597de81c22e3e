# SPDX-License-Identifier: GPL-2.0-or-later
"""Wraps TCP segments in IP and link-layer headers, fragments included."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from captures.network import Link, Segment, clock

if TYPE_CHECKING:
    from collections.abc import Iterable

ETHERNET, RAW, LOOP, SLL, IPV4, IPV6, SLL2, NULL = 1, 101, 108, 113, 228, 229, 276, 0
LINKTYPES = {
    "ethernet": ETHERNET,
    "sll": SLL,
    "sll2": SLL2,
    "raw": RAW,
    "ipv4": IPV4,
    "ipv6": IPV6,
    "null": NULL,
    "null-be": NULL,
    "loop": LOOP,
}


@dataclass(frozen=True)
class Style:
    """How segments become frames."""

    link: str = "ethernet"
    vlans: tuple[tuple[int, int], ...] = ()
    ip_options: bytes = b""
    extensions: tuple[str, ...] = ()
    fragment: int = 0
    zero_length: bool = False


@dataclass(frozen=True)
class Packet:
    """One captured frame, and which stream bytes its payload holds."""

    time: int
    data: bytes
    linktype: int = ETHERNET
    wire_length: int = 0
    flow: int = -1
    direction: str = ""
    offset: int = 0
    length: int = 0
    head: int = 0
    interface: int = 0
    comment: str = ""

    def snapped(self, length: int) -> Packet:
        """Return the frame as a snap length leaves it; the stream bytes it holds shrink with it."""
        if len(self.data) <= length:
            return self
        kept = max(0, min(self.length, length - self.head))
        return replace(self, data=self.data[:length], wire_length=len(self.data), length=kept)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of not all-zero data."""
    remainder = int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF
    return 0xFFFF - remainder if remainder else 0


def tcp(segment: Segment, link: Link) -> bytes:
    """Build TCP header and payload with a correct checksum."""
    source, destination = link.ends(segment.direction)
    options = segment.syn_options
    if segment.stamps:
        options += b"\x01\x01\x08\x0a" + struct.pack(">II", *segment.stamps)
    words = (20 + len(options)) // 4
    ports = (source.port, destination.port)
    head = struct.pack(">HHIIBBHHH", *ports, segment.seq, segment.ack, words << 4, segment.flags, segment.window, 0, 0)
    data = head + options + segment.payload
    pseudo = packed(source.address) + packed(destination.address) + struct.pack(">II", len(data), 6)
    return data[:16] + struct.pack(">H", checksum(pseudo + data)) + data[18:]


def packed(address: str) -> bytes:
    """Address in network order."""
    return ipaddress.ip_address(address).packed


def ipv4(
    source: str,
    destination: str,
    payload: bytes,
    ident: int,
    protocol: int = 6,
    options: bytes = b"",
    flags: int = 0x4000,
) -> bytes:
    """IPv4 datagram; ``flags`` holds the flag bits and the fragment offset."""
    size = 20 + len(options)
    total = size + len(payload)
    head = struct.pack(">BBHHHBBH", 0x40 | size // 4, 0, total % 65536, ident, flags, 64, protocol, 0)
    head += packed(source) + packed(destination) + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ipv6(source: str, destination: str, payload: bytes, next_header: int = 6) -> bytes:
    """IPv6 datagram."""
    head = struct.pack(">IHBB", 0x6000_0000, len(payload) % 65536, next_header, 64)
    return head + packed(source) + packed(destination) + payload


def pieces(payload: bytes, size: int, number: int) -> list[tuple[int, bytes, bool]]:
    """Cut into fragments (offset, bytes, more); every fourth datagram is in order, reversed, doubled, overlapping."""
    size = size // 8 * 8
    last = (len(payload) - 1) // size * size
    parts = [(start, payload[start : start + size], start < last) for start in range(0, len(payload), size)]
    match number % 4:
        case 1:
            parts.reverse()
        case 2:
            parts.insert(1, parts[0])
        case 3 if len(parts) > 1:
            longer = payload[: size + 8]
            parts.insert(1, (0, longer, len(longer) < len(payload)))
    return parts


def datagrams4(segment: bytes, ends: tuple[str, str], style: Style, number: int) -> list[bytes]:
    """One segment as one or several IPv4 datagrams."""
    ident = (0x2A00 + number * 3) % 65536
    if style.fragment and len(segment) > style.fragment:
        return [
            ipv4(*ends, data, ident, flags=offset // 8 | (0x2000 if more else 0))
            for offset, data, more in pieces(segment, style.fragment, number)
        ]
    whole = ipv4(*ends, segment, 0, options=style.ip_options)
    if style.zero_length and len(segment) > 1500:
        head = whole[:2] + b"\0\0" + whole[4:10] + b"\0\0" + whole[12:20]
        whole = head[:10] + struct.pack(">H", checksum(head)) + head[12:] + whole[20:]
    return [whole]


def datagrams6(segment: bytes, ends: tuple[str, str], style: Style, number: int) -> list[bytes]:
    """One segment as one or several IPv6 datagrams with extension headers."""
    ident = 0x5EED_0000 + number
    if style.fragment and len(segment) > style.fragment:
        result = []
        for offset, data, more in pieces(segment, style.fragment, number if number % 4 < 3 else 0):
            result.append(ipv6(*ends, struct.pack(">BBHI", 6, 0, offset | more, ident) + data, 44))
        return result
    following, payload = 6, segment
    for name in reversed(style.extensions):
        if name == "fragment":
            payload, following = struct.pack(">BBHI", following, 0, 0, ident) + payload, 44
        else:
            payload = struct.pack(">BBBB12x", following, 1, 1, 12) + payload
            following = 0 if name == "hop-by-hop" else 60
    whole = ipv6(*ends, payload, following)
    if style.zero_length and len(segment) > 1500:
        whole = whole[:4] + b"\0\0" + whole[6:]
    return [whole]


def frame(datagram: bytes, link: Link, style: Style, direction: str) -> bytes:
    """Put the link-layer header before an IP datagram."""
    version6 = datagram[0] >> 4 == 6
    ethertype = 0x86DD if version6 else 0x0800
    source, destination = link.ends(direction)
    outgoing = direction == "forward"
    match style.link:
        case "ethernet":
            tags = b"".join(struct.pack(">HH", *tag) for tag in style.vlans)
            data = destination.mac + source.mac + tags + struct.pack(">H", ethertype) + datagram
            return data.ljust(60, b"\0")
        case "sll":
            return struct.pack(">HHH6sHH", 4 if outgoing else 0, 1, 6, source.mac, 0, ethertype) + datagram
        case "sll2":
            head = struct.pack(">HHIHBB6sH", ethertype, 0, 3, 1, 4 if outgoing else 0, 6, source.mac, 0)
            return head + datagram
        case "null":
            return struct.pack("<I", 30 if version6 else 2) + datagram
        case "null-be" | "loop":
            return struct.pack(">I", 24 if version6 else 2) + datagram
        case _:
            return datagram


def packets(segments: Iterable[Segment], link: Link, style: Style, flow: int = 0) -> list[Packet]:
    """Frames of all segments, in order."""
    result = []
    make = datagrams6 if ":" in link.sender.address else datagrams4
    linktype = LINKTYPES[style.link]
    for number, segment in enumerate(segments):
        source, destination = link.ends(segment.direction)
        whole = tcp(segment, link)
        datagrams = make(whole, (source.address, destination.address), style, number)
        for index, datagram in enumerate(datagrams):
            data = frame(datagram, link, style, segment.direction)
            packet = Packet(segment.time + 300 * index, data, linktype, flow=flow, direction=segment.direction)
            if index == 0 and segment.payload:
                size = len(segment.payload)
                head = data.index(datagram[:20]) + len(datagram) - size if len(datagrams) == 1 else 0
                packet = replace(packet, offset=segment.offset, length=size, head=head)
            result.append(packet)
    return result


def travel(segments: list[Segment], link: Link, style: Style | None = None, flow: int = 0) -> list[Packet]:
    """Give the segments times and make frames of them."""
    return packets(clock(segments, link), link, style or Style(), flow)
