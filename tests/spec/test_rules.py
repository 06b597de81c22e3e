# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of rules is that of stream.md section 7: numbers, severities, sections."""

from __future__ import annotations

import re
import string

import pytest

from dissector.spec import findings, rules
from dissector.spec.findings import Rule
from dissector.spec.rules import BY_ID

ERRORS = (
    *(1, 2, 3, 6, 10, 12, 13, 16, 19, 20, 24, 27, 28, 29, 30, 31, 33, 34, 35, 37, 38, 41, 43, 44, 45, 46, 48, 49, 53),
    *(56, 57, 58, 59, 60, 61, 65, 70, 71, 74, 76, 79, 83, 84, 87, 89, 90, 91, 93, 95, 96, 98, 100),
)
WARNS = (
    *(5, 7, 8, 11, 14, 17, 18, 21, 22, 23, 25, 26, 29, 32, 36, 39, 42, 47, 50, 51, 52, 55, 57, 62, 64, 66, 67, 68, 69),
    *(72, 73, 75, 77, 78, 80, 81, 82, 85, 88, 92, 94, 97),
)
NOTES = (4, 9, 15, 40, 44, 54, 63, 99)
"""Copied from the table of section 7; 29, 44 and 57 have two parts."""


def by_number():
    found = {}
    for rule in BY_ID.values():
        if rule.number is not None:
            found.setdefault(rule.number, set()).add(rule.severity)
    return found


def test_numbers_and_severities():
    wanted = {}
    for severity, numbers in (("error", ERRORS), ("warn", WARNS), ("note", NOTES)):
        for number in numbers:
            wanted.setdefault(number, set()).add(severity)
    assert by_number() == wanted
    assert set(wanted) == set(range(1, 101)) - {86}


@pytest.mark.parametrize("rule", rules.RULES, ids=[rule.id for rule in rules.RULES])
def test_rule_is_well_formed(rule):
    assert re.fullmatch(r"[a-z]+(\.[a-z0-9_]+)+", rule.id)
    assert not rule.text.endswith(".")
    assert rule.why
    assert rule.why.endswith((".", "'"))
    assert not rule.releases.endswith(".")
    assert re.fullmatch(r"\d+(\.\d+)?(, \d+(\.\d+)?)*", rule.section)
    for _, name, _, _ in string.Formatter().parse(rule.text):
        assert name is None or re.fullmatch(r"[a-z_]+", name)


def test_every_rule_is_listed_once():
    listed = [value for value in vars(rules).values() if isinstance(value, Rule)]
    assert len(listed) == len(set(listed)) == len(rules.RULES)
    assert len(BY_ID) == len(rules.RULES) + len(findings.RULES)


def test_rules_of_the_stream_say_why():
    for rule in findings.RULES:
        assert rule.why or rule.id.startswith(("capture.", "limit.")), rule.id


def test_numbers_stand_in_order():
    numbers = [rule.number for rule in rules.RULES if rule.number is not None and not rule.id.startswith("ending.")]
    assert numbers == sorted(numbers)
