# SPDX-License-Identifier: GPL-2.0-or-later
"""The five rules of stream.md 5.4 for the header of a dirty list, written out as bytes on the wire."""

from __future__ import annotations

import struct

import pytest

from dissector.wire.dirtylist import HeaderSize, guess, header_size, plainly_specified

NEXT = b"\5\0\0\0\4\0\0\0"


def pfns(*values):
    return struct.pack(f"<{len(values)}Q", *values)


def split(wire, body_length):
    """Split what follows the first 8 header bytes into body and lookahead, as the framer sees them."""
    return wire[:body_length], wire[body_length:]


@pytest.mark.parametrize("values", [(), (0,), (5,), (0, 7, 9), (3, 4, 5, 1000)])
@pytest.mark.parametrize("size", [8, 16, 12])
def test_rules_1_to_3(values, size):
    wire = bytes(size - 8) + pfns(*values) + NEXT + b"\2\0\0\0\0\0\0\0"
    body, ahead = split(wire, 8 * len(values))
    found = header_size(body, ahead[:8], "little", at_end=False)
    if found is None:
        found = header_size(body, ahead[:16], "little", at_end=False)
    assert found == HeaderSize(size, certain=True)


@pytest.mark.parametrize(("size", "values"), [(8, (5, 6)), (16, (5, 6)), (12, (5, 6)), (8, ()), (16, ())])
def test_rule_4_the_list_is_the_last_thing(size, values):
    body, ahead = split(bytes(size - 8) + pfns(*values), 8 * len(values))
    assert header_size(body, ahead, "little", at_end=True) == HeaderSize(size, certain=True)


def test_rule_5_nothing_fits():
    assert header_size(pfns(5, 6), b"garbage!", "little", at_end=False) == HeaderSize(8, certain=False)
    assert header_size(pfns(0, 6), b"garbage!" * 2, "little", at_end=False) == HeaderSize(8, certain=False)


def test_more_bytes_are_asked_for_only_when_the_first_word_is_zero():
    assert header_size(pfns(0, 6), b"garbage!", "little", at_end=False) is None
    assert not plainly_specified(pfns(0, 6))
    assert plainly_specified(pfns(1, 6))
    assert not plainly_specified(b"")


def test_big_endian():
    body = struct.pack(">2Q", 5, 6)
    assert header_size(body, b"\0\0\0\5\0\0\0\4", "big", at_end=False) == HeaderSize(8, certain=True)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (pfns(5, 6), 8),
        (pfns(0, 5), 16),
        (bytes(4) + pfns(5, 6)[:12], 12),
        (b"", 8),
    ],
)
def test_guess_when_what_follows_is_lost(body, size):
    assert guess(body, b"", "little") == size


def test_guess_for_an_empty_list():
    assert guess(b"", bytes(8), "little") == 16
    assert guess(b"", bytes(3), "little") == 8
