# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts are where Xen's own public headers place them, as a C compiler says (see xen_headers.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dissector.spec import cpu, hvm, hvm_sections, libxc, pv
from dissector.spec.model import Array, Bytes, Element, Field, Numbers, Skip
from tests.spec.xen_headers import NOT_IN_C, STRUCTURES

ANSWERS = json.loads(Path(__file__).with_name("xen_headers.json").read_text())

BODIES: dict[str, tuple[Element, ...]] = {
    **{layout.name: layout.body for layout in hvm_sections.SECTIONS.values() if layout.body},
    **{layout.name: layout.body for layout in (pv.CONTEXT_64, pv.CONTEXT_32, pv.SHARED_INFO_64, pv.SHARED_INFO_32)},
    "X86_PV_VCPU_EXTENDED": libxc.X86_PV_VCPU_EXTENDED.body[2:],
}


def size_of(element: Element) -> int:
    match element:
        case Field() | Skip():
            return element.size
        case Numbers():
            return element.size * element.count
        case Bytes(length=int()):
            return element.length
        case Array(count=int()):
            return element.count * sum(map(size_of, element.items))
    return 0


def places(body: tuple[Element, ...]) -> dict[str, list[int]]:
    """Offset and size of every element that has a name; those in lists as of the first item."""
    found, at = {}, 0
    for element in body:
        if element.name:
            found[element.name] = [at, size_of(element)]
        if isinstance(element, Array):
            inner = at
            for item in element.items:
                if item.name:
                    found[f"{element.name}.{item.name}"] = [inner, size_of(item)]
                inner += size_of(item)
        at += size_of(element)
    found[""] = [0, at]
    return found


PLACES = {layout: places(body) for layout, body in BODIES.items()}
WANTED = {
    layout: [name for name in PLACES[layout] if name not in NOT_IN_C.get(layout, ())]
    for layout in STRUCTURES
    if layout != "LAPIC_REGS"  # registers of the hardware: C has but an array
} | {"LAPIC_REGS": [""]}

GREW = {"LAPIC": 24}
"""What the header (of Xen 4.17) has not yet all of."""
OPEN = {"CPU_MSR": 8, "CPU_XSAVE": 600}
"""What has no end of its own: bytes of what is before that."""


@pytest.mark.parametrize("layout", STRUCTURES)
def test_places(layout):
    mine = {name: place for name, place in PLACES[layout].items() if name in WANTED[layout] and name}
    theirs = {name: place for name, place in ANSWERS[layout].items() if name}
    if layout == "CPU_MSR":  # C was asked for the first one; how many there are, the count says
        mine["msr"] = [8, 16]
    assert mine == theirs


@pytest.mark.parametrize("layout", STRUCTURES)
def test_sizes(layout):
    mine = OPEN.get(layout, PLACES[layout][""][1])
    theirs = ANSWERS[layout][""][1]
    if layout in GREW:
        assert theirs == GREW[layout]
        assert theirs in hvm_sections.LAPIC.length.exact
    elif layout == "X86_PV_VCPU_EXTENDED":
        assert mine - size_of(libxc.X86_PV_VCPU_EXTENDED.body[-1]) == theirs
    else:
        assert mine == theirs


def test_lengths_of_sections_are_those_of_the_structures():
    for layout in hvm_sections.SECTIONS.values():
        if layout.body and layout.length.exact:
            size = PLACES[layout.name][""][1]
            assert max(layout.length.exact) == size, layout.name
            assert not layout.releases or size in layout.releases


NO = cpu.NO_SUBLEAF
WORDS = {
    0: (cpu.CPUID_EDX, 1, NO),
    1: (cpu.CPUID_ECX, 1, NO),
    2: (cpu.CPUID_EDX, 0x8000_0001, NO),
    3: (cpu.CPUID_ECX, 0x8000_0001, NO),
    4: (cpu.CPUID_EAX, 0xD, 1),
    5: (cpu.CPUID_EBX, 7, 0),
    6: (cpu.CPUID_ECX, 7, 0),
    7: (cpu.CPUID_EDX, 0x8000_0007, NO),
    8: (cpu.CPUID_EBX, 0x8000_0008, NO),
    9: (cpu.CPUID_EDX, 7, 0),
    10: (cpu.CPUID_EAX, 7, 1),
    11: (cpu.CPUID_EAX, 0x8000_0021, NO),
    12: (cpu.CPUID_EBX, 7, 1),
    13: (cpu.CPUID_EDX, 7, 2),
    15: (cpu.CPUID_EDX, 7, 1),
    18: (cpu.CPUID_ECX, 0x8000_0021, NO),
}
"""Words of the header, as its comments say -> register, leaf and subleaf."""


def test_feature_bits():
    features = ANSWERS["cpufeatureset"]
    assert len(features) > 200
    for name, (word, bit) in features.items():
        if word == 16:
            assert cpu.ARCH_CAPABILITIES.bits[bit] == name
        elif word == 17:
            assert cpu.ARCH_CAPABILITIES.bits[32 + bit] == name
        else:
            register, *leaf = WORDS[word]
            assert register.names[tuple(leaf)].bits[bit] == name


def test_parameters():
    theirs = {number: name for name, number in ANSWERS["hvm_params"].items()}
    mine = hvm.HVM_PARAM.values
    assert {number: mine[number] for number in mine.keys() & theirs.keys()} == {
        number: theirs[number] for number in mine.keys() & theirs.keys()
    }
    assert len(mine.keys() & theirs.keys()) >= 30
