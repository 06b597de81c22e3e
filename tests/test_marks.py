# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks give a place before what is asked for, whatever was forgotten."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from dissector import marks
from dissector.marks import MAX_FOLLOWED, MAX_MARKS, MAX_STATES, Marks

FORWARD = (0, "forward")


def made(steps):
    """Marks at growing frames, positions and offsets; returned with what was told."""
    found, told = Marks(), []
    frame = position = offset = 0
    for frames, bytes_, stream in steps:
        frame, position, offset = frame + frames, position + bytes_, offset + stream
        found.add(frame, position, ("pcap<",), {FORWARD: offset})
        told.append((frame, position, offset))
    return found, told


steps = st.lists(st.tuples(st.integers(1, 9), st.integers(16, 999), st.integers(0, 500)), max_size=40)


@given(steps, st.integers(0, 400), st.integers(0, 20_000), st.integers(2, 50))
def test_a_place_is_never_behind_what_is_asked_for(steps, frame, offset, most):
    before, marks.MAX_MARKS = marks.MAX_MARKS, most
    try:
        found, told = made(steps)
    finally:
        marks.MAX_MARKS = before
    assert len(found) <= most
    place = found.before(frame)
    if place is not None:
        assert place.frame <= frame
        assert (place.frame, place.position) in [known[:2] for known in told]
    near = found.near(FORWARD, offset)
    if near is not None:
        assert near.offset <= offset
        assert (near.frame, near.position, near.offset) in told
    elif told:
        assert told[0][2] > offset
    again = Marks.load(json.loads(json.dumps(found.dump())))
    assert again.dump() == found.dump()
    assert (again.before(frame), again.near(FORWARD, offset)) == (place, near)


def test_the_last_but_one_mark_is_taken():
    found, told = made([(10, 100, 50)] * 5)
    assert found.near(FORWARD, 160)[:2] == told[1][:2]
    assert found.near(FORWARD, 60)[:2] == told[0][:2]
    assert found.near(FORWARD, 49) is None
    assert found.near((1, "forward"), 160) is None


def test_a_direction_that_ended_is_not_followed_any_more():
    found, told = made([(10, 100, 50)] * 2)
    found.add(30, 300, ("pcap<",), {})
    found.add(40, 400, ("pcap<",), {FORWARD: 90_000})
    assert found.latest(FORWARD) == 100
    assert found.near(FORWARD, 10**6)[:2] == told[0][:2]


def test_memory_is_bounded():
    found = Marks()
    for number in range(4 * MAX_MARKS):
        found.add(number, number, ("pcap<",), {FORWARD: number})
    assert MAX_MARKS // 2 < len(found) <= MAX_MARKS
    assert found.near(FORWARD, 3 * MAX_MARKS).frame > 3 * MAX_MARKS - 20
    many = Marks()
    many.add(1, 24, ("pcap<",), {(flow, "forward"): 0 for flow in range(10 * MAX_FOLLOWED)})
    assert len(many.dump()["offsets"]) == MAX_FOLLOWED
    changing = Marks()
    for number in range(2 * MAX_STATES):
        changing.add(number, number, ("pcapng<", number), {})
    assert len(changing) == MAX_STATES
