# SPDX-License-Identifier: GPL-2.0-or-later
"""The short way to the JSON of a PAGE_DATA says what the long way says, or nothing."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.sinks.json_pages import page_data_fields
from tests.sample_events import XTAB, page_data

ENTRIES = st.lists(st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 20)), max_size=12)


@given(ENTRIES, st.integers(0, 14), st.integers(0, 8), st.sampled_from(("little", "big")), st.booleans())
def test_it_says_what_decoding_says(entries, count, cut, order, pfns):
    """Among the bodies are those with a count of their own, and those that end anywhere."""
    count = len(entries) if count > 12 else count
    body = struct.pack(f"{'<' if order == 'little' else '>'}II{len(entries)}Q", count, 7, *entries)
    record = page_data([], body=body[: len(body) - cut], order=order)
    text = page_data_fields(record, pfns=pfns)
    if count == len(entries) > 1 and not cut:
        assert text is not None
    if text is not None:
        assert list(json.loads(text).items()) == list(record.decode(pfns=pfns).items())
        assert " " not in text


@pytest.mark.parametrize("pages", [2, 3, 1024])
def test_a_whole_list(pages):
    record = page_data([*range(pages - 1), XTAB | 0x7FFFF])
    assert json.loads(page_data_fields(record, pfns=False)) == {
        "count": pages,
        "reserved": 0,
        "first_pfn": 0,
        "last_pfn": 0x7FFFF,
        "data_pages": pages - 1,
        "types": {"NOTAB": pages - 1, "XTAB": 1},
    }
    assert json.loads(page_data_fields(record, pfns=True))["pfn"] == [*range(pages - 1), 0x7FFFF]


@pytest.mark.parametrize("entries", [[], [5]])
def test_lists_that_are_left_to_the_long_way(entries):
    assert page_data_fields(page_data(entries), pfns=False) is None


def test_further_facts_are_left_to_the_long_way():
    assert page_data_fields(page_data([1, 2], extra={"stray": "00"}), pfns=False) is None
