# SPDX-License-Identifier: GPL-2.0-or-later
"""Capturing with the kernel's packet ring (AF_PACKET, TPACKET_V3): blocks of packets in shared memory."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dissector.live import devices
from dissector.live.bpf import Instruction, Program
from dissector.live.privileges import explain
from dissector.live.ring_format import RingFormat
from dissector.live.source import Counters, LiveError
from dissector.sources import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoRightError(LiveError):
    """This process has no right to capture."""


BLOCK_BYTES: Final = 1 << 20
RETIRE_MILLISECONDS: Final = 100
"""After this time the kernel hands over a block that is not full.

A process that gets no processor loses packets when all blocks are handed over: with 64 of them not before 6.4 seconds
have passed, however little comes.
"""

_SOL_PACKET, _ETH_P_ALL = 263, 3
_SO_ATTACH_FILTER = 26
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION = 1, 5, 6, 10
_PROMISCUOUS, _TPACKET_V3 = 1, 2
_STATUS, _PACKETS = 8, 12
_BLOCK: Final = struct.Struct("=8xIIII")
"""Status (1: ours), packets, where the first one begins, bytes used of the block."""
_SEEN_TWICE: Final = 4
"""PACKET_OUTGOING: of the two copies of a packet on the loopback interface, the one to leave out."""


class Ring:
    """A ring on one interface, or on "any"; a `LiveSource`.

    An interface that goes down does not end the capture, packets come again when it is up; one that disappears does.

    Args:
        interface: Name, or number as `devices.devices` gives them.
        program: Filter, compiled for what `devices.link_layer` says; None: everything.
        buffer_bytes: Size of the ring, rounded down to blocks of 1 MiB; at least two. Less if the kernel has no more.
        promiscuous: Take frames for other stations too; not on "any".
        snap_length: Most bytes captured of a packet if there is no program.

    Attributes:
        name: See `LiveSource`.
        method: See `LiveSource`.
        linktype: See `LiveSource`.
        ended: See `LiveSource`.
        down: The interface is down at the moment.
        buffer_bytes: Size of the ring.

    Raises:
        NoRightError: The right to capture is missing.
        LiveError: There is no such interface, or the kernel has no packet rings.
    """

    method = "ring"

    def __init__(
        self,
        interface: str,
        *,
        program: Program | None = None,
        buffer_bytes: int = 64 << 20,
        promiscuous: bool = True,
        snap_length: int = 262144,
    ) -> None:
        device = devices.find(interface)
        self.name = device.name
        self.linktype: int | None = device.link.linktype
        self.ended: str | None = None
        self.down = not device.up
        self._device = device
        self._format = RingFormat(device.name, device.link.linktype)
        self._received = self._dropped = 0
        self._missed_before = self._missed_now = self._missed()
        self._missed_at = time.monotonic()
        self._stopped = False
        self._next = 0
        kind = socket.SOCK_DGRAM if device.link.cooked else socket.SOCK_RAW
        try:
            self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: nothing comes before bind
        except PermissionError as error:
            raise NoRightError(explain(device.name)) from error
        except (OSError, AttributeError) as error:
            raise LiveError(f"{device.name}: no packet socket here: {error}") from error
        try:
            self._attach(_once(program or (Instruction(6, 0, 0, snap_length),), device))
            self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            self.buffer_bytes = self._allocate(max(2, buffer_bytes // BLOCK_BYTES))
            self._mapping = mmap.mmap(self._socket.fileno(), self.buffer_bytes)
            self._bind(device.ifindex)
            if promiscuous and device.ifindex and not device.loopback:
                membership = struct.pack("=iHH8x", device.ifindex, _PROMISCUOUS, 0)
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
        except OSError as error:
            self._socket.close()
            raise LiveError(f"{device.name}: cannot capture: {error.strerror or error}") from error
        self._buffer = memoryview(self._mapping)

    def fileno(self) -> int:
        """See `LiveSource.fileno`."""
        return self._socket.fileno()

    def take(self) -> Iterator[Chunk]:
        """See `LiveSource.take`; a chunk is a block, which the kernel gets back when the consumer goes on or ends."""
        buffer = self._buffer
        if self._socket.fileno() < 0:
            return
        gone = self._look_at_interface()
        while True:
            block = self._next * BLOCK_BYTES
            status, packets, first, used = _BLOCK.unpack_from(buffer, block)
            if not status & 1:
                break
            try:
                if not packets:
                    continue
                if not 48 <= first <= used <= BLOCK_BYTES:
                    raise LiveError(f"{self.name}: the capture ring is damaged: a block of {used} bytes")
                chunk = Chunk(buffer, block + first, block + used, self._format, block + first)
                yield chunk
                if chunk.reason is not None:
                    raise LiveError(chunk.reason)
            finally:
                if self._socket.fileno() >= 0:
                    struct.pack_into("=II", buffer, block + _STATUS, 0, 0)
                    self._next = (self._next + 1) % (self.buffer_bytes // BLOCK_BYTES)
        if packets and (gone or self._stopped):
            return  # the kernel still holds a block with packets; it comes within RETIRE_MILLISECONDS
        if self._stopped:
            self.ended = self.ended or "stopped"
        elif gone:
            self.ended = f"the interface {self.name} disappeared"

    def counters(self) -> Counters:
        """See `LiveSource.counters`."""
        if self._socket.fileno() >= 0:
            answer = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)  # the kernel counts from 0 after each call
            received, dropped, _ = struct.unpack("=III", answer)
            self._received += received
            self._dropped += dropped
            now = time.monotonic()
            if now - self._missed_at >= 1:
                self._missed_at, self._missed_now = now, self._missed()
        missed, before = self._missed_now, self._missed_before
        return Counters(
            self._received, self._dropped, missed - before if missed is not None and before is not None else None
        )

    def fills(self, share: float) -> bool:
        """See `LiveSource.fills`."""
        blocks = self.buffer_bytes // BLOCK_BYTES
        block = (self._next + int(share * blocks)) % blocks * BLOCK_BYTES
        return bool(_BLOCK.unpack_from(self._buffer, block)[0] & 1)

    def stop(self) -> None:
        """See `LiveSource.stop`; waits some RETIRE_MILLISECONDS at most for what the kernel has."""
        if self._stopped or self._socket.fileno() < 0:
            return
        self._stopped = True
        self._attach((Instruction(6, 0, 0, 0),))
        deadline = time.monotonic() + 10 * RETIRE_MILLISECONDS / 1000
        while self._kernel_holds_packets() and time.monotonic() < deadline:
            select.select((), (), (), RETIRE_MILLISECONDS / 5000)

    def close(self) -> None:
        """See `LiveSource.close`."""
        if self._socket.fileno() < 0:
            return
        self._socket.close()
        self._buffer.release()
        with contextlib.suppress(BufferError):  # a consumer keeps a view of a packet: unmapped when that is gone
            self._mapping.close()

    def _kernel_holds_packets(self) -> bool:
        """Tell whether the first block that is not ours has packets in it."""
        blocks = self.buffer_bytes // BLOCK_BYTES
        for step in range(blocks):
            block = (self._next + step) % blocks * BLOCK_BYTES
            status, packets, _, _ = _BLOCK.unpack_from(self._buffer, block)
            if not status & 1:
                return bool(packets)
        return False

    def _look_at_interface(self) -> bool:
        """Return whether the interface has disappeared."""
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error not in (0, errno.ENETDOWN):
            raise LiveError(f"{self.name}: {os.strerror(error)}")
        if (not error and not self.down) or not self._device.ifindex:
            return False
        flags = devices.flags_of(self._socket, self._device.ifindex)
        self.down = not flags or not flags & devices.UP
        return flags is None

    def _attach(self, program: Program) -> None:
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
        )

    def _bind(self, index: int) -> None:
        # socket.bind() takes names only, and none means every interface.
        address = struct.pack("=HHi12x", socket.AF_PACKET, socket.htons(_ETH_P_ALL), index)
        library = ctypes.CDLL(None, use_errno=True)
        if library.bind(self._socket.fileno(), address, len(address)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _allocate(self, blocks: int) -> int:
        """Make the ring; return its size."""
        while True:
            frames = blocks * BLOCK_BYTES // 2048  # a formality: V3 does not divide blocks into frames
            request = struct.pack("=7I", BLOCK_BYTES, blocks, 2048, frames, RETIRE_MILLISECONDS, 0, 0)
            try:
                self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            except OSError as error:
                if error.errno != errno.ENOMEM or blocks <= 2:
                    raise
                blocks = max(2, blocks // 2)
            else:
                return blocks * BLOCK_BYTES

    def _missed(self) -> int | None:
        """Packets the network card has dropped for want of buffers, as tcpdump counts them."""
        try:
            return int(Path(f"/sys/class/net/{self.name}/statistics/rx_missed_errors").read_text())
        except (OSError, ValueError):
            return None


def _once(program: Program, device: devices.Device) -> Program:
    """Put before a filter what leaves out the outgoing copy of packets on the loopback interface."""
    if not device.loopback and device.name != devices.ANY:
        return program
    loopback = next((known.ifindex for known in devices.devices() if known.loopback), 1)
    index, kind = 0xFFFFF000 + 8, 0xFFFFF000 + 4  # SKF_AD_IFINDEX, SKF_AD_PKTTYPE
    return (
        Instruction(0x20, 0, 0, index),
        Instruction(0x15, 0, 3, loopback),
        Instruction(0x20, 0, 0, kind),
        Instruction(0x15, 0, 1, _SEEN_TWICE),
        Instruction(0x06, 0, 0, 0),
        *program,
    )
