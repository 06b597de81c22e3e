# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture file bytes to packets: pcap and pcapng, without any IO.

A format object holds what the headers seen so far say (byte order, clock, interfaces). The buffer is the caller's: it
is read in place, packets are views into it. Positions are indexes into the buffer; `origin` turns them into file
offsets for messages.
"""

from __future__ import annotations

import copy
import math
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from dissector.sources.errors import CaptureError
from dissector.sources.slim import SNAPPED, LeftOut, Slim, left_out, section_slim

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RECORD: Final = 256 << 20
"""No packet and no block is larger than this many bytes: a header that says so is damaged."""

MAX_LEFT_OUT: Final = 1 << 16
"""Marks of left-out packets that wait for a packet to belong to; a damaged file may have any number."""

PCAP_MAGICS: Final = {
    0xA1B2C3D4: ("pcap", 1000, 0),
    0xA1B23C4D: ("pcap", 1, 0),
    0xA1B2CD34: ("kuznetzov", 1000, 8),
}
"""Magic number -> shape, nanoseconds per time fraction, extra bytes in each record header."""


class Packet(NamedTuple):
    """One captured packet.

    Attributes:
        time: Capture time in nanoseconds since 1970 UTC; 0 when the file gives none (pcapng simple packet blocks).
        linktype: LINKTYPE_ number.
        data: The captured bytes, a view that is valid as long as the buffer it was read from.
        wire_length: Bytes the packet had on the wire.
        interface: Number of the interface inside its pcapng section; 0 for pcap.
        left_out: What the packets before this one held that a slim capture left out.
        snapped: In a slim capture: what is missing of this packet was not cut out on purpose.
    """

    time: int
    linktype: int
    data: memoryview
    wire_length: int
    interface: int
    left_out: tuple[LeftOut, ...] = ()
    snapped: bool = False


class CaptureFormat(Protocol):
    """What a reader needs to know of a capture file format."""

    shape: str
    """How record headers lie in the buffer, for the fast-forward kernel: "pcap<", "pcap>", "pcapng<", "pcapng>", or
    "kuznetzov<", "kuznetzov>": pcap with 24-byte record headers. It may change at every pcapng section, that is with
    every call of `packet`."""

    linktype: int | None
    """The link type of all packets (FCS bits masked off). None: a pcapng section with several link types, or with no
    interface so far."""

    tick: int
    """Unit of the fraction of a second in a record header, in nanoseconds; 0: times are told in another way."""

    path: str
    """The file, for messages."""

    slim: Slim
    """How page contents were cut out of what is being read; empty when they were not."""

    left_out: list[LeftOut]
    """What no packet has told yet of the packets that a slim capture left out."""

    origin: int
    """File offset of buffer[0], for messages; kept up to date by who fills the buffer."""

    def header(self, buffer: memoryview) -> int | None:
        """Read the file header at the start of the file.

        Returns:
            Bytes used by it; None: more bytes are needed.

        Raises:
            CaptureError: This is not the header of such a file.
        """

    def packet(self, buffer: memoryview, position: int, end: int) -> tuple[int, Packet | None]:
        """Read the record or block at a position.

        Returns:
            The position behind it and its packet; (position, None) unchanged: the record is incomplete, more bytes are
            needed. Blocks without a packet are consumed: (next, None) with next > position.

        Raises:
            CaptureError: The record header is impossible.
        """

    @property
    def interface_count(self) -> int:
        """How many interfaces are described so far in this section."""

    def frames(self, buffer: memoryview, position: int, behind: int) -> Iterator[tuple[int, memoryview, int]]:
        """Give time, bytes and wire length of the packets in buffer[position:behind], all of them whole.

        The short form of `packet`, for formats with one interface.
        """

    def interface_name(self, number: int) -> str:
        """Give the name of an interface as in `Packet.interface`; empty when it has none."""

    def time_at(self, buffer: memoryview, position: int) -> int:
        """Give the capture time (ns since 1970 UTC) of the packet record at a position; its header must be there."""

    def latest(self, buffer: memoryview, position: int, end: int) -> int:
        """Give the latest capture time (ns) of the complete packets in buffer[position:end], 0 without any.

        Changes nothing in the format.
        """

    def cut(self, buffer: memoryview, position: int, end: int) -> str:
        """Say how much is there of the incomplete record at a position: "37 of 1514 bytes"."""


class PcapFormat:
    """Classic pcap: micro- or nanoseconds, either byte order, and Kuznetzov's variant with longer record headers."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.origin = 0
        self.shape = ""
        self.linktype: int | None = None
        self.slim: Slim = ""
        self.left_out: list[LeftOut] = []
        self.tick = 1000
        self._size = 16
        self._record = struct.Struct("<IIII")

    def header(self, buffer: memoryview) -> int | None:
        """See `CaptureFormat.header`."""
        if len(buffer) < 24:
            return None
        for order in "<>":
            if known := PCAP_MAGICS.get(struct.unpack_from(order + "I", buffer)[0]):
                name, self.tick, extra = known
                break
        else:
            raise CaptureError(self.path, f"no pcap file: it begins with {bytes(buffer[:4]).hex(' ')}")
        self.shape = name + order
        self._size = 16 + extra
        self._record = struct.Struct(f"{order}IIII{extra}x")
        # The upper bits tell the length of the frame check sequence; libpcap masks them the same way.
        self.linktype = struct.unpack_from(order + "I", buffer, 20)[0] & 0x03FFFFFF
        return 24

    def packet(self, buffer: memoryview, position: int, end: int) -> tuple[int, Packet | None]:
        """See `CaptureFormat.packet`."""
        start = position + self._size
        if start > end:
            return position, None
        seconds, fraction, captured, wire_length = self._record.unpack_from(buffer, position)
        if captured > MAX_RECORD:
            raise _damaged(self, position, f"a packet of {captured} bytes")
        stop = start + captured
        if stop > end:
            return position, None
        time = seconds * 1_000_000_000 + fraction * self.tick
        return stop, Packet(time, self.linktype or 0, buffer[start:stop], wire_length, 0)

    @property
    def interface_count(self) -> int:
        """See `CaptureFormat.interface_count`."""
        return 1

    def frames(self, buffer: memoryview, position: int, behind: int) -> Iterator[tuple[int, memoryview, int]]:
        """See `CaptureFormat.frames`."""
        unpack, size, scale = self._record.unpack_from, self._size, self.tick
        while position < behind:
            seconds, fraction, captured, wire_length = unpack(buffer, position)
            start = position + size
            position = start + captured
            yield seconds * 1_000_000_000 + fraction * scale, buffer[start:position], wire_length

    def interface_name(self, number: int) -> str:
        """See `CaptureFormat.interface_name`."""
        return ""

    def time_at(self, buffer: memoryview, position: int) -> int:
        """See `CaptureFormat.time_at`."""
        seconds, fraction, _, _ = self._record.unpack_from(buffer, position)
        return int(seconds * 1_000_000_000 + fraction * self.tick)

    def latest(self, buffer: memoryview, position: int, end: int) -> int:
        """See `CaptureFormat.latest`."""
        unpack, size, scale, found = self._record.unpack_from, self._size, self.tick, 0
        while position + size <= end:
            seconds, fraction, captured, _ = unpack(buffer, position)
            position += size + captured
            if position > end:
                break
            time = seconds * 1_000_000_000 + fraction * scale
            if time > found:
                found = time
        return found

    def cut(self, buffer: memoryview, position: int, end: int) -> str:
        """See `CaptureFormat.cut`."""
        if position + self._size > end:
            return "not even its header"
        captured = self._record.unpack_from(buffer, position)[2]
        return f"{end - position - self._size} of {captured} bytes"

    def state(self) -> tuple[Any, ...]:
        """Give what one needs to know to read on from here: numbers, texts and tuples of them."""
        return (self.shape, self.tick, self._size, self.linktype)

    def resume(self, state: tuple[Any, ...]) -> None:
        """Learn what `state` gave, in place of reading the file up to there."""
        self.shape, self.tick, self._size, self.linktype = state
        self._record = struct.Struct(f"{self.shape[-1]}IIII{self._size - 16}x")


