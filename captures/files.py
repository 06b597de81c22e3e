# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture file formats: pcap, pcapng, and the compressions around them."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from captures.packets import Packet


def pcap(packets: Sequence[Packet], order: str = "<", nanos: bool = False, snap_length: int = 262144) -> bytes:
    """Classic pcap of packets with one link type."""
    magic, unit = (0xA1B23C4D, 1) if nanos else (0xA1B2C3D4, 1000)
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap_length, packets[0].linktype)]
    for packet in packets:
        seconds, rest = divmod(packet.time, 1_000_000_000)
        wire = packet.wire_length or len(packet.data)
        out.append(struct.pack(order + "IIII", seconds, rest // unit, len(packet.data), wire) + packet.data)
    return b"".join(out)


@dataclass(frozen=True)
class Interface:
    """One pcapng interface; ``resolution`` as in if_tsresol, ``offset`` as in if_tsoffset (seconds)."""

    linktype: int = 1
    resolution: int | None = 9
    offset: int = 0
    name: str = ""
    snap_length: int = 0

    def ticks(self, time: int) -> int:
        """Time in the unit of this interface."""
        time -= self.offset * 1_000_000_000
        resolution = 6 if self.resolution is None else self.resolution
        if resolution & 0x80:
            return (time << (resolution & 0x7F)) // 1_000_000_000
        return int(time * 10**resolution) // 1_000_000_000


@dataclass
class Pcapng:
    """Writes blocks one after the other; a new section may have another byte order."""

    order: str = "<"
    out: bytearray = field(default_factory=bytearray)
    interfaces: list[Interface] = field(default_factory=list)

    def options(self, *pairs: tuple[int, bytes]) -> bytes:
        """Option list with its end mark; nothing for no options."""
        if not pairs:
            return b""
        body = b"".join(struct.pack(self.order + "HH", c, len(v)) + v + bytes(-len(v) % 4) for c, v in pairs)
        return body + bytes(4)

    def block(self, type_: int, body: bytes) -> None:
        """One block with both lengths."""
        body += bytes(-len(body) % 4)
        size = struct.pack(self.order + "I", 12 + len(body))
        self.out += struct.pack(self.order + "I", type_) + size + body + size

    def section(self, order: str = "<", comment: str = "") -> None:
        """Start a section: byte order and interface list begin anew."""
        self.order, self.interfaces = order, []
        options = self.options((1, comment.encode()), (4, b"captures/make.py")) if comment else b""
        self.block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options)

    def interface(self, interface: Interface) -> None:
        """Describe the next interface."""
        self.interfaces.append(interface)
        pairs = []
        if interface.name:
            pairs.append((2, interface.name.encode()))
        if interface.resolution is not None:
            pairs.append((9, bytes([interface.resolution])))
        if interface.offset:
            pairs.append((14, struct.pack(self.order + "q", interface.offset)))
        head = struct.pack(self.order + "HHI", interface.linktype, 0, interface.snap_length)
        self.block(1, head + self.options(*pairs))

    def enhanced(self, packet: Packet) -> None:
        """Write a packet with interface, time and perhaps a comment."""
        ticks = self.interfaces[packet.interface].ticks(packet.time)
        wire = packet.wire_length or len(packet.data)
        numbers = (packet.interface, ticks >> 32, ticks & 0xFFFFFFFF, len(packet.data), wire)
        body = struct.pack(self.order + "5I", *numbers) + packet.data + bytes(-len(packet.data) % 4)
        self.block(6, body + (self.options((1, packet.comment.encode())) if packet.comment else b""))

    def simple(self, packet: Packet) -> None:
        """Write a packet of the first interface without a time."""
        self.block(3, struct.pack(self.order + "I", packet.wire_length or len(packet.data)) + packet.data)

    def unknown(self) -> None:
        """Write a block of a type for local use, which readers have to skip."""
        self.block(0x80C0FFEE, b"skip me")


def compress(name: str, data: bytes) -> bytes:
    """Compress by the file name's suffix."""
    if name.endswith(".gz"):
        return gzip.compress(data, 9, mtime=0)
    if name.endswith(".zst"):
        import zstandard

        return zstandard.ZstdCompressor(level=19).compress(data)
    return data


def expand(name: str, data: bytes) -> bytes:
    """Undo ``compress``."""
    if name.endswith(".gz"):
        return gzip.decompress(data)
    if name.endswith(".zst"):
        import zstandard

        return zstandard.ZstdDecompressor().decompress(data)
    return data
