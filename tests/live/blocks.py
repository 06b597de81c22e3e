# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks of a capture ring as the kernel fills them, with what older packets left between the frames."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

CSUM_VALID, VLAN_VALID, TPID_VALID = 0x80, 0x10, 0x40


@dataclass(frozen=True)
class Record:
    """One packet of a block.

    Attributes:
        time: Nanoseconds since 1970.
        frame: The captured bytes.
        wire_length: Bytes it had on the wire; 0: all were captured.
        frame_at: Where the frame begins in the record.
        status: Of the record.
        vlan: Tag and protocol that were taken out of the frame.
        protocol: In the address.
    """

    time: int
    frame: bytes
    wire_length: int = 0
    frame_at: int = 82
    status: int = 1 | CSUM_VALID
    vlan: tuple[int, int] = (0, 0)
    protocol: int = 0x0800


def block(records: list[Record], order: str = "<", seed: int = 1) -> bytes:
    """Return the records, the last with next_offset 0; gaps hold rubbish, as in a ring that has been around."""
    rubbish, out = random.Random(seed), bytearray()
    for number, record in enumerate(records, 1):
        size = record.frame_at + len(record.frame) + 7 & ~7
        seconds, nanoseconds = divmod(record.time, 1_000_000_000)
        wire_length = record.wire_length or len(record.frame)
        step = 0 if number == len(records) else size
        header = struct.pack(
            order + "IIIIIIHHIIHH8x",
            *(step, seconds, nanoseconds, len(record.frame), wire_length, record.status, record.frame_at, 96, 0),
            *(*record.vlan, 0),
        )
        address = struct.pack(order + "H", 17) + struct.pack(">H", record.protocol)
        address += struct.pack(order + "iHBB", 3, 1, 0, 6) + b"\x00\x16\x3e\x00\x00\x0a" + rubbish.randbytes(2)
        gap = rubbish.randbytes(record.frame_at - len(header) - len(address))
        tail = rubbish.randbytes(size - record.frame_at - len(record.frame))
        out += header + address + gap + record.frame + tail
    return bytes(out)
