# SPDX-License-Identifier: GPL-2.0-or-later
"""The golden JSON Lines are what the product says today, and hold every record of the independent truth."""

from __future__ import annotations

import json

import pytest

from captures.golden import HERE, captures, golden

CASES = captures()


@pytest.mark.parametrize("name", CASES)
def test_golden_is_current(name):
    assert golden(CASES[name]) == (HERE / f"{name}.records.jsonl").read_text(), "run: make captures, look at the diff"


@pytest.mark.parametrize("name", CASES)
def test_golden_is_json_with_a_schema(name):
    events = [json.loads(line) for line in (HERE / f"{name}.records.jsonl").read_text().splitlines()]
    assert events[0]["schema"] == 1
    assert all("schema" not in event for event in events[1:])
    assert {event["event"] for event in events} <= {"flow", "record", "gap", "resync", "finding", "summary"}
