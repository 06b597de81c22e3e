# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

from dissector.sinks.pfns import record_runs, runs, wrapped
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


def test_lines_are_filled():
    assert list(wrapped(["aa", "bb", "cc"], 6)) == ["aa, bb,", "cc"]
    assert list(wrapped(["a long word"], 3)) == ["a long word"]
    assert list(wrapped([], 3)) == []
