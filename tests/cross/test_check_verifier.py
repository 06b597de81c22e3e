# SPDX-License-Identifier: GPL-2.0-or-later
"""The same verdict as Xen's verify-stream-v2 on every plain stream and every change of it, or a written reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.captures.tools import verify_stream
from tests.cross.mutations import Mutation, distinct, mutations
from tests.cross.verifier_table import TABLE, explanations, page, verdicts
from tests.cross.xen_verifier import verdict

UNCHANGED = Mutation("", 0, 0, b"")
PLAIN = {stream.name: stream for stream in distinct() if stream.mode == "plain" and stream.order == "little"}
CHECKPOINTED = {stream.name: stream for stream in distinct() if stream.mode in ("remus", "colo")}
EVERY = {"save-image", "xl-pv64-v3", "xl-pv32-v2", "converted", "libxc-file"}
"""Streams with all their changes: one of each form, version and kind of guest."""
SOME, FEW = 20, 200
"""Of the other streams, one change in so many; of those of megabytes."""
PAGE = Path(__file__).parents[2] / "docs/check-verifier.md"


def chosen(stream):
    """Changes of a stream; XENDISSECT_EXPLORE=N: N times as many."""
    step = 1 if stream.name in EVERY else FEW if len(stream.data) > 1 << 20 else SOME
    step = max(1, step // max(1, int(os.environ.get("XENDISSECT_EXPLORE", "0"))))
    first = sum(stream.name.encode()) % step  # not the same ones of every stream
    return [UNCHANGED, *list(mutations(stream))[first::step]]


@pytest.mark.parametrize("name", PLAIN)
def test_verdicts(name):
    stream = PLAIN[name]
    unexplained = []
    for mutation in chosen(stream):
        both = verdicts(mutation.apply(stream), stream.form)
        if both.differ and len(explanations(mutation.what, both)) != 1:
            unexplained.append((mutation.what, both, explanations(mutation.what, both)))
    assert unexplained == []


@pytest.mark.parametrize("row", TABLE, ids=[f"{row.stream}-{row.what or 'unchanged'}" for row in TABLE])
def test_each_explanation_applies(row):
    stream = PLAIN[row.stream]
    [mutation] = [one for one in (UNCHANGED, *mutations(stream)) if one.what == row.what]
    both = verdicts(mutation.apply(stream), stream.form)
    assert both.differ
    assert explanations(row.what, both) == [row]


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_what_the_verifier_cannot_judge(name):
    stream = CHECKPOINTED[name]
    both = verdicts(stream.data, stream.form)
    assert both.code
    assert not both.rejected


def test_the_page_is_current():
    """`python -m tests.cross.verifier_table > docs/check-verifier.md` writes it."""
    assert PAGE.read_text() == page()


def test_streams_of_every_kind_are_among_them():
    assert {stream.form for stream in PLAIN.values()} == {"xl", "libxl", "libxc"}
    assert EVERY | {"xl-migrate-hvm", "pv-live-libxl"} <= set(PLAIN)


def test_in_this_process_it_says_what_the_program_says(tmp_path):
    """The program itself, over a few changes that end in each of its ways."""
    stream = PLAIN["save-image"]
    picked = [UNCHANGED, *list(mutations(stream))[::60]]
    picked += [one for one in mutations(stream) if one.what == "libxc END: a TOOLSTACK in front"]
    codes = set()
    for mutation in picked:
        data = mutation.apply(stream)
        code, complaint = verdict(data, "xl")
        codes.add(code)
        said = verify_stream(data, "xl", tmp_path)
        assert bool(said) == bool(code)
        assert complaint in said
        assert ("Script Error" in said) == (code == 2)
    assert codes == {0, 1, 2}
