# SPDX-License-Identifier: GPL-2.0-or-later
"""Defaults are safe: tens of MiB, whatever comes."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dissector.spec.libxc import LARGEST_PAGE_DATA
from dissector.wire.limits import Limits


@pytest.mark.parametrize("field", fields(Limits), ids=lambda field: field.name)
def test_every_limit_is_a_positive_number(field):
    assert field.default > 0


def test_defaults_fit_together():
    limits = Limits()
    assert limits.reorder_window < limits.max_flow_buffer <= limits.max_total_buffer <= 64 << 20
    assert limits.max_search > 2 * LARGEST_PAGE_DATA
    assert limits.max_body >= 8 * 1024 + 8
