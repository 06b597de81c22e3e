# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams with cuts and holes: framed at once and in pieces they are the same; searched, they keep the rules."""

from __future__ import annotations

from dissector.wire.engine import Engine
from dissector.wire.framer import Framer
from dissector.wire.machine import State
from tests.fuzz.invariants import SMALL, check_events
from tests.fuzz.seeds import streams

STATES = (State.START, *(state for state in State if state not in (State.START, State.LEGACY, State.DONE)))


def check(draw):
    """Frame what is left of the bytes; the first of them say how."""
    state, order = draw.pick(STATES), draw.pick(("little", "big"))
    sizes = [1 + draw.number(1) * draw.pick((1, 1, 5, 40)) for _ in range(4)]
    holes = [(draw.number(2), 1 + draw.number(2)) for _ in range(draw.below(4))]
    strict = draw.below(4) == 3
    stream = draw.rest()
    whole = framed(state, order, strict, parts(stream, holes, [len(stream) or 1]))
    pieces = framed(state, order, strict, parts(stream, holes, sizes))
    assert summary(whole) == summary(pieces)
    if not strict:
        searched(draw, state, parts(stream, holes, sizes))


def parts(stream, holes, sizes):
    """Cut a stream into pieces, and leave out what lies in holes: bytes and lengths in turn."""
    out, at, number = [], 0, 0
    for start, length in [*sorted(holes), (len(stream), 0)]:
        start = min(max(start, at), len(stream))
        while at < start:
            size = min(sizes[number % len(sizes)], start - at)
            out.append(stream[at : at + size])
            at, number = at + size, number + 1
        if length:
            out.append(length)
            at += length
        if at >= len(stream):
            break
    return out


def framed(state, order, strict, some):
    """Frame bytes and gaps until framing is lost, and look at every unit that comes of it."""
    framer = Framer(state, 0, SMALL, order=order, strict=strict)
    position = 0
    for number, part in enumerate(some, 1):
        if isinstance(part, int):
            used = framer.gap(part, number, number)
            assert 0 <= used <= part
        else:
            used = framer.data(memoryview(part), number, number)
            assert 0 <= used <= len(part)
            assert framer.failed or used == len(part)
        position += used
        assert len(framer.want) <= SMALL.max_body + 64
        assert framer.skip >= 0
        if framer.failed:
            assert strict or isinstance(part, int) or framer.start + len(framer.want) == position
            break
        assert framer.position == position
        assert framer.need > len(framer.want) or framer.skip or framer.need == 0
    if not framer.failed:
        framer.end()
    reached = 0
    for unit in framer.units:
        assert reached <= unit.offset
        assert unit.end >= unit.offset
        assert len(unit.body) <= SMALL.max_body
        assert unit.cut_at is None or unit is framer.units[-1]
        assert unit.end <= framer.position or unit.cut_at is not None
        assert unit.first_frame <= unit.last_frame or unit.cut_at is not None
        reached = unit.end
    return framer


def summary(framer):
    """What does not depend on how the bytes were cut into pieces."""
    names = ("definition", "name", "type_id", "offset", "size", "body_length", "order", "body", "header_size", "cut_at")
    units = [([getattr(one, name) for name in names], one.extra) for one in framer.units]
    told = [(rule.id, offset, values) for rule, offset, values in framer.findings]
    rest = framer.failed, framer.start, framer.mode, framer.entered, framer.order, framer.weight, framer.heads
    return units, told, rest, framer.state if not framer.failed else None


ENTRIES = {State.XL_HEADER: "xl", State.IMAGE_HEADER: "libxc"}


def searched(draw, state, some):
    """Let the follower have them: after framing is lost, it searches."""
    engine = Engine(SMALL)
    stream = engine.open_stream(ENTRIES.get(state, "libxl"))
    events = []
    for part in some:
        if isinstance(part, int):
            follower = stream._follower
            follower.lost(follower.position, follower.position + part, "lost", 0, None, None)
            follower.gap(part, 0, None)
        else:
            events += stream.data(memoryview(part))
        search = stream._follower.search
        if search is not None:
            assert len(search.candidates) <= SMALL.max_candidates
            held = sum(one.framer.kept + len(one.framer.want) for one in search.candidates)
            assert held <= SMALL.max_flow_buffer or len(search.candidates) == 1
        assert len(stream._follower._lost) <= SMALL.max_lost
    events += stream.finish()
    check_events(events)


def seeds():
    """Give streams in one piece, in pieces, and with a hole."""
    for stream in streams():
        start = 2 if stream[:2] == b"\xff\xff" else 0
        yield bytes([0, 0, 255, 2, 255, 2, 255, 2, 255, 2, 0, 0]) + stream
        yield bytes([0, 0, 6, 0, 30, 0, 3, 0, 99, 0, 1, 0x50, 3, 9, start, 0]) + stream
