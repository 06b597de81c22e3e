# SPDX-License-Identifier: GPL-2.0-or-later
"""What every live source has."""

from __future__ import annotations

import pytest

from dissector.live.child import Child
from dissector.live.ring import Ring
from dissector.live.source import Counters, LiveSource
from dissector.live.standard_input import StandardInput

METHODS = [name for name, member in vars(LiveSource).items() if callable(member) and not name.startswith("_")]


@pytest.mark.parametrize("kind", [Ring, Child, StandardInput])
def test_every_source_has_all_methods(kind):
    assert METHODS == ["fileno", "take", "counters", "stop", "close"]
    assert all(callable(getattr(kind, name)) for name in METHODS)


def test_nobody_tells_what_the_card_drops():
    assert Counters(5, 1) == (5, 1, None)
