# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of registers, CPUID feature bits and MSRs; where Xen's headers have them, test_xen_headers.py compares."""

from __future__ import annotations

from dissector.spec import cpu
from dissector.spec.model import Flags, NamesBy

FLAGS = [value for value in vars(cpu).values() if isinstance(value, Flags)]
BY = [value for value in vars(cpu).values() if isinstance(value, NamesBy)]


def test_every_bit_has_one_name():
    for flags in [*FLAGS, *(names for by in BY for names in by.names.values())]:
        assert len(set(flags.bits.values())) == len(flags.bits)
        assert all(0 <= bit < 64 and name for bit, name in flags.bits.items())


def test_well_known_bits():
    """Intel SDM volume 3A 2.5 and AMD APM volume 2 3.1: what every x86 programmer knows."""
    for flags, bits in (
        (cpu.CR0, {"PE": 0, "WP": 16, "PG": 31}),
        (cpu.CR4, {"PAE": 5, "PGE": 7, "OSXSAVE": 18, "SMEP": 20, "SMAP": 21, "PKE": 22}),
        (cpu.EFER, {"SCE": 0, "LME": 8, "LMA": 10, "NXE": 11, "SVME": 12}),
        (cpu.RFLAGS, {"CF": 0, "ZF": 6, "IF": 9, "VM": 17}),
        (cpu.APIC_BASE, {"BSP": 8, "X2APIC": 10, "ENABLE": 11}),
    ):
        assert {name: bit for bit, name in flags.bits.items() if name in bits} == bits


def test_msrs_that_are_new_to_some_release_have_names():
    assert cpu.MSRS_SINCE.keys() <= cpu.MSR.values.keys()


def test_names_that_depend_on_leaf_and_subleaf():
    assert cpu.CPUID_EDX.names[1, cpu.NO_SUBLEAF].bits[25] == "SSE"
    assert cpu.CPUID_EBX.names[7, 0].bits[5] == "AVX2"
    assert (7, 3) not in cpu.CPUID_EBX.names
