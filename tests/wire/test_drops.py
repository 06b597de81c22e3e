# SPDX-License-Identifier: GPL-2.0-or-later
"""Who lost a packet: the capture, when its counter moved in that time; else the wire, if there is a counter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dissector.wire.drops import Drops

SECOND = 1_000_000_000


def test_without_a_counter_nobody_knows():
    assert Drops().cause(0, SECOND) is None


def test_a_counter_that_never_moved():
    drops = Drops()
    drops.counted = True
    assert drops.cause(0, SECOND) == "wire"
    assert drops.cause(None, SECOND) == "wire"
    assert drops.cause(0, None) is None


def test_spans():
    drops = Drops()
    drops.add(10 * SECOND, 11 * SECOND)
    assert drops.cause(10 * SECOND, 12 * SECOND) == "capture"
    assert drops.cause(9 * SECOND, 10 * SECOND) == "capture"
    assert drops.cause(None, 20 * SECOND) == "capture"
    assert drops.cause(8 * SECOND, 9 * SECOND) == "wire"
    assert drops.cause(12 * SECOND, 13 * SECOND) == "wire"


def test_a_packet_is_counted_a_little_after_its_time():
    drops = Drops()
    drops.add(10 * SECOND, 11 * SECOND)
    assert drops.cause(9 * SECOND, 10 * SECOND - 1_000_000) == "capture"


def test_without_a_counter_that_is_read_at_once_only_drops_are_sure():
    drops = Drops()
    drops.add(10 * SECOND, 11 * SECOND)
    drops.counted = False
    assert drops.cause(10 * SECOND, 12 * SECOND) == "capture"
    assert drops.cause(12 * SECOND, 13 * SECOND) is None


def test_spans_of_several_counters_overlap():
    drops = Drops()
    drops.add(10 * SECOND, 11 * SECOND)
    drops.add(5 * SECOND, 12 * SECOND)
    assert drops.cause(6 * SECOND, 7 * SECOND) == "capture"
    assert drops.cause(11 * SECOND, 12 * SECOND) == "capture"


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10**7)), min_size=1, max_size=1500))
def test_joined_spans_never_forget_a_drop(steps):
    drops, now, spans = Drops(), 0, []
    for pause, length in steps:
        start, now = now + pause, now + pause + length
        drops.add(start, now)
        spans.append((start, now))
    assert len(drops._spans) <= 1024
    assert all(drops.cause(start, end) == "capture" for start, end in spans)
