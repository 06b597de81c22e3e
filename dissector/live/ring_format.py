# SPDX-License-Identifier: GPL-2.0-or-later
"""The packet records in a block of the kernel's capture ring (TPACKET_V3), read as any capture format; no IO here."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Final

from dissector.sources import CaptureError, Packet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.sources.slim import LeftOut, Slim

LINUX_SLL2: Final = 276
ORDER: Final = "<" if sys.byteorder == "little" else ">"
HEADER_BYTES: Final = 68
"""Of a record: struct tpacket3_hdr and struct sockaddr_ll."""
VLAN_VALID, TPID_VALID = 0x10, 0x40
"""Status bits: the tag that was taken out of the frame is in the header; so is its protocol number."""

# next_offset, seconds, nanoseconds, captured, wire length, status, mac, (net, rxhash), VLAN TCI, VLAN protocol
_RECORD: Final = struct.Struct("=IIIIIIH6xIH")
# protocol (network order), interface index, hardware type, packet type, address length, address
_ADDRESS: Final = struct.Struct("=2x2siHBB8s")
_SLL2: Final = struct.Struct(">2s2xiHBB8s")


class RingFormat:
    """Records of a ring block, in the byte order of this machine.

    A record is struct tpacket3_hdr, struct sockaddr_ll, a gap, and the frame where `tp_mac` says; the next one begins
    at a multiple of 8 bytes.

    Args:
        name: Of the interface, for messages.
        linktype: LINKTYPE_ number of the packets. LINUX_SLL2: the ring has frames without their link header; `packet`
            makes one from the address, as libpcap does for the interface "any".
    """

    def __init__(self, name: str, linktype: int) -> None:
        self.path = name
        self.origin = 0
        self.shape = "ring" + ORDER
        self.linktype: int | None = linktype
        self.tick = 1
        self.slim: Slim = ""
        self.left_out: list[LeftOut] = []
        self.interface_count = 1

    def header(self, buffer: memoryview) -> int | None:
        """See `CaptureFormat.header`."""
        return 0

    def packet(self, buffer: memoryview, position: int, end: int) -> tuple[int, Packet | None]:
        """See `CaptureFormat.packet`; `data` of a frame whose VLAN tag is put back is a copy."""
        if position + HEADER_BYTES > end:
            if position == end:
                return position, None
            raise self._damaged(position, f"{end - position} bytes are no record")
        step, seconds, fraction, captured, wire_length, status, mac, tag, kind = _RECORD.unpack_from(buffer, position)
        start = position + mac
        stop = start + captured
        behind = position + (step or (mac + captured + 7) & ~7)  # the last record of a block has step 0
        if mac < HEADER_BYTES or not stop <= behind <= end:
            raise self._damaged(
                position, f"a frame of {captured} bytes at {mac} in a record of {step or end - position}"
            )
        data = buffer[start:stop]
        if self.linktype == LINUX_SLL2:
            data = memoryview(_cooked_header(buffer, position) + bytes(data))
            wire_length += _SLL2.size
        elif status & VLAN_VALID and self.linktype == 1 and captured >= 12:
            tpid = kind if status & TPID_VALID else 0x8100
            data = memoryview(b"".join((data[:12], struct.pack(">HH", tpid, tag & 0xFFFF), data[12:])))
            wire_length += 4
        return behind, Packet(seconds * 1_000_000_000 + fraction, self.linktype or 0, data, wire_length, 0)

    def frames(self, buffer: memoryview, position: int, behind: int) -> Iterator[tuple[int, memoryview, int]]:
        """See `CaptureFormat.frames`."""
        unpack, cooked, tagged = _RECORD.unpack_from, self.linktype == LINUX_SLL2, self.linktype == 1
        while position < behind:
            step, seconds, fraction, captured, wire_length, status, mac, _, _ = unpack(buffer, position)
            if cooked or (tagged and status & VLAN_VALID):
                position, packet = self.packet(buffer, position, behind)
                if packet is not None:
                    yield packet.time, packet.data, packet.wire_length
                continue
            start = position + mac
            yield seconds * 1_000_000_000 + fraction, buffer[start : start + captured], wire_length
            position += step or (mac + captured + 7) & ~7

    def interface_name(self, number: int) -> str:
        """See `CaptureFormat.interface_name`."""
        return self.path

    def time_at(self, buffer: memoryview, position: int) -> int:
        """See `CaptureFormat.time_at`."""
        _, seconds, fraction, *_ = _RECORD.unpack_from(buffer, position)
        return int(seconds) * 1_000_000_000 + int(fraction)

    def latest(self, buffer: memoryview, position: int, end: int) -> int:
        """See `CaptureFormat.latest`."""
        found = 0
        while position + HEADER_BYTES <= end:
            step, seconds, fraction, captured, _, _, mac, _, _ = _RECORD.unpack_from(buffer, position)
            size = step or (mac + captured + 7) & ~7
            position += size
            if size < HEADER_BYTES or position > end:
                break
            found = max(found, seconds * 1_000_000_000 + fraction)
        return found

    def cut(self, buffer: memoryview, position: int, end: int) -> str:
        """See `CaptureFormat.cut`."""
        return f"{end - position} bytes of a ring block"

    def _damaged(self, position: int, what: str) -> CaptureError:
        return CaptureError(self.path, f"the capture ring is damaged at byte {position}: {what}")


def _cooked_header(buffer: memoryview, position: int) -> bytes:
    protocol, index, hardware, kind, size, address = _ADDRESS.unpack_from(buffer, position + 48)
    used = min(size, 8)  # what lies behind is left from older packets
    return _SLL2.pack(protocol, index, hardware, kind, size, address[:used])
