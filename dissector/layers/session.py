# SPDX-License-Identifier: GPL-2.0-or-later
"""``sniff(session=MigrationSession)``: raw frames from any scapy socket, one packet per record of both directions.

Scapy's own dissection of the frames never runs: the session takes their bytes and feeds :mod:`dissector.wire.engine`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from scapy.sessions import DefaultSession

from dissector.layers import notes, packets
from dissector.layers.socket import MigrationSocket
from dissector.walk import Walk
from dissector.wire import events
from dissector.wire.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scapy.packet import Packet

    from dissector.wire.limits import Limits

Frame: TypeAlias = tuple[int, int, bytes, int]
"""Time in nanoseconds, link type, captured bytes, length on the wire."""

FRAMES_PER_CALL = 256
"""Frames that one recv() reads at most from a file while no record is complete."""

LARGEST_FRAME = 1 << 18
"""Bytes read of one frame: scapy's own default (65535) is less than an Ethernet header and a 64 KiB segment."""

LINKTYPES = {
    "Ether": 1,
    "Dot3": 1,
    "Loopback": 0,
    "LoopbackOpenBSD": 108,
    "CookedLinux": 113,
    "CookedLinuxV2": 276,
    "IP": 101,
    "IPv6": 101,
    "IPv46": 101,
}
"""Link type by the name of the class that scapy would dissect a frame with."""


class MigrationSession(DefaultSession):  # type: ignore[misc]
    """A session for ``sniff()`` that yields the records of all migrations in the traffic.

    Each packet is of the class of its record, with ``time``, ``direction`` ("forward" or "reverse"), flow, offset,
    size, first_frame, last_frame, complete and lost (see :class:`~dissector.layers.XenRecord`).

    Give the class, or an instance for options. Records that still wait when an offline capture ends are handed out
    then; after a live capture, ``finish()`` of the instance returns them. Each socket (file, interface) is a capture of
    its own: a connection that goes on from one file to the next needs the files merged first, or `dissector.read`.

    Args:
        gaps: also yield XenMigrationGap and XenMigrationResync.
        findings: also yield XenMigrationFinding.
        flows: also yield XenMigrationFlow and XenMigrationSummary.
        limits: how much the engine may remember.
        linktype: link type of frames whose scapy class does not say (plain bytes, Raw).
    """

    def __init__(
        self,
        *,
        gaps: bool = False,
        findings: bool = False,
        flows: bool = False,
        limits: Limits | None = None,
        linktype: int = 1,
    ) -> None:
        import scapy.layers.l2  # noqa: F401  (sniff() opens its files next and warns about link types it does not know)

        super().__init__()
        self.limits = limits
        self.linktype = linktype
        self._notes: tuple[type, ...] = (
            *((events.Gap, events.Resync) if gaps else ()),
            *((events.Finding,) if findings else ()),
            *((events.Flow, events.Summary) if flows else ()),
        )
        self._captures: WeakKeyDictionary[Any, _Capture] = WeakKeyDictionary()
        self._walks: WeakKeyDictionary[Any, Walk] = WeakKeyDictionary()

    def recv(self, sock: Any) -> Iterator[Packet]:
        """Read frames from a scapy socket; yield what became known with them. Called by ``sniff()``."""
        if isinstance(sock, MigrationSocket):
            yield from self._recv_chunks(sock)
            return
        capture = self._captures.get(sock)
        if capture is None:
            capture = self._captures[sock] = _Capture(sock, self.limits, self.linktype)
        for _ in range(capture.batch):
            try:
                frame = capture.read()
            except EOFError:
                del self._captures[sock]
                yield from self._packets(capture.engine.finish())
                raise
            found = capture.feed(frame) if frame is not None else None
            if found:
                yield from self._packets(found)
                return

    def _recv_chunks(self, sock: MigrationSocket) -> Iterator[Packet]:
        walk = self._walks.get(sock)
        if walk is None:
            walk = self._walks[sock] = Walk(Engine(self.limits))
        try:
            for chunk in sock.chunks():
                for found in walk.chunk(chunk):
                    yield from self._packets(found)
        except EOFError:
            del self._walks[sock]
            yield from self._packets(walk.engine.finish())
            raise

    def finish(self) -> list[Packet]:
        """End all captures that have not ended by themselves; return the packets of what was still waiting."""
        found: list[events.Event] = []
        for sock, walk in list(self._walks.items()):
            for chunk in sock.rest():
                for known in walk.chunk(chunk):
                    found += known
            found += walk.engine.finish()
        for capture in self._captures.values():
            found += capture.engine.finish()
        self._captures.clear()
        self._walks.clear()
        return list(self._packets(found))

    def _packets(self, found: Iterable[events.Event]) -> Iterator[Packet]:
        for event in found:
            if isinstance(event, events.Record):
                yield packets.packet_of(event)
            elif isinstance(event, self._notes) and not isinstance(event, events.Total):
                yield notes.packet_of(event)


