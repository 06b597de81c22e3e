# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dissector.sinks.loss import loss_mark, lost_bytes, lost_pfns
from tests.sample_events import XTAB, checkpoint_state, page_data

CONTENTS = 1000 + 8 + 8 + 4 * 8
"""Where page contents begin in the record below."""


def incomplete(*lost: tuple[int, int], **changed):
    return page_data([0x10, XTAB | 0x11, 0x12, 0x13], offset=1000, complete=False, lost=lost, **changed)


def test_a_hole_in_the_contents_names_the_pages():
    # 0x11 is XTAB and has no contents, so the second page of contents belongs to 0x12.
    assert lost_pfns(incomplete((CONTENTS + 4096, 1))) == [0x12]
    assert lost_pfns(incomplete((CONTENTS + 4095, 2))) == [0x10, 0x12]
    assert lost_pfns(incomplete((CONTENTS, 1), (CONTENTS + 3 * 4096 - 1, 1))) == [0x10, 0x13]
    assert loss_mark(incomplete((CONTENTS + 4095, 2))) == "LOST 2 bytes (2 pages)"


def test_a_hole_before_the_contents_hits_no_page():
    assert lost_pfns(incomplete((1000, 4))) == []
    assert loss_mark(incomplete((1000, 4))) == "LOST 4 bytes"


def test_a_list_that_is_not_whole_names_no_page():
    body = incomplete().body[:24]
    assert lost_pfns(incomplete((1024, 4096), body=body)) is None
    assert lost_pfns(incomplete((1000, 4096), body=b"")) is None


def test_a_missing_end():
    assert loss_mark(checkpoint_state(2, complete=False, lost=((2794 + 8, 8),))) == "LOST 8 bytes at its end"
    assert loss_mark(checkpoint_state(2, complete=False, lost=((2794, 16),))) == "LOST 16 bytes"
    assert loss_mark(checkpoint_state(2, complete=False)) == "CUT"


def test_complete_records_have_no_mark():
    assert loss_mark(checkpoint_state(2)) == ""
    assert lost_bytes(checkpoint_state(2)) == 0
    assert lost_pfns(checkpoint_state(2)) == []
