# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures and their truth, read without our own engine."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from scapy.utils import RawPcapReader

CAPTURES = Path(__file__).parents[2] / "captures"
DIRECTIONS = ("forward", "reverse")


@cache
def truth(name: str) -> dict:
    """Truth in the form of the synthetic captures; that of the real ones is a bit different."""
    found = json.loads((CAPTURES / f"{name}.truth.json").read_text())
    if "flows" not in found:
        flow = {"start": "syn", "receiver_port": found["tcp_port"], "sender_port": None}
        for direction in DIRECTIONS:
            flow[direction] = found[direction]
            flow[direction].setdefault("missing", [])
        found["flows"] = [flow]
        found["files"] = [found["captures"][0]["file"]]
    return found


def paths(name: str) -> list[str]:
    return [str(CAPTURES / file) for file in truth(name)["files"]]


def readable() -> list[str]:
    """Captures of one file that scapy can open."""
    names = sorted(path.name.removesuffix(".truth.json") for path in CAPTURES.glob("*.truth.json"))
    endings = (".pcap", ".pcap.gz", ".pcapng.gz")
    return [name for name in names if len(paths(name)) == 1 and paths(name)[0].endswith(endings)]


def is_whole(name: str) -> bool:
    """One connection seen from its start, nothing missing."""
    flows = truth(name)["flows"]
    return len(flows) == 1 and flows[0]["start"] == "syn" and not any(flows[0][d]["missing"] for d in DIRECTIONS)


@cache
def streams(name: str) -> dict[str, bytes] | None:
    """The bytes of both directions of an Ethernet/IPv4 capture; None when they are not those of the truth."""
    flow = truth(name)["flows"][0]
    parts: dict[int, dict[int, bytes]] = {}
    starts: dict[int, int] = {}
    with RawPcapReader(paths(name)[0]) as reader:
        for frame, *_ in reader:
            if frame[12:14] != b"\x08\x00" or frame[23] != 6:
                return None
            total = int.from_bytes(frame[16:18])
            tcp = 14 + 4 * (frame[14] & 15)
            port = int.from_bytes(frame[tcp : tcp + 2])
            seq = int.from_bytes(frame[tcp + 4 : tcp + 8])
            if frame[tcp + 13] & 2:
                starts[port] = seq + 1
                continue
            payload = frame[tcp + 4 * (frame[tcp + 12] >> 4) : 14 + total]
            if payload and port in starts:
                parts.setdefault(port, {})[(seq - starts[port]) % (1 << 32)] = payload
    found = {}
    receiver = flow["receiver_port"]
    sender = next(port for port in starts if port != receiver)
    for direction, port in (("forward", sender), ("reverse", receiver)):
        data = bytearray()
        for offset, payload in sorted(parts.get(port, {}).items()):
            if offset > len(data):
                return None
            data[offset : offset + len(payload)] = payload
        if hashlib.sha256(data).hexdigest() != flow[direction]["sha256"]:
            return None
        found[direction] = bytes(data)
    return found


@cache
def records() -> list[tuple[str, dict, bytes]]:
    """(where it is, truth, bytes) of every whole record in the captures that ``streams`` can put together."""
    found = []
    for name in readable():
        if not is_whole(name):
            continue
        data = streams(name)
        for direction in DIRECTIONS if data is not None else ():
            for record in truth(name)["flows"][0][direction]["records"]:
                if "lost" not in record and record["type"] != "CUT":
                    start = record["offset"]
                    piece = data[direction][start : start + record["size"]]
                    found.append((f"{name} {direction} {start}", record, piece))
    return found


def rebuilt(packet) -> bytes:
    """Bytes built from the fields, not from what scapy remembers of dissection."""
    clone = packet.copy()
    clone.clear_cache()
    for item in (item for value in clone.fields.values() if isinstance(value, list) for item in value):
        if hasattr(item, "clear_cache"):
            item.clear_cache()
    return bytes(clone)
