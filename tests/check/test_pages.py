# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules about memory let pass, and lists of any kind; what they find is in broken.py."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from dissector.check import pages
from dissector.check.model import checks_in
from dissector.check.session import Session
from dissector.spec import libxc
from tests.check.scripts import findings, hvm, remus_hvm
from tests.check.tools import flow, made

XTAB = 0xF << 60


def page_data(entries, length=None, **more):
    body = struct.pack(f"<II{len(entries)}Q", len(entries), 0, *entries)
    carrying = sum(entry >> 60 in libxc.DATA_PAGE_TYPES for entry in entries)
    return made(libxc.PAGE_DATA, body, length=len(body) + 4096 * carrying if length is None else length, **more)


def hits(check, record, session=None):
    return list(check.test(record, session or Session(flow())))


def original():
    session = Session(flow())
    session.options = 0
    return session


def test_length_of_a_cut_list_is_not_judged():
    record = made(libxc.PAGE_DATA, struct.pack("<IIQ", 3, 0, 1), length=8 + 24 + 4096, complete=False)
    assert hits(pages.length, record) == []


def test_length_with_types_that_do_not_exist_is_not_judged():
    assert hits(pages.length, page_data([5 << 60])) == []
    assert [hit.values["found"] for hit in hits(pages.page_type, page_data([1, 7 << 60]))] == [7]


def test_more_of_the_same_are_counted():
    [hit] = hits(pages.page_type, page_data([5 << 60, 6 << 60, 0]))
    assert hit.values["more"] == " (and 1 more in this record)"


def test_lost_page_contents_change_nothing():
    record = page_data([0, 1, 2], complete=False)
    session = original()
    session.meet(record)
    assert hits(pages.length, record, session) == []
    assert hits(pages.first_pass, record, session) == []


def test_first_pass_of_a_converted_stream_may_have_holes():
    session = original()
    session.converted = True
    record = page_data([0, 5])
    session.meet(record)
    assert hits(pages.first_pass, record, session) == []


def test_first_pass_is_not_judged_behind_a_cut_list():
    session = original()
    cut = made(libxc.PAGE_DATA, struct.pack("<IIQ", 1024, 0, 0), length=8200, complete=False)
    session.meet(cut)
    session.take(cut)
    record = page_data([1024, 1026], offset=cut.size)
    session.meet(record)
    assert hits(pages.first_pass, record, session) == []


def test_a_hole_in_the_first_pass_is_said_once():
    session = original()
    found, offset = [], 0
    for first in (0, 3000, 9000):
        record = page_data([XTAB | pfn for pfn in range(first, first + 1024)], offset=offset)
        offset += record.size
        session.meet(record)
        found += hits(pages.first_pass, record, session)
        session.take(record)
    assert [hit.values for hit in found] == [{"before": 1023, "pfn": 3000}]


def test_later_passes_may_have_holes():
    for script in (hvm(), remus_hvm()):
        assert [one.id for one in findings(script.packets()) if one.severity != "note"] == []


def test_xalloc_of_a_stream_whose_origin_is_not_known():
    assert hits(pages.xalloc, page_data([0xE << 60])) == []


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=40), st.integers(0, 1 << 33), st.booleans())
def test_any_list_is_judged_without_an_exception(entries, length, pv):
    session = original()
    session.guest, session.max_pfn = ("PV", 100) if pv else ("HVM", None)
    record = page_data(entries, length=length)
    session.meet(record)
    for check in checks_in(pages):
        for hit in check.test(record, session):
            assert check.rule.text.format(**hit.values)
            assert 0 <= hit.at <= 8 + 8 + 8 * len(entries)
    session.take(record)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_order_against_a_plain_definition(pfns):
    found = hits(pages.order, page_data(pfns))
    wrong = [at for at in range(1, len(pfns)) if pfns[at] <= pfns[at - 1]]
    assert [hit.at for hit in found] == [16 + 8 * at for at in wrong[:1]]
