# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames taken out of captures: what does not overlap the missing bytes is reported exactly, nothing is invented."""

from __future__ import annotations

import random
from functools import cache

import pytest

from captures import damage
from captures.guests import Guest, colo, first_pass, hvm, pattern, plain, pv64, remus, save
from captures.network import Link, converse
from captures.packets import travel
from captures.streams import Conversation
from dissector.wire.events import Flow, Resync
from tests.cross import tools
from tests.cross.tools import DIRECTIONS, SYN, RawPacket, Span, packets, tcp, truth

REAL = ("hvm-colo-xl", "hvm-colo-xl-420", "hvm-remus-libxl", "pv-live-libxl", "xl-migrate-hvm")


def suitable(name: str) -> bool:
    """One connection over plain Ethernet and IPv4, seen from its SYN, nothing missing."""
    flows = truth(name)["flows"]
    if not tools.is_capture(name) or len(flows) != 1 or flows[0]["start"] != "syn" or "legacy" in truth(name):
        return False
    return not any(flows[0][d]["missing"] for d in DIRECTIONS) and all(tcp(packet) for packet in packets(name))


SYNTHETIC = [name for name in tools.NAMES if name not in REAL and suitable(name)]
SMALL = ("single", "burst", "few", "one percent")
LARGE = ("ten percent", "a third")


