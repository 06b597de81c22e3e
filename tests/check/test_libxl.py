# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules of the libxl layer let pass; what they find is in broken.py."""

from __future__ import annotations

import struct

import pytest

from captures.guests import plain
from dissector.check import libxl
from dissector.check.session import Session
from dissector.spec import libxc
from dissector.spec import libxl as spec
from tests.check.scripts import Script, findings, guest, pv
from tests.check.tools import flow, made

SUB = struct.pack("<II", 2, 0)


def hits(check, record, session=None):
    return list(check.test(record, session or Session(flow())))


@pytest.mark.parametrize("text", [b"", b"a\0b\0", b"physmap/0/name\0\0", b"a-b_c/D@1\0 any \xff value\0"])
def test_good_xenstore_data(text):
    record = made(spec.EMULATOR_XENSTORE_DATA, SUB + text)
    assert hits(libxl.xenstore_form, record) == []
    assert hits(libxl.xenstore_key, record) == []


def test_xenstore_data_with_a_hole_are_not_judged():
    record = made(spec.EMULATOR_XENSTORE_DATA, SUB + b"physmap/0/na", length=200, complete=False)
    assert hits(libxl.xenstore_form, record) == []


def test_emulator_records_of_a_guest_of_unknown_kind():
    session = Session(flow(entry="libxl"))
    session.guest = "HVM"  # or PVH: the domain header does not tell
    assert hits(libxl.emulator_guest, made(spec.EMULATOR_CONTEXT, SUB), session) == []


def test_unknown_emulator_of_a_converted_stream():
    session = Session(flow())
    session.options, session.converted = 2, True
    assert hits(libxl.emulator_unknown, made(spec.EMULATOR_CONTEXT, bytes(8)), session) == []


def test_a_record_that_is_cut_in_its_sub_header():
    record = made(spec.EMULATOR_CONTEXT, b"\x09\0\0", length=100, complete=False)
    for check in (libxl.emulator_id, libxl.emulator_index, libxl.emulator_unknown, libxl.emulator_length):
        assert hits(check, record) == []


def test_a_vcpu_record_is_a_state_only_behind_checkpoint_end():
    record = made(libxc.X86_PV_VCPU_EXTENDED, bytes(72))
    assert not libxl.is_state(record, Session(flow()))
    assert hits(libxl.checkpoint_state_length, record) == []


def test_libxc_context_that_follows_a_hole():
    session = Session(flow())
    header = made(spec.STREAM_HEADER, bytes(16))
    session.meet(header)
    session.take(header)
    late = made(spec.EMULATOR_CONTEXT, SUB, offset=4000)
    session.meet(late)
    assert hits(libxl.libxc_context_order, late, session) == []


def test_pvh_has_no_emulator_and_nothing_is_said():
    found = findings(Script.of(plain(guest(kind="pvh"))).packets())
    assert [one.id for one in found if one.severity != "note"] == []


def test_padding_of_pv_records_is_looked_at_too():
    script = pv()
    item = script.find("X86_PV_VCPU_EXTENDED")
    item.data += b""
    assert [one.id for one in findings(script.packets()) if "padding" in one.id] == []


def test_a_second_libxc_context_behind_a_hole_may_stand_in_a_page():
    session = Session(flow())
    for offset, found in ((0, 0), (8, 1), (4000, 0)):
        record = made(spec.LIBXC_CONTEXT, offset=offset)
        session.meet(record)
        assert len(hits(libxl.libxc_context_order, record, session)) == found
        session.take(record)
