# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets on their way into a file: interfaces get their numbers, and blocks are handed on many at a time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from dissector.recording.pcapng import enhanced_packet, first_bytes
from dissector.sources.formats import ENHANCED_PACKET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dissector.recording.pcapng import Buffer
    from dissector.sources import CaptureFormat

MOST: Final = 1024
"""Packets handed on at a time."""


class Writer(Protocol):
    """What is needed of :class:`~dissector.recording.files.CaptureWriter`."""

    @property
    def left(self) -> int | None:
        """Packets after which a limit has to be looked at; None: any number."""

    def interface(self, linktype: int, name: str = "", filter_text: str = "", snap_length: int = 0) -> int:
        """Add an interface."""

    def write(self, parts: Iterable[Buffer], packets: int, time: int) -> bool:
        """Take blocks, copying them."""


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

    def add_headers(
        self, interface: int, buffer: memoryview, places: Iterator[tuple[int, int, int]], tcp_at: int
    ) -> None:
        """Take packets up to their payload.

        Args:
            interface: number of their interface.
            buffer: they lie in it.
            places: time, place in the buffer, and length on the wire of each.
            tcp_at: where in a packet its TCP header begins.
        """
        self.flush()
        words_at = tcp_at + 12
        words, time = -1, self.time
        while True:
            left = self._writer.left
            parts: list[Buffer] = []
            for time, at, wire_length in islice(places, MOST if left is None else max(1, min(MOST, left))):
                if buffer[at + words_at] != words:
                    words = buffer[at + words_at]
                    kept = tcp_at + (words >> 2 & 0x3C)
                    pack, size = first_bytes(kept)
                data = buffer[at : at + kept].tobytes()
                parts.append(
                    pack(ENHANCED_PACKET, size, interface, time >> 32, time & 0xFFFFFFFF, kept, wire_length, data, size)
                )
            if not parts:
                return
            self._parts, self._count, self.time = parts, len(parts), time
            self.packets += len(parts)
            self.flush()

    def flush(self) -> None:
        """Hand on what was collected."""
        if self._count:
            self._writer.write(self._parts, self._count, self.time)
            self._parts = []
            self._count = 0
