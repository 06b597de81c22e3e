# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.tap import pace
from dissector.tap.pace import FLOOR, Pace
from tests.cross.tools import modest


class Clock:
    """Time goes on only when somebody sleeps, and then too far, as that of a real system; or when `now` is set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += seconds * 1.1
        self.now += seconds * 1.1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "clock", made)
    return made


def speed(clock: Clock, one: Pace, own: float, behind: float, pieces: int = 2000, size: int = 1 << 18) -> float:
    """Send at `own` bytes per second; return how fast it was in the end."""
    begin = clock.now
    for _ in range(pieces):
        clock.now += size / own
        one.passed(0, size, behind)
    return pieces * size / (clock.now - begin)


def test_nobody_is_behind(clock):
    assert speed(clock, Pace(), 8e9, 0.0) == pytest.approx(8e9)
    assert clock.slept == 0


def test_a_slow_transfer_is_never_touched(clock):
    assert speed(clock, Pace(), 0.99 * FLOOR, 1.0) == pytest.approx(0.99 * FLOOR)
    assert clock.slept == 0


@modest(50)
@given(own=st.floats(1e6, 2e10), behind=st.floats(0, 1))
def test_half_the_speed_is_left_and_512_mib(own, behind):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "clock", clock)
        left = speed(clock, Pace(), own, behind)
    assert left >= 0.98 * max(own / 2, min(own, FLOOR))


def test_the_further_behind_the_slower(clock):
    speeds = [speed(clock, Pace(), 4e9, behind) for behind in (0.0, 0.25, 0.5, 1.0)]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-1] == pytest.approx(2e9, rel=0.02)


def test_a_rate_is_kept_whatever_the_speed(clock):
    assert speed(clock, Pace(50_000_000), 4e9, 0.01) == pytest.approx(5e7, rel=0.02)


def test_no_pace_at_all(clock):
    assert speed(clock, Pace(0), 4e9, 1.0) == pytest.approx(4e9)


def test_the_sides_do_not_wait_for_each_other(clock):
    one = Pace(1_000_000)
    one.passed(0, 1_000_000, 1.0)
    slept = clock.slept
    assert slept > 0.9
    one.passed(1, 100, 1.0)
    assert clock.slept == slept
