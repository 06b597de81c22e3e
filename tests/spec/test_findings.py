# SPDX-License-Identifier: GPL-2.0-or-later
"""Findings: ids are unique and stable, texts can be filled in, rule numbers are those of stream.md section 7."""

from __future__ import annotations

import re
import string

import pytest

from dissector.spec.findings import RULES, Rule

NUMBERED = {
    "stream.legacy": 9,
    "xl.message": 10,
    "stream.big_endian": 35,
    "record.unknown": 43,
    "record.unknown_optional": 44,
    "libxc.checkpoint_dirty_pfn_list.header": 93,
    "stream.trailing": 97,
    "stream.record_cut": 98,
}


def test_ids_are_unique():
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids)) > 15


def test_rule_numbers():
    assert {rule.id: rule.number for rule in RULES if rule.number is not None} == NUMBERED


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_is_well_formed(rule: Rule):
    assert re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", rule.id)
    assert rule.severity in ("error", "warn", "note")
    for _, name, _, _ in string.Formatter().parse(rule.text):
        assert name is None or name.isidentifier()
