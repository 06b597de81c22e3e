# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from dissector.sinks.pfns import record_runs, runs, wrapped
from dissector.spec.libxc import PAGE_TYPE, PFN_MASK
from tests.sample_events import XTAB, checkpoint_state, dirty_list, page_data


def test_neighbours_of_one_type_are_one_run():
    record = page_data([0, 1, 2, XTAB | 3, XTAB | 4, 5, 9])
    assert list(record_runs(record)) == ["0x0-0x2", "0x3-0x4 XTAB", "0x5", "0x9"]


def test_a_plain_list_has_no_types():
    assert list(record_runs(dirty_list([0x179, 0x17A, 0x3F8]))) == ["0x179-0x17a", "0x3f8"]
    assert list(record_runs(dirty_list([]))) == []
    assert list(record_runs(checkpoint_state(0))) == []


def test_big_endian_and_types_without_a_name():
    assert list(runs(struct.pack(">2Q", 7 << 60 | 1, 2), "big", typed=True)) == ["0x1 0x7", "0x2"]


PFNS = st.one_of(st.integers(0, 6), st.integers(PFN_MASK - 3, PFN_MASK))


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 15]), st.sampled_from([0, 3]), PFNS), max_size=12))
def test_runs_are_as_long_as_they_can_be_and_tell_the_whole_list(entries):
    raw = struct.pack(f"<{len(entries)}Q", *(kind << 60 | reserved << 52 | pfn for kind, reserved, pfn in entries))
    found = []
    for text in runs(raw, "little", typed=True):
        span, _, name = text.partition(" ")
        first, _, last = span.partition("-")
        found.append((int(first, 16), int(last or first, 16), name or "NOTAB"))
    told = [(PAGE_TYPE.values[kind], pfn) for kind, _, pfn in entries]
    assert [(name, pfn) for first, last, name in found for pfn in range(first, last + 1)] == told
    assert not any(a[2] == b[2] and a[1] + 1 == b[0] for a, b in itertools.pairwise(found))


def test_lines_are_filled():
    assert list(wrapped(["aa", "bb", "cc"], 6)) == ["aa, bb,", "cc"]
    assert list(wrapped(["a long word"], 3)) == ["a long word"]
    assert list(wrapped([], 3)) == []
