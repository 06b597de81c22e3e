# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast-forward kernel: pass packets that cannot matter, as they lie in a capture buffer.

A packet cannot matter when it is a pure acknowledgement, or an in-order segment that lies wholly inside bytes nobody
needs (page contents), or belongs to a connection that is no migration. The kernel stops at the first packet that might
matter - anything it does not understand might - and leaves that to the engine.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from struct import Struct, error
from typing import Literal, NamedTuple

from dissector.wire.halfflow import IGNORE

_ETHERTYPES = {b"\x08\x00": 4, b"\x86\xdd": 6}
_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_LINKS: dict[int, tuple[int, int]] = {1: (14, 12), 113: (16, 14), 276: (20, 0)}
"""LINKTYPE_ -> (header length, where the protocol number lies)."""
_RAW = (101, 12, 14, 228, 229)
_RECORD_HEADER = {"pcap": 16, "pcapng": 28}
_PREFIX = {"pcap": "8x", "pcapng": "Q 12x"}
"""What lies in a record header before the captured length; of pcapng, block type and length matter."""
_KNOWN_HEADS = 4096


class Entry(NamedTuple):
    """What is known of all packets that begin with the same bytes, from the captured length to the IP length field."""

    step: int
    """Bytes of the whole record in the capture file."""
    block: int
    """pcapng: block type and length as one number."""
    counts: dict[int, int]
    """TCP data offset and flags -> payload length; only of plain data and pure ACK."""
    length: int
    """What the IP length field says."""
    room: int
    """Captured bytes behind the link header (IPv6: behind the fixed header)."""


class Template(NamedTuple):
    """Where the fields lie in the packets of one link layer and IP version."""

    struct: Struct
    protocol: bytes
    protocol_at: int
    link: int
    """Bytes of the link header."""
    version: int
    tails: frozenset[int]
    """Flags, fragment offset, time to live and protocol of an unfragmented IPv4 packet with TCP; likewise IPv6."""
    overhead: dict[int, int]
    """TCP data offset and flags -> header bytes that the IP length field counts."""


_TAILS = {
    4: frozenset(flags << 16 | ttl << 8 | 6 for flags in (0, 0x4000) for ttl in range(256)),
    6: frozenset(6 << 8 | hops for hops in range(256)),
}


@cache
def _overhead(ip_header: int) -> dict[int, int]:
    return {
        words << 12 | flags | marks: ip_header + 4 * words
        for words in range(5, 16)
        for flags in (0x10, 0x18)
        for marks in (0, 0x40, 0x80, 0xC0)
    }


