# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ends of a pfn list and its page types tell is what decoding tells."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from dissector.sinks.facts import SPECIAL, facts
from dissector.sinks.page_list import page_list
from dissector.spec.libxc import PFN_MASK
from dissector.wire import codec
from tests.sample_events import checkpoint_state, page_data

ENTRIES = st.lists(st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 20)), max_size=12)


@given(ENTRIES, st.integers(0, 14), st.integers(0, 8), st.sampled_from(("little", "big")))
def test_it_says_what_decoding_says(entries, count, cut, order):
    """Among the bodies are those with a count of their own, and those that end anywhere."""
    count = len(entries) if count > 12 else count
    body = struct.pack(f"{'<' if order == 'little' else '>'}II{len(entries)}Q", count, 7, *entries)
    record = page_data([], body=body[: len(body) - cut], order=order)
    found = page_list(record)
    if count == len(entries) > 1 and not cut:
        assert found is not None
    if found is None:
        return
    count, reserved, first, last, tops = found
    pages, types = codec.pages_and_types(tops)
    told = (count, reserved, first & PFN_MASK, last & PFN_MASK, pages, types)
    names = ("count", "reserved", "first_pfn", "last_pfn", "data_pages", "types")
    assert told == tuple(record.fields[name] for name in names)
    assert list(types) == list(record.fields["types"])
    assert facts(record) == SPECIAL["libxc", "PAGE_DATA"](record, record.fields)


def test_what_is_left_to_decoding():
    assert page_list(page_data([])) is None
    assert page_list(page_data([5])) is None
    assert page_list(page_data([1, 2], extra={"stray": "00"})) is None
    assert page_list(checkpoint_state(1)) is None
