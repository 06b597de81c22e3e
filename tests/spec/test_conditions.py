# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of conditions fits the records and rules it speaks of."""

from __future__ import annotations

import re

import pytest

from dissector.spec import rules
from dissector.spec.conditions import ANY, CONDITIONS
from dissector.spec.model import Bytes, Field

ROWS = [pytest.param(one, id=f"{one.rule.id}-{one.field}") for one in CONDITIONS]


@pytest.mark.parametrize("one", ROWS)
def test_fields_stand_at_a_fixed_place(one):
    for record in one.on:
        for name in filter(None, (one.field, one.tells)):
            before = [element.name for element in record.body].index(name)
            assert all(isinstance(element, Field | Bytes) for element in record.body[:before])
            assert all(
                isinstance(element.length, int) for element in record.body[:before] if isinstance(element, Bytes)
            )
            assert isinstance(record.body[before], Field)
            assert record.body[before].size <= 4


@pytest.mark.parametrize("one", ROWS)
def test_a_value_is_judged_if_and_only_if_a_field_is_named(one):
    judged = bool(one.zero or one.ones or one.allowed or one.forbidden) or one.maximum is not None
    assert judged == bool(one.field)
    assert 0 <= one.zero <= ANY
    assert 0 <= one.ones <= ANY
    assert one.said.endswith("{}")


@pytest.mark.parametrize("one", ROWS)
def test_texts_ask_for_nothing_else(one):
    known = {"what", "length"} | ({"found", "field"} if one.field else set()) | ({"step"} if one.length else set())
    assert set(re.findall(r"{(\w+)", one.rule.text)) <= known


def test_rules_of_the_table_are_known():
    assert {one.rule for one in CONDITIONS} <= set(rules.RULES)
    assert all(not one.rule.beyond_wireshark for one in CONDITIONS)
