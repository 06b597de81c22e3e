# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import time

import pytest

from dissector.recording.rotation import Limits, parse_autostop, parse_ring, ring_name


def test_words_of_dumpcap():
    assert parse_ring(["duration:0.5", "filesize:3", "packets:7", "files:2"]) == Limits(0.5, 3000, 7, 2)
    assert parse_autostop(["files:4"]) == Limits(files=4)
    assert parse_ring([]) is parse_autostop([]) is None
    assert parse_ring(["packets:1", "packets:2"]) == Limits(packets=2)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "size:3",
        "filesize",
        "filesize:",
        "filesize:x",
        "filesize:1.5",
        "packets:0",
        "packets:-1",
        "duration:0",
        "duration:nan",
        "duration:inf",
        "files:100000",
        "interval:60",
    ],
)
def test_anything_else_is_one_line(value):
    for parse in (parse_ring, parse_autostop):
        with pytest.raises(ValueError, match=r"^-[ab] .+") as caught:
            parse([value])
        assert "\n" not in str(caught.value)


def test_a_ring_needs_a_criterion():
    with pytest.raises(ValueError, match="needs a duration, filesize or packets"):
        parse_ring(["files:3"])


def test_names():
    at = time.struct_time((2026, 11, 22, 21, 35, 10, 6, 326, 0))
    assert ring_name("a/NAME.pcapng", 1, at) == "a/NAME_00001_20261122213510.pcapng"
    assert ring_name("NAME", 100_001, at) == "NAME_00001_20261122213510"
