# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules about libxc headers and static data let pass; what they find is in broken.py."""

from __future__ import annotations

import struct

import pytest

from dissector.check import libxc
from dissector.check.session import Session
from dissector.spec import libxc as spec
from tests.check.scripts import findings, hvm, pv
from tests.check.tools import flow, made


def hits(check, record, session=None):
    return list(check.test(record, session or Session(flow())))


def image(options=0, reserved1=0, reserved2=0, version=3):
    body = struct.pack(">QIIHHI", (1 << 64) - 1, 0x58454E46, version, options, reserved1, reserved2)
    return made(spec.IMAGE_HEADER, body)


@pytest.mark.parametrize("version", [2, 3])
def test_good_image_header(version):
    for check in (libxc.image_version, libxc.big_endian, libxc.image_reserved):
        assert hits(check, image(version=version)) == []


def test_each_reserved_field_is_said():
    found = hits(libxc.image_reserved, image(options=0x8001, reserved1=1, reserved2=2))
    assert [hit.values["field"] for hit in found] == ["options", "reserved1", "reserved2"]
    assert [hit.at for hit in found] == [16, 18, 20]


@pytest.mark.parametrize("size", range(24))
def test_of_a_cut_header_only_what_is_there_is_judged(size):
    record = made(spec.IMAGE_HEADER, image().body[:size], complete=False)
    for check in (libxc.image_version, libxc.big_endian, libxc.image_reserved):
        assert hits(check, record) == []


def test_static_data_end_is_not_missed_where_the_beginning_is():
    session = Session(flow(start="mid-stream"))
    session.version = 3
    record = made(spec.PAGE_DATA, bytes(16), offset=1000)
    session.meet(record)
    assert hits(libxc.static_missing, record, session) == []


def test_policy_is_not_missed_where_the_beginning_is():
    session = Session(flow(start="mid-stream"))
    session.version = 3
    record = made(spec.STATIC_DATA_END, offset=1000)
    session.meet(record)
    assert hits(libxc.policy_absent, record, session) == []


def test_both_policies_may_be_missed():
    script = hvm()
    script.remove(script.find("X86_CPUID_POLICY"), script.find("X86_MSR_POLICY"))
    found = [one for one in findings(script.packets()) if one.id == "libxc.policy.absent"]
    assert ["X86_CPUID_POLICY" in found[0].text, "X86_MSR_POLICY" in found[1].text] == [True, True]


def test_flags_of_an_msr_that_is_cut():
    record = made(spec.X86_MSR_POLICY, struct.pack("<II", 0xCE, 1), length=16, complete=False)
    assert hits(libxc.msr_flags, record) == []


def test_v2_stream_with_nothing_of_v3():
    for script in (hvm(version=2, xen=(4, 13)), pv(version=2, xen=(4, 13))):
        assert [one.id for one in findings(script.packets()) if one.severity != "note"] == []


def test_domain_types_of_old_headers_are_named():
    [hit] = hits(libxc.domain_type, made(spec.DOMAIN_HEADER, struct.pack("<IHHII", 4, 12, 0, 4, 12)))
    assert hit.values == {"found": "4 (ARM)"}
