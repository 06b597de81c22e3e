# SPDX-License-Identifier: GPL-2.0-or-later
"""What is promised of live sources holds for each of them."""

from __future__ import annotations

import inspect

import pytest

from dissector.live.child import Child
from dissector.live.ring import Ring
from dissector.live.source import Counters, LiveError, LiveSource
from dissector.live.standard_input import StandardInput

METHODS = sorted(name for name, value in vars(LiveSource).items() if inspect.isfunction(value) and name[0] != "_")


def test_there_are_the_methods_that_the_loop_calls():
    assert METHODS == ["close", "counters", "fileno", "fills", "stop", "take"]


@pytest.mark.parametrize("kind", [Ring, Child, StandardInput])
def test_each_source_has_them(kind):
    for name in METHODS:
        promised, made = (inspect.signature(getattr(one, name)) for one in (LiveSource, kind))
        assert list(made.parameters) == list(promised.parameters)
        assert made.return_annotation == promised.return_annotation


def test_what_is_not_counted_is_not_zero():
    assert Counters(None, None) == (None, None, None)
    assert Counters(3, 1)._asdict() == {"received": 3, "dropped": 1, "dropped_by_interface": None}


def test_an_error_is_its_line():
    assert str(LiveError("eth0: broken")) == "eth0: broken"
