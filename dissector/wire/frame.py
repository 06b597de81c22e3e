# SPDX-License-Identifier: GPL-2.0-or-later
"""Captured frame to TCP segment: link layers, VLAN tags, IPv4, IPv6 with extension headers, fragments.

Nothing here trusts a length: what the headers claim decides where the payload ends on the wire, what was captured
decides which part of it is there. Whatever is broken gives None and a counter, never an exception.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ETHERNET: Final = 1
LINUX_SLL: Final = 113
LINUX_SLL2: Final = 276
NULL: Final = 0
LOOP: Final = 108

LINKTYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        NULL: "NULL",
        ETHERNET: "ETHERNET",
        12: "RAW",  # BSDs write their DLT_RAW, 12 or 14, instead of 101
        14: "RAW",
        101: "RAW",
        LOOP: "LOOP",
        LINUX_SLL: "LINUX_SLL",
        228: "IPV4",
        229: "IPV6",
        LINUX_SLL2: "LINUX_SLL2",
    }
)
"""Link types that `FrameDecoder` knows: number -> LINKTYPE_ name without the prefix."""

IPV4, IPV6, MALFORMED, OTHER = 0x0800, 0x86DD, -1, 0
VLAN_TAGS = frozenset({0x8100, 0x88A8, 0x9100})
ADDRESS_FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}

HOP_BY_HOP, TCP, FRAGMENT, AUTHENTICATION = 0, 6, 44, 51
EXTENSION_HEADERS = frozenset({HOP_BY_HOP, FRAGMENT, AUTHENTICATION, 43, 60, 135, 139, 140})
"""The last ones are routing, destination options, mobility, HIP and shim6."""

FIN, SYN, RST, ACK_FLAG = 0x01, 0x02, 0x04, 0x10
"""In `Segment.flags`."""

PIECE_OVERHEAD = 200
"""Bytes that each kept fragment costs besides its contents, so that a flood of tiny ones is bounded too."""

# One unpack for all the headers of an Ethernet frame with IPv4 without options and TCP: ether type, version and header
# length, total length, fragment word, protocol, addresses and ports, seq, ack, offset and flags, window.
_PLAIN = struct.Struct("!12xHBxHxxHxBxx12sIIHH")
_IPV4 = struct.Struct("!BxH2sHxBxx8s")
_IPV6 = struct.Struct("!BxxxHBx32s")
_TCP = struct.Struct("!4sIIHH")
_FRAGMENT = struct.Struct("!BxH4s")


class Segment(NamedTuple):
    """One TCP segment.

    Attributes:
        key: Source address, destination address, source port, destination port as on the wire: 12 bytes for IPv4, 36
            bytes for IPv6.
        seq: Sequence number, as on the wire.
        ack: Acknowledgement number, as on the wire.
        flags: Low 9 bits: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, NS 256.
        window: As on the wire, not scaled.
        payload: The captured part of the TCP payload, a view into the frame (into a copy when IP fragments were put
            together).
        length: Bytes of TCP payload on the wire, at least len(payload).
        at: Index of the payload in the frame; -1 when IP fragments were put together.
        header: Bytes of TCP header before it.
    """

    key: bytes
    seq: int
    ack: int
    flags: int
    window: int
    payload: memoryview
    length: int
    at: int
    header: int


class UnknownLinkType(ValueError):  # noqa: N818 - a condition of the input, named as users meet it
    """A frame of a link type that is not in `LINKTYPES`.

    Attributes:
        linktype: The number.
    """

    def __init__(self, linktype: int) -> None:
        super().__init__(f"link type {linktype} is not supported")
        self.linktype = linktype


class FrameDecoder:
    """Decodes frames one by one; the only memory are IP fragments waiting for their datagram.

    Args:
        max_fragment_bytes: Bound on that memory; the oldest datagrams are given up first.

    Attributes:
        malformed: Frames with broken headers so far, or cut inside their TCP header or before it.
        fragments: Fragments so far.
        fragments_dropped: Of these, fragments that were given up, because others never came or contradicted them.
    """

    def __init__(self, *, max_fragment_bytes: int = 4 << 20) -> None:
        self.malformed = 0
        self.fragments = 0
        self.fragments_dropped = 0
        self._max_fragment_bytes = max_fragment_bytes
        self._fragment_bytes = 0
        self._datagrams: dict[bytes, _Datagram] = {}

    def decode(self, linktype: int, data: memoryview, wire_length: int) -> Segment | None:
        """Decode one frame.

        Args:
            linktype: LINKTYPE_ number.
            data: The captured bytes (item size 1).
            wire_length: Bytes the frame had on the wire.

        Returns:
            The segment; None when this is not TCP over IP, or broken, or a fragment that does not complete a datagram.

        Raises:
            UnknownLinkType: The link type is not in `LINKTYPES`.
        """
        if linktype == ETHERNET and len(data) >= 54:
            ether_type, version, total, fragment, protocol, key, seq, ack, flags, window = _PLAIN.unpack_from(data)
            if version == 0x45 and ether_type == IPV4 and protocol == TCP and not fragment & 0x3FFF:
                header = flags >> 10 & 0x3C
                length = total - 20 - header
                if header >= 20 and length >= 0:
                    payload = data[34 + header : 14 + total]
                    return _new(Segment, (key, seq, ack, flags & 0x1FF, window, payload, length, 34 + header, header))
        protocol, position = network(linktype, data)
        if protocol == IPV4:
            return self._ipv4(data, position, wire_length)
        if protocol == IPV6:
            return self._ipv6(data, position, wire_length)
        if protocol == MALFORMED:
            self.malformed += 1
        return None

    def _ipv4(self, data: memoryview, position: int, wire_length: int) -> Segment | None:
        if len(data) < position + 20:
            return self._broken()
        version, total, identification, fragment, protocol, addresses = _IPV4.unpack_from(data, position)
        header = (version & 0xF) * 4
        if total == 0:  # the sending host captures before its network card cuts the segment and fills in the lengths
            total = wire_length - position
        if version >> 4 != 4 or header < 20 or total < header:
            return self._broken()
        start, end = position + header, position + total
        if fragment & 0x3FFF:
            if protocol not in (TCP, AUTHENTICATION):
                return None
            name = b"%b%b%c" % (addresses, identification, protocol)
            offset, more = (fragment & 0x1FFF) * 8, bool(fragment & 0x2000)
            return self._fragment(name, protocol, offset, end - start, more, data[start:end])
        return self._upper(data, start, end, protocol, addresses, None)

    def _ipv6(self, data: memoryview, position: int, wire_length: int) -> Segment | None:
        if len(data) < position + 40:
            return self._broken()
        version, length, protocol, addresses = _IPV6.unpack_from(data, position)
        if version >> 4 != 6:
            return self._broken()
        start = position + 40
        if length == 0:
            jumbo = _jumbo_length(data, start) if protocol == HOP_BY_HOP else None
            length = jumbo if jumbo is not None else wire_length - start
        return self._upper(data, start, start + length, protocol, addresses, addresses)

    def _upper(
        self, data: memoryview, start: int, end: int, protocol: int, addresses: bytes, datagram: bytes | None
    ) -> Segment | None:
        """Follow extension headers to the TCP header.

        Args:
            data: Holds the datagram.
            start: Where the header of `protocol` begins.
            end: Where the datagram ended on the wire, perhaps behind what was captured.
            protocol: Of the header at `start`.
            addresses: Source and destination.
            datagram: What names a fragmented datagram together with its identification; None: no fragments allowed.
        """
        while protocol != TCP:
            if protocol not in EXTENSION_HEADERS:
                return None
            if start + 8 > end or start + 8 > len(data):
                return self._broken()
            if protocol == FRAGMENT:
                if datagram is None:
                    return self._broken()
                protocol, word, identification = _FRAGMENT.unpack_from(data, start)
                start += 8
                if protocol != TCP and protocol not in EXTENSION_HEADERS:
                    return None
                if word & 0xFFF9:  # else an atomic fragment: the whole datagram
                    name, more = datagram + identification, bool(word & 1)
                    return self._fragment(name, protocol, word & 0xFFF8, end - start, more, data[start:end])
            elif protocol == AUTHENTICATION:
                protocol, start = data[start], start + (data[start + 1] + 2) * 4
            else:
                protocol, start = data[start], start + (data[start + 1] + 1) * 8
        if start + 20 > end or start + 20 > len(data):
            return self._broken()
        ports, seq, ack, flags, window = _TCP.unpack_from(data, start)
        payload = start + (flags >> 10 & 0x3C)
        if payload < start + 20 or payload > end:
            return self._broken()
        header = payload - start
        return Segment(
            addresses + ports, seq, ack, flags & 0x1FF, window, data[payload:end], end - payload, payload, header
        )

    def _fragment(
        self, name: bytes, protocol: int, offset: int, length: int, more: bool, captured: memoryview
    ) -> Segment | None:
        """Keep one fragment; go on with the datagram when it is complete. Names begin with the addresses."""
        self.fragments += 1
        if length <= 0 or (more and length & 7) or offset + length > 0xFFFF:
            return self._broken()
        datagram = self._datagrams.get(name)
        if datagram is None:
            datagram = self._datagrams[name] = _Datagram()
            self._fragment_bytes += datagram.cost
        before = datagram.cost
        if offset == 0 and not (datagram.starts and datagram.starts[0] == 0):
            datagram.protocol = protocol  # only the first fragment's counts
        consistent = datagram.add(offset, length, more, captured)
        self._fragment_bytes += datagram.cost - before
        if not consistent or datagram.complete:
            self._forget(name)
        if not consistent:
            self.fragments_dropped += datagram.fragments
            return None
        if datagram.complete:
            addresses = name[:8] if len(name) < 32 else name[:32]
            payload = memoryview(datagram.payload())
            segment = self._upper(payload, 0, datagram.covered, datagram.protocol, addresses, None)
            return segment and segment._replace(at=-1)
        while self._fragment_bytes > self._max_fragment_bytes:
            oldest = next(iter(self._datagrams))
            self.fragments_dropped += self._datagrams[oldest].fragments
            self._forget(oldest)
        return None

    def _forget(self, name: bytes) -> None:
        self._fragment_bytes -= self._datagrams.pop(name).cost

    def _broken(self) -> Segment | None:
        self.malformed += 1
        return None


class _Datagram:
    """Fragments of one datagram. Bytes that came first win; one cut by the snap length covers its whole place."""

    __slots__ = ("cost", "covered", "fragments", "pieces", "protocol", "starts", "total")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.pieces: list[tuple[int, bytes]] = []
        self.covered = 0
        self.total: int | None = None
        self.fragments = 0
        self.protocol = -1
        self.cost = PIECE_OVERHEAD

    @property
    def complete(self) -> bool:
        return self.covered == self.total

    def add(self, offset: int, length: int, more: bool, captured: memoryview) -> bool:
        """Add what is new in a fragment; False when it contradicts the others about the end of the datagram."""
        self.fragments += 1
        end = offset + length
        if not more:
            if self.total not in (None, end) or (self.pieces and self.starts[-1] + self.pieces[-1][0] > end):
                return False
            self.total = end
        elif self.total is not None and end > self.total:
            return False
        at, index = offset, bisect_right(self.starts, offset)
        if index:
            at = max(at, self.starts[index - 1] + self.pieces[index - 1][0])
        while at < end:
            following = self.starts[index] if index < len(self.starts) else end
            stop = min(end, following)
            if stop > at:
                piece = bytes(captured[at - offset : stop - offset])
                self.starts.insert(index, at)
                self.pieces.insert(index, (stop - at, piece))
                self.covered += stop - at
                self.cost += len(piece) + PIECE_OVERHEAD
                index += 1
            if index >= len(self.starts):
                break
            at = max(stop, self.starts[index] + self.pieces[index][0])
            index += 1
        return True

    def payload(self) -> bytes:
        """Put the pieces together, up to the first byte that was not captured."""
        found = bytearray()
        for length, piece in self.pieces:
            found += piece
            if len(piece) < length:
                break
        return bytes(found)


def network(linktype: int, data: memoryview) -> tuple[int, int]:
    """Give the network protocol of a frame (MALFORMED: cut, OTHER: not IP) and where its header begins."""
    if linktype == ETHERNET:
        place, position = 12, 14
    elif linktype == LINUX_SLL:
        place, position = 14, 16
    elif linktype == LINUX_SLL2:
        place, position = 0, 20
    elif linktype in (NULL, LOOP):
        family = bytes(data[:4])
        if len(family) < 4:
            return MALFORMED, 0
        # NULL is in the byte order of the host that captured, which is not recorded.
        little, big = int.from_bytes(family, "little"), int.from_bytes(family, "big")
        return ADDRESS_FAMILIES.get(min(little, big), OTHER), 4
    elif linktype in LINKTYPES:
        if not len(data):
            return MALFORMED, 0
        return {4: IPV4, 6: IPV6}.get(data[0] >> 4, MALFORMED), 0
    else:
        raise UnknownLinkType(linktype)
    if len(data) < position:
        return MALFORMED, 0
    ether_type = data[place] << 8 | data[place + 1]
    while ether_type in VLAN_TAGS:
        if len(data) < position + 4:
            return MALFORMED, 0
        ether_type = data[position + 2] << 8 | data[position + 3]
        position += 4
    return ether_type if ether_type in (IPV4, IPV6) else OTHER, position


def _jumbo_length(data: memoryview, start: int) -> int | None:
    """Find the jumbo payload option (RFC 2675) in the hop-by-hop header at a position."""
    if len(data) < start + 8:
        return None
    end = min(start + (data[start + 1] + 1) * 8, len(data))
    position = start + 2
    while position + 2 <= end:
        if data[position] == 0:  # Pad1 is the one option without a length
            position += 1
            continue
        if data[position] == 0xC2 and data[position + 1] == 4 and position + 6 <= end:
            return int.from_bytes(data[position + 2 : position + 6], "big")
        position += 2 + data[position + 1]
    return None


_new = tuple.__new__  # NamedTuple's own constructor costs twice as much


def supported_linktype(linktype: int) -> bool:
    """Tell whether `FrameDecoder.decode` knows a link type."""
    return linktype in LINKTYPES


def reverse_key(key: bytes) -> bytes:
    """Give the key of the other direction."""
    half = (len(key) - 4) // 2
    return key[half:-4] + key[:half] + key[-2:] + key[-4:-2]


def endpoints(key: bytes) -> tuple[str, int, str, int]:
    """Give source address, source port, destination address and destination port of a key, addresses in text form."""
    from ipaddress import ip_address  # costs a few milliseconds of start-up that most runs do not need

    half = (len(key) - 4) // 2
    source, destination = ip_address(key[:half]), ip_address(key[half:-4])
    return str(source), int.from_bytes(key[-4:-2], "big"), str(destination), int.from_bytes(key[-2:], "big")
