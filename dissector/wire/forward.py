# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast-forward kernel: pass packets that cannot matter, as they lie in a capture buffer.

A packet cannot matter when it is a pure acknowledgement, or an in-order segment that lies wholly inside bytes nobody
needs (page contents), or belongs to a connection that is no migration. The kernel stops at the first packet that might
matter - anything it does not understand might - and leaves that to the engine.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import NamedTuple

from dissector.wire.halfflow import IGNORE

_MASK = (1 << 32) - 1
_ETHERTYPES = {b"\x08\x00": 4, b"\x86\xdd": 6}
_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_LINKS: dict[int, tuple[int, int]] = {1: (14, 12), 113: (16, 14), 276: (20, 0)}
"""LINKTYPE_ -> (header length, where the protocol number lies)."""
_RAW = (101, 12, 14, 228, 229)
_RECORD_HEADER = {"pcap": 16, "pcapng": 28}
_PREFIX = {"pcap": "8x I 4x", "pcapng": "I I 12x I 4x"}
_FRAGMENTS = frozenset((0, 0x4000, b""))
"""Flags and offset of an IPv4 packet that is no fragment (and what stands in for them in IPv6)."""


class Template(NamedTuple):
    """Where the fields lie in the packets of one link layer and IP version."""

    struct: Struct
    protocol: bytes
    versions: frozenset[int]
    overhead: dict[int, int]
    """TCP data offset and flags -> header bytes that the IP length field counts; only flags of plain data or ACK."""
    fixed: int
    """Bytes in front of what the IP length field counts."""


class _Steps(dict[int, int]):
    """Length word of a record header as a big-endian integer -> what it says, plus a constant."""

    def __init__(self, order: str, constant: int) -> None:
        super().__init__()
        self._swap = order == "<"
        self._constant = constant

    def __missing__(self, word: int) -> int:
        value = int.from_bytes(word.to_bytes(4, "little"), "big") if self._swap else word
        if len(self) > 1 << 16:
            self.clear()
        self[word] = value + self._constant
        return value + self._constant


@cache
def _overhead(ip_header: int) -> dict[int, int]:
    return {
        words << 12 | flags | marks: ip_header + 4 * words
        for words in range(5, 16)
        for flags in (0x10, 0x18)
        for marks in (0, 0x40, 0x80, 0xC0)
    }


@cache
def template(kind: str, link_length: int, protocol_at: int, protocol: bytes, version: int) -> Template:
    """Make the template for `version` of IP behind a link header."""
    link = f"{protocol_at}x {len(protocol)}s {link_length - protocol_at - len(protocol)}x"
    network = "B x H 2x H x B 2x 12s I I H" if version == 4 else "B 3x H 0s B x 36s I I H"
    return Template(
        Struct(f">{_PREFIX[kind]} {link} {network}"),
        protocol,
        frozenset((0x45,)) if version == 4 else frozenset(range(0x60, 0x70)),
        _overhead(20 if version == 4 else 0),
        link_length + (0 if version == 4 else 40),
    )


def template_for(kind: str, linktype: int, frame: memoryview) -> Template | None:
    """Choose the template that fits a frame; None when the kernel has none."""
    if linktype in _RAW:
        version = frame[0] >> 4 if frame else 0
        return template(kind, 0, 0, b"", version) if version in (4, 6) else None
    place = _LINKS.get(linktype)
    if place is None:
        return None
    length, at = place
    protocol = bytes(frame[at : at + 2])
    while protocol in _TAGS and linktype == 1:
        length, at = length + 4, at + 4
        protocol = bytes(frame[at : at + 2])
    if protocol not in _ETHERTYPES:
        return None
    return template(kind, length, at, protocol, _ETHERTYPES[protocol])


