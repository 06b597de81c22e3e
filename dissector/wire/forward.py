# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast-forward kernel in Python: pass packets that cannot matter, as they lie in a capture buffer.

A packet cannot matter when it is a pure acknowledgement, or an in-order segment that lies wholly inside bytes nobody
needs (page contents), or belongs to a connection that is no migration. The kernel stops at the first packet that might
matter - anything it does not understand might - and leaves that to the engine.

The kernel in C (``_forward.c``) does the same; :mod:`dissector.wire.kernel` chooses.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from struct import Struct, error
from typing import Literal, NamedTuple

from dissector.wire.halfflow import IGNORE

_ETHERTYPES = {b"\x08\x00": 4, b"\x86\xdd": 6}
_PROTOCOLS = {version: protocol for protocol, version in _ETHERTYPES.items()}
_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_LINKS: dict[int, tuple[int, int]] = {1: (14, 12), 113: (16, 14), 276: (20, 0)}
"""LINKTYPE_ -> (header length, where the protocol number lies)."""
_RAW = (101, 12, 14, 228, 229)
_COOKED = 276
"""Of a ring: frames without link header, whose protocol is in the record header."""
_RECORD_HEADER = {"pcap": 16, "pcapng": 28}
_PREFIX = {"pcap": "8x", "pcapng": "Q 12x"}
"""What lies in a record header before the captured length; of pcapng, block type and length matter."""
_LENGTHS = 8
"""Captured and wire length of pcap and pcapng lie right before the frame, and are the start of what is learned."""
_RING_FIXED = slice(12, 52)
"""What must be as learned in the record header of a ring: from the captured length, over where the frame lies (2 bytes
at 24) and the VLAN tag, to the protocol number in the address."""
_TAGGED = 0x50
"""Status bits of a ring record: the VLAN tag that was taken out of the frame is there, and so is its protocol."""
_KINDS = (*_PREFIX, "ring")
_KNOWN_HEADS = 4096


class Entry(NamedTuple):
    """What is known of all packets that begin with the same bytes, up to the IP length field.

    The bytes begin at the captured length, or of a ring at the frame.
    """

    step: int
    """Bytes of the whole record in the capture file."""
    block: int | bytes
    """pcapng: block type and length as one number; ring: what `_RING_FIXED` says."""
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
    lead: int
    """Learned bytes before the frame."""
    frame_at: int
    """Ring: where the frame lies in its record."""


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
def template(kind: str, link: int, protocol_at: int, protocol: bytes, version: int, frame_at: int = 0) -> Template:
    """Make the template for `version` of IP behind a link header of `link` bytes."""
    lead, prefix = _LENGTHS, _PREFIX.get(kind)
    if prefix is None:
        begin, end = _RING_FIXED.start, _RING_FIXED.stop
        lead, prefix = 0, f"{begin}x {end - begin}s {frame_at - end}x"
    network = f"{lead + link + 4}s 2x I 2x 12s I I H" if version == 4 else f"{lead + link + 6}s H 36s I I H"
    struct, overhead = Struct(f">{prefix} {network}"), _overhead(20 if version == 4 else 0)
    return Template(struct, protocol, protocol_at, link, version, _TAILS[version], overhead, lead, frame_at)


def template_for(kind: str, linktype: int, frame: memoryview, frame_at: int = 0) -> Template | None:
    """Choose the template that fits a frame; None when the kernel has none.

    Args:
        kind: ``pcap``, ``pcapng`` or ``ring``.
        linktype: LINKTYPE_ number.
        frame: The first bytes of it.
        frame_at: Ring: where it lies in its record.
    """
    if linktype in _RAW or (kind == "ring" and linktype == _COOKED):
        version = frame[0] >> 4 if frame else 0
        return template(kind, 0, 0, b"", version, frame_at) if version in (4, 6) else None
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
    return template(kind, length, at, protocol, _ETHERTYPES[protocol], frame_at)


