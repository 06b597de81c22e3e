# SPDX-License-Identifier: GPL-2.0-or-later
"""Damage functions: what they take away, move and repeat."""

from __future__ import annotations

from captures import damage
from captures.guests import hvm, plain
from captures.network import WRAP, Link, converse


def talk():
    conversation = plain(hvm())
    segments = converse(conversation, Link())
    return segments, damage.holding(segments, "forward", 0, len(conversation.forward.data))


def bytes_of(segments):
    held = bytearray()
    for segment in sorted((s for s in segments if s.direction == "forward" and s.payload), key=lambda s: s.offset):
        held[segment.offset : segment.offset + len(segment.payload)] = segment.payload
    return bytes(held)


def test_loss_leaves_the_acks():
    segments, data = talk()
    lost = segments[data[5]]
    left = damage.lose(segments, "forward", lost.offset, lost.offset + 1)
    assert len(left) == len(segments) - 1
    assert any((s.ack - lost.seq) % WRAP >= len(lost.payload) for s in left if s.direction == "reverse")


def test_delay_holds_back_the_acks():
    segments, data = talk()
    late = segments[data[5]]
    moved = damage.delay(segments, data[5], 10)
    assert moved[data[5] + 10] is late
    assert all(s.ack <= late.seq for s in moved[: data[5] + 10] if s.direction == "reverse")


def test_resend_and_overlap_change_no_byte():
    segments, data = talk()
    whole = bytes_of(segments)
    assert bytes_of(damage.resend(segments, data[3], data[6], (1, 2000), 2)) == whole
    assert bytes_of(damage.overlap(segments, data[4], 100)) == whole
    assert bytes_of(damage.repeat(segments, data[4], 3)) == whole
    assert bytes_of(damage.zero_window(segments, data[4])) == whole


def test_keep_alive_lies_before_the_stream():
    segments, data = talk()
    probed = damage.keep_alive(segments, data[4], b"\xee")
    assert probed[data[4]].seq == segments[data[4]].seq - 1
    assert probed[data[4] + 1].ack == segments[data[4]].seq
