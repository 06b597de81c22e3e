# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules about PV records let pass; what they find is in broken.py."""

from __future__ import annotations

import struct

import pytest

from dissector.check import pv
from dissector.check.session import Session
from dissector.spec import libxc, libxl
from tests.check.scripts import findings
from tests.check.scripts import pv as pv_script
from tests.check.tools import flow, made, the_end_behind


def hits(check, record, session=None):
    return list(check.test(record, session or Session(flow())))


@pytest.mark.parametrize(
    ("width", "start", "end", "frames"),
    [(8, 0, 0, 1), (8, 0, 511, 1), (8, 0, 512, 2), (4, 0, 1023, 1), (4, 0, 1024, 2), (8, 600, 1100, 2)],
)
def test_number_of_p2m_frames(width, start, end, frames):
    session = Session(flow())
    session.width = width
    good = made(libxc.X86_PV_P2M_FRAMES, struct.pack("<II", start, end) + bytes(8 * frames))
    assert hits(pv.p2m_range, good, session) == []
    more = made(libxc.X86_PV_P2M_FRAMES, struct.pack("<II", start, end) + bytes(8 * frames + 8))
    assert len(hits(pv.p2m_range, more, session)) == 1


def test_number_of_p2m_frames_of_a_guest_of_unknown_width():
    assert hits(pv.p2m_range, made(libxc.X86_PV_P2M_FRAMES, struct.pack("<II", 0, 5000) + bytes(8))) == []


@pytest.mark.parametrize(("width", "good"), [(4, [2808]), (8, [5176]), (None, [2808, 5176])])
def test_length_of_the_registers(width, good):
    session = Session(flow())
    session.width = width
    for length in (2808, 5176, 100):
        record = made(libxc.X86_PV_VCPU_BASIC, bytes(8), length=length, complete=False)
        assert bool(hits(pv.vcpu_length, record, session)) is (length not in good)


@pytest.mark.parametrize("length", [8, 8 + 56, 8 + 64, 8 + 128])
def test_good_lengths_of_extended_state(length):
    assert hits(pv.vcpu_length, made(libxc.X86_PV_VCPU_EXTENDED, bytes(8), length=length, complete=False)) == []


def test_extended_state_of_a_converted_stream_says_another_size():
    session = Session(flow())
    session.converted, session.options = True, 2
    body = struct.pack("<IIII", 0, 0, 0, 64) + bytes(120)
    assert hits(pv.vcpu_inner, made(libxc.X86_PV_VCPU_EXTENDED, body), session) == []
    session.converted = False
    assert len(hits(pv.vcpu_inner, made(libxc.X86_PV_VCPU_EXTENDED, body), session)) == 1


def test_both_widths_are_good():
    for script in (pv_script(), pv_script(width=4, version=2, xen=(4, 13))):
        assert [one.id for one in findings(script.packets()) if one.severity != "note"] == []


@pytest.mark.parametrize(("seen", "found"), [(libxl.CHECKPOINT_END, 0), (libxl.LIBXC_CONTEXT, 1)])
def test_the_end_of_a_46_session_has_no_tsc_info(seen, found):
    assert len(hits(pv.tsc_count, *the_end_behind(seen))) == found


def test_nothing_is_missed_where_the_beginning_is():
    session = Session(flow(start="mid-stream"))
    session.guest = "PV"
    record = made(libxc.CHECKPOINT, offset=5000)
    session.meet(record)
    for check in (pv.vcpu_missing, pv.tsc_count):
        assert hits(check, record, session) == []