class PythonKernel:
    """Passes packets of one capture file after the other; remembers which template fitted last.

    After a call, `latest` is the key of the last passed packet that carried payload (None: there was none), `latest_at`
    where its record begins, and `latest_number` which of the passed packets it was, from 0.
    """

    def __init__(self) -> None:
        self.latest: bytes | None = None
        self.latest_at = 0
        self.latest_number = 0
        self.slim = False
        """Packets may end behind their TCP header, and blocks with options are not passed; set it before the first."""
        self._template: Template | None = None
        self._shape = ""
        self._linktype = -1
        self._heads: dict[bytes, Entry] = {}
        self._foreign = False
        """The last packet looked into does not fit the template."""

    def forward(
        self, buffer: memoryview, position: int, end: int, shape: str, linktype: int, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        """Pass packets from `position` on.

        Args:
            buffer: holds whole packet records of a pcap or pcapng file, or of a block of a ring, from `position`.
            position: where the next record begins.
            end: end of the valid bytes.
            shape: ``pcap<``, ``pcap>``, ``pcapng<``, ``pcapng>``, ``ring<`` or ``ring>``: format and byte order.
            linktype: LINKTYPE_ number of all packets.
            fast: connection key -> [next sequence number, sequence number that a passed segment must end before,
                last ACK], updated in place.

        Returns:
            Where the first packet begins that might matter, and how many were passed.
        """
        kind = shape[:-1]
        self.latest = None
        if kind not in _KINDS:
            return position, 0
        if shape != self._shape or linktype != self._linktype:
            self._shape, self._linktype = shape, linktype
            self._template = None
        walk = self._pcap if kind == "pcap" else self._checked
        passed = 0
        if self._template is not None:
            position, passed = walk(buffer, position, end, self._template, fast)
            if not passed and kind == "ring" and self._forget(self._template, buffer, position):
                position, passed = walk(buffer, position, end, self._template, fast)
        if not passed and (self._foreign or self._template is None):
            self._foreign = False
            header = self._frame_at(buffer, position, end) if kind == "ring" else _RECORD_HEADER[kind]
            start = position + header
            chosen = template_for(kind, linktype, buffer[start : min(end, start + 64)], header)
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

    # pcapng and rings: like `_pcap`, but something besides the learned bytes must be as it was.

    def _checked(
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

    def _frame_at(self, buffer: memoryview, position: int, end: int) -> int:
        """Say where the frame lies in a ring record; the rest of the buffer if nowhere."""
        at = int.from_bytes(buffer[position + 24 : position + 26], self._order())
        return at if _RING_FIXED.stop <= at <= end - position else end - position

    def _forget(self, form: Template, buffer: memoryview, position: int) -> bool:
        """Forget what was learned of a ring record if other lengths or another status now come with the same bytes."""
        try:
            block, head, *_ = form.struct.unpack_from(buffer, position)
        except error:
            return False
        entry = self._heads.get(head)
        if entry is None or entry.block == block:
            return False
        del self._heads[head]
        return True

    def _learn(self, form: Template, head: bytes, bits: int, block: int | bytes) -> bool:
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
        if bits in entry.counts or used is None or not used <= entry.length:
            return False
        if entry.room < (used if self.slim else entry.length):
            return False
        entry.counts[bits] = entry.length - used
        return True

    def _entry(self, form: Template, head: bytes, block: int | bytes) -> Entry | None:
        order = self._order()
        at = form.lead + form.protocol_at
        version = head[form.lead + form.link]
        if head[at : at + len(form.protocol)] != form.protocol:
            return None
        if self._linktype == 1 and any(head[tag : tag + 2] not in _TAGS for tag in range(form.lead + 12, at, 4)):
            return None
        if version != 0x45 if form.version == 4 else version >> 4 != 6:
            return None
        if isinstance(block, bytes):
            captured = int.from_bytes(block[:4], order)
            frame_at = int.from_bytes(block[12:14], order)
            step = frame_at + captured + 7 & ~7
            if frame_at != form.frame_at or (not form.link and block[-2:] != _PROTOCOLS[form.version]):
                return None
            if int.from_bytes(block[8:12], order) & _TAGGED == _TAGGED and self._tag_of(block) not in _TAGS:
                return None
        else:
            captured = int.from_bytes(head[:4], order)
            step = 16 + captured
            if self._shape.startswith("pcapng"):
                word = block.to_bytes(8, "big")
                kind, step = int.from_bytes(word[:4], order), int.from_bytes(word[4:], order)
                if kind != 6 or step < 32 + captured or step & 3 or (self.slim and step > 35 + captured):
                    return None
        if step < form.struct.size:
            return None
        room = captured - form.link - (0 if form.version == 4 else 40)
        return Entry(step, block, {}, int.from_bytes(head[-2:], "big"), room)

    def _tag_of(self, block: bytes) -> bytes:
        """Give the protocol number of the VLAN tag that was taken out of a ring's frame, as it was on the wire."""
        return block[24:26] if self._order() == "big" else block[25:23:-1]

    def _order(self) -> Literal["little", "big"]:
        return "little" if self._shape[-1] == "<" else "big"
