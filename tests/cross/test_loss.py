# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames taken out of captures: what does not overlap the missing bytes is reported exactly, nothing is invented."""

from __future__ import annotations

import random
from functools import cache

import pytest

from dissector.wire.events import Resync
from tests.cross import tools
from tests.cross.tools import DIRECTIONS, SYN, Span, packets, tcp, truth

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


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("name", [*SYNTHETIC, *REAL])
def test_small_loss(name, kind):
    count = lose(name, kind, 4 if name in REAL else 6)
    assert count.wrong == []
    assert count.vain == []
    assert count.silent == []


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("name", [*SYNTHETIC, *REAL])
def test_large_loss(name, kind):
    """Records between two losses may be too few to be believed; then a resync says that bytes were passed over."""
    count = lose(name, kind, 2 if name in REAL else 6)
    assert count.wrong == []
    assert count.silent == []
