# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.sources.slim import SECTION_COMMENTS, LeftOut, left_out, section_slim, stronger
from tests.cross.tools import modest

KEY4 = b"\xc0\0\2\1\xc0\0\2\2\xa1\x12\x1f\x42"
KEY6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\1" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\2" + b"\xa1\x12\x1f\x42"


def test_a_comment_that_people_can_read():
    mark = LeftOut(KEY4, 7, 14480, 1_795_383_310_000_000_000, 99)
    assert mark.comment() == (
        "xendissect left out 14480 bytes from sequence number 7 of 192.0.2.1:41234 > 192.0.2.2:8002, "
        "the last at 1795383310000000000, acknowledged up to 99"
    )


@modest(200)
@given(
    key=st.one_of(st.binary(min_size=12, max_size=12), st.binary(min_size=36, max_size=36)),
    seq=st.integers(0, 0xFFFFFFFF),
    length=st.integers(0, 1 << 40),
    time=st.one_of(st.none(), st.integers(0, 1 << 62)),
    ack=st.integers(-1, 0xFFFFFFFF),
)
def test_what_is_written_is_read(key, seq, length, time, ack):
    mark = LeftOut(key, seq, length, time, ack)
    assert list(left_out(f"something\n{mark.comment()}\n{mark.comment()}")) == [mark, mark]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xendissect left out",
        "xendissect left out x bytes from sequence number 7 of 192.0.2.1:1 > 192.0.2.2:2",
        "xendissect left out -1 bytes from sequence number 7 of 192.0.2.1:1 > 192.0.2.2:2",
        "xendissect left out 99999999999999999999 bytes from sequence number 7 of 192.0.2.1:1 > 192.0.2.2:2",
        "xendissect left out 1 bytes from sequence number 7 of 192.0.2.1:70000 > 192.0.2.2:2",
        "xendissect left out 1 bytes from sequence number 7 of 192.0.2.300:1 > 192.0.2.2:2",
        "xendissect left out 1 bytes from sequence number 7 of host:1 > 192.0.2.2:2",
        "xendissect left out 1 bytes from sequence number 7 of 192.0.2.1:1 > fe80::1:2",
        "xendissect left out 1 bytes from sequence number 7 of fe80::1%eth0:1 > fe80::1:2",
    ],
)
def test_what_is_no_mark_is_none(text):
    assert list(left_out(text)) == []


@modest(300)
@given(text=st.one_of(st.text(), st.text("xendissect left out 0123456789 bytes from sequence number of .:>,")))
def test_any_comment(text):
    for mark in left_out(text):
        assert len(mark.key) in (12, 36)
        assert 0 <= mark.seq <= 0xFFFFFFFF
        assert mark.length >= 0


def test_sections():
    for slim, comment in SECTION_COMMENTS.items():
        assert section_slim(comment) == slim
        assert section_slim(comment + "\nmore") == slim
        assert section_slim("see: " + comment) == ""
    assert section_slim("") == section_slim("xendissect slim=all") == section_slim("xendissect slim=cutter") == ""


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [("", "", ""), ("cut", "", "cut"), ("", "cut", "cut"), ("heads", "cut", "heads"), ("cut", "heads", "heads")],
)
def test_twice_slim(one, other, both):
    assert stronger(one, other) == both
