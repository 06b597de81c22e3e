# SPDX-License-Identifier: GPL-2.0-or-later
"""dirtylist.lua decides as :mod:`dissector.wire.dirtylist` does."""

from __future__ import annotations

import struct
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.spec import libxl
from dissector.wire import dirtylist
from tests.cross.tools import modest
from tests.templates.test_framer import VERSIONS, in_lua, lua

__all__ = ["in_lua"]

ORDERS = ("little", "big")
HEADS = tuple(struct.pack(f"{mark}II", libxl.CHECKPOINT_STATE.type_id, 4) for mark in "<>")
WORDS = st.sampled_from((b"\0", b"\0\0\0\0", b"\1\0\0\0", b"\0\0\0\1", b"\5\0\0\0", b"\4\0\0\0", *HEADS)) | st.binary(
    max_size=4
)
TEXTS = st.lists(WORDS, max_size=6).map(b"".join)


def test_the_head_that_follows_a_list(one):
    """The part knows it by heart."""
    for order, head in zip(ORDERS, HEADS, strict=True):
        assert one.parts[b"dirtylist"][b"header_size"](b"", head, order.encode(), False) == (8, True)


def test_numbers(one):
    part = one.parts[b"dirtylist"]
    assert tuple(part[b"LOOKAHEAD"].values()) == dirtylist.LOOKAHEAD
    assert sorted(part[b"DECIDING"]) == list(dirtylist.DECIDING)


def compare(body: bytes, ahead: bytes, order: str) -> None:
    for version in VERSIONS:
        part = lua(version).parts[b"dirtylist"]
        assert part[b"plainly_specified"](body) == dirtylist.plainly_specified(body)
        assert part[b"guess"](body, ahead, order.encode()) == dirtylist.guess(body, ahead, order)
        for at_end in (False, True):
            decided = part[b"header_size"](body, ahead, order.encode(), at_end)
            assert decided == dirtylist.header_size(body, ahead, order, at_end=at_end)


@modest(400)
@given(TEXTS, TEXTS, st.sampled_from(ORDERS))
def test_any_bytes(body, ahead, order):
    compare(body, ahead[:16], order)


@pytest.mark.parametrize("order", ORDERS)
def test_lists_as_they_are_sent(order):
    """With no, 4 or 8 stray bytes, of any length, cut anywhere behind the list."""
    mark = "<" if order == "little" else ">"
    head = HEADS[ORDERS.index(order)]
    for stray, pfns in product((0, 4, 8), ((), (5,), (0,), (1, 7), (1 << 32, 1 << 33), (3, 1 << 40))):
        sent = bytes(stray) + b"".join(struct.pack(f"{mark}Q", pfn) for pfn in pfns)
        body, rest = sent[: 8 * len(pfns)], sent[8 * len(pfns) :]
        ahead = rest + head + struct.pack(f"{mark}II", 2, 0)
        for count in range(17):
            compare(body, ahead[:count], order)
