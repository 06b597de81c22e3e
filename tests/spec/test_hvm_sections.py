# SPDX-License-Identifier: GPL-2.0-or-later
"""Save sections: codes, names, lengths of every release. Where fields lie, test_xen_headers.py compares with Xen."""

from __future__ import annotations

import pytest

from dissector.spec.hvm import HVM_SAVE_TYPE
from dissector.spec.hvm_sections import INSIDE_SECTION, PER_VCPU, SECTIONS

# payloads.md 1.3: code, name, per vcpu or domain, lengths ever shipped, longest first
TABLE = """
0 END dom 0
1 HEADER dom 24
2 CPU vCPU 1032 1024
3 PIC dom 8
4 IOAPIC dom 400
5 LAPIC vCPU 32 24 16
6 LAPIC_REGS vCPU 1024
7 PCI_IRQ dom 16
8 ISA_IRQ dom 8
9 PCI_LINK dom 8
10 PIT dom 56
11 RTC dom 24 16
12 HPET dom 1048
13 PMTIMER dom 8
14 MTRR vCPU 240
15 VIRIDIAN_DOMAIN dom 32 24 16
16 CPU_XSAVE vCPU
17 VIRIDIAN_VCPU vCPU 216 16 8
18 VMCE_VCPU vCPU 32 24 8
19 TSC_ADJUST vCPU 8
20 CPU_MSR vCPU
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_sections(row):
    code, name, per, *lengths = row
    section = SECTIONS[int(code)]
    assert section.name == name == HVM_SAVE_TYPE.values[int(code)]
    assert (int(code) in PER_VCPU) == (per == "vCPU")
    assert section.length.exact == tuple(map(int, lengths))
    assert len(lengths) < 2 or section.releases.keys() >= set(section.length.exact)


def test_no_others():
    assert SECTIONS.keys() == {int(row[0]) for row in ROWS}
    assert INSIDE_SECTION.layouts.keys() == SECTIONS.keys() - {0}


def test_open_ended_sections():
    xsave, msrs = SECTIONS[16].length, SECTIONS[20].length
    assert xsave.allows(600)
    assert xsave.allows(856)
    assert not xsave.allows(23)
    assert [n for n in range(60) if msrs.allows(n)] == [8, 24, 40, 56]
