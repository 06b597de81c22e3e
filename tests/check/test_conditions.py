# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions hold where they should and only there; that each is broken by some migration is shown with broken.py."""

from __future__ import annotations

import struct

import pytest

from dissector.check.checker import CHECKS
from dissector.check.conditions import holds, judged, place
from dissector.check.session import Session
from dissector.spec import libxc, libxl, rules
from dissector.spec.conditions import CONDITIONS, Condition
from dissector.spec.model import Length
from tests.check.tools import flow, made


def broken(record, session=None, **given):
    one = Condition(rule=rules.TOOLSTACK, on=(record.definition,), **given)
    return holds(one, record, session or Session(flow()))


def tsc(mode=0):
    return made(libxc.X86_TSC_INFO, struct.pack("<IIQII", mode, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("given", "wrong", "right"),
    [
        ({"zero": 6}, (2, 4, 7, 0xFFFF_FFFF), (0, 1, 8)),
        ({"ones": 3}, (0, 1, 2, 4), (3, 7)),
        ({"allowed": (1, 2)}, (0, 3), (1, 2)),
        ({"forbidden": (0, 9)}, (0, 9), (1,)),
        ({"maximum": 5}, (6,), (0, 5)),
    ],
)
def test_values(given, wrong, right):
    assert all(broken(tsc(value), field="mode", **given) for value in wrong)
    assert not any(broken(tsc(value), field="mode", **given) for value in right)


def test_lengths():
    for length, allowed in ((0, False), (8, True), (12, False), (16, True)):
        record = made(libxc.HVM_CONTEXT, bytes(length))
        assert broken(record, length=Length(minimum=8, step=8)) is not allowed


def test_a_field_that_is_not_there_is_not_judged():
    record = made(libxc.X86_TSC_INFO, b"\1\0\0", length=24, complete=False)
    assert not broken(record, field="mode", zero=0xFFFF_FFFF)


def test_what_came_before():
    session = Session(flow())
    record = made(libxc.STATIC_DATA_END)
    assert not broken(record, session, behind=libxc.STATIC_DATA_END)
    session.meet(record)
    session.take(record)
    assert broken(record, session, behind=libxc.STATIC_DATA_END)


@pytest.mark.parametrize(
    ("when", "changes"),
    [
        ("forward", {}),
        ("v2", {"version": 2}),
        ("original", {"options": 0}),
        ("inside", {"inside": True}),
        ("outside", {"inside": False}),
        ("has a head", {}),
        ("not a state", {}),
    ],
)
def test_what_else_has_to_hold(when, changes):
    session = Session(flow())
    for name, value in changes.items():
        setattr(session, name, value)
    assert broken(tsc(), session, when=(when,))


@pytest.mark.parametrize("when", ["reverse", "v2", "original", "inside"])
def test_what_does_not_hold(when):
    assert not broken(tsc(), when=(when,))


def test_a_checkpoint_that_is_not_known_is_neither_inside_nor_outside():
    session = Session(flow())
    session.inside = None
    assert not broken(tsc(), session, when=("inside",))
    assert not broken(tsc(), session, when=("outside",))


def test_all_conditions_of_a_rule_are_one_check():
    check = judged(rules.POLICY_LENGTH)
    assert check.on == (libxc.X86_CPUID_POLICY, libxc.X86_MSR_POLICY)
    session = Session(flow())
    [hit] = check.test(made(libxc.X86_MSR_POLICY, bytes(24)), session)
    assert (hit.at, hit.values) == (4, {"what": "X86_MSR_POLICY", "length": 24, "step": 16})
    assert list(check.test(made(libxc.X86_CPUID_POLICY, bytes(24)), session)) == []


def test_the_whole_table_is_used():
    assert {one.rule for one in CONDITIONS} <= {check.rule for check in CHECKS}


def test_places():
    assert place(libxl.STREAM_HEADER, "options")[0] == 12
    with pytest.raises(KeyError):
        place(libxl.STREAM_HEADER, "no such field")
