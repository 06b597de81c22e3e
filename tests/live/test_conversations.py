# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversations are put together from captures as their truth says."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.live.conversations import conversation, playable, unrelated

REAL = ("hvm-colo-xl", "hvm-colo-xl-420", "hvm-remus-libxl", "pv-live-libxl", "xl-migrate-hvm")


def test_conversations_are_those_of_the_truth():
    names = playable()
    assert set(REAL) <= set(names)
    assert len(names) > 45
    for name in names:
        conversation(name)  # compares bytes and digests


@pytest.mark.parametrize("name", [*REAL, "two-migrations-and-noise", "port-reuse", "syn-by-receiver"])
def test_turns_cover_all_bytes_in_order(name):
    what = conversation(name)
    at = Counter()
    for direction, start, end in what.turns:
        assert at[direction] == start < end
        at[direction] = end
    assert (at["forward"], at["reverse"]) == (len(what.forward), len(what.reverse))


def test_flows_of_one_capture():
    assert len(conversation("two-migrations-and-noise", 1).forward) == 201104
    assert len(conversation("port-reuse", 1).forward) == 173342
    with pytest.raises(ValueError, match="not the"):
        conversation("fragments-ipv4")


def test_who_opens_and_who_closes():
    assert conversation("syn-by-receiver").opener == "reverse"
    assert conversation("xl-migrate-hvm").close == "reverse"
    assert conversation("remus-hvm-xl").close == "reset"


def test_something_else_is_no_migration():
    what = unrelated(requests=3, size=10)
    assert what.forward.count(b"GET /page") == 3
    assert what.turns[-1][2] == len(what.reverse)
