# SPDX-License-Identifier: GPL-2.0-or-later
"""Findings: stable ids, the severities and rule numbers of stream.md section 7."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from dissector.spec import findings
from dissector.spec.findings import RULES

SEVERITIES = {9: "note", 10: "error", 35: "error", 43: "error", 44: "note", 93: "error", 97: "warn", 98: "error"}
"""Of the rules of section 7 that the core itself notices."""


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_rule_is_well_formed(rule):
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", rule.id)
    assert rule.severity in ("error", "warn", "note")
    assert rule.text
    assert not rule.text.endswith(".")
    for _, name, _, _ in string.Formatter().parse(rule.text):
        assert name is None or re.fullmatch(r"[a-z_]+", name)
    if rule.number is not None:
        assert 1 <= rule.number <= 100
        assert rule.severity == SEVERITIES[rule.number]
    if not rule.id.startswith(("capture.", "limit.")):
        assert rule.section


def test_ids_are_unique():
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_every_rule_is_listed():
    listed = [value for value in vars(findings).values() if isinstance(value, findings.Rule)]
    assert sorted(rule.id for rule in listed) == sorted(rule.id for rule in RULES)


def test_every_limit_has_a_rule():
    assert {rule.id for rule in RULES if rule.id.startswith("limit.")} >= {
        "limit.body",
        "limit.flow_buffer",
        "limit.total_buffer",
        "limit.holes",
        "limit.lost_ranges",
        "limit.flows",
        "limit.search",
        "limit.fragments",
    }


def test_texts_take_their_values():
    assert "0x80000013" in findings.UNKNOWN_OPTIONAL.text.format(layer="libxc", type_id=0x80000013)
    assert "16-byte" in findings.DIRTY_HEADER.text.format(size=16)
    assert findings.LEGACY.text.format(what="xl header").startswith("xl header: legacy stream")


def used():
    """Names of the rules that the core mentions."""
    wire = Path(findings.__file__).parents[1] / "wire"
    return {name for path in wire.glob("*.py") for name in re.findall(r"findings\.([A-Z_]+)", path.read_text())}


def test_rules_used_in_the_code_exist():
    assert used()
    assert {name for name in used() if not isinstance(getattr(findings, name), findings.Rule)} == set()


def test_every_rule_can_be_found():
    """A cap that is hit is reported (design.md, law 4)."""
    rules = {name for name, value in vars(findings).items() if isinstance(value, findings.Rule)}
    assert rules - used() == set()
