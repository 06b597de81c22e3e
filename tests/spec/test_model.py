# SPDX-License-Identifier: GPL-2.0-or-later
"""Lengths and the arithmetic of the record framing."""

from __future__ import annotations

import pytest

from dissector.spec.model import RECORD_HEADER, RECORD_HEADER_SIZE, Length, Record, padded


@pytest.mark.parametrize(("length", "wire"), [(0, 0), (1, 8), (7, 8), (8, 8), (9, 16), (4096, 4096), (6333, 6336)])
def test_padding(length, wire):
    assert padded(length) == wire


def test_record_header():
    assert [field.name for field in RECORD_HEADER] == ["type", "body_length"]
    assert sum(field.size for field in RECORD_HEADER) == RECORD_HEADER_SIZE == 8


@pytest.mark.parametrize(
    ("length", "right", "wrong", "text"),
    [
        (Length(), (0, 1, 1 << 40), (-1,), "at least 0"),
        (Length(exact=(24,)), (24,), (0, 23, 25), "24"),
        (Length(exact=(5176, 2808), tolerated=(8,)), (5176, 2808, 8), (0, 16), "5176 or 2808"),
        (Length(minimum=8, step=16), (8, 24, 40), (0, 7, 9, 16), "8 + 16n"),
        (Length(minimum=9, maximum=136, tolerated=(8,)), (8, 9, 136), (7, 137), "at least 9, at most 136"),
        (Length(minimum=24, step=24, maximum=48), (24, 48), (0, 72), "24 + 24n, at most 48"),
        (Length(minimum=4, maximum=4), (4,), (3, 5), "4"),
    ],
)
def test_length(length, right, wrong, text):
    assert all(length.allows(n) for n in right)
    assert not any(length.allows(n) for n in wrong)
    assert str(length) == text


def test_definitions_are_compared_by_identity_and_can_be_keys():
    one, other = (Record(layer="libxc", name="A", meaning="x", section="1") for _ in range(2))
    assert one != other
    assert len({one, other, one}) == 2
    with pytest.raises(AttributeError):
        one.name = "B"
