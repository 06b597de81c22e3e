# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets on their way into a file: interfaces get their numbers, and blocks are handed on many at a time."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from dissector.recording.pcapng import ENHANCED, block_end, enhanced_packet
from dissector.sources.formats import ENHANCED_PACKET
from dissector.wire.kernel import kernel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dissector.recording.pcapng import Buffer

    Blocks = Callable[[memoryview, int, int, str, int, int, int, memoryview, int], tuple[int, int, int, int]]
    from dissector.sources import CaptureFormat

MOST: Final = 1024
"""Packets handed on at a time."""


def _blocks_in_c() -> Blocks | None:
    """Give the function in C, unless it was not built or Python was asked for."""
    if kernel_name() == "python":
        return None
    try:
        from dissector.recording import _blocks
    except ImportError:
        return None
    return _blocks.blocks


class Writer(Protocol):
    """What is needed of :class:`~dissector.recording.files.CaptureWriter`."""

    @property
    def left(self) -> int | None:
        """Packets after which a limit has to be looked at; None: any number."""

    def interface(self, linktype: int, name: str = "", filter_text: str = "", snap_length: int = 0) -> int:
        """Add an interface."""

    def write(self, parts: Iterable[Buffer], packets: int, time: int) -> bool:
        """Take blocks, copying them."""

    def lend(self) -> memoryview:
        """Give a buffer to be filled."""

    def write_lent(self, buffer: memoryview, used: int, packets: int, time: int) -> bool:
        """Take the blocks at the begin of such a buffer."""


class Batch:
    """Collects blocks; `flush` has to be called before the memory that packets lie in is used again."""

    def __init__(self, writer: Writer, filter_text: str = "") -> None:
        self.packets = 0
        """Packets handed on or collected so far."""
        self._writer = writer
        self._filter_text = filter_text
        self._numbers: dict[tuple[CaptureFormat | None, int, int], int] = {}
        self._parts: list[Buffer] = []
        self._count = 0
        self._room = 1
        self.time = 0
        """Of the last packet."""
        self._blocks = _blocks_in_c()

    def interface(self, form: CaptureFormat | None, interface: int, linktype: int) -> int:
        """Return the number of the interface that a packet came from; it is described in the file when it is new."""
        known = (form, interface, linktype)
        number = self._numbers.get(known)
        if number is None:
            name = form.interface_name(interface) if form is not None else ""
            number = self._writer.interface(linktype, name, self._filter_text)
            self._numbers[known] = number
        return number

    @property
    def interfaces(self) -> dict[tuple[CaptureFormat | None, int, int], int]:
        """The numbers given so far, by source, its number there, and link type."""
        return self._numbers

    def add(self, interface: int, time: int, data: Buffer, wire_length: int, comment: str = "") -> None:
        """Take one packet."""
        if not self._count:
            left = self._writer.left
            self._room = MOST if left is None else max(1, min(MOST, left))
        self._parts += enhanced_packet(interface, time, data, wire_length, comment)
        self.time = time
        self._count += 1
        self.packets += 1
        if self._count >= self._room:
            self.flush()

    def add_records(self, interface: int, form: CaptureFormat, buffer: memoryview, position: int, behind: int) -> None:
        """Take many packets whole: the records in buffer[position:behind], of a format with one interface."""
        if self._blocks is not None and form.tick:
            position = self._copy_records(self._blocks, interface, form, buffer, position, behind)
        if position < behind:
            self.add_frames(interface, form.frames(buffer, position, behind))

    def _copy_records(
        self, blocks: Blocks, interface: int, form: CaptureFormat, buffer: memoryview, position: int, behind: int
    ) -> int:
        """Take records until one is in no usual form; return where that is."""
        self.flush()
        writer, shape, linktype, tick = self._writer, form.shape, form.linktype or 0, form.tick
        while position < behind:
            room, left = writer.lend(), writer.left
            most = sys.maxsize if left is None else max(1, left)
            position, used, packets, time = blocks(
                buffer, position, behind, shape, linktype, tick, interface, room, most
            )
            if packets:
                self.time = time
                self.packets += packets
            writer.write_lent(room, used, packets, self.time)
            if not packets:
                break
        return position

    def add_frames(
        self,
        interface: int,
        frames: Iterator[tuple[int, memoryview, int]],
        kept_of: Callable[[memoryview], int] | None = None,
    ) -> None:
        """Take many packets.

        Args:
            interface: number of their interface.
            frames: time, bytes and wire length of each.
            kept_of: how many bytes of a packet are kept; None: all.
        """
        self.flush()
        pack, time = ENHANCED.pack, self.time
        while True:
            left = self._writer.left
            parts: list[Buffer] = []
            for time, data, wire_length in islice(frames, MOST if left is None else max(1, min(MOST, left))):
                if kept_of is not None:
                    data = data[: kept_of(data)]
                captured = len(data)
                end = block_end(captured)
                high, low = time >> 32, time & 0xFFFFFFFF
                head = pack(ENHANCED_PACKET, 28 + captured + len(end), interface, high, low, captured, wire_length)
                parts += (head, data, end)
            count = len(parts) // 3
            if not count:
                return
            self._parts, self._count, self.time = parts, count, time
            self.packets += count
            self.flush()

    def flush(self) -> None:
        """Hand on what was collected."""
        if self._count:
            self._writer.write(self._parts, self._count, self.time)
            self._parts = []
            self._count = 0
