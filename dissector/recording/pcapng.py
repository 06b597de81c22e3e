# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks of a pcapng file, little endian, with times in nanoseconds (draft-ietf-opsawg-pcapng).

Written here and not by scapy's writer: that one takes scapy's packets, one call of ``write`` each, and microseconds.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final

from dissector.sources.formats import ENHANCED_PACKET, INTERFACE, OPTION_END, OPTION_TSRESOL, SECTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Buffer = bytes | bytearray | memoryview

STATISTICS: Final = 5
"""Type of the interface statistics block."""
COMMENT, USER_APPLICATION, OPERATING_SYSTEM = 1, 4, 3
IF_NAME, IF_FILTER = 2, 11
STATISTICS_START, STATISTICS_END, RECEIVED, INTERFACE_DROPPED, SYSTEM_DROPPED = 2, 3, 4, 5, 7

_NANOSECONDS: Final = 9
_LONGEST: Final = 0xFFFF
"""Bytes of an option at most."""
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
ENHANCED: Final = struct.Struct("<IIIIIII")
_LENGTH: Final = struct.Struct("<I")
_TAILS: Final = tuple(bytes(count) for count in (0, 3, 2, 1))
"""Padding behind data of a length that is 0, 1, 2 or 3 modulo 4."""


def section_header(*, application: str = "", system: str = "", comment: str = "") -> bytes:
    """Make the block that a file begins with."""
    options = [
        (COMMENT, comment.encode()),
        (OPERATING_SYSTEM, system.encode()),
        (USER_APPLICATION, application.encode()),
    ]
    return _block(SECTION, struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1), options)


def interface_description(linktype: int, *, name: str = "", filter_text: str = "", snap_length: int = 0) -> bytes:
    """Make the block that describes the next interface; the first one of a file is number 0."""
    options = [
        (IF_NAME, name.encode()),
        (OPTION_TSRESOL, bytes([_NANOSECONDS])),
        (IF_FILTER, b"\0" + filter_text.encode() if filter_text else b""),  # 0: a filter in libpcap's language
    ]
    return _block(INTERFACE, struct.pack("<HHI", linktype, 0, snap_length), options)


def enhanced_packet(
    interface: int, time: int, data: Buffer, wire_length: int, comment: str = ""
) -> tuple[Buffer, Buffer, Buffer]:
    """Make the block of one packet, in three parts to be written one after the other; `data` is not copied.

    Args:
        interface: number of its interface in this file.
        time: nanoseconds since the epoch.
        data: the captured bytes.
        wire_length: bytes the packet had on the wire.
        comment: text for it, shown by Wireshark.
    """
    head, tail = _around(interface, time, len(data), wire_length, comment)
    return head, data, tail


@cache
def block_end(captured: int) -> bytes:
    """Return what stands behind the data of an enhanced packet block without options: padding and the length."""
    return _TAILS[captured & 3] + _LENGTH.pack(32 + captured + (-captured & 3))


def packet_of_pieces(interface: int, time: int, pieces: Sequence[Buffer], comment: str = "") -> list[Buffer]:
    """Make the block of a packet that lies in several pieces and is whole; see `enhanced_packet`."""
    length = sum(map(len, pieces))
    head, tail = _around(interface, time, length, length, comment)
    return [head, *pieces, tail]


def interface_statistics(
    interface: int,
    time: int,
    *,
    started: int | None = None,
    received: int | None = None,
    dropped: int | None = None,
    dropped_by_interface: int | None = None,
    comment: str = "",
) -> bytes:
    """Make the block that says what was captured and lost on an interface; None: not known.

    Args:
        interface: number of the interface in this file.
        time: nanoseconds since the epoch, now.
        started: the same, when the capture began.
        received: packets received.
        dropped: packets the operating system dropped for want of room.
        dropped_by_interface: packets the network card dropped.
        comment: text for it.
    """
    counts = [(RECEIVED, received), (INTERFACE_DROPPED, dropped_by_interface), (SYSTEM_DROPPED, dropped)]
    times = [(STATISTICS_START, started), (STATISTICS_END, time)]
    options = [*_comments(comment)]
    options += [(code, struct.pack("<II", at >> 32, at & 0xFFFFFFFF)) for code, at in times if at is not None]
    options += [(code, struct.pack("<Q", count)) for code, count in counts if count is not None]
    return _block(STATISTICS, struct.pack("<III", interface, time >> 32, time & 0xFFFFFFFF), options)


def _around(interface: int, time: int, captured: int, wire_length: int, comment: str) -> tuple[bytes, bytes]:
    tail = _TAILS[captured & 3]
    if comment:
        tail += _options(_comments(comment))
    length = 32 + captured + len(tail)
    head = ENHANCED.pack(ENHANCED_PACKET, length, interface, time >> 32, time & 0xFFFFFFFF, captured, wire_length)
    return head, tail + _LENGTH.pack(length)


def _comments(text: str) -> Iterator[tuple[int, bytes]]:
    """Give the options for a comment: several, parted between lines, when it is too long for one."""
    left = text.encode()
    while len(left) > _LONGEST:
        at = left.rfind(b"\n", 0, _LONGEST) + 1 or _LONGEST
        yield COMMENT, left[:at].rstrip(b"\n")
        left = left[at:]
    yield COMMENT, left


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    parts = [struct.pack("<HH", code, len(value)) + value + _TAILS[len(value) & 3] for code, value in options if value]
    return b"".join([*parts, struct.pack("<HH", OPTION_END, 0)]) if parts else b""


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    body += _options(options)
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length
