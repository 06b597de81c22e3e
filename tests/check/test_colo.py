# SPDX-License-Identifier: GPL-2.0-or-later
"""Both directions together: what the rules about checkpoints let pass; what they find is in broken.py."""

from __future__ import annotations

import struct
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.guests import colo, remus
from dissector.check import colo as module
from dissector.check.checker import Checker
from dissector.check.session import Session
from dissector.spec import libxc, libxl
from dissector.wire.events import Flow, Record
from tests.check.scripts import Script, colo_hvm, engine_batches, findings, findings_in, guest, record, remus_hvm
from tests.check.tools import flow, made


def wrong(found):
    return [(one.id, one.text) for one in found if one.severity != "note"]


def test_first_list_may_come_at_once_or_never():
    assert wrong(findings(Script.of(colo(guest(), ()), close="rst").packets())) == []
    assert wrong(findings(colo_hvm().packets())) == []


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_cut_of_a_session_is_a_failover_or_a_cut(data):
    """From the first complete checkpoint on a stream may end anywhere."""
    script = data.draw(st.sampled_from([colo_hvm, remus_hvm]))()
    ends = [at for at, item in enumerate(script.items) if item.type == "CHECKPOINT_END"]
    at = data.draw(st.integers(ends[0] + 1, len(script.items) - 1))
    item = script.items[at]
    script.cut(item, data.draw(st.integers(0, len(item.data))))
    found = findings(script.packets())
    assert wrong(found) == []
    assert found[-1].id == "ending.failover"


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_how_the_directions_are_interleaved_does_not_matter(random):
    """A direction that waits for a hole comes late: its records are matched by their number."""
    batches = engine_batches(colo_hvm().packets())
    events = [event for batch in batches for event in batch]
    begin = next(event for event in events if isinstance(event, Flow))
    end = [event for event in events if isinstance(event, Flow)][-1]
    halves = [
        [event for event in events if isinstance(event, Record) and event.direction == name]
        for name in ("forward", "reverse")
    ]
    late = random.randrange(2)
    mixed = []
    ahead = halves[1 - late]
    for at, event in enumerate(halves[late]):
        take = len(ahead) if at == 0 else 0
        mixed += ahead[:take]
        ahead = ahead[take:]
        mixed.append(event)
    assert wrong(findings_in([[begin, *mixed, end]])) == []


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_a_pfn_that_is_not_resent_is_said_whichever_direction_comes_first(order):
    script = colo_hvm()
    item = script.find("CHECKPOINT_DIRTY_PFN_LIST", 0, "reverse")
    item.data[:] = record(0x0F, struct.pack("<4Q", 1, 3, 5, 8))
    events = [event for batch in engine_batches(script.packets()) for event in batch]
    flows = [event for event in events if isinstance(event, Flow)]
    halves = [
        [event for event in events if isinstance(event, Record) and event.direction == name]
        for name in ("forward", "reverse")
    ]
    # with one direction whole in front of the other, only as many as may wait can be matched
    ordered = [event for at in order for event in halves[at][:30]]
    found = findings_in([[flows[0], *ordered]])
    assert [one.id for one in found if one.severity != "note"] in (
        [],
        ["libxc.checkpoint_dirty_pfn_list.resent"],
    )
    natural = [one.id for one in findings_in([events]) if one.severity != "note"]
    assert natural == ["libxc.checkpoint_dirty_pfn_list.resent"]


def test_the_dirty_list_of_418_says_what_it_did():
    """A primary that takes the stray word for page 0 and loses the last pfn."""
    conversation = colo(guest(), (), 16)
    half, back, made_guest = conversation.forward, conversation.reverse, guest(generation=3)
    half.state("NEW")
    back.state("SVM_SUSPENDED")
    back.dirty_pfns((3, 6, 11), 16)
    made_guest.checkpoint(half, (0, 3, 6))
    found = {one.id: one for one in findings(Script.of(conversation, close="rst").packets())}
    text = found["libxc.checkpoint_dirty_pfn_list.resent"].text
    assert "1 of 3 pfns" in text
    assert "first 0xb" in text
    assert "page 0 was sent for nothing" in text
    assert "died at checkpoint 2" in found["ending.failed"].text


def test_nothing_is_said_of_page_0_where_the_list_has_it():
    conversation = colo(guest(), (), 16)
    half, back = conversation.forward, conversation.reverse
    half.state("NEW")
    back.state("SVM_SUSPENDED")
    back.dirty_pfns((0, 3, 11), 16)
    guest(generation=3).checkpoint(half, (0, 3))
    found = {one.id: one for one in findings(Script.of(conversation, close="rst").packets())}
    assert "for nothing" not in found["libxc.checkpoint_dirty_pfn_list.resent"].text


def test_46_ends_in_order():
    script = Script.of(remus(guest(version=2, xen=(4, 6)), ((5,), (3, 4))))
    script.append(record(0))
    for data in (bytes(script.find("EMULATOR_CONTEXT").data), record(0)):
        script.append(data)
    found = findings(script.packets())
    assert wrong(found) == []
    assert "only Xen 4.6" in found[-1].text


def test_a_list_at_the_beginning_of_a_back_channel():
    checker = Checker()
    checker.feed(flow())
    one = made(module.DIRTY_LIST, struct.pack("<Q", 1), direction="reverse")
    assert [found.text for found in checker.feed(one)] == [
        "CHECKPOINT_DIRTY_PFN_LIST at the beginning, expected one list behind each SVM_SUSPENDED"
    ]


def test_a_list_before_the_primary_is_known_is_not_judged():
    """A back channel whose other direction is not captured."""
    checker = Checker()
    checker.feed(flow(start="mid-stream"))
    one = made(module.DIRTY_LIST, struct.pack("<3Q", 1, 2, 1 << 40), direction="reverse")
    assert checker.feed(one) == []


@pytest.mark.parametrize(("xen", "found"), [(None, 0), ((4, 6), 0), ((4, 7), 1), ((4, 17), 1)])
def test_end_behind_a_checkpoint_of_an_unknown_release_is_not_judged(xen, found):
    session = Session(flow())
    session.xen = xen
    session.take(made(libxc.CHECKPOINT))
    assert len(list(module.end_after_checkpoint.test(made(libxc.END, offset=8), session))) == found


@pytest.mark.parametrize(("offset", "found"), [(0, 1), (4000, 0)])
def test_a_missing_new_is_not_said_behind_a_hole(offset, found):
    session = Session(flow())
    session.reverse.count[libxl.CHECKPOINT_STATE] = 2
    end = made(libxl.CHECKPOINT_END, offset=offset)
    session.meet(end)
    session.take(end)
    record = made(libxc.X86_TSC_INFO, bytes(24), offset=offset + 8)
    session.meet(record)
    assert len(list(module.no_new.test(record, session))) == found
