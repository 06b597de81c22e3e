# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes a capture of a large migration: ``python bench/generate.py OUT.pcap --size 256M``.

The capture is deterministic, of any size, and written with constant memory at some hundred MB/s. It looks like one
taken at the receiver's host: handshake, the forward stream in segments of one size, an acknowledgement of every second
one, FIN. As with checksum offload, TCP checksums cover the pseudo header only; IPv4 header checksums are right.

``--reorder`` delays that share of the segments behind the next three on the wire, and the receiver's acknowledgements
repeat until the late one is there. ``--loss`` leaves that share of the data segments out of the capture only: the
receiver had them, so they are acknowledged and never sent again.

Beside OUT, ``OUT.json`` says what a reader must find: records per type, frames, stream bytes, and which stream bytes
are not in the capture.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.stream import KINDS, Record, Stream, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT: Final = 49152
FIN, SYN, PSH, ACK = 1, 2, 8, 16
PUSH_EVERY: Final = 45
DELAY: Final = 3
"""Segments that overtake a delayed one."""
BLOCK: Final = 1 << 20
START: Final = 1_795_383_310_123_456_789  # 2026-11-22 21:35:10.123456789 UTC
ISNS: Final = {"forward": 0xF000_1234, "reverse": 0x7B21_0C01}
SYN_OPTIONS: Final = bytes.fromhex("0204 05b4 0402 0101 0103 0307".replace(" ", ""))

_PCAP: Final = struct.Struct("<IIII")
_ENHANCED: Final = struct.Struct("<IIIIIII")
_HEADERS: Final = struct.Struct(">14s BBHHHBBH 8s HHIIHHHH 4sII")
"""Ethernet, IPv4, TCP with the timestamp option (two of its words only): 66 bytes."""


@dataclass(frozen=True)
class Options:
    """What to generate."""

    size: int = 256 << 20
    segment: int = 1448
    records: str = "1024-page"
    reorder: float = 0.0
    loss: float = 0.0
    format: str = "pcap"
    remus: int = 0
    seed: int = 1


@dataclass
class Expected:
    """What a reader must find."""

    frames: int = 0
    stream_bytes: int = 0
    records: dict[str, int] = field(default_factory=dict)
    missing: list[tuple[int, int]] = field(default_factory=list)
    """(stream offset, length) of what is not in the capture."""


