# SPDX-License-Identifier: GPL-2.0-or-later
"""Events come out of a block as they went in."""

from __future__ import annotations

import contextlib
import dataclasses
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector import spec
from dissector.index.blocks import NotIndexableError, columns, pack, rows, unpack
from dissector.spec import findings
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total
from dissector.wire.unit import unknown_record

numbers = st.integers(0, (1 << 64) - 1)
times = st.none() | st.integers(-(1 << 62), (1 << 63) - 1)
directions = st.sampled_from(["forward", "reverse"])
texts = st.text(max_size=20)
counts = st.dictionaries(st.sampled_from(["error", "warn", "note"]), st.integers(0, 99))
sides = st.fixed_dictionaries({"forward": numbers, "reverse": numbers})


@st.composite
def records(draw):
    definition = draw(
        st.sampled_from(spec.ALL_RECORDS)
        | st.builds(unknown_record, st.sampled_from(["libxl", "libxc"]), st.integers(0, (1 << 32) - 1))
    )
    lost = draw(st.lists(st.tuples(numbers, numbers), max_size=3))
    return Record(
        flow=draw(st.integers(0, 1 << 31)),
        direction=draw(directions),
        layer=definition.layer,
        type=definition.name,
        type_id=definition.type_id,
        offset=draw(numbers),
        size=draw(numbers),
        body_length=draw(st.none() | st.integers(0, (1 << 32) - 1)),
        time=draw(times),
        time_end=draw(times),
        first_frame=draw(numbers),
        last_frame=draw(numbers),
        complete=draw(st.booleans()),
        lost=tuple(lost),
        definition=definition,
        order=draw(st.sampled_from(["little", "big"])),
        body=draw(st.binary(max_size=100)),
        header_size=draw(st.sampled_from([0, 8, 12, 16])),
        extra=draw(st.dictionaries(st.sampled_from(["stray", "header_size"]), st.integers(0, 16) | texts)),
    )


ends = st.tuples(texts, st.integers(0, 65535))
others = st.one_of(
    st.builds(
        Flow,
        st.integers(0, 9),
        st.just("begin"),
        ends,
        ends,
        st.just("syn"),
        texts,
        st.just("colo"),
        times,
        numbers,
        st.none() | texts,
    ),
    st.builds(Gap, st.integers(0, 9), directions, numbers, numbers, st.just("lost"), times, numbers, st.none()),
    st.builds(Resync, st.integers(0, 9), directions, numbers, numbers, texts, times, numbers),
    st.builds(
        Finding,
        st.sampled_from(findings.RULES),
        texts,
        st.none() | st.integers(0, 9),
        st.none() | directions,
        st.none() | numbers,
        times,
        numbers,
    ),
    st.builds(
        Summary,
        st.integers(0, 9),
        st.just("plain"),
        texts,
        texts,
        texts,
        st.none() | st.integers(2, 3),
        sides,
        counts,
        numbers,
        numbers,
        numbers,
        numbers,
        sides,
        sides,
        st.none() | st.floats(0, 1e9),
        counts,
        texts,
    ),
    st.builds(Total, numbers, numbers, numbers, counts, st.none() | numbers, st.none() | numbers),
)


@given(st.lists(records() | others, max_size=8))
def test_round_trip(events):
    assert list(unpack(pack(events, "a.pcap"), "a.pcap", None)) == events


@given(st.binary(max_size=200), st.integers(1, 90))
def test_columns(raw, width):
    assert rows(columns(raw, width), width) == raw


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_file_name_in_a_text_is_the_one_of_today(times):
    event = Finding(findings.CAPTURE_CUT, "a: " * times + "cut in a packet")
    (again,) = unpack(pack([event], "a"), "/b/c", None)
    assert again.text == "/b/c: " * times + "cut in a packet"


RECORD = Record(
    0, "forward", "libxl", "END", 0, 0, 8, 0, None, None, 1, 1, True, (), spec.BY_NAME["libxl", "END"], "little", b""
)


@pytest.mark.parametrize(
    "change",
    [
        {"time": 1 << 63},
        {"offset": -1},
        {"flow": 1 << 32},
        {"type": "OTHER"},
        {"definition": dataclasses.replace(spec.BY_NAME["libxl", "END"], meaning="another")},
        {"extra": {"bytes": b""}},
        {"complete": None, "unseen": ((0, 8),)},
    ],
)
def test_what_has_no_room_is_refused(change):
    with pytest.raises(NotIndexableError):
        pack([dataclasses.replace(RECORD, **change)], "")


def test_a_rule_of_somebody_else_is_refused():
    with pytest.raises(NotIndexableError):
        pack([Finding(dataclasses.replace(findings.FRAMING, id="other"), "")], "")


@given(st.data())
def test_damaged_blocks_raise_what_they_say(data):
    packed = pack([RECORD, Gap(0, "forward", 1, 2, "lost", None, 3)], "")
    field = data.draw(st.sampled_from(["records", "heads", "body_bytes", "bodies", "rare"]))
    value = data.draw(
        st.integers(0, 99)
        if field in ("records", "body_bytes")
        else st.binary(max_size=40).map(zlib.compress) | st.binary(max_size=9)
    )
    with contextlib.suppress(ValueError, LookupError, TypeError, zlib.error):
        list(unpack(packed._replace(**{field: value}), "", None))