@cache
def template(kind: str, link: int, protocol_at: int, protocol: bytes, version: int) -> Template:
    """Make the template for `version` of IP behind a link header of `link` bytes."""
    network = f"{8 + link + 4}s 2x I 2x 12s I I H" if version == 4 else f"{8 + link + 6}s H 36s I I H"
    struct = Struct(f">{_PREFIX[kind]} {network}")
    return Template(struct, protocol, protocol_at, link, version, _TAILS[version], _overhead(20 if version == 4 else 0))


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
        self._heads: dict[bytes, Entry] = {}
        self._foreign = False
        """The last packet looked into does not fit the template."""

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
            fast: connection key -> [next sequence number, sequence number that a passed segment must end before,
                last ACK], updated in place.

        Returns:
            Where the first packet begins that might matter, and how many were passed.
        """
        kind = shape[:-1]
        self.latest = None
        if kind not in _PREFIX:
            return position, 0
        if shape != self._shape:
            self._shape = shape
            self._template = None
        walk = self._pcap if kind == "pcap" else self._pcapng
        passed = 0
        if self._template is not None:
            position, passed = walk(buffer, position, end, self._template, fast)
        if not passed and (self._foreign or self._template is None):
            self._foreign = False
            header = _RECORD_HEADER[kind]
            chosen = template_for(kind, linktype, buffer[position + header : min(end, position + header + 64)])
            if chosen is not None and chosen is not self._template:
                self._template = chosen
                self._heads.clear()
                position, passed = walk(buffer, position, end, chosen, fast)
        return position, passed

    # Behind `end` the walks may read what an earlier filling of the buffer left there: no record is shorter than what
    # they unpack, so such a one never ends before `end` and changes nothing. Behind the buffer, unpacking fails.

    def _pcap(
        self, buffer: memoryview, position: int, end: int, form: Template, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        unpack = form.struct.unpack_from
        tails = form.tails
        heads = self._heads
        ignore = IGNORE
        before = passed = 0
        latest, latest_at, latest_number = None, 0, 0
        while True:
            try:
                for passed in count(before):
                    head, tail, key, seq, ack, bits = unpack(buffer, position)
                    step, _, counts, _, _ = heads[head]
                    state = fast[key]
                    behind = position + step
                    if behind > end or tail not in tails:
                        break
                    if length := counts[bits]:
                        if seq == state[0] and (until := seq + length) < state[1]:
                            state[0] = until
                            latest, latest_at, latest_number = key, position, passed
                        elif state[1] != ignore:
                            break
                    state[2] = ack
                    position = behind
            except KeyError:
                before = passed
                if self._learn(form, head, bits, 0):
                    continue
            except error:
                pass
            self.latest, self.latest_at, self.latest_number = latest, latest_at, latest_number
            return position, passed

    def _pcapng(
        self, buffer: memoryview, position: int, end: int, form: Template, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        unpack = form.struct.unpack_from
        tails = form.tails
        heads = self._heads
        ignore = IGNORE
        before = passed = 0
        latest, latest_at, latest_number = None, 0, 0
        while True:
            try:
                for passed in count(before):
                    block, head, tail, key, seq, ack, bits = unpack(buffer, position)
                    step, known, counts, _, _ = heads[head]
                    state = fast[key]
                    behind = position + step
                    if behind > end or block != known or tail not in tails:
                        break
                    if length := counts[bits]:
                        if seq == state[0] and (until := seq + length) < state[1]:
                            state[0] = until
                            latest, latest_at, latest_number = key, position, passed
                        elif state[1] != ignore:
                            break
                    state[2] = ack
                    position = behind
            except KeyError:
                before = passed
                if self._learn(form, head, bits, block):
                    continue
            except error:
                pass
            self.latest, self.latest_at, self.latest_number = latest, latest_at, latest_number
            return position, passed

    def _learn(self, form: Template, head: bytes, bits: int, block: int) -> bool:
        """Look into the bytes that a packet begins with; False when the kernel must not pass it, or knew them all."""
        entry = self._heads.get(head)
        if entry is None:
            entry = self._entry(form, head, block)
            if entry is None:
                self._foreign = True
                return False
            if len(self._heads) >= _KNOWN_HEADS:
                self._heads.clear()
            self._heads[head] = entry
            return True
        used = form.overhead.get(bits)
        if bits in entry.counts or used is None or not used <= entry.length <= entry.room:
            return False
        entry.counts[bits] = entry.length - used
        return True

    def _entry(self, form: Template, head: bytes, block: int) -> Entry | None:
        order: Literal["little", "big"] = "little" if self._shape[-1] == "<" else "big"
        captured = int.from_bytes(head[:4], order)
        at = 8 + form.protocol_at
        version = head[8 + form.link]
        if head[at : at + len(form.protocol)] != form.protocol:
            return None
        if version != 0x45 if form.version == 4 else version >> 4 != 6:
            return None
        step = 16 + captured
        if self._shape.startswith("pcapng"):
            kind, step = (
                int.from_bytes(word, order) for word in (block.to_bytes(8, "big")[:4], block.to_bytes(8, "big")[4:])
            )
            if kind != 6 or step < 32 + captured or step & 3:
                return None
        if step < form.struct.size:
            return None
        room = captured - form.link - (0 if form.version == 4 else 40)
        return Entry(step, block, {}, int.from_bytes(head[-2:], "big"), room)
