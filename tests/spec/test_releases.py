# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known about releases fits what the specification knows about records."""

from __future__ import annotations

from dissector.spec import libxc, releases
from dissector.spec.hvm import HVM_PARAM, HVM_SAVE_TYPE

MASTER_ORDER = (1, 5, 6, 27, 28, 29, 37, 17, 19, 9, 12, 34, 32, 33, 36, 38)
"""stream.md 9.5, last line: the parameters that master writes."""


def test_parameters_have_names():
    assert set(releases.HVM_PARAMS_SENT) <= set(HVM_PARAM.values)


def test_parameters_that_master_sends():
    assert {index for index, (_, last) in releases.HVM_PARAMS_SENT.items() if last is None} == set(MASTER_ORDER)


def test_spans_are_not_empty():
    for first, last in releases.HVM_PARAMS_SENT.values():
        assert first >= releases.FIRST
        assert last is None or first <= last <= releases.LATEST


def test_every_section_has_a_length_or_a_rule_of_its_own():
    known = {*releases.SECTION_LENGTHS, *releases.OPEN_SECTIONS, 0}
    assert known == set(HVM_SAVE_TYPE.values)
    assert max(HVM_SAVE_TYPE.values) == releases.LAST_SECTION


def test_limits():
    assert releases.RECORD_LENGTH_MAX_BEFORE_410 < libxc.REC_LENGTH_MAX
