# SPDX-License-Identifier: GPL-2.0-or-later
"""The libxc layer against stream.md section 4: the type table of 4.4 and the layouts of 4.5 and 4.6."""

from __future__ import annotations

import struct

import pytest

from dissector.spec import libxc
from dissector.wire import codec

TABLE = [
    # type, name, guests, lengths that are allowed, lengths that are not
    (0x00, "END", "any", [0], [8]),
    (0x01, "PAGE_DATA", "any", [16, 8208, 4112], [0, 8, 15]),
    (0x02, "X86_PV_INFO", "PV", [8], [0, 4]),
    (0x03, "X86_PV_P2M_FRAMES", "PV", [8, 16, 24], [0, 12]),
    (0x04, "X86_PV_VCPU_BASIC", "PV", [5176, 2808, 8], [0, 5168]),
    (0x05, "X86_PV_VCPU_EXTENDED", "PV", [9, 72, 136, 8], [0, 137]),
    (0x06, "X86_PV_VCPU_XSAVE", "PV", [24, 856, 8], [0, 16]),
    (0x07, "SHARED_INFO", "PV", [4096], [0, 4095]),
    (0x08, "X86_TSC_INFO", "any", [24], [16, 32]),
    (0x09, "HVM_CONTEXT", "HVM", [1, 6333], [0]),
    (0x0A, "HVM_PARAMS", "HVM", [8, 24, 152], [0, 16]),
    (0x0C, "X86_PV_VCPU_MSRS", "PV", [8, 24, 40], [0, 12]),
    (0x0D, "VERIFY", "any", [0], [4]),
    (0x0E, "CHECKPOINT", "any", [0], [4]),
    (0x0F, "CHECKPOINT_DIRTY_PFN_LIST", "HVM", [0, 8, 400], [4, 12]),
    (0x10, "STATIC_DATA_END", "any", [0], [8]),
    (0x11, "X86_CPUID_POLICY", "any", [24, 1536], [0, 16]),
    (0x12, "X86_MSR_POLICY", "any", [16, 32], [0, 24]),
]


@pytest.mark.parametrize(("type_id", "name", "guests", "allowed", "refused"), TABLE)
def test_record_types(type_id, name, guests, allowed, refused):
    (record,) = [r for r in libxc.RECORDS if r.type_id == type_id]
    assert (record.name, record.guests) == (name, guests)
    assert record.direction == ("reverse" if type_id == 0x0F else "forward")
    assert all(record.length.allows(n) for n in allowed)
    assert not any(record.length.allows(n) for n in refused)


def test_no_other_types_but_the_deprecated_one():
    assert {r.type_id for r in libxc.RECORDS} - {row[0] for row in TABLE} == {None, 0x0B}


def test_page_types():
    names = libxc.PAGE_TYPE.values
    assert set(names) == {0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15}
    assert (names[0], names[4], names[12], names[13], names[14], names[15]) == (
        "NOTAB",
        "L4TAB",
        "L4TAB_PINNED",
        "BROKEN",
        "XALLOC",
        "XTAB",
    )
    assert set(range(16)) - libxc.DATA_PAGE_TYPES == {5, 6, 7, 8, 13, 14, 15}


def test_largest_page_data():
    assert libxc.LARGEST_PAGE_DATA == 4202512


def test_image_header():
    body = bytes.fromhex("ffffffffffffffff58454e46000000030000000000000000")
    fields = codec.decode(libxc.IMAGE_HEADER, body, "little", None)
    assert (fields["marker"], fields["id"], fields["version"], fields["options"]) == ((1 << 64) - 1, 0x58454E46, 3, 0)


def test_domain_header():
    fields = codec.decode(libxc.DOMAIN_HEADER, struct.pack("<IHHII", 2, 12, 0, 4, 17), "little", None)
    assert (fields["type_name"], fields["page_shift"]) == ("x86 HVM", 12)
    assert (fields["xen_major"], fields["xen_minor"]) == (4, 17)


def test_tsc_info_order_of_fields():
    fields = codec.decode(libxc.X86_TSC_INFO, struct.pack("<IIQII", 1, 2095078, 77977960000, 3, 0), "little", 24)
    assert fields == {
        "mode": 1,
        "mode_name": "always emulate",
        "khz": 2095078,
        "nsec": 77977960000,
        "incarnation": 3,
        "reserved": 0,
    }


def test_page_data_entries():
    entries = [0x5, 0xF << 60 | 0x6, 0xC << 60 | 0xABCDE]
    body = struct.pack("<II3Q", 3, 0, *entries)
    fields = codec.decode(libxc.PAGE_DATA, body, "little", 8 + 24 + 8192, pfns=True)
    assert fields["pfn"] == [5, 6, 0xABCDE]
    assert fields["data_pages"] == 2
    assert fields["types"] == {"NOTAB": 1, "L4TAB_PINNED": 1, "XTAB": 1}


def test_extended_vcpu_of_old_xen_ends_early():
    body = struct.pack("<II", 1, 0) + struct.pack("<IIQQHHBBxxQQQ", 1, 56, 2, 3, 4, 5, 0, 1, 6, 7, 8)
    fields = codec.decode(libxc.X86_PV_VCPU_EXTENDED, body, "little", len(body))
    assert fields["size"] == 56
    assert fields["sysenter_disables_events"] == 1
    assert fields["vmce_mci_ctl2_bank1"] == 8
    assert "vmce_mcg_ext_ctl" not in fields


def test_hvm_context_chain():
    header = struct.pack("<HHIIIQII", 1, 0, 24, 0x54381286, 1, 0, 0xA10F11, 2095078)
    body = header + struct.pack("<HHI8s", 3, 1, 8, b"\1\2\3\4\5\6\7\0") + bytes(8)
    sections = codec.decode(libxc.HVM_CONTEXT, body, "little", len(body))["section"]
    assert [s["typecode_name"] for s in sections] == ["HEADER", "PIC", "END"]
    assert [s["length"] for s in sections] == [24, 8, 0]
    assert body.startswith(libxc.HVM_CONTEXT.signature[1])
