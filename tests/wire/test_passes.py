# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a pass begins, on made batches and against the truth of the captures."""

from __future__ import annotations

import pytest

from dissector.spec import libxc
from dissector.wire.events import Record, Summary
from dissector.wire.passes import Passes
from tests.cross.tools import events
from tests.sample_events import page_data, record

FULL = libxc.MAX_BATCH_SIZE


def passes(*batches):
    found = Passes()
    for batch in batches:
        found.add(page_data(list(batch)))
    return found.number, found.pages, found.before


def test_nothing_yet():
    assert passes() == (0, 0, None)


def test_full_batches_that_rise_are_one_pass():
    assert passes(range(FULL), range(FULL, 2 * FULL)) == (1, 2 * FULL, None)
    assert passes(range(FULL), range(FULL, 2 * FULL), range(3000, 3010)) == (1, 2 * FULL + 10, None)


def test_a_short_batch_is_the_end_of_a_pass():
    assert passes(range(10), range(20, 25)) == (2, 5, 10)


def test_a_batch_that_begins_lower_is_another_pass():
    assert passes(range(FULL), range(FULL)) == (2, FULL, FULL)
    assert passes(range(FULL), [FULL - 1]) == (2, 1, FULL)


def test_pages_without_contents_do_not_count():
    found = Passes()
    assert found.add(page_data([0, 1, 0xF << 60 | 2])) == 2
    assert found.pages == 2


def test_a_batch_without_pfns_changes_nothing():
    found = Passes()
    found.add(page_data([5]))
    assert found.add(page_data([])) == 0
    assert found.add(record("libxc", "PAGE_DATA", b"\1\0\0\0")) == 0
    assert (found.number, found.pages) == (1, 1)


@pytest.mark.parametrize("name", ["xl-migrate-hvm", "pv-live-libxl", "xl-hvm-v3", "big-endian"])
def test_the_same_number_as_in_the_summary(name):
    found, summary = Passes(), None
    for event in events(name):
        if isinstance(event, Record) and event.definition is libxc.PAGE_DATA:
            found.add(event)
        elif isinstance(event, Summary):
            summary = event
    assert found.number == summary.passes
