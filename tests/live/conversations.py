# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversations to play: those of the captures, put together without our engine, and something that is no migration."""

from __future__ import annotations

import hashlib
import random
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tests.cross.tools import ACK, FIN, NAMES, RST, SYN, is_capture, offset, packets, truth
from tests.live.replay import Conversation

if TYPE_CHECKING:
    from tests.cross.tools import RawPacket
    from tests.live.replay import Turn


def playable() -> list[str]:
    """Name the captures whose flows are whole, from the SYN on, in Ethernet frames without fragments."""
    return [name for name in NAMES if is_capture(name) and not name.startswith("fragments") and _whole(name)]


def _whole(name: str) -> bool:
    flows = truth(name)["flows"]
    syn = all(flow["start"] == "syn" for flow in flows)
    missing = any(flow[direction]["missing"] for flow in flows for direction in ("forward", "reverse"))
    return syn and not missing and all(tcp(packet) is not None for packet in packets(name)[:3])


@cache
def conversation(name: str, flow: int = 0) -> Conversation:
    """Put a conversation together from the packets of a capture, without our engine.

    Args:
        name: of the capture.
        flow: which of the flows in its truth.

    Raises:
        ValueError: the bytes are not those that the truth knows.
    """
    flows = truth(name)["flows"]
    facts = flows[flow]
    ports = facts.get("sender_port"), facts["receiver_port"]
    before = sum((one.get("sender_port"), one["receiver_port"]) == ports for one in flows[:flow])
    made = Rebuilt(*ports, before)
    for packet in packets(name):
        if (segment := tcp(packet)) is not None:
            made.take(segment)
    for direction, data in made.data.items():
        half = facts[direction]
        if len(data) != half["bytes"] or hashlib.sha256(data).hexdigest() != half["sha256"]:
            raise ValueError(f"{name}: {len(data)} bytes {direction}, not the {half['bytes']} of the truth")
    port = facts["receiver_port"] if made.opener == "forward" else facts["sender_port"]
    forward, reverse = map(bytes, made.data.values())
    return Conversation(forward, reverse, tuple(made.turns), made.opener, made.close or "forward", port)


def unrelated(seed: int = 1, requests: int = 20, size: int = 20_000) -> Conversation:
    """Make up a conversation that is no migration: requests and answers, first text and then anything."""
    chance = random.Random(seed)
    halves = {"forward": bytearray(), "reverse": bytearray()}
    turns: list[Turn] = []
    for number in range(requests):
        body = chance.randbytes(size)
        said = {
            "forward": b"GET /page/%d HTTP/1.1\r\nHost: www.example.org\r\n\r\n" % number,
            "reverse": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body,
        }
        for direction, data in said.items():
            start = len(halves[direction])
            halves[direction] += data
            turns.append((direction, start, start + len(data)))
    return Conversation(bytes(halves["forward"]), bytes(halves["reverse"]), tuple(turns), port=80)


class Segment(NamedTuple):
    """One TCP segment."""

    source_port: int
    destination_port: int
    seq: int
    flags: int
    payload: bytes


def tcp(packet: RawPacket) -> Segment | None:
    """TCP of an Ethernet frame with or without VLAN tags, IPv4 and IPv6 without fragments and extension headers."""
    data, at = packet.data, 12
    if packet.linktype != 1:
        return None
    while data[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    kind, at = data[at : at + 2], at + 2
    if kind == b"\x08\x00" and data[at + 9] == 6 and not int.from_bytes(data[at + 6 : at + 8]) & 0x3FFF:
        total = int.from_bytes(data[at + 2 : at + 4])
        start, end = at + 4 * (data[at] & 15), at + total
    elif kind == b"\x86\xdd" and data[at + 6] == 6:
        total = int.from_bytes(data[at + 4 : at + 6])
        start, end = at + 40, at + 40 + total
    else:
        return None
    head = data[start : start + 20]
    ports = int.from_bytes(head[0:2]), int.from_bytes(head[2:4])
    payload = data[start + 4 * (head[12] >> 4) : end if total else len(data)]  # 0: offload fills the length in later
    return Segment(*ports, int.from_bytes(head[4:8]), head[13], payload)


class Rebuilt:
    """Puts the segments of one connection together.

    Args:
        sender_port: None: that of whoever talks to the receiver first.
        receiver_port: the other one.
        before: connections with these ports that are passed over.
    """

    def __init__(self, sender_port: int | None, receiver_port: int, before: int) -> None:
        self.data = {"forward": bytearray(), "reverse": bytearray()}
        self.turns: list[Turn] = []
        self.opener = "forward"
        self.close = ""
        self._ports, self._before = (sender_port, receiver_port), before
        self._isn: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[int, bytes]]] = {"forward": [], "reverse": []}
        self._syns: set[int] = set()

    def take(self, segment: Segment) -> None:
        """Add a segment; one of another connection changes nothing."""
        direction = self._direction(segment)
        if direction is None:
            return
        if segment.flags & SYN and not segment.flags & ACK:
            self._syns.add(segment.seq)
            self.opener = direction
        if len(self._syns) != self._before + 1:
            return
        if segment.flags & SYN:
            self._isn.setdefault(direction, segment.seq)
        if segment.flags & (FIN | RST) and not self.close:
            self.close = "reset" if segment.flags & RST else direction
        if segment.payload and direction in self._isn:
            place = offset(segment.seq, self._isn[direction] + 1)
            self._waiting[direction].append((place, segment.payload))
            self._advance(direction)

    def _direction(self, segment: Segment) -> str | None:
        sender, receiver = self._ports
        if segment.destination_port == receiver and sender in (None, segment.source_port):
            self._ports = segment.source_port, receiver
            return "forward"
        return "reverse" if (segment.destination_port, segment.source_port) == (sender, receiver) else None

    def _advance(self, direction: str) -> None:
        """Take what follows on the bytes so far, in whatever order it came."""
        data, waiting = self.data[direction], self._waiting[direction]
        start = len(data)
        for place, payload in sorted(waiting) if len(waiting) > 1 else list(waiting):
            if place <= len(data):
                data += payload[len(data) - place :]
                waiting.remove((place, payload))
        if len(data) == start:
            return
        if self.turns and self.turns[-1][0] == direction:
            start = self.turns.pop()[1]
        self.turns.append((direction, start, len(data)))
