# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cross-checks share: captures and their truth, packets without our engine, and how events are compared."""

from __future__ import annotations

import json
import os
import struct
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings

from captures.streams import LIBXC_TYPES, PAGE_TYPES
from captures.truth import head_size, holes
from dissector.reader import Reader
from dissector.sources import Chunk, open_capture, runs
from dissector.wire.engine import Engine
from dissector.wire.events import Event, Record

if TYPE_CHECKING:
    from dissector.wire.limits import Limits

CAPTURES = Path(__file__).parents[2] / "captures"
DIRECTIONS = ("forward", "reverse")
Span = tuple[int, int]
Key = tuple[str, str, int, int]
"""Layer, type, offset, size of a record."""


def modest(examples: int) -> settings:
    """Hypothesis settings: the same examples on every run, and a failure is shown as it was found.

    XENDISSECT_EXPLORE=N tries N times as many, new ones on every run, and makes a failing one small (in minutes).
    """
    explore = int(os.environ.get("XENDISSECT_EXPLORE", "0"))
    return settings(
        max_examples=examples * max(explore, 1),
        derandomize=not explore,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, *((Phase.shrink,) if explore else ())),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


# -- captures and their truth ---------------------------------------------------------------------------

NAMES = sorted(path.name.removesuffix(".truth.json") for path in CAPTURES.glob("*.truth.json"))
LONG_NAMES = {
    **{f"L{n}": f"L{n}TAB" for n in range(1, 5)},
    **{f"L{n}P": f"L{n}TAB_PINNED" for n in range(1, 5)},
    **{name: name for name in PAGE_TYPES},
}
"""Page types as the truth of the real captures writes them, and as the specification does."""


@cache
def truth(name: str) -> dict[str, Any]:
    """Truth of a capture; that of the real ones is brought into the form of the synthetic ones."""
    found: dict[str, Any] = json.loads((CAPTURES / f"{name}.truth.json").read_text())
    if "flows" in found:
        return found
    flow: dict[str, Any] = {
        "sender": found["sender"],
        "receiver": found["receiver"],
        "receiver_port": found["tcp_port"],
        "mode": found["stream_type"],
        "start": "syn",
    }
    for direction in DIRECTIONS:
        half = found[direction]
        for record in half["records"]:
            if record["type"] == "PAGE_DATA":
                record["types"] = {LONG_NAMES[kind]: count for kind, count in record["types"].items()}
            elif record["layer"] == "?":  # the truth-writer met the end of the stream inside this record's body
                record.update(layer="libxl", type="CHECKPOINT_STATE", size=16, cut=True, lost=[[822, 8]])
        flow[direction] = {"missing": [], **half}
    return {"name": name, "files": [found["captures"][0]["file"]], "flows": [flow], "real": True}


def paths(name: str) -> list[Path]:
    """Files of a capture, in order."""
    return [CAPTURES / file for file in truth(name)["files"]]


def is_capture(name: str) -> bool:
    """Whether it holds packets and not bare bytes."""
    return ".pcap" in truth(name)["files"][0]


@cache
def events(name: str) -> tuple[Event, ...]:
    """All events of a capture."""
    reader = Reader(paths(name))
    try:
        return tuple(reader.events())
    finally:
        reader.close()


def key(record: Record | dict[str, Any]) -> Key:
    """What identifies a record, ours or a true one."""
    if isinstance(record, Record):
        return record.layer, record.type, record.offset, record.size
    return record["layer"], record["type"], record["offset"], record["size"]


# -- packets, read without our frame decoder ---------------------------------------------------------------------------


class RawPacket(NamedTuple):
    """One captured frame: the arguments of Engine.packet."""

    time: int
    linktype: int
    data: bytes
    wire_length: int


class Tcp(NamedTuple):
    """One TCP segment of an Ethernet and IPv4 frame."""

    port: int
    seq: int
    ack: int
    flags: int
    payload: bytes


FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@cache
def packets(name: str) -> tuple[RawPacket, ...]:
    """All packets of a capture."""
    found = []
    for run in runs([open_capture(path) for path in paths(name)]):
        if not isinstance(run, Chunk):
            found.append(RawPacket(run.time, run.linktype, bytes(run.data), run.wire_length))
            continue
        while run.consumed < run.end:
            behind, packet = run.format.packet(run.buffer, run.consumed, run.end)
            if behind == run.consumed:
                break
            run.consumed = behind
            if packet is not None:
                found.append(RawPacket(packet.time, packet.linktype, bytes(packet.data), packet.wire_length))
    return tuple(found)


