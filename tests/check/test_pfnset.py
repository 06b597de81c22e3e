# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from dissector.check import pfnset
from dissector.check.pfnset import PfnSet

PFNS = st.lists(st.integers(0, (1 << 52) - 1) | st.integers(0, 1 << 17))


@given(PFNS, PFNS)
def test_is_a_set(added, asked):
    found = PfnSet()
    found.add(added)
    assert found.certain
    assert [pfn in found for pfn in (*added, *asked)] == [pfn in set(added) for pfn in (*added, *asked)]


def test_memory_is_bounded():
    found = PfnSet()
    tracemalloc.start()
    found.add(pfn << 40 for pfn in range(1 << 12))
    found.add(pfn << 15 for pfn in range(100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.certain
    assert peak < 1.2 * (pfnset.PIECES_MAX << 12)


def test_says_that_it_was_not_certain_from_the_beginning():
    assert not PfnSet(certain=False).certain
