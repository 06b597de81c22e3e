# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.cli.arguments import OPTIONAL, with_values
from dissector.cli.choices import SlimChoice


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("", ""),
        ("sniff -w x", "sniff -w x"),
        ("--slim", "--slim=cut"),
        ("--slim -w x", "--slim=cut -w x"),
        ("--slim heads -w x", "--slim=heads -w x"),
        ("--slim=heads", "--slim=heads"),
        ("--slim=", "--slim="),
        ("--slim x.pcapng", "--slim=cut x.pcapng"),
        ("--slim none --slim", "--slim=none --slim=cut"),
        ("-- --slim", "-- --slim"),
        ("tap -- ssh --slim heads", "tap -- ssh --slim heads"),
    ],
)
def test_an_option_without_its_value(given, made):
    words = given.split()
    assert with_values(words) == made.split()
    assert words == given.split()


def test_the_values_are_those_of_the_choice():
    assert OPTIONAL["--slim"] == (SlimChoice.CUT, tuple(SlimChoice))