def tcp(packet: RawPacket) -> Tcp | None:
    """TCP of a plain Ethernet and IPv4 frame; None for anything else."""
    data = packet.data
    if packet.linktype != 1 or data[12:14] != b"\x08\x00" or data[23] != 6 or data[20] & 0x3F or data[21]:
        return None
    start = 14 + 4 * (data[14] & 15)
    port, _, seq, ack, words, flags = struct.unpack_from(">HHIIBB", data, start)
    total = int.from_bytes(data[16:18])  # 0 where segmentation offload fills it in later
    return Tcp(port, seq, ack, flags, data[start + 4 * (words >> 4) : 14 + total if total else len(data)])


def engine_events(chosen: list[tuple[int, RawPacket]], limits: Limits | None = None) -> list[Event]:
    """Events of numbered packets, every one of them read the long way."""
    engine = Engine(limits)
    found: list[Event] = []
    for number, packet in chosen:
        found += engine.packet(number, *packet)
    return found + engine.finish()


# -- what is missing ---------------------------------------------------------------------------


def merged(spans: list[Span]) -> list[Span]:
    """Ranges (start, stop), sorted and joined."""
    result: list[Span] = []
    for start, stop in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return result


def offset(seq: int, base: int) -> int:
    """Stream offset of a sequence number (streams here are shorter than 2 GiB)."""
    delta = (seq - base) & 0xFFFF_FFFF
    return delta - (1 << 32) if delta >> 31 else delta


def clipped(spans: list[Span], start: int, stop: int) -> tuple[Span, ...]:
    """The (offset, length) parts of missing ranges that lie in start..stop."""
    parts = [(max(a, start), min(b, stop)) for a, b in spans]
    return tuple((a, b - a) for a, b in parts if a < b)


@cache
def true_records(name: str, direction: str) -> tuple[dict[str, Any], ...]:
    """True records of a capture with one flow."""
    return tuple(truth(name)["flows"][0][direction]["records"])


class Verdict(NamedTuple):
    """How records compare with the truth; every list should be empty."""

    false: list[str]
    """Reported, but nothing of that kind begins there."""
    size: list[str]
    lost: list[str]
    """Reported with other missing bytes than those that are missing."""
    missed: list[dict[str, Any]]
    """Its head is there, but it was not reported."""
    vain: list[dict[str, Any]]
    """Those of them that stand together with enough evidence to be believed."""
    order: list[str]

    @property
    def wrong(self) -> list[str]:
        """What must never be, whatever was lost."""
        return [*self.false, *self.size, *self.lost, *self.order]


STRONG = {"HVM_CONTEXT", "HVM_PARAMS", "EMULATOR_CONTEXT", "SAVE_FILE_HEADER", "STREAM_HEADER", "IMAGE_HEADER"}
WEIGHTS = {
    "X86_PV_VCPU_BASIC": 4,
    "X86_PV_VCPU_EXTENDED": 3,
    "X86_PV_VCPU_XSAVE": 1,
    "X86_PV_VCPU_MSRS": 1,
    "X86_PV_INFO": 3,
    "SHARED_INFO": 2,
    "X86_TSC_INFO": 3,
    "CHECKPOINT_STATE": 3,
    "READY": 8,
    "REPORT": 8,
    "BANNER": 8,
    "GO": 8,
}
"""Bytes that are fixed by the specification and not zero (stream.md 4.6), of the whole record; 8 and more: sure."""


def weight(record: dict[str, Any]) -> int:
    """How sure the bytes of a true record show what it is."""
    if record["type"] in STRONG:
        return 8
    if record["type"] == "PAGE_DATA":
        return 3 + min(int(record["count"]), 16)
    return WEIGHTS.get(record["type"], 0)


def head_is_there(record: dict[str, Any], missing: list[Span], end: int) -> bool:
    """Whether record header, or for PAGE_DATA also count and pfns, or all of a message, were captured."""
    start, size = record["offset"], head_size(record)
    return start + size <= end and not clipped(missing, start, start + size)


