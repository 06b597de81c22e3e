# SPDX-License-Identifier: GPL-2.0-or-later
"""The same bytes under any segmentation, order, repetition and sequence number give the same records."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from hypothesis import assume, given
from hypothesis import strategies as st

from captures.guests import Guest, colo, hvm, plain, pv64, remus
from dissector.wire.events import Finding, Flow, Gap, Resync
from tests.cross import tools
from tests.cross.tools import ACK, DIRECTIONS, FIN, PSH, SYN, modest

if TYPE_CHECKING:
    from captures.streams import Conversation

START = 1_795_383_310_000_000_000


def tiny(**more: object) -> Guest:
    """A guest of few pages, most of them holes."""
    more.setdefault("types", dict.fromkeys((2, 3, 5, 6, 7), "XTAB"))
    return Guest(pages=8, vcpus=1, emulator_bytes=61, config=b'{"c_info": {"type": "hvm"}}\0', **more)  # type: ignore[arg-type]


TALKS = {
    "plain": lambda: plain(tiny(), passes=((0, 1), (4,))),
    "failed": lambda: plain(tiny(xenstore=True), passes=((0,),), status=3),
    "pvh": lambda: plain(tiny(kind="pvh"), passes=((0,),)),
    "libxl": lambda: plain(tiny(version=2), "libxl", passes=((1,),)),
    "libxc": lambda: plain(tiny(), "libxc", passes=((1,),)),
    "pv": lambda: plain(Guest(kind="pv", pages=6, types={1: "L1TAB", 2: "L4TAB_PINNED", 3: "BROKEN"}), passes=()),
    "remus": lambda: remus(tiny(), ((1,), (), (0, 4))),
    "remus pv": lambda: remus(Guest(kind="pv", pages=6, types={1: "L1TAB", 3: "BROKEN"}), ((1,), ()), "libxl"),
    "colo 8": lambda: colo(tiny(), ((0, 1), (), (4,)), passes=((1,),)),
    "colo 16": lambda: colo(tiny(xen=(4, 20)), ((1, 4), (), (4,)), 16, passes=((1,),)),
    "colo 12": lambda: colo(tiny(xen=(4, 20)), ((1,), (1, 4), ()), 12, passes=((1,),)),
    "large": lambda: plain(hvm(pages=200), passes=((3, 5, 8), (1,))),
    "large pv": lambda: plain(pv64(), "libxl"),
}


@cache
def talk(name: str) -> Conversation:
    """One of the conversations, built once."""
    return TALKS[name]()


@dataclass
class Piece:
    """A run of stream bytes that is sent in one segment."""

    direction: str
    start: int
    end: int
    acked: int
    """Bytes of the other direction that its sender has seen."""


@dataclass(frozen=True)
class Wire:
    """What the network does."""

    name: str
    sizes: tuple[int, ...]
    isns: tuple[int, int]
    window: int
    repeats: int
    overlaps: int
    acks: int
    close: str
    opener: str
    seed: int


def wires(names: list[str], sizes: st.SearchStrategy[int], **fixed: st.SearchStrategy) -> st.SearchStrategy[Wire]:
    """Strategy for the network; `fixed` replaces parts of it."""
    isn = st.one_of(st.integers(0, 0xFFFF_FFFF), st.integers(0xFFFF_FFFF - 20_000, 0xFFFF_FFFF))
    parts = {
        "name": st.sampled_from(names),
        "sizes": st.lists(sizes, min_size=1, max_size=8).map(tuple),
        "isns": st.tuples(isn, isn),
        "window": st.sampled_from((0, 0, 1, 3, 10, 40)),
        "repeats": st.sampled_from((0, 0, 5, 30)),
        "overlaps": st.sampled_from((0, 0, 5, 30)),
        "acks": st.sampled_from((0, 1, 4)),
        "close": st.sampled_from(("fin", "rst", "none")),
        "opener": st.sampled_from(DIRECTIONS),
        "seed": st.integers(0, 1 << 32),
    }
    return st.builds(Wire, **{**parts, **fixed})


def cut(conversation: Conversation, wire: Wire) -> list[Piece]:
    """The turns of both directions, cut into pieces of the drawn sizes over and over."""
    pieces = []
    sent = dict.fromkeys(DIRECTIONS, 0)
    index = 0
    for turn in conversation.turns:
        at = turn.start
        other = "reverse" if turn.direction == "forward" else "forward"
        while at < turn.end:
            end = min(turn.end, at + wire.sizes[index % len(wire.sizes)])
            index += 1
            pieces.append(Piece(turn.direction, at, end, sent[other]))
            at = end
        sent[turn.direction] = turn.end
    return pieces


def disturbed(pieces: list[Piece], wire: Wire, rng: random.Random) -> list[Piece]:
    """Pieces out of order within a window, some of them again, some ranges again with other borders."""
    places = [(index + rng.random() * wire.window, piece) for index, piece in enumerate(pieces)]
    for _ in range(wire.repeats):
        index = rng.randrange(len(pieces))
        places.append((index + 0.5 + rng.random() * 50, pieces[index]))
    for _ in range(wire.overlaps):
        index = rng.randrange(len(pieces))
        one = pieces[index]
        start = max(0, one.start - rng.randrange(3000))
        end = min(one.end, start + rng.randrange(1, 65161))
        if start < end:
            places.append((index + 0.5 + rng.random() * 50, Piece(one.direction, start, end, one.acked)))
    return [piece for _, piece in sorted(places, key=lambda place: place[0])]


def frames(conversation: Conversation, wire: Wire, lost: set[int] = frozenset()) -> tuple[list[tools.RawPacket], dict]:
    """Frames of the whole connection; those in `lost` are not captured. Also the captured ranges per direction."""
    rng = random.Random(wire.seed)
    base = {"forward": wire.isns[0] + 1, "reverse": wire.isns[1] + 1}
    other = {"forward": "reverse", "reverse": "forward"}
    first, second = wire.opener, other[wire.opener]
    out = [
        tools.frame(first, base[first] - 1, 0, SYN),
        tools.frame(second, base[second] - 1, base[first], SYN | ACK),
        tools.frame(first, base[first], base[second]),
    ]
    spans: dict[str, list[tuple[int, int]]] = {d: [] for d in DIRECTIONS}
    arrived = dict.fromkeys(DIRECTIONS, 0)
    heard: dict[str, list[tuple[int, int]]] = {d: [] for d in DIRECTIONS}
    for number, piece in enumerate(disturbed(cut(conversation, wire), wire, rng)):
        d, back = piece.direction, other[piece.direction]
        data = bytes(conversation.half(d).data[piece.start : piece.end])
        heard[d] = tools.merged([*heard[d], (piece.start, piece.end)])
        arrived[d] = heard[d][0][1] if heard[d][0][0] == 0 else 0
        if number not in lost:
            ack = base[back] + min(piece.acked, arrived[back])
            out.append(tools.frame(d, base[d] + piece.start, ack, ACK | PSH, data))
            spans[d].append((piece.start, piece.end))
        if wire.acks and number % wire.acks == 0:
            out.append(tools.frame(back, base[back] + arrived[back], base[d] + arrived[d]))
    ends = {d: base[d] + len(conversation.half(d).data) for d in DIRECTIONS}
    if wire.close == "fin":
        out.append(tools.frame("forward", ends["forward"], ends["reverse"], FIN | ACK))
        out.append(tools.frame("reverse", ends["reverse"], ends["forward"] + 1, FIN | ACK))
        out.append(tools.frame("forward", ends["forward"] + 1, ends["reverse"] + 1))
    elif wire.close == "rst":
        out.append(tools.frame("forward", ends["forward"], ends["reverse"], tools.RST | ACK))
    return [tools.raw(data, START + 1_000 * number) for number, data in enumerate(out)], spans


def read(packets: list[tools.RawPacket]) -> list:
    return tools.engine_events(list(enumerate(packets, 1)))


def true_keys(conversation: Conversation, direction: str) -> list[tools.Key]:
    return [tools.key(one) for one in conversation.half(direction).records]


def check_same(wire: Wire) -> None:
    conversation = talk(wire.name)
    packets, _ = frames(conversation, wire)
    found = read(packets)
    records = tools.by_direction(found)
    for direction in DIRECTIONS:
        assert [tools.key(record) for record in records[direction]] == true_keys(conversation, direction)
        assert all(record.complete and not record.lost for record in records[direction])
    assert [event for event in found if isinstance(event, Gap | Resync)] == []
    allowed = {"libxc.checkpoint_dirty_pfn_list.header"} if "colo 1" in wire.name else set()
    assert {event.id for event in found if isinstance(event, Finding)} - allowed == set()
    last = [event for event in found if isinstance(event, Flow)][-1]
    assert (last.mode, last.start) == (conversation.mode, "syn")
    assert last.end == {"fin": "fin", "rst": "rst", "none": "capture end"}[wire.close]
    assert (last.sender[0], last.receiver[0]) == ("192.0.2.1", "192.0.2.2")
    bodies = {(record.direction, record.offset): record for rows in records.values() for record in rows}
    for (direction, offset), record in bodies.items():
        data = conversation.half(direction).data
        start = offset + record.header_size
        assert record.body == data[start : start + len(record.body)]
        if record.body_length is not None and record.type != "PAGE_DATA":
            assert len(record.body) == record.body_length


SMALL = [name for name in TALKS if not name.startswith("large")]
LARGE = ["large", "large pv"]


@modest(120)
@given(wires(SMALL, st.one_of(st.integers(1, 40), st.integers(1, 1460), st.integers(1, 65160))))
def test_small_streams(wire):
    check_same(wire)


@modest(25)
@given(wires(LARGE, st.integers(500, 65160)))
def test_large_streams(wire):
    check_same(wire)


@modest(6)
@given(wires(["colo 8", "colo 16", "colo 12", "failed"], st.just(1), window=st.sampled_from((0, 10))))
def test_one_byte_at_a_time(wire):
    check_same(wire)


@modest(120)
@given(
    wires(
        [*SMALL, *LARGE],
        st.integers(200, 1460),
        window=st.just(0),
        repeats=st.just(0),
        overlaps=st.just(0),
        acks=st.just(1),
        close=st.just("fin"),
    ),
    st.data(),
)
def test_with_loss_the_same_records_but_the_lost_ones(wire, data):
    conversation = talk(wire.name)
    count = len(cut(conversation, wire))
    first = data.draw(st.integers(0, count - 1), label="first lost segment")
    lost = set(range(first, first + data.draw(st.integers(1, 3), label="lost segments")))
    more = data.draw(st.lists(st.integers(0, count - 1), max_size=2), label="more lost segments")
    packets, spans = frames(conversation, wire, lost | set(more))
    assume(any(spans.values()))
    found = read(packets)
    records = tools.by_direction(found)
    for direction in DIRECTIONS:
        half = conversation.half(direction)
        verdict = tools.judge(tuple(half.records), spans[direction], len(half.data), records[direction])
        assert verdict.wrong == []
        if not more:
            assert [tools.key(one) for one in verdict.vain] == []