class Kernel:
    """Passes packets of one capture file after the other; remembers which template fitted last.

    After a call, `latest` is the key of the last passed packet that carried payload (None: there was none), `latest_at`
    where its record begins, and `latest_number` which of the passed packets it was, from 0.
    """

    def __init__(self) -> None:
        self.latest: bytes | None = None
        self.latest_at = 0
        self.latest_number = 0
        self._template: Template | None = None
        self._shape = ""
        self._steps = _Steps("<", 0)
        self._lengths = _Steps("<", 0)

    def forward(
        self, buffer: memoryview, position: int, end: int, shape: str, linktype: int, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        """Pass packets from `position` on.

        Args:
            buffer: holds whole packet records of a pcap or pcapng file from `position`.
            position: where the next record begins.
            end: end of the valid bytes.
            shape: ``pcap<``, ``pcap>``, ``pcapng<`` or ``pcapng>``: file format and byte order.
            linktype: LINKTYPE_ number of all packets.
            fast: connection key -> [next sequence number, bytes that may be passed, last ACK], updated in place.

        Returns:
            Where the first packet begins that might matter, and how many were passed.
        """
        kind = shape[:-1]
        self.latest = None
        if kind not in _PREFIX:
            return position, 0
        if shape != self._shape:
            self._shape = shape
            self._steps = _Steps(shape[-1], 16 if kind == "pcap" else 0)
            self._lengths = _Steps(shape[-1], 0)
            self._template = None
        walk = self._pcap if kind == "pcap" else self._pcapng
        passed = 0
        if self._template is not None:
            position, passed = walk(buffer, position, end, self._template, fast)
        if not passed:
            header = _RECORD_HEADER[kind]
            chosen = template_for(kind, linktype, buffer[position + header : min(end, position + header + 64)])
            if chosen is not None and chosen is not self._template:
                self._template = chosen
                position, passed = walk(buffer, position, end, chosen, fast)
        return position, passed

    def _pcap(
        self, buffer: memoryview, position: int, end: int, form: Template, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        struct, protocol, versions, overhead, fixed = form
        fixed += 16
        unpack = struct.unpack_from
        last = end - struct.size
        steps = self._steps
        find = fast.get
        header = overhead.get
        unfragmented = _FRAGMENTS
        passed = 0
        latest, latest_at, latest_number = None, 0, 0
        while position <= last:
            captured, link, version, length, fragment, number, key, seq, ack, bits = unpack(buffer, position)
            step = steps[captured]
            if number != 6 or link != protocol or version not in versions or fragment not in unfragmented:
                break
            state = find(key)
            used = header(bits)
            if state is None or used is None or position + step > end or length + fixed > step:
                break
            count = length - used
            if count == 0:
                state[2] = ack
            elif seq == state[0] and 0 < count < state[1]:
                state[0] = (seq + count) & _MASK
                state[1] -= count
                state[2] = ack
                latest, latest_at, latest_number = key, position, passed
            elif state[1] != IGNORE:
                break
            position += step
            passed += 1
        self.latest, self.latest_at, self.latest_number = latest, latest_at, latest_number
        return position, passed

    def _pcapng(
        self, buffer: memoryview, position: int, end: int, form: Template, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        struct, protocol, versions, overhead, fixed = form
        unpack = struct.unpack_from
        last = end - struct.size
        steps, lengths = self._steps, self._lengths
        find = fast.get
        header = overhead.get
        unfragmented = _FRAGMENTS
        enhanced = 6 if self._shape[-1] == ">" else 6 << 24
        passed = 0
        latest, latest_at, latest_number = None, 0, 0
        while position <= last:
            block, total, captured, link, version, length, fragment, number, key, seq, ack, bits = unpack(
                buffer, position
            )
            if block != enhanced or number != 6 or link != protocol or version not in versions:
                break
            state = find(key)
            used = header(bits)
            step = steps[total]
            if state is None or used is None or fragment not in unfragmented or position + step > end or step < 32:
                break
            if length + fixed > lengths[captured]:
                break
            count = length - used
            if count == 0:
                state[2] = ack
            elif seq == state[0] and 0 < count < state[1]:
                state[0] = (seq + count) & _MASK
                state[1] -= count
                state[2] = ack
                latest, latest_at, latest_number = key, position, passed
            elif state[1] != IGNORE:
                break
            position += step
            passed += 1
        self.latest, self.latest_at, self.latest_number = latest, latest_at, latest_number
        return position, passed