def believable(true: tuple[dict[str, Any], ...], missing: list[Span], end: int) -> list[Span]:
    """Runs of at least two records whose heads are there, with enough evidence to find them again."""
    runs_found: list[Span] = []
    run: list[dict[str, Any]] = []
    for one in (*true, None):
        if one is not None and head_is_there(one, missing, end):
            if run or one["type"] != "UNKNOWN":  # nothing shows that a type that nobody knows begins here
                run.append(one)
            continue
        whole = [r for r in run if not clipped(missing, r["offset"], r["offset"] + min(r["size"], 64))]
        if len(run) > 1 and sum(weight(r) for r in whole) >= 8:
            runs_found.append((run[0]["offset"], run[-1]["offset"] + 1))
        run = []
    return runs_found


def judge(true: tuple[dict[str, Any], ...], spans: list[Span], end: int, mine: list[Record], base: int = 0) -> Verdict:
    """Compare the records of one direction with the truth.

    Args:
        true: true records, offsets from the beginning of the stream.
        spans: stream ranges that were captured.
        end: length of the true stream.
        mine: reported records.
        base: stream offset that the reported offsets count from.
    """
    missing = holes(merged(spans), base, end)
    verdict = Verdict([], [], [], [], [], [])
    islands = [(a - base, b - base) for a, b in believable(true, missing, end)]
    known = {(one["layer"], one["type"], one["offset"]): one for one in true}
    reported = set()
    for record in mine:
        start = record.offset + base
        one = known.get((record.layer, record.type, start))
        if one is None:
            verdict.false.append(f"{key(record)} is no record")
            continue
        reported.add(start)
        if record.size != one["size"]:
            verdict.size.append(f"{key(record)} has {one['size']} bytes")
            continue
        gone = clipped(merged([*missing, (end, 1 << 62)]), start, start + record.size)
        gone = tuple((a - base, n) for a, n in gone)
        if record.lost != gone or record.complete != (not gone):
            verdict.lost.append(f"{key(record)} lost {record.lost[:4]}, not {gone[:4]}")
    for a, b in pairwise(mine):
        if b.offset < a.offset + a.size:
            verdict.order.append(f"{key(b)} comes after {key(a)}")
    for one in true:
        start = one["offset"]
        if start in reported or start < base or not head_is_there(one, missing, end):
            continue
        verdict.missed.append(one)
        if any(a <= start - base < b for a, b in islands):
            verdict.vain.append(one)
    return verdict


# -- frames made from streams ---------------------------------------------------------------------------

ADDRESSES = {"forward": b"\xc0\0\2\1\xc0\0\2\2", "reverse": b"\xc0\0\2\2\xc0\0\2\1"}
PORTS = {"forward": b"\xa1\x12\x1f\x42", "reverse": b"\x1f\x42\xa1\x12"}


def frame(direction: str, seq: int, ack: int, flags: int = ACK, payload: bytes = b"", ports: bytes = b"") -> bytes:
    """Ethernet, IPv4 and TCP around a payload; the checksums are left out."""
    ip = struct.pack(">BBHIBBH", 0x45, 0, 40 + len(payload), 0x4000, 64, 6, 0) + ADDRESSES[direction]
    head = struct.pack(">IIBBHI", seq & 0xFFFF_FFFF, ack & 0xFFFF_FFFF, 0x50, flags, 502, 0)
    return bytes(12) + b"\x08\x00" + ip + (ports or PORTS[direction]) + head + payload


def raw(data: bytes, time: int) -> RawPacket:
    """An Ethernet frame as a packet."""
    return RawPacket(time, 1, data, len(data))


def by_direction(found: list[Event] | tuple[Event, ...]) -> dict[str, list[Record]]:
    """Records of each direction, in order of report."""
    sorted_out: dict[str, list[Record]] = defaultdict(list)
    for event in found:
        if isinstance(event, Record):
            sorted_out[event.direction].append(event)
    return sorted_out


assert LIBXC_TYPES["CHECKPOINT_DIRTY_PFN_LIST"] == 0x0F


def wire_bytes(record: Record) -> bytes:
    """Encode a record as it was on the wire (streams whose padding is zero)."""
    if record.type_id is None:
        return record.body
    assert record.body_length is not None
    head = struct.pack("<II" if record.order == "little" else ">II", record.type_id, record.body_length)
    data = head + record.whole_body()
    padding = record.size - len(data)
    assert 0 <= padding < 8
    return data + bytes(padding)
