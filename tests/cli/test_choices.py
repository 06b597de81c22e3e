# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import get_args

from dissector.cli.choices import ColourChoice, DirectionChoice, FormatChoice, LayerChoice, TimeChoice
from dissector.sinks.clock import TimeStyle
from dissector.sinks.colour import When
from dissector.sources.capture import CAPTURES, STREAMS
from dissector.spec import ALL_RECORDS
from dissector.wire.events import DirectionName


def test_the_words_of_the_command_line_are_those_of_the_code():
    assert set(TimeChoice) == set(get_args(TimeStyle))
    assert set(ColourChoice) == set(get_args(When))
    assert set(DirectionChoice) == set(get_args(DirectionName))
    assert set(FormatChoice) == {*CAPTURES, *STREAMS}
    assert set(LayerChoice) == {record.layer for record in ALL_RECORDS}
