# SPDX-License-Identifier: GPL-2.0-or-later
"""The packets of a TCP connection that carried two byte streams, made up from the streams.

IPv4 without a link layer (LINKTYPE_RAW): there was none, and Wireshark shows none. 192.0.2.1 is whoever started the
command, 192.0.2.2 the command; both are addresses for documentation (RFC 5737) that no real capture has. Both initial
sequence numbers are 0, so a raw sequence number is the offset in the stream plus 1, modulo 2^32.

IPv4 checksums are right. TCP checksums cover the pseudo header only, as in a capture on a sender that leaves the
rest to its network card: summing up a payload in Python takes longer than all the rest.
"""

from __future__ import annotations

import struct
from typing import Final, Literal, NamedTuple

Side = Literal[0, 1]
"""Who sends: 0 is who started the command, 1 the command."""

LINKTYPE: Final = 101
ADDRESSES: Final = (bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]))
RECEIVER_PORT: Final = 8002
"""Where xl's documentation has its receiver listen; the number means nothing to the dissector."""
SEGMENT_BYTES: Final = 45 * 1448
"""Payload of a full segment: what the kernel hands to a network card at most, at an MTU of 1500."""

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_WINDOW_SHIFT: Final = 10
_WINDOW: Final = 65535
"""Times 2^10: no run between two acknowledgements is larger."""
_SYN_OPTIONS: Final = struct.pack(">BBHBBBB", 2, 4, 1460, 1, 3, 3, _WINDOW_SHIFT)
_HEAD: Final = struct.Struct(">BBHHHBBH8sHHIIBBHHH")
_MASK: Final = 0xFFFF_FFFF


class Frame(NamedTuple):
    """One packet.

    Attributes:
        time: Nanoseconds since the epoch.
        head: IPv4 and TCP headers.
        payload: What it carries; empty for most acknowledgements.
    """

    time: int
    head: bytes
    payload: bytes | memoryview


class TcpConnection:
    """Makes the packets; bytes have to be given in the order and at the time they were seen.

    Args:
        port: of who started the command; tells connections of one host apart.
    """

    def __init__(self, port: int = 49152) -> None:
        self._ports = (port, RECEIVER_PORT)
        self._sent = [0, 0]
        """Sequence numbers used by each side, not cut to 32 bits."""
        self._seen = [0, 0]
        """What of them the other side has acknowledged."""
        self._over = [False, False]
        self._broken = False
        self._idents = [0, 0]
        ends = ADDRESSES[0] + ADDRESSES[1], ADDRESSES[1] + ADDRESSES[0]
        self._ends = ends
        self._address_sum = sum(struct.unpack(">4H", ends[0]))

    def open(self, time: int) -> list[Frame]:
        """Make the handshake."""
        frames = [self._frame(0, time, SYN, options=_SYN_OPTIONS)]
        self._sent[0] = 1
        self._seen[0] = 1
        frames.append(self._frame(1, time, SYN | ACK, options=_SYN_OPTIONS))
        self._sent[1] = 1
        self._seen[1] = 1
        frames.append(self._frame(0, time, ACK))
        return frames

    def data(self, side: Side, data: bytes, time: int) -> list[Frame]:
        """Make the segments of bytes that `side` sent."""
        view = memoryview(data)
        frames = []
        for start in range(0, len(view), SEGMENT_BYTES):
            payload = view[start : start + SEGMENT_BYTES]
            push = PSH if start + SEGMENT_BYTES >= len(view) else 0
            frames.append(self._frame(side, time, ACK | push, payload))
            self._sent[side] += len(payload)
        return frames

    def taken(self, side: Side, count: int, time: int) -> list[Frame]:
        """Acknowledge `count` more bytes of `side`: the other one has taken them."""
        self._seen[side] += count
        other: Side = 0 if side else 1
        return [] if self._broken else [self._frame(other, time, ACK)]

    def end(self, side: Side, time: int) -> list[Frame]:
        """Close the direction of `side`: it has sent everything."""
        if self._over[side] or self._broken:
            return []
        frames = [self._frame(side, time, FIN | ACK)]
        self._over[side] = True
        self._sent[side] += 1
        self._seen[side] = self._sent[side]
        other: Side = 0 if side else 1
        frames.append(self._frame(other, time, ACK))
        return frames

    def reset(self, side: Side, time: int) -> list[Frame]:
        """Break the connection: `side` takes no more. Nothing is to follow."""
        self._broken = True
        return [self._frame(side, time, RST | ACK)]

    def note(self, time: int) -> Frame:
        """Make a packet that says nothing, to hang a comment on."""
        return self._frame(0, time, ACK)

    def _frame(
        self, side: Side, time: int, flags: int, payload: bytes | memoryview = b"", options: bytes = b""
    ) -> Frame:
        tcp_length = 20 + len(options) + len(payload)
        length = 20 + tcp_length
        ident = self._idents[side] = (self._idents[side] + 1) & 0xFFFF
        address_sum = self._address_sum
        ip_sum = 0x4500 + length + ident + 0x4000 + 0x4006 + address_sum
        pseudo = _fold(address_sum + 6 + tcp_length)
        head = _HEAD.pack(
            0x45,
            0,
            length,
            ident,
            0x4000,  # do not fragment
            64,
            6,
            ~_fold(ip_sum) & 0xFFFF,
            self._ends[side],
            self._ports[side],
            self._ports[1 - side],
            self._sent[side] & _MASK,
            self._seen[1 - side] & _MASK if flags & ACK else 0,
            (20 + len(options)) << 2,
            flags,
            _WINDOW,
            pseudo,
            0,
        )
        return Frame(time, head + options, payload)


def _fold(total: int) -> int:
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)
