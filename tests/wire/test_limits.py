# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits are bounds with sane defaults."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

from dissector.spec.libxc import LARGEST_PAGE_DATA, MAX_BATCH_SIZE
from dissector.wire.limits import MIB, Limits, ThoroughLimits


def test_defaults():
    limits = Limits()
    assert all(getattr(limits, field.name) > 0 for field in fields(limits))
    assert limits.max_flow_buffer <= limits.max_total_buffer <= 64 * MIB
    assert limits.max_body >= 8 + 8 * MAX_BATCH_SIZE
    assert limits.max_search > 2 * LARGEST_PAGE_DATA
    assert limits.reorder_window < limits.max_flow_buffer


def test_a_list_of_four_gib_of_dirty_pages_is_kept():
    """The longest list that Xen 4.7 to 4.9 could read (stream.md 4.3)."""
    assert Limits().max_body >= 8 * 1_048_576


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        Limits().max_flows = 3
    assert replace(Limits(), max_flows=3).max_flows == 3


def test_padding_is_looked_at_only_where_it_is_asked_for():
    assert (Limits().padding, ThoroughLimits().padding) == (False, True)
    assert asdict(ThoroughLimits()) == asdict(Limits())
