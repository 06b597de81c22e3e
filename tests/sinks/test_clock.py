# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.sinks.clock import LineClock, rfc3339
from tests.sample_events import TIME


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000000000Z"),
        (TIME, "2026-11-22T21:35:10.123456789Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
        (253_402_300_799_999_999_999, "9999-12-31T23:59:59.999999999Z"),
        (253_402_300_800_000_000_000, None),
        (1 << 90, None),
    ],
)
def test_rfc3339(nanoseconds, text):
    assert rfc3339(nanoseconds) == text


def test_utc():
    clock = LineClock("utc")
    assert clock(TIME) == "21:35:10.123456"
    assert clock(None) == "              -"


def test_relative_counts_from_the_first_line():
    clock = LineClock("relative")
    assert [clock(TIME + step).strip() for step in (0, 1_500_000, 61_000_000_000)] == [
        "0.000000",
        "0.001500",
        "61.000000",
    ]


def test_delta_counts_from_the_line_before_and_may_be_negative():
    clock = LineClock("delta")
    assert [clock(TIME + step).strip() for step in (0, 2_000_000, 1_000_000)] == ["0.000000", "0.002000", "-0.001000"]
    assert len(clock(TIME)) == 13


def test_none_takes_no_room():
    assert LineClock("none")(TIME) == ""