def dropped(kind: str, count: int, rng: random.Random) -> set[int]:
    """Choose frames to drop; the handshake stays."""
    chosen = range(3, count)
    match kind:
        case "single":
            return {rng.choice(chosen)}
        case "few":
            return set(rng.sample(chosen, min(5, 1 + count // 50)))
        case "burst":
            first = rng.choice(chosen)
            return set(range(first, first + rng.randint(2, 12)))
        case _:
            part = {"one percent": 0.01, "ten percent": 0.1, "a third": 0.33}[kind]
            return {index for index in chosen if rng.random() < part}


@cache
def segments(name: str) -> tuple[dict[str, int], tuple[tuple[str, int, int] | None, ...]]:
    """First sequence number per direction, and of every frame direction and stream range (None: no payload)."""
    found = [tcp(packet) for packet in packets(name)]
    bases: dict[int, int] = {}
    for one in found:
        assert one is not None
        if one.flags & SYN:
            bases[one.port] = one.seq + 1
    receiver = truth(name)["flows"][0]["receiver_port"]
    ranges: list[tuple[str, int, int] | None] = []
    for one in found:
        assert one is not None
        if not one.payload:
            ranges.append(None)
            continue
        direction = "reverse" if one.port == receiver else "forward"
        start = tools.offset(one.seq, bases[one.port])
        ranges.append((direction, start, start + len(one.payload)))
    by_direction = {"reverse" if port == receiver else "forward": base for port, base in bases.items()}
    return by_direction, tuple(ranges)


def spans(name: str, kept: list[int], direction: str) -> list[Span]:
    """Stream ranges that the kept frames carry."""
    ranges = segments(name)[1]
    return [(one[1], one[2]) for one in (ranges[index] for index in kept) if one is not None and one[0] == direction]


class Count:
    """What went wrong in many runs."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.vain: list[str] = []
        self.silent: list[str] = []
        self.untouched = 0

    def run(self, name: str, kept: list[int], label: str, bases: dict[str, int] | None = None) -> None:
        """Read some frames of a capture and compare both directions with the truth."""
        everything = packets(name)
        found = tools.engine_events([(number, everything[index]) for number, index in enumerate(kept, 1)])
        records = tools.by_direction(found)
        for direction in DIRECTIONS:
            true = tools.true_records(name, direction)
            end = truth(name)["flows"][0][direction]["bytes"]
            base = bases[direction] if bases else 0
            verdict = tools.judge(true, spans(name, kept, direction), end, records[direction], base)
            where = f"{name} {label} {direction}:"
            self.wrong += [f"{where} {text}" for text in verdict.wrong]
            self.vain += [f"{where} {tools.key(one)}" for one in verdict.vain]
            dark = [
                (event.offset + base, event.offset + base + event.skipped)
                for event in found
                if isinstance(event, Resync) and event.direction == direction
            ]
            if not any(isinstance(event, Flow) for event in found):  # too little is left to see a migration in it
                continue
            for one in verdict.missed:
                if tools.holes(tools.merged(dark), one["offset"], one["offset"] + tools.head_size(one)):
                    self.silent.append(f"{where} {tools.key(one)}")
            self.untouched += len(true)


def lose(name: str, kind: str, runs: int) -> Count:
    """Drop frames of one capture several times."""
    count = Count()
    for seed in range(runs):
        rng = random.Random(f"{name} {kind} {seed}")
        total = len(packets(name))
        gone = dropped(kind, total, rng)
        count.run(name, [index for index in range(total) if index not in gone], f"{kind} {seed}")
    return count


def rows(kinds):
    """Captures and kinds of loss."""
    return [(name, kind) for name in (*SYNTHETIC, *REAL) for kind in kinds]


@pytest.mark.parametrize(("name", "kind"), rows(SMALL))
def test_small_loss(name, kind):
    count = lose(name, kind, 4 if name in REAL else 6)
    assert count.wrong == []
    assert count.vain == []
    assert count.silent == []


@pytest.mark.parametrize(("name", "kind"), rows(LARGE))
def test_large_loss(name, kind):
    """Records between two losses may be too few to be believed; then a resync says that bytes were passed over."""
    count = lose(name, kind, 2 if name in REAL else 6)
    assert count.wrong == []
    assert count.silent == []


# -- captures that start in the middle ---------------------------------------------------------------------------


def base(name: str, kept: list[int], direction: str) -> int | None:
    """Stream offset of the first payload byte captured of a direction."""
    found = spans(name, kept, direction)
    return found[0][0] if found else None


def starts(name: str, runs: int) -> list[int]:
    """How many frames are cut off in front, in each run."""
    rng = random.Random(f"{name} middle")
    total = len(packets(name))
    handshake = 2 + max(index for index, packet in enumerate(packets(name)) if tcp(packet).flags & SYN)
    return [handshake, *(rng.randrange(handshake, total) for _ in range(runs))]


@pytest.mark.parametrize("name", [*SYNTHETIC, *REAL])
def test_capture_that_starts_in_the_middle(name):
    """Nothing false; offsets from the first captured byte; all true records from the first one found on."""
    total = len(packets(name))
    for first in starts(name, 6 if name in REAL else 12):
        kept = list(range(first, total))
        found = tools.engine_events([(n, packets(name)[index]) for n, index in enumerate(kept, 1)])
        records = tools.by_direction(found)
        for direction in DIRECTIONS:
            begin = base(name, kept, direction)
            if begin is None:
                assert records[direction] == []
                continue
            end = truth(name)["flows"][0][direction]["bytes"]
            true = tools.true_records(name, direction)
            mine = records[direction]
            verdict = tools.judge(true, spans(name, kept, direction), end, mine, begin)
            assert verdict.wrong == [], first
            if not mine and name != "big-endian":  # whose byte order cannot be known without the headers
                assert [tools.key(one) for one in verdict.vain if one["layer"] != "xl"] == [], first
            if mine:
                since = [one for one in verdict.missed if one["offset"] >= mine[0].offset + begin]
                assert since == [], first
            assert [event.start for event in found if isinstance(event, Flow)] in ([], ["mid-stream"] * 2)


# -- guest memory that holds old streams ---------------------------------------------------------------------------

FULL_OF_HOLES = Guest(name="fake", pages=4000, types=dict.fromkeys(range(1, 4000), "XTAB"))
OLD_STREAMS = {
    "a save image": lambda: save(Guest(name="fake", pages=6)).forward,
    "a whole migration": lambda: plain(Guest(name="fake", pages=6), passes=((1, 2),)).forward,
    "a libxl stream of a PV guest": lambda: save(pv64(), "libxl").forward,
    "checkpoints": lambda: remus(Guest(name="fake", pages=3, types={1: "XTAB", 2: "XTAB"}), ((0,), (0, 1))).forward,
    "many PAGE_DATA without contents": lambda: save(FULL_OF_HOLES).forward,
    "a back channel": lambda: colo(hvm(), ((1, 5, 9), (4, 6), (7,))).reverse,
}


def dreaming(old: str, mode: str, shift: int) -> Conversation:
    """A migration whose second PAGE_DATA has an old stream in its page contents."""
    fake = bytes(shift) + bytes(OLD_STREAMS[old]().data)
    chunks = [fake[start : start + 4096].ljust(4096, b"\0") for start in range(0, len(fake), 4096)]
    guest = Guest(pages=8)

    def contents(pfn: int, generation: int) -> bytes:
        inside = generation == 1 and 2 <= pfn < 2 + len(chunks)
        return chunks[pfn - 2] if inside else pattern(pfn, generation)

    guest.contents = contents
    pfns = range(4 + len(chunks))
    if mode == "plain":
        return plain(guest, passes=(pfns, (1, 2, 3)))
    if mode == "colo":
        return colo(guest, ((1, 5), (2,), (7,)), passes=(pfns,))
    conversation = Conversation(mode="remus")
    half = first_pass(conversation, guest, "xl", (pfns,))
    for dirty in ((1,), (2, 3), (5,)):
        guest.checkpoint(half, dirty)
    return conversation


@pytest.mark.parametrize("more", [0, 1, 2, 4, 20])
@pytest.mark.parametrize("mode", ["plain", "remus", "colo"])
@pytest.mark.parametrize("old", OLD_STREAMS)
def test_old_streams_in_guest_memory_are_not_believed(old, mode, more):
    """The head of the PAGE_DATA is lost, so its length is not known; more frames of its contents are lost too."""
    for shift in (0, 8, 2048):
        conversation = dreaming(old, mode, shift)
        pages = conversation.find("PAGE_DATA", 1)
        link = Link(close="fin" if mode == "plain" else "rst")
        for seed in range(2):
            rng = random.Random(f"{old} {mode} {shift} {seed}")
            segments_left = damage.lose(converse(conversation, link), "forward", *damage.head(pages))
            inside = damage.holding(segments_left, "forward", pages["offset"], pages["offset"] + pages["size"])
            gone = set(rng.sample(inside, min(more, len(inside))))
            frames = travel([one for index, one in enumerate(segments_left) if index not in gone], link)
            raw = [RawPacket(one.time, one.linktype, one.data, len(one.data)) for one in frames]
            records = tools.by_direction(tools.engine_events(list(enumerate(raw, 1))))
            for direction in DIRECTIONS:
                half = conversation.half(direction)
                there = [(p.offset, p.offset + p.length) for p in frames if p.direction == direction and p.length]
                verdict = tools.judge(tuple(half.records), there, len(half.data), records[direction])
                assert verdict.wrong == [], (shift, seed)
