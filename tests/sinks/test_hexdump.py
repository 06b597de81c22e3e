# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dissector.sinks.hexdump import hexdump


def test_a_short_last_line_keeps_the_columns():
    assert list(hexdump(b"LibxlFmt\0\0\0\2\0\0\0\0\x7f~ ", 0x48A)) == [
        "0000048a  4c 69 62 78 6c 46 6d 74  00 00 00 02 00 00 00 00  LibxlFmt........",
        "0000049a  7f 7e 20                                          .~ ",
    ]


def test_repeated_lines_are_folded_but_never_the_last():
    lines = list(hexdump(bytes(64)))
    assert [line[:8] for line in lines] == ["00000000", "*", "00000030"]
    assert [line[:8] for line in hexdump(bytes(32))] == ["00000000", "00000010"]


def test_nothing():
    assert list(hexdump(b"")) == []
