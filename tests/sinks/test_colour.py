# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io

import pytest

from dissector.sinks.colour import Palette, printable, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_gets_colours():
    assert wants_colour("auto", Terminal(), {})
    assert not wants_colour("auto", io.StringIO(), {})


def test_no_color_and_dumb_terminals_are_respected():
    assert not wants_colour("auto", Terminal(), {"NO_COLOR": "1"})
    assert wants_colour("auto", Terminal(), {"NO_COLOR": ""})
    assert not wants_colour("auto", Terminal(), {"TERM": "dumb"})


def test_an_explicit_choice_wins():
    assert wants_colour("always", io.StringIO(), {"NO_COLOR": "1"})
    assert not wants_colour("never", Terminal(), {})


def test_palette():
    assert Palette(enabled=True).paint("error", "x") == "\x1b[1;31mx\x1b[0m"
    assert Palette(enabled=True).paint("error", "") == ""
    assert Palette(enabled=True).paint("no such style", "x") == "x"
    assert Palette(enabled=False).paint("error", "x") == "x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain gäst", "plain gäst"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines", "two\\x0alines"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\x9bcsi", "\\x9bcsi"),
    ],
)
def test_nothing_of_a_capture_controls_the_terminal(text, shown):
    assert printable(text) == shown