SECTION, INTERFACE, OBSOLETE_PACKET, SIMPLE_PACKET, STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
OPTION_END, OPTION_COMMENT, OPTION_NAME, OPTION_TSRESOL, OPTION_TSOFFSET = 0, 1, 2, 9, 14


class Interface(NamedTuple):
    """What an interface description block says.

    Attributes:
        linktype: LINKTYPE_ number.
        snap_length: Most bytes captured of a packet; 0: no limit.
        multiplier: A timestamp means offset + ticks * multiplier // divisor nanoseconds.
        divisor: See multiplier.
        offset: See multiplier; nanoseconds.
        name: Such as "eth0"; empty if the block has none.
    """

    linktype: int
    snap_length: int
    multiplier: int
    divisor: int
    offset: int
    name: str


class PcapngFormat:
    """pcapng: sections of either byte order, any number of interfaces, every kind of packet block."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.origin = 0
        self.shape = ""
        self.linktype: int | None = None
        self.tick = 0
        self.interfaces: list[Interface] = []
        self.slim: Slim = ""
        self.left_out: list[LeftOut] = []
        self._order = "<"
        self._enhanced, self._length = struct.Struct("<IIIIIII"), struct.Struct("<I")

    def header(self, buffer: memoryview) -> int | None:
        """See `CaptureFormat.header`; takes the interface blocks behind it too, as far as they are in the buffer."""
        end = len(buffer)
        if end >= 4 and bytes(buffer[:4]) != b"\n\r\r\n":
            raise CaptureError(self.path, f"no pcapng file: it begins with {bytes(buffer[:4]).hex(' ')}")
        position, _ = self.packet(buffer, 0, end)
        if not position:
            return None
        while position + 4 <= end and self._u32(buffer, position) == INTERFACE:
            behind, _ = self.packet(buffer, position, end)
            if behind == position:
                break
            position = behind
        return position

    def packet(self, buffer: memoryview, position: int, end: int) -> tuple[int, Packet | None]:
        """See `CaptureFormat.packet`."""
        if end - position < 32:
            if end - position < 12:
                return position, None
        else:  # the usual block in one go; whatever is unusual about it is looked into below
            kind, length, number, high, low, captured, wire_length = self._enhanced.unpack_from(buffer, position)
            stop = position + length
            fits = captured + 32 <= length <= MAX_RECORD and not length & 3 and stop <= end
            known = kind == ENHANCED_PACKET and number < len(self.interfaces)
            if fits and known and self._length.unpack_from(buffer, stop - 4)[0] == length:
                described = self.interfaces[number]
                time = described.offset + (high << 32 | low) * described.multiplier // described.divisor
                start = position + 28
                data = buffer[start : start + captured]
                if self.slim and (self.left_out or length > 32 + (captured + 3 & ~3)):
                    snapped = self._take_comments(buffer, start + (captured + 3 & ~3), stop)
                    marks, self.left_out = tuple(self.left_out), []
                    return stop, Packet(time, described.linktype, data, wire_length, number, marks, snapped)
                return stop, Packet(time, described.linktype, data, wire_length, number)
        kind = self._u32(buffer, position)
        order = self._byte_order(buffer, position) if kind == SECTION else self._order
        (length,) = struct.unpack_from(order + "I", buffer, position + 4)
        if length < 12 or length & 3 or length > MAX_RECORD:
            raise _damaged(self, position, f"a block of {length} bytes")
        stop = position + length
        if stop > end:
            return position, None
        if struct.unpack_from(order + "I", buffer, stop - 4)[0] != length:
            raise _damaged(self, position, "the two lengths of a block differ")
        if kind in (ENHANCED_PACKET, OBSOLETE_PACKET):
            return stop, self._timed_packet(kind, buffer, position, stop)
        if kind == SIMPLE_PACKET:
            return stop, self._simple_packet(buffer, position, stop)
        if kind == INTERFACE:
            self._add_interface(buffer, position, stop)
        elif kind == SECTION:
            self._begin_section(order, buffer, position, length)
        elif kind == STATISTICS and self.slim:
            self._take_comments(buffer, position + 20, stop)
        return stop, None

    @property
    def interface_count(self) -> int:
        """See `CaptureFormat.interface_count`."""
        return len(self.interfaces)

    def frames(self, buffer: memoryview, position: int, behind: int) -> Iterator[tuple[int, memoryview, int]]:
        """See `CaptureFormat.frames`."""
        while position < behind:
            position, packet = self.packet(buffer, position, behind)
            if packet is not None:
                yield packet.time, packet.data, packet.wire_length

    def interface_name(self, number: int) -> str:
        """See `CaptureFormat.interface_name`."""
        return self.interfaces[number].name if number < len(self.interfaces) else ""

    def time_at(self, buffer: memoryview, position: int) -> int:
        """See `CaptureFormat.time_at`."""
        kind = self._u32(buffer, position)
        if kind == ENHANCED_PACKET:
            (number,) = struct.unpack_from(self._order + "I", buffer, position + 8)
        elif kind == OBSOLETE_PACKET:
            (number,) = struct.unpack_from(self._order + "H", buffer, position + 8)
        else:
            return 0
        return self._time(self._interface(number, position), buffer, position)

    def latest(self, buffer: memoryview, position: int, end: int) -> int:
        """See `CaptureFormat.latest`."""
        ahead, found = copy.copy(self), 0
        ahead.interfaces, ahead.left_out = self.interfaces.copy(), []
        try:
            while True:
                behind, packet = ahead.packet(buffer, position, end)
                if behind == position:
                    return found
                position = behind
                if packet is not None and packet.time > found:
                    found = packet.time
        except CaptureError:  # whoever takes the packets will meet the same damage and is the one to report it
            return found

    def cut(self, buffer: memoryview, position: int, end: int) -> str:
        """See `CaptureFormat.cut`."""
        if position + 8 > end:
            return "not even its header"
        return f"{end - position} of {self._u32(buffer, position + 4)} bytes of the block"

    def state(self) -> tuple[Any, ...]:
        """See `PcapFormat.state`."""
        return (self.shape, self.slim, self.linktype, tuple(self.interfaces))

    def resume(self, state: tuple[Any, ...]) -> None:
        """See `PcapFormat.resume`."""
        shape, self.slim, self.linktype, interfaces = state
        self._set_order(shape[-1])
        self.interfaces = [Interface(*interface) for interface in interfaces]

    def is_packet(self, buffer: memoryview, position: int) -> bool:
        """Tell whether an enhanced packet block begins there, and can be told to."""
        return position + 32 <= len(buffer) and self._u32(buffer, position) == ENHANCED_PACKET

    def _u32(self, buffer: memoryview, position: int) -> int:
        return int.from_bytes(buffer[position : position + 4], "little" if self._order == "<" else "big")

    def _byte_order(self, buffer: memoryview, position: int) -> str:
        for order in "<>":
            if struct.unpack_from(order + "I", buffer, position + 8)[0] == 0x1A2B3C4D:
                return order
        raise _damaged(self, position, "a section without byte-order magic")

    def _begin_section(self, order: str, buffer: memoryview, position: int, length: int) -> None:
        if length < 28 or struct.unpack_from(order + "H", buffer, position + 12)[0] != 1:
            raise _damaged(self, position, "a section header of an unknown version")
        self._set_order(order)
        self.interfaces = []
        self.linktype = None
        comments = (
            text for code, text in self._options(buffer, position + 24, position + length) if code == OPTION_COMMENT
        )
        self.slim = section_slim(next(comments, b"").decode(errors="replace"))

    def _set_order(self, order: str) -> None:
        self._order = order
        self._enhanced, self._length = struct.Struct(order + "IIIIIII"), struct.Struct(order + "I")
        self.shape = "pcapng" + order

    def _add_interface(self, buffer: memoryview, position: int, stop: int) -> None:
        if stop - position < 20:
            raise _damaged(self, position, "an interface block that is too short")
        linktype, _, snap_length = struct.unpack_from(self._order + "HHI", buffer, position + 8)
        divisor, offset, name = 1_000_000, 0, ""
        for code, value in self._options(buffer, position + 16, stop):
            if code == OPTION_TSRESOL and len(value) == 1:
                exponent = value[0]
                divisor = 1 << (exponent & 0x7F) if exponent & 0x80 else 10**exponent
            elif code == OPTION_TSOFFSET and len(value) == 8:
                (offset,) = struct.unpack(self._order + "q", value)
            elif code == OPTION_NAME:
                name = value.rstrip(b"\0").decode(errors="replace")
        common = math.gcd(1_000_000_000, divisor)
        self.interfaces.append(
            Interface(linktype, snap_length, 1_000_000_000 // common, divisor // common, offset * 1_000_000_000, name)
        )
        self.linktype = linktype if all(known.linktype == linktype for known in self.interfaces) else None

    def _options(self, buffer: memoryview, position: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Give code and value of the options of the block that ends at `stop`."""
        while position + 4 <= stop - 4:
            code, size = struct.unpack_from(self._order + "HH", buffer, position)
            if code == OPTION_END or position + 4 + size > stop - 4:
                return
            yield code, bytes(buffer[position + 4 : position + 4 + size])
            position += 4 + (size + 3 & ~3)

    def _take_comments(self, buffer: memoryview, position: int, stop: int) -> bool:
        """Collect what was left out; whether this packet is cut for another reason."""
        snapped = False
        for code, value in self._options(buffer, position, stop):
            if code == OPTION_COMMENT:
                text = value.decode(errors="replace")
                snapped = snapped or SNAPPED in text
                if len(self.left_out) < MAX_LEFT_OUT:
                    self.left_out += left_out(text)
        return snapped

    def _timed_packet(self, kind: int, buffer: memoryview, position: int, stop: int) -> Packet:
        # The obsolete block differs in one field only: 16 bits of interface number and 16 bits of drop counter.
        number = "I" if kind == ENHANCED_PACKET else "Hxx"
        if stop - position < 32:
            raise _damaged(self, position, "a packet block that is too short")
        interface, captured, wire_length = struct.unpack_from(f"{self._order}{number}8xII", buffer, position + 8)
        if captured > stop - position - 32:
            raise _damaged(self, position, f"a packet of {captured} bytes in a block of {stop - position}")
        described = self._interface(interface, position)
        time = self._time(described, buffer, position)
        start = position + 28
        return Packet(time, described.linktype, buffer[start : start + captured], wire_length, interface)

    def _simple_packet(self, buffer: memoryview, position: int, stop: int) -> Packet:
        described = self._interface(0, position)
        if stop - position < 16:
            raise _damaged(self, position, "a packet block that is too short")
        wire_length = self._u32(buffer, position + 8)
        captured = min(wire_length, stop - position - 16)
        if described.snap_length:
            captured = min(captured, described.snap_length)
        return Packet(0, described.linktype, buffer[position + 12 : position + 12 + captured], wire_length, 0)

    def _interface(self, number: int, position: int) -> Interface:
        if number >= len(self.interfaces):
            raise _damaged(self, position, f"a packet of interface {number}, which was never described")
        return self.interfaces[number]

    def _time(self, interface: Interface, buffer: memoryview, position: int) -> int:
        high, low = struct.unpack_from(self._order + "II", buffer, position + 12)
        return interface.offset + int((high << 32 | low) * interface.multiplier // interface.divisor)


def resumed(path: str, state: tuple[Any, ...]) -> PcapFormat | PcapngFormat:
    """Make a format that reads on where another one gave its `state`."""
    form = PcapngFormat(path) if str(state[0]).startswith("pcapng") else PcapFormat(path)
    form.resume(state)
    return form


def _damaged(form: CaptureFormat, position: int, what: str) -> CaptureError:
    return CaptureError(form.path, f"damaged at byte {form.origin + position}: {what}")
