# SPDX-License-Identifier: GPL-2.0-or-later
"""Things that happen to segments and frames on the way: loss, delay, repetition, probes, cuts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from captures.network import ACK, PSH, WRAP, Segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from captures.packets import Packet
    from captures.streams import Record


def holding(segments: list[Segment], direction: str, start: int, stop: int) -> list[int]:
    """Return indices of the segments that carry any stream byte of start..stop."""
    return [
        index
        for index, segment in enumerate(segments)
        if segment.direction == direction and segment.offset < stop and segment.offset + len(segment.payload) > start
        if segment.payload
    ]


def lose(segments: list[Segment], direction: str, start: int, stop: int) -> list[Segment]:
    """Capture loss: the segments never reach the file, the ACKs for them do."""
    gone = set(holding(segments, direction, start, stop))
    return [segment for index, segment in enumerate(segments) if index not in gone]


def head(record: Record) -> tuple[int, int]:
    """Stream range in which a loss hits the head of this record."""
    return record["offset"], record["offset"] + 8


def delay(segments: list[Segment], index: int, places: int) -> list[Segment]:
    """Let a segment arrive later; until then the other side acknowledges only what is before it."""
    late = segments[index]
    between = []
    for segment in segments[index + 1 : index + 1 + places]:
        if segment.direction != late.direction and (segment.ack - late.seq) % WRAP < WRAP // 2:
            segment = replace(segment, ack=late.seq)
        between.append(segment)
    return segments[:index] + between + [late] + segments[index + 1 + places :]


def repeat(segments: list[Segment], index: int, places: int) -> list[Segment]:
    """Send the same segment again some places later."""
    later = min(index + 1 + places, len(segments))
    return [*segments[:later], segments[index], *segments[later:]]


def resend(segments: list[Segment], first: int, last: int, borders: Iterable[int], places: int) -> list[Segment]:
    """Retransmit the payload of data segments first..last (one direction) with other borders, ``places`` later."""
    direction = segments[first].direction
    data = b"".join(s.payload for s in segments[first : last + 1] if s.direction == direction)
    whole = replace(segments[first], payload=data, flags=ACK | PSH)
    cuts = [0, *borders, len(data)]
    again = [whole.slice(start, stop) for start, stop in itertools.pairwise(cuts)]
    later = last + 1 + places
    return segments[:later] + again + segments[later:]


def overlap(segments: list[Segment], index: int, back: int) -> list[Segment]:
    """Let a data segment start ``back`` bytes early, inside the one before it in the same direction."""
    segment = segments[index]
    before = next(s for s in reversed(segments[:index]) if s.direction == segment.direction and s.payload)
    early = before.slice(len(before.payload) - back, len(before.payload))
    joined = replace(segment, seq=early.seq, offset=early.offset, payload=early.payload + segment.payload)
    return [*segments[:index], joined, *segments[index + 1 :]]


def answer(segment: Segment, window: int = 502) -> Segment:
    """ACK from the other side for all before this data segment."""
    back = "reverse" if segment.direction == "forward" else "forward"
    return Segment(back, segment.ack, segment.seq, window=window, gap=100_000)


def keep_alive(segments: list[Segment], index: int, garbage: bytes) -> list[Segment]:
    """Probe with seq - 1 and no or one byte, and its answer, before a data segment."""
    segment = segments[index]
    seq, offset = (segment.seq - 1) % WRAP, segment.offset - 1
    probe = replace(segment, seq=seq, offset=offset, payload=garbage, flags=ACK, gap=75_000_000_000)
    return [*segments[:index], probe, answer(segment), *segments[index:]]


def zero_window(segments: list[Segment], index: int) -> list[Segment]:
    """Closed window, two probes with one byte of new data, window update; then the data segment as it was."""
    segment = segments[index]
    probe = replace(segment, payload=segment.payload[:1], flags=ACK, gap=200_000_000)
    closed = answer(segment, 0)
    return [*segments[:index], closed, probe, closed, probe, closed, answer(segment), *segments[index:]]


def snap(packets: list[Packet], length: int) -> list[Packet]:
    """Cut every frame at the snap length."""
    return [packet.snapped(length) for packet in packets]


def from_middle(packets: list[Packet], direction: str, offset: int) -> list[Packet]:
    """Drop every frame before the one that carries this stream byte."""
    for index, packet in enumerate(packets):
        if packet.direction == direction and packet.offset <= offset < packet.offset + packet.length:
            return packets[index:]
    raise ValueError("no frame carries this byte")


def until(packets: list[Packet], direction: str, offset: int) -> list[Packet]:
    """Drop the frame that carries this stream byte and all after it."""
    return packets[: len(packets) - len(from_middle(packets, direction, offset))]
