# SPDX-License-Identifier: GPL-2.0-or-later
"""Random packets of several connections, most of them plain, some strange in every way, as they lie in a buffer."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

from captures import packets as wire_packets
from captures.files import Interface, Pcapng, pcap
from dissector.live.ring_format import RingFormat
from dissector.sources.formats import PcapFormat, PcapngFormat
from dissector.wire.halfflow import IGNORE
from tests.live import blocks

SHAPES = ("pcap<", "pcap>", "pcapng<", "pcapng>", "ring<", "ring>")
LINKTYPES = (1, 1, 1, 113, 276, 101, 12, 228, 229, 0, 108)
TIME = 1_795_383_310_123_456_789
TAGS = (0x8100, 0x88A8, 0x9100)
EXTREMES = (0, 1, 19, 20, 39, 40, 41, 59, 60, 0x7FFF, 0x8000, 0xFFFF)


@dataclass
class Direction:
    """One direction of a connection, as its sender sees it."""

    version: int
    addresses: bytes
    ports: bytes
    seq: int
    tags: tuple[int, ...] = ()

    @property
    def key(self):
        return self.addresses + self.ports


@dataclass
class Traffic:
    """Makes packets; how many are strange is drawn once.

    Args:
        seed: Of everything random.
        linktype: Of all packets.
        ring: Without link headers where a ring has none.
    """

    seed: int
    linktype: int
    ring: bool = False
    directions: list[Direction] = field(default_factory=list)

    def __post_init__(self):
        self.rng = rng = random.Random(self.seed)
        self.odd = rng.choice((0, 0, 0.01, 0.1, 0.5))
        for _ in range(rng.choice((1, 1, 2, 5, 40))):
            version = rng.choice((4, 6))
            size = 4 if version == 4 else 16
            ends = rng.randbytes(size), rng.randbytes(size)
            ports = rng.choice((b"\xa1\x12", rng.randbytes(2))), b"\xc0\x00"
            tags = tuple(rng.choice(TAGS) for _ in range(rng.choice((0, 0, 0, 1, 2, 11, 12, 13))))
            for at in (0, 1):
                seq = rng.choice((1, rng.randrange(1 << 32), (1 << 32) - rng.randrange(1, 9000)))
                addresses = ends[at] + ends[1 - at]
                self.directions.append(Direction(version, addresses, ports[at] + ports[1 - at], seq, tags))

    def state(self, seq):
        """Draw what the engine says of a direction."""
        kind = self.rng.random()
        if kind < 0.15:
            return [0, IGNORE, -1]
        if kind < 0.25:
            return [seq, 0, 5]
        skip = self.rng.choice((1, 1448, 1449, 4000, 4 << 20, 4 << 20, 4 << 20))
        return [seq, min(seq + skip, 1 << 32), self.rng.choice((-1, seq))]

    def fast(self):
        """Give the states of most directions."""
        return {one.key: self.state(one.seq) for one in self.directions if self.rng.random() < 0.95}

    def _is_odd(self):
        return self.rng.random() < self.odd / 4

    def _tcp(self, one):
        rng = self.rng
        length = rng.choice((0, 0, 1, 1448, 1448, 1448, rng.randrange(100), rng.randrange(9000)))
        seq = one.seq
        if self._is_odd():
            seq += rng.choice((-1, 1, -1448, 1448, 1 << 31, rng.randrange(1 << 32)))
        else:
            one.seq = one.seq + length & 0xFFFF_FFFF
        words = rng.randrange(5, 16) if rng.random() < 0.3 else 8
        flags = rng.choice((0x10, 0x10, 0x18))
        if self._is_odd():
            words = rng.randrange(16)
        if self._is_odd():
            flags = rng.randrange(1 << 12)
        head = struct.pack(">IIHHI", seq & 0xFFFF_FFFF, rng.randrange(1 << 32), words << 12 | flags, 502, 0)
        return one.ports + head + bytes(max(0, 4 * words - 20)) + rng.randbytes(length)

    def _ip(self, one):
        rng, tcp = self.rng, self._tcp(one)
        protocol = rng.randrange(256) if self._is_odd() else 6
        if one.version == 4:
            options = rng.randbytes(4 * rng.randrange(1, 11)) if self._is_odd() else b""
            total = 20 + len(options) + len(tcp)
            if self._is_odd():
                total = rng.choice((*EXTREMES, total - 1, total + 1)) & 0xFFFF
            word = rng.choice((0x2000, 0x8000, 0x0001, 0x6001, 0x1FFF)) if self._is_odd() else rng.choice((0, 0x4000))
            first = rng.randrange(256) if self._is_odd() else 0x45 + len(options) // 4
            head = struct.pack(">BBHHHBBH", first, 0, total, rng.randrange(1 << 16), word, 64, protocol, 0)
            return head + one.addresses + options + tcp
        if self._is_odd():
            protocol, tcp = 0, bytes((6, 0, 1, 4, 0, 0, 0, 0)) + tcp  # hop-by-hop options: padding
        length = len(tcp)
        if self._is_odd():
            length = rng.choice((*EXTREMES, length - 1, length + 1)) & 0xFFFF
        first = rng.randrange(1 << 32) if self._is_odd() else 0x6000_0000
        return struct.pack(">IHBB", first, length, protocol, 64) + one.addresses + tcp

    def _link(self, one, network):
        rng = self.rng
        protocol = 0x0800 if one.version == 4 else 0x86DD
        if self._is_odd():
            protocol = rng.choice((0x0800, 0x86DD, 0x0806, 0x8847, *TAGS))
        tags, at = b"", one.tags
        if self._is_odd():
            at = tuple(rng.choice((*TAGS, 0x1234)) for _ in range(rng.randrange(4)))
        for number, kind in enumerate((*at, protocol)):
            tags += (rng.randbytes(2) if number else b"") + struct.pack(">H", kind)
        if self.linktype == 1:
            return rng.randbytes(12) + tags + network
        if self.linktype == 113:
            return rng.randbytes(14) + tags + network
        if self.linktype == 276 and not self.ring:
            return tags[:2] + rng.randbytes(18) + tags[2:] + network
        if self.linktype in (0, 108):
            return struct.pack(">I", 2 if one.version == 4 else 10) + network
        return network

    def frame(self):
        """Make the next frame: its direction, the captured bytes, and how long it was on the wire."""
        rng, one = self.rng, self.rng.choice(self.directions)
        data = self._link(one, self._ip(one))
        wire = len(data)
        if self._is_odd():
            data += rng.randbytes(rng.randrange(30))
            wire = len(data)
        if self._is_odd():
            at = rng.randrange(min(len(data), 90))
            data = data[:at] + rng.randbytes(1) + data[at + 1 :]
        if self._is_odd():
            data = data[: rng.choice((rng.randrange(len(data)), min(len(data), rng.randrange(100))))]
        if self._is_odd():
            data = rng.randbytes(rng.randrange(100))
        return one, data, max(wire, len(data))

    def frames(self, count):
        """Make so many of them."""
        return [self.frame() for _ in range(count)]


def buffer_of(shape, traffic, frames):
    """Lay frames out as a file or a ring does; the format that reads them, the bytes, and where the records begin."""
    rng, order = traffic.rng, shape[-1]
    if shape.startswith("ring"):
        records = []
        for one, data, wire in frames:
            more = {"protocol": 0x0800 if one.version == 4 else 0x86DD}
            if traffic._is_odd():
                more["protocol"] = rng.choice((0x0800, 0x86DD, 0x8100))
            if traffic._is_odd():
                more["frame_at"] = rng.choice((68, 70, 78, 82, 96))
            if traffic._is_odd():
                tag = rng.randrange(4096), rng.choice((*TAGS, 0x1234))
                more |= {"status": rng.choice((0x11, 0x51, 0x41, 9)), "vlan": tag}
            records.append(blocks.Record(TIME, data, wire, **more))
        return RingFormat("eth0", traffic.linktype), blocks.block(records, order, rng.randrange(99)), 0
    packets = []
    for _, data, wire in frames:
        comment = "x" * rng.randrange(1, 9) if traffic._is_odd() else ""
        packets.append(wire_packets.Packet(TIME, data, wire_length=wire, linktype=traffic.linktype, comment=comment))
    if shape.startswith("pcapng"):
        out, form = Pcapng(), PcapngFormat()
        out.section(order)
        out.interface(Interface(traffic.linktype))
        for packet in packets:
            if traffic._is_odd():
                out.unknown()
            if traffic._is_odd():
                out.simple(packet)
            else:
                out.enhanced(packet)
        content = bytes(out.out)
    else:
        content, form = pcap(packets, order), PcapFormat()
    return form, content, form.header(memoryview(content))
