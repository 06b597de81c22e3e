# SPDX-License-Identifier: GPL-2.0-or-later
"""Sequence numbers, ACKs and the clock of the segment maker."""

from __future__ import annotations

from itertools import pairwise

import pytest

from captures.guests import colo, hvm, plain
from captures.network import FIN, RST, SYN, WRAP, Link, clock, converse


def rebuilt(segments, direction, isn):
    """Put the payload together by sequence numbers alone."""
    data = {(s.seq - isn - 1) % WRAP: s.payload for s in segments if s.direction == direction and s.payload}
    return b"".join(data[offset] for offset in sorted(data))


@pytest.mark.parametrize("segment", [7, 524, 1448, 65160])
@pytest.mark.parametrize("isn", [0, 0xFFFF_FF00])
def test_sequence_numbers_give_the_stream_back(segment, isn):
    conversation = colo(hvm(pages=3), ((1,),))
    link = Link(segment=segment, isn_sender=isn, isn_receiver=isn)
    segments = converse(conversation, link)
    for direction in ("forward", "reverse"):
        assert rebuilt(segments, direction, isn) == conversation.half(direction).data


def test_acks_never_run_ahead_and_never_go_back():
    link = Link()
    sent = {"forward": link.isn_sender, "reverse": link.isn_receiver}
    acked = dict(sent)
    for segment in converse(plain(hvm()), link)[1:]:
        back = "reverse" if segment.direction == "forward" else "forward"
        assert acked[back] <= segment.ack <= sent[back] + 1
        acked[back] = segment.ack
        length = len(segment.payload) + (1 if segment.flags & (SYN | FIN) else 0)
        sent[segment.direction] = max(sent[segment.direction], segment.seq + length)


def test_the_opener_sends_the_syn():
    first, second, third, *_ = converse(plain(hvm(pages=2)), Link(opener="reverse"))
    assert (first.direction, first.flags) == ("reverse", SYN)
    assert (second.direction, third.direction) == ("forward", "reverse")


@pytest.mark.parametrize(("close", "flag", "direction"), [("rst", RST, "forward"), ("reverse-fin", FIN, "reverse")])
def test_ways_to_end(close, flag, direction):
    last = next(s for s in converse(plain(hvm(pages=2)), Link(close=close)) if s.flags & (FIN | RST))
    assert last.flags & flag
    assert last.direction == direction


def test_clock_only_goes_forward():
    times = [segment.time for segment in clock(converse(plain(hvm()), Link()), Link())]
    assert all(before < after for before, after in pairwise(times))


def test_records_can_begin_segments():
    conversation = plain(hvm())
    starts = {s.offset for s in converse(conversation, Link(per_record=True)) if s.payload}
    assert all(record["offset"] in starts for record in conversation.forward.records)