class _Capture:
    """One scapy socket and the engine that its frames go to."""

    def __init__(self, sock: Any, limits: Limits | None, linktype: int) -> None:
        self.engine = Engine(limits)
        self.frames = 0
        self.read, self.batch = frame_reader(sock, linktype)

    def feed(self, frame: Frame) -> list[events.Event]:
        self.frames += 1
        when, linktype, data, wire_length = frame
        return self.engine.packet(self.frames, when, linktype, data, wire_length)


def frame_reader(sock: Any, linktype: int) -> tuple[Callable[[], Frame | None], int]:
    """Find out how to get raw frames from a scapy socket.

    Returns:
        A function that returns the next frame (None: nothing for now) and raises EOFError at the end, and how many
        frames may be read at a time.
    """
    from scapy.supersocket import IterSocket
    from scapy.utils import RawPcapNgReader, RawPcapReader

    reader = sock if isinstance(sock, RawPcapReader) else getattr(sock, "reader", None)
    if isinstance(reader, RawPcapNgReader):
        return lambda: _pcapng_frame(reader), FRAMES_PER_CALL
    if isinstance(reader, RawPcapReader):
        return _pcap_reader(reader), FRAMES_PER_CALL
    if isinstance(sock, IterSocket):
        return lambda: _listed_frame(sock, linktype), FRAMES_PER_CALL
    if hasattr(sock, "recv_raw"):
        return lambda: _live_frame(sock, linktype), 1
    return lambda: _packet_frame(sock.recv(), linktype), 1


def _pcap_reader(reader: Any) -> Callable[[], Frame | None]:
    unit = 1 if reader.nano else 1000
    linktype = reader.linktype & 0x0FFF_FFFF

    def read() -> Frame:
        data, about = reader._read_packet(LARGEST_FRAME)
        return about.sec * 1_000_000_000 + about.usec * unit, linktype, data, about.wirelen

    return read


def _pcapng_frame(reader: Any) -> Frame:
    data, about = reader._read_packet(LARGEST_FRAME)
    ticks = ((about.tshigh or 0) << 32) + (about.tslow or 0)
    return ticks * 1_000_000_000 // about.tsresol, about.linktype, data, about.wirelen


def _listed_frame(sock: Any, linktype: int) -> Frame | None:
    try:
        packet = next(sock.iter)
    except StopIteration:
        raise EOFError from None
    if isinstance(packet, bytes):
        return time.time_ns(), linktype, packet, len(packet)
    return _packet_frame(packet, linktype)


def _live_frame(sock: Any, linktype: int) -> Frame | None:
    cls, data, seconds = sock.recv_raw(LARGEST_FRAME)
    if not data:
        return None
    when = time.time_ns() if seconds is None else int(seconds * 1_000_000_000)
    return when, LINKTYPES.get(cls.__name__, linktype), data, len(data)


def _packet_frame(packet: Any, linktype: int) -> Frame | None:
    if packet is None:
        return None
    data = bytes(packet)
    when = int(packet.time * 1_000_000_000)
    return when, LINKTYPES.get(type(packet).__name__, linktype), data, max(packet.wirelen or 0, len(data))
