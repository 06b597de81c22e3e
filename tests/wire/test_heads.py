# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.spec import libxc, libxl
from dissector.wire import heads as module
from dissector.wire.framer import Framer
from dissector.wire.heads import KnownHeads, known_heads
from dissector.wire.limits import Limits
from dissector.wire.machine import LAYER, RECORDS, State

PFN = 0xF << 60


def head(type_id: int, length: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", type_id, length)


def record(type_id: int, body: bytes) -> bytes:
    return head(type_id, len(body)) + body + bytes(-len(body) % 8)


def test_what_a_head_means():
    known = KnownHeads(State.LIBXC, "big").learn(head(libxc.PAGE_DATA.type_id, 24, ">"))
    assert known.definition is libxc.PAGE_DATA
    assert (known.length, known.size, known.plan, known.counted, known.next) == (24, 32, (8, 0, 4), True, None)
    checkpoint = KnownHeads(State.LIBXC, "little").learn(head(libxc.CHECKPOINT.type_id, 0))
    assert (checkpoint.counted, checkpoint.next) == (False, State.AFTER_CHECKPOINT)


@pytest.mark.parametrize(
    ("state", "type_id", "length"),
    [
        (State.LIBXC, libxc.END.type_id, 0),  # says that the stream is plain
        (State.BACK_CHANNEL, libxc.CHECKPOINT_DIRTY_PFN_LIST.type_id, 8),  # its header may be longer
        (State.LIBXC, libxc.X86_TSC_INFO.type_id, 23),  # a finding
        (State.LIBXC, 0x42, 8),  # unknown
        (State.LIBXC, libxc.PAGE_DATA.type_id, 0xFFFFFFF0),
        (State.CHECKPOINT, libxl.LIBXC_CONTEXT.type_id, 0),  # not here
    ],
)
def test_heads_that_something_is_to_be_said_about(state, type_id, length):
    heads = KnownHeads(state, "little")
    assert heads.learn(head(type_id, length)) is None
    assert heads.found == {head(type_id, length): None}


def test_it_does_not_grow(monkeypatch):
    monkeypatch.setattr(module, "_KNOWN_MAX", 10)
    heads = KnownHeads(State.LIBXC, "little")
    for length in range(100):
        heads.learn(head(libxc.SHARED_INFO.type_id, length))
        assert len(heads.found) <= 10


def test_streams_share_what_is_known():
    assert known_heads(State.LIBXC, "little") is known_heads(State.LIBXC, "little")
    assert known_heads(State.LIBXC, "little") is not known_heads(State.LIBXC, "big")


TYPES = {state: tuple(RECORDS[state]) for state in (State.LIBXC, State.LIBXL, State.BACK_CHANNEL)}


@st.composite
def streams(draw):
    state = draw(st.sampled_from(sorted(TYPES)))
    parts = []
    for _ in range(draw(st.integers(1, 8))):
        type_id = draw(st.sampled_from((*TYPES[state], 0x42, 0x80000042)))
        definition = RECORDS[state].get(type_id)
        if definition is libxc.PAGE_DATA and draw(st.booleans()):
            kinds = draw(st.lists(st.sampled_from((0, 0xF)), max_size=3))
            body = struct.pack("<II", len(kinds), 0) + b"".join(
                struct.pack("<Q", k << 60 | n) for n, k in enumerate(kinds)
            )
            body += bytes(4096 * kinds.count(0))
        else:
            exact = definition.length.exact if definition else ()
            size = draw(st.sampled_from(exact)) if exact and draw(st.booleans()) else draw(st.integers(0, 40))
            body = draw(st.binary(min_size=size, max_size=size))
        parts.append(record(type_id, body))
    return state, b"".join(parts)


@given(streams(), st.integers(1, 64), st.sampled_from([16 << 20, 16]))
def test_whole_segments_give_what_single_bytes_give(stream, size, max_body):
    """One byte at a time no record ever lies whole in a segment: that is the long way."""
    state, data = stream
    assert LAYER[state]

    def framed(step):
        framer = Framer(state, 100, Limits(max_body=max_body))
        for at in range(0, len(data), step):
            if framer.failed:
                break
            framer.data(memoryview(data)[at : at + step], 1, 7)
        units = [
            (u.definition, u.name, u.type_id, u.offset, u.size, u.body_length, u.order, u.body, u.header_size, u.extra,
             u.first_frame, u.last_frame, u.time, u.time_end)
            for u in framer.units
        ]  # fmt: skip
        state_now = (framer.state, framer.failed, framer.start, framer.mode, framer.need, framer.skip)
        return units, framer.findings, state_now if framer.failed else (*state_now, framer.position, bytes(framer.want))

    long_way = framed(1)
    assert framed(len(data)) == long_way
    assert framed(size) == long_way
