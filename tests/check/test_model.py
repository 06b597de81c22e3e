# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dissector.check import libxl, model, xl
from dissector.spec import libxc, rules
from dissector.spec import xl as spec
from tests.check.tools import made


def test_a_check_is_its_rule_its_records_and_its_test():
    one = model.check(rules.PAGE_TYPE, libxc.PAGE_DATA)(lambda record, session: [])
    assert (one.rule, one.on) == (rules.PAGE_TYPE, (libxc.PAGE_DATA,))
    assert list(one.test(None, None)) == []


def test_checks_of_a_module_stand_in_its_order():
    found = [one.rule.number for one in model.checks_in(xl)]
    assert found == [2, 3, 4, 5, 6, 7, 7, 8, 10, 11]
    assert len(model.checks_in(libxl)) > 10


def test_places_count_from_the_first_byte():
    assert model.in_body(made(libxc.PAGE_DATA, bytes(16)), 3) == 11
    assert model.in_body(made(libxc.CHECKPOINT_DIRTY_PFN_LIST, bytes(16), header_size=16), 8) == 24
    assert model.in_body(made(spec.CONFIG, bytes(8)), 4) == 4


def test_a_wrong_length_is_in_the_header():
    hit = model.wrong_length(made(libxc.END, bytes(8)), expected=0)
    assert hit.at == 4
    assert hit.values == {"what": "END", "length": 8, "expected": 0}
