# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.cli.selection import Selection, canonical_types, type_names
from dissector.display_filter import FilterError
from dissector.spec import findings
from dissector.wire.events import Finding
from tests.sample_events import BEGIN, FINDING, GAP, SUMMARY, TOTAL, checkpoint_state, page_data, record, unknown

OTHERS = (BEGIN, GAP, FINDING, SUMMARY, TOTAL)


def test_everything_by_default():
    assert all(Selection()(event) for event in (page_data([1]), *OTHERS))


def test_type_layer_and_filter_concern_records_only():
    selection = Selection(types={"PAGE_DATA"}, layers={"libxc"}, display_filter="page_data.count > 1")
    assert selection(page_data([1, 2]))
    assert not selection(page_data([1]))
    assert not selection(checkpoint_state(1))
    assert all(selection(event) for event in OTHERS)


def test_layers():
    assert not Selection(layers={"xl"})(page_data([1]))
    assert Selection(layers={"xl", "libxc"})(page_data([1]))


def test_direction_concerns_all_that_have_one():
    selection = Selection(direction="reverse")
    assert selection(checkpoint_state(1))
    assert selection(FINDING)
    assert not selection(GAP)
    assert not selection(page_data([1]))
    assert selection(BEGIN)
    assert selection(TOTAL)


def test_flow_concerns_all_but_what_belongs_to_none():
    selection = Selection(flows=[1, 2])
    assert selection(page_data([1], flow=2))
    assert not any(selection(event) for event in (page_data([1]), BEGIN, GAP, FINDING, SUMMARY))
    assert selection(TOTAL)
    assert selection(Finding(findings.CAPTURE_CUT, "cut"))
    assert Selection(flows=[0])(BEGIN)


def test_a_filter_that_is_not_understood():
    with pytest.raises(FilterError):
        Selection(display_filter="nonsense")


@pytest.mark.parametrize("text", ["page_data", "PAGE_DATA", " Page-Data "])
def test_types_in_any_spelling(text):
    assert canonical_types([text, "end"]) == {"PAGE_DATA", "END"}


def test_unknown_records_can_be_selected():
    assert Selection(types=canonical_types(["unknown"]))(unknown())


def test_a_typo_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"no record type 'PAGE_DTAA'; did you mean PAGE_DATA\?"):
        canonical_types(["PAGE_DTAA"])
    with pytest.raises(ValueError, match=r"no record type .zzzzzz.$"):
        canonical_types(["zzzzzz"])


def test_names_for_completion():
    names = type_names()
    assert names == sorted(set(names))
    assert "PAGE_DATA" in names
    assert Selection(types={"READY"})(record("xl", "READY", b""))
