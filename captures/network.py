# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns the turns of a conversation into TCP segments: handshake, sequence and ACK numbers, close, clock."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from captures.streams import Conversation, Turn

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
WRAP = 1 << 32
START = 1_795_383_310_123_456_789  # 2026-11-22 21:35:10.123456789 UTC
WINDOW, SCALE = 502, 7


@dataclass(frozen=True)
class Host:
    """One end of a connection."""

    address: str
    port: int
    mac: bytes = b"\x00\x16\x3e\x11\x22\x33"


@dataclass(frozen=True)
class Link:
    """Who talks to whom over TCP, and how."""

    sender: Host = Host("192.0.2.1", 41234, b"\x00\x16\x3e\x00\x00\x0a")
    receiver: Host = Host("192.0.2.2", 8002, b"\x00\x16\x3e\x00\x00\x0b")
    isn_sender: int = 0x1F3A_5500
    isn_receiver: int = 0x7B21_0C01
    segment: int = 1448
    opener: str = "forward"
    close: str = "fin"
    timestamps: bool = True
    ack_every: int = 2
    per_record: bool = False
    start: int = START
    pace: int = 0

    def isn(self, direction: str) -> int:
        """Return the initial sequence number of a direction."""
        return self.isn_sender if direction == "forward" else self.isn_receiver

    def ends(self, direction: str) -> tuple[Host, Host]:
        """Source and destination of a direction."""
        return (self.sender, self.receiver) if direction == "forward" else (self.receiver, self.sender)


@dataclass
class Segment:
    """One TCP segment; ``offset`` is the stream offset of its payload."""

    direction: str
    seq: int
    ack: int
    flags: int = ACK
    payload: bytes = b""
    offset: int = 0
    window: int = WINDOW
    syn_options: bytes = b""
    gap: int = 2_000
    time: int = 0
    stamps: tuple[int, int] | None = None

    def slice(self, start: int, stop: int) -> Segment:
        """Return a segment with a part of the payload; ``start`` and ``stop`` count from the payload's begin."""
        seq = (self.seq + start) % WRAP
        return replace(self, seq=seq, offset=self.offset + start, payload=self.payload[start:stop])


def other(direction: str) -> str:
    """Name the opposite direction."""
    return "reverse" if direction == "forward" else "forward"


@dataclass
class Talk:
    """State of the connection while its segments are made."""

    link: Link
    segments: list[Segment] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=lambda: {"forward": 0, "reverse": 0})
    unacked: int = 0

    def say(
        self, direction: str, flags: int = ACK, payload: bytes = b"", gap: int = 2_000, options: bytes = b""
    ) -> None:
        """Send one segment; ``sent`` counts SYN and FIN too."""
        back = other(direction)
        segment = Segment(
            direction,
            (self.link.isn(direction) + self.sent[direction]) % WRAP,
            (self.link.isn(back) + self.sent[back]) % WRAP if flags & ACK else 0,
            flags,
            payload,
            self.sent[direction] - 1,
            syn_options=options,
            window=64240 if options else WINDOW,
            gap=gap + self.link.pace,
        )
        self.sent[direction] += len(payload) + (1 if flags & (SYN | FIN) else 0)
        self.segments.append(segment)

    def handshake(self) -> None:
        """SYN, SYN ACK, ACK."""
        mss = min(self.link.segment + (12 if self.link.timestamps else 0), 1460)
        options = struct.pack(">BBH", 2, 4, max(mss, 536)) + b"\x01\x03\x03" + bytes([SCALE]) + b"\x04\x02\x01\x01"
        opener, listener = self.link.opener, other(self.link.opener)
        self.say(opener, SYN, options=options)
        self.say(listener, SYN | ACK, gap=120_000, options=options)
        self.say(opener, gap=130_000)

    def turn(self, turn: Turn, data: bytes, borders: list[int], ack_at_end: bool) -> None:
        """Send the bytes of one turn, with ACKs of the other side."""
        cuts = [turn.start, *(b for b in borders if turn.start < b < turn.end), turn.end]
        gap = 200_000
        for begin, end in itertools.pairwise(cuts):
            for start in range(begin, end, self.link.segment):
                stop = min(start + self.link.segment, end)
                self.say(turn.direction, ACK | (PSH if stop == end else 0), data[start:stop], gap)
                gap = 1_000 + 8 * (stop - start)
                self.unacked += 1
                if self.unacked >= self.link.ack_every or (stop == turn.end and ack_at_end):
                    self.say(other(turn.direction), gap=30_000)
                    self.unacked = 0

    def close(self) -> None:
        """End the connection as the link says: fin, reverse-fin, rst or none."""
        if self.link.close.endswith("fin"):
            first = "reverse" if self.link.close == "reverse-fin" else "forward"
            self.say(first, FIN | ACK, gap=300_000)
            self.say(other(first), FIN | ACK, gap=150_000)
            self.say(first, gap=100_000)
        elif self.link.close == "rst":
            self.say("forward", RST | ACK, gap=900_000)


def converse(conversation: Conversation, link: Link) -> list[Segment]:
    """Return all segments of the connection in causal order."""
    talk = Talk(link)
    talk.handshake()
    turns = conversation.turns
    for index, turn in enumerate(turns):
        half = conversation.half(turn.direction)
        borders = [record["offset"] for record in half.records] if link.per_record else []
        answered = index + 1 < len(turns) and turns[index + 1].direction != turn.direction
        talk.turn(turn, bytes(half.data), borders, not answered)
        talk.unacked = 0
    talk.close()
    return talk.segments


def clock(segments: list[Segment], link: Link) -> Iterator[Segment]:
    """Give every segment its time and timestamp option values."""
    now = link.start
    recent = {"forward": 0, "reverse": 0}
    for segment in segments:
        now += segment.gap
        value = (now // 1_000_000 + (7777 if segment.direction == "reverse" else 0)) % WRAP
        recent[segment.direction] = value
        stamps = (value, recent[other(segment.direction)]) if link.timestamps else None
        yield replace(segment, time=now, stamps=stamps)