class Network:
    """Puts frames into a capture file; keeps the clock and the IP identifications."""

    def __init__(self, out: IO[bytes], form: str) -> None:
        self.frames = 0
        self._out = out
        self._pcapng = form == "pcapng"
        self._blocks: list[bytes | memoryview] = []
        self._waiting = 0
        self._now = START
        self._idents = {"forward": 1, "reverse": 30_000}
        sender, receiver = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
        macs = b"\x00\x16\x3e\x00\x00\x0a", b"\x00\x16\x3e\x00\x00\x0b"
        self._ends = {
            "forward": (macs[1] + macs[0] + b"\x08\x00", sender + receiver, 41234, PORT),
            "reverse": (macs[0] + macs[1] + b"\x08\x00", receiver + sender, PORT, 41234),
        }
        self._address_sum = sum(struct.unpack(">4H", sender + receiver))
        self._begin()

    def _begin(self) -> None:
        if self._pcapng:
            self._put(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
            self._put(struct.pack("<IIHHIHHB3xHHI", 1, 32, 1, 0, 262144, 9, 1, 9, 0, 0, 32))
        else:
            self._put(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    def send(
        self,
        direction: str,
        seq: int,
        ack: int,
        flags: int,
        payload: bytes | memoryview = b"",
        *,
        captured: bool = True,
    ) -> None:
        """Send one segment over the wire, and capture it or not."""
        ethernet, addresses, source, destination = self._ends[direction]
        options = SYN_OPTIONS if flags & SYN else b"\x01\x01\x08\x0a"
        total = 52 + len(payload)
        self._now += 200 + total * 4 // 5  # 10 Gbit/s
        if not captured:
            return
        self._idents[direction] = ident = self._idents[direction] + 1 & 0xFFFF
        folded = 0x4500 + total + ident + 0x4000 + 0x4006 + self._address_sum
        folded = (folded & 0xFFFF) + (folded >> 16)
        folded = (folded & 0xFFFF) + (folded >> 16)
        partial = self._address_sum + 6 + total - 20
        partial = (partial & 0xFFFF) + (partial >> 16)
        stamp = self._now // 1_000_000 & 0xFFFFFFFF
        headers = _HEADERS.pack(
            ethernet, 0x45, 0, total, ident, 0x4000, 64, 6, folded ^ 0xFFFF,
            addresses, source, destination, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
            0x8000 | flags, 502, partial, 0, options[:4], stamp, stamp,
        )  # fmt: skip
        if flags & SYN:
            headers = headers[:-12] + options
        self._record(headers, payload)
        self.frames += 1

    def _record(self, headers: bytes, payload: bytes | memoryview) -> None:
        length = len(headers) + len(payload)
        now = self._now
        if self._pcapng:
            padding = -length % 4
            total = length + padding + 32
            self._put(_ENHANCED.pack(6, total, 0, now >> 32, now & 0xFFFFFFFF, length, length) + headers)
            if payload:
                self._put(payload)
            self._put(bytes(padding) + total.to_bytes(4, "little"))
        else:
            self._put(_PCAP.pack(now // 1_000_000_000, now // 1000 % 1_000_000, length, length) + headers)
            if payload:
                self._put(payload)

    def _put(self, block: bytes | memoryview) -> None:
        self._blocks.append(block)
        self._waiting += len(block)
        if self._waiting >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write out what is held back."""
        self._out.write(b"".join(self._blocks))
        self._blocks.clear()
        self._waiting = 0


def chance(rate: float, seed: int) -> Iterator[int]:
    """Numbers of the segments that an event with this probability hits, in order; ends with one that never comes."""
    source = random.Random(seed)
    at = 0
    while 0 < rate < 1:
        at += 1 + int(math.log(1 - source.random()) / math.log(1 - rate))
        yield at
    yield sys.maxsize


def transfer(network: Network, segments: Iterator[bytes | memoryview], options: Options, expected: Expected) -> None:
    """Send all data segments, acknowledge every second one."""
    forward, reverse = ISNS["forward"] + 1, ISNS["reverse"] + 1
    losses, delays = chance(options.loss, options.seed + 1), chance(options.reorder, options.seed + 2)
    next_loss, next_delay = next(losses), next(delays)
    offset = highest = arrived = 0
    held: tuple[int, bytes | memoryview, int] | None = None

    def deliver(at: int, payload: bytes | memoryview, flags: int, *, captured: bool = True) -> None:
        nonlocal arrived
        network.send("forward", forward + at, reverse, flags, payload, captured=captured)
        arrived += 1
        if arrived % 2 == 0:
            network.send("reverse", reverse, forward + (held[0] if held else highest), ACK)

    for number, payload in enumerate(segments, 1):
        at, offset = offset, offset + len(payload)
        captured = number < next_loss
        if not captured:
            next_loss = next(losses)
            expected.missing.append((at, len(payload)))
        late = number >= next_delay
        if late:
            next_delay = next(delays)
        if late and held is None and captured:
            held = at, payload, number + DELAY
            continue
        highest = offset
        deliver(at, payload, ACK if number % PUSH_EVERY else ACK | PSH, captured=captured)
        if held is not None and number >= held[2]:
            at, payload, _ = held
            held = None
            deliver(at, payload, ACK)
    if held is not None:
        at, payload, _ = held
        held = None
        highest = offset
        deliver(at, payload, ACK)
    network.send("reverse", reverse, forward + offset, ACK)


def generate(path: Path, options: Options, note: Callable[[Record], None] | None = None) -> Expected:
    """Write one capture and the file that says what is in it.

    Args:
        path: of the capture; ``.json`` is added for the other file.
        options: what to write.
        note: called with every record of the stream.
    """
    expected = Expected()
    stream = Stream(options.size, options.records, options.remus, options.seed, note)
    forward, reverse = ISNS["forward"], ISNS["reverse"]
    with path.open("wb") as out:
        network = Network(out, options.format)
        network.send("forward", forward, 0, SYN)
        network.send("reverse", reverse, forward + 1, SYN | ACK)
        network.send("forward", forward + 1, reverse + 1, ACK)
        transfer(network, cut(stream.pieces(), options.segment), options, expected)
        end = forward + 1 + stream.offset
        network.send("forward", end, reverse + 1, FIN | ACK)
        network.send("reverse", reverse + 1, end + 1, FIN | ACK)
        network.send("forward", end + 1, reverse + 2, ACK)
        network.flush()
    expected.frames, expected.stream_bytes, expected.records = network.frames, stream.offset, dict(stream.records)
    facts = {"options": asdict(options), "expected": asdict(expected)}
    path.with_name(path.name + ".json").write_text(json.dumps(facts) + "\n")
    return expected


def size(text: str) -> int:
    """Read a size such as 256M or 1G."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    return int(float(text[:-1] if factor > 1 else text) * factor)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--size", type=size, default=Options.size, help="bytes of the stream, such as 256M")
    parser.add_argument(
        "--segment", type=int, default=Options.segment, help="1448 (MTU 1500), 8948 (9000), 65160 (GRO)"
    )
    parser.add_argument("--records", choices=KINDS, default=Options.records)
    parser.add_argument("--reorder", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--loss", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--format", choices=("pcap", "pcapng"), default=Options.format)
    parser.add_argument("--remus", type=int, default=0, metavar="N", help="checkpoints")
    parser.add_argument("--seed", type=int, default=Options.seed)
    values = vars(parser.parse_args(arguments))
    expected = generate(values.pop("out"), Options(**values))
    summary = {**asdict(expected), "missing": sum(length for _, length in expected.missing)}
    sys.stdout.write(json.dumps({**summary, "total": sum(expected.records.values())}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
