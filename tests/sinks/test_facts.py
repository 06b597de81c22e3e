# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import struct

import pytest

from dissector.sinks.facts import SPECIAL, facts
from dissector.spec import ALL_RECORDS, BY_NAME
from dissector.spec.xl import XL_MAGIC
from tests.sample_events import XTAB, checkpoint_state, dirty_list, hvm_params, page_data, record, unknown

CONFIG = json.dumps(
    {"c_info": {"type": "hvm", "name": "web\x1b[2J", "uuid": "6c1b9f40"}, "b_info": {"max_memkb": 4096}}
).encode()


def config(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (
            page_data([*range(992), *(XTAB | pfn for pfn in range(992, 1024))]),
            "1024 pfns 0x0-0x3ff, 992 pages, 32 XTAB",
        ),
        (page_data([5]), "1 pfn 0x5, 1 page"),
        (page_data([0x1 << 60 | 1, 0xC << 60 | 2, 3]), "3 pfns 0x1-0x3, 3 pages (1 L1TAB, 1 L4TAB_PINNED)"),
        (dirty_list([0x179, 0x3F8], 16), "2 pfns 0x179-0x3f8, 16-byte header (Xen 4.18+)"),
        (dirty_list([0x179]), "1 pfn 0x179"),
        (dirty_list([]), "0 pfns"),
        (checkpoint_state(2), "SVM_READY"),
        (checkpoint_state(9), "control_id 9"),
        (record("libxc", "DOMAIN_HEADER", struct.pack("<IHHII", 2, 12, 0, 4, 17)), "x86 HVM, Xen 4.17"),
        (
            record("libxc", "DOMAIN_HEADER", struct.pack("<IHHII", 1, 12, 0, 0, 1)),
            "x86 PV, made by convert-legacy-stream",
        ),
        (
            hvm_params((1, 0x504), (5, 0x505), (63, 1), (17, 2)),
            "4 params: STORE_PFN=0x504 IOREQ_PFN=0x505 63=0x1 …",
        ),
        (hvm_params(), "0 params"),
        (
            record("libxc", "X86_TSC_INFO", struct.pack("<IIQII", 0, 2095078, 77977960000, 0, 0)),
            "default, 2095.078 MHz, 77.98 s, incarnation 0",
        ),
        (record("xl", "REPORT_STATUS", b"\0"), "0 guest started"),
        (record("xl", "REPORT_STATUS", b"\3"), "3 FAIL"),
        (record("xl", "REPORT_STATUS", b"\x90"), "144 no known error code"),
        (
            record("xl", "SAVE_FILE_HEADER", XL_MAGIC + struct.pack("<IIII", 0x01020304, 3, 0, 1090)),
            "JSON, STREAMv2, little endian, 1090 bytes of optional data",
        ),
        (
            record("xl", "SAVE_FILE_HEADER", XL_MAGIC + struct.pack(">IIII", 0x01020304, 0, 0, 0), order="big"),
            "no flags, big endian, 0 bytes of optional data",
        ),
        (record("xl", "CONFIG", config(CONFIG + b"\0")), "web\\x1b[2J, hvm, 4 MiB, 6c1b9f40"),
        (record("xl", "CONFIG", config(b"builder='hvm'")), "13 bytes of text"),
        (record("xl", "CONFIG", config(b"{broken")), "7 bytes of JSON"),
        (record("xl", "CONFIG", config(b'{"c_info": []}')), "14 bytes of JSON"),
        (record("libxl", "STREAM_HEADER", b"LibxlFmt\0\0\0\2\0\0\0\2"), "version 2, LEGACY"),
        (record("libxl", "EMULATOR_CONTEXT", struct.pack("<II", 2, 0) + bytes(99)), "QEMU upstream, 99 bytes"),
        (
            record("libxl", "EMULATOR_XENSTORE_DATA", struct.pack("<II", 1, 0) + b"a\0b\0c\0d\0"),
            "QEMU traditional, 2 keys",
        ),
        (
            record("libxc", "IMAGE_HEADER", b"\xff" * 8 + b"XENF\0\0\0\3" + bytes(8)),
            "version 3 (Xen 4.14 on)",
        ),
        (record("libxc", "X86_PV_INFO", bytes((8, 4, 0, 0, 0, 0, 0, 0))), "64-bit guest, 4 page-table levels"),
        (
            record("libxc", "X86_PV_P2M_FRAMES", struct.pack("<II2Q", 0, 699, 1, 2)),
            "pfns 0x0-0x2bb, 2 frames",
        ),
        (
            record("libxc", "X86_PV_VCPU_BASIC", struct.pack("<II", 3, 0) + bytes(5168)),
            "vcpu 3, 5168 bytes (64-bit)",
        ),
        (
            record("libxc", "X86_PV_VCPU_XSAVE", struct.pack("<IIQQ", 0, 0, 7, 7) + bytes(832)),
            "vcpu 0, xcr0 0x7, 832 bytes",
        ),
        (record("libxc", "X86_PV_VCPU_MSRS", struct.pack("<IIIIQ", 1, 0, 2, 0, 3)), "vcpu 1, 1 MSR"),
        (record("libxc", "X86_CPUID_POLICY", bytes(24 * 64)), "64 leaves"),
        (record("libxc", "X86_MSR_POLICY", bytes(32)), "2 MSRs"),
        (
            record("libxc", "HVM_CONTEXT", struct.pack("<HHI", 2, 0, 4) + bytes(4) + struct.pack("<HHI", 0, 0, 0)),
            "2 sections, 1 vcpu",
        ),
        (record("libxc", "SHARED_INFO", bytes(4096)), "4096 bytes"),
        (record("libxc", "END"), ""),
        (record("xl", "READY", b"domain received, ready to unpause\0"), "domain received, ready to unpause"),
        (unknown(), "type 0x80000013 (optional), 3 bytes"),
        (unknown(0x13), "type 0x13 (mandatory), 3 bytes"),
    ],
)
def test_facts(shown, expected):
    assert facts(shown) == expected


def test_a_pfn_list_with_a_hole():
    whole = page_data([1, 2, 3, 4])
    cut = page_data([1, 2, 3, 4], body=whole.body[:24], complete=False)
    assert facts(cut) == "4 pfns from 0x1, list cut"


@pytest.mark.parametrize("definition", ALL_RECORDS, ids=lambda definition: f"{definition.layer} {definition.name}")
def test_a_body_may_end_anywhere(definition):
    for size in (0, 1, 4, 8, 9, 16, 17, 40, 60):
        facts(record(definition.layer, definition.name, bytes(size)))
        facts(record(definition.layer, definition.name, b"\xff" * size))


def test_special_lines_belong_to_real_records():
    assert {key for key in SPECIAL if key[1] != "UNKNOWN"} <= set(BY_NAME)
