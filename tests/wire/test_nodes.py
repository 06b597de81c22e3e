# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains, structures inside of bytes, and structures that have to be found: of real records, and of any bytes."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dissector
from dissector.spec import ALL_RECORDS, hvm_sections, libxc, libxl
from dissector.spec.model import Array, Bytes, Choice, Field, Layout, Length, Numbers, Skip
from dissector.wire import codec
from dissector.wire.nodes import MOST_ITEMS, Node, chosen, inside, names_among, read
from tests.cross.tools import modest

CAPTURES = Path(__file__).parents[2] / "captures"


@cache
def real(name, kind):
    """The first record of a type in a real capture."""
    return next(one for one in dissector.read(CAPTURES / f"{name}.pcap.gz") if one.type == kind)


def deep(record):
    return codec.decode(record.definition, record.body, record.order, record.body_length, deep=True)


def section(typecode, instance=0, data=b"", length=None):
    return struct.pack("<HHI", typecode, instance, len(data) if length is None else length) + data


HEADER = section(1, 0, struct.pack("<IIQII", 0x54381286, 1, 0, 0x806F8, 2095078))
END = section(0)


def context(*sections, body_length=None):
    body = b"".join(sections)
    return codec.decode(libxc.HVM_CONTEXT, body, "little", len(body) if body_length is None else body_length, deep=True)


# -- chains ----------------------------------------------------------------------------------------------------------


def test_a_whole_chain():
    fields = context(HEADER, section(19, 0, struct.pack("<Q", 7)), END)
    assert [row["typecode_name"] for row in fields["section"]] == ["HEADER", "TSC_ADJUST", "END"]
    assert fields["section"][0]["header"]["gtsc_khz"] == 2095078
    assert fields["section"][1]["tsc_adjust"] == {"tsc_adjust": 7}
    assert "section_rest" not in fields


@pytest.mark.parametrize(
    ("sections", "types", "rest"),
    [
        ((HEADER, END, b"stale bytes"), [1, 0], 11),
        ((HEADER, END, HEADER), [1, 0], 32),
        ((HEADER, b"\2\0\0\0\5"), [1], 5),
        ((HEADER, b"x"), [1], 1),
        ((b"\2\0",), [], 2),
        ((HEADER,), [1], None),
    ],
)
def test_broken_chains_say_what_is_left(sections, types, rest):
    """Rules see all of it: no END, bytes behind END, half a descriptor."""
    fields = context(*sections)
    assert [row["typecode"] for row in fields["section"]] == types
    assert fields.get("section_rest") == rest


def test_a_section_that_is_longer_than_the_body():
    fields = context(HEADER, section(2, 0, bytes(100), length=1032))
    last = fields["section"][-1]
    assert (last["length"], last["data_length"]) == (1032, 100)
    assert last["cpu"] == {"fpu_regs_length": 100}


def test_a_section_of_a_length_that_no_release_writes():
    fields = context(HEADER, section(2, 0, bytes(1016)), section(99, 0, bytes(4)), END)
    assert "cpu" not in fields["section"][1]
    assert fields["section"][2]["typecode_name"] == ""


def test_of_a_cut_body_nothing_is_said_to_be_left():
    assert "section_rest" not in context(HEADER, b"\2\0", body_length=4000)
    body = struct.pack("<II", 2, 0) + b"key\0value\0half"
    for length, rest in ((len(body), 4), (len(body) + 1, None)):
        fields = codec.decode(libxl.EMULATOR_XENSTORE_DATA, body, "little", length)
        assert fields["xenstore_data"] == {"key": "value"}
        assert fields.get("xenstore_data_rest") == rest


def test_older_forms_of_a_section_end_earlier():
    full = struct.pack("<QIIQI4x", 0xFEE00900, 0, 1, 5, 9)
    for length in (32, 24, 16):
        values = context(section(5, 0, full[:length]))["section"][0]["lapic"]
        assert values["apic_base_msr_name"] == "BSP, ENABLE"
        assert ("tdt_msr" in values, "pending_esr" in values) == (length > 16, length > 24)


def test_a_chain_without_end_is_bounded():
    fields = context(section(99) * (MOST_ITEMS + 10))
    assert len(fields["section"]) == MOST_ITEMS
    assert fields["section_rest"] == 80


# -- real ones -------------------------------------------------------------------------------------------------------


def test_real_hvm_context():
    rows = deep(real("xl-migrate-hvm", "HVM_CONTEXT"))["section"]
    assert rows[0]["header"]["magic"] == 0x54381286
    assert rows[-1] == {"typecode": 0, "typecode_name": "END", "instance": 0, "length": 0}
    inner = [row for row in rows if row["typecode"]]
    assert all(hvm_sections.SECTIONS[row["typecode"]].key in row for row in inner)
    cpu = rows[1]["cpu"]
    assert (cpu["cr0_name"], cpu["msr_efer_name"]) == ("PE, MP, ET, NE, WP, AM, PG", "SCE, LME, LMA, NXE")
    assert cpu["pad0"] == 0
    lapics = [row["lapic"]["apic_base_msr_name"] for row in rows if "lapic" in row]
    assert lapics == ["BSP, ENABLE", "ENABLE"]
    assert [row["lapic_regs"]["apic_id"] >> 24 for row in rows if "lapic_regs" in row] == [0, 2]
    for row in rows:
        if "mtrr" in row:
            assert len(row["mtrr"]["var"]) == 8
            assert row["mtrr"]["msr_mtrr_cap"] & 0xFF == 8


def test_real_msr_and_cpuid_policy():
    rows = {row["leaf"]: row for row in deep(real("xl-migrate-hvm", "X86_CPUID_POLICY"))["leaf"] if row["subleaf"]}
    assert "HYPERVISOR" in rows[1]["ecx_name"]
    assert rows[0x8000_0001]["edx_name"].endswith("LM")
    assert "eax_name" not in rows[1]
    msrs = deep(real("xl-migrate-hvm", "X86_MSR_POLICY"))["msr"]
    assert [(row["index_name"], row["value_name"]) for row in msrs] == [
        ("PLATFORM_INFO", "CPUID_FAULTING"),
        ("ARCH_CAPABILITIES", ""),
    ]


def test_real_vcpu_context_of_a_pv_guest():
    """The page-table base is a pfn, and bit 0 of that of user space is set (payloads.md 2.3)."""
    context = deep(real("pv-live-libxl", "X86_PV_VCPU_BASIC"))["context_64"]
    assert context["flags_name"] == "I387_VALID, IN_KERNEL, ONLINE"
    assert context["ctrlreg"][3] % 4096 == 0
    assert context["ctrlreg"][1] & 1
    assert context["rip"] >> 47 == 0x1FFFF
    assert context["cs"] & 3 == 3


def test_real_save_file_of_qemu():
    record = real("hvm-remus-libxl", "EMULATOR_CONTEXT")
    qemu = record.fields["qemu"]
    assert (qemu["version"], qemu["eof"]) == (3, 0)
    rows = qemu["device"]
    assert [row["idstr"] for row in rows][:4] == ["timer", "cpu_common", "cpu", "kvm-tpr-opt"]
    assert {"0000:00:01.1/ide", "mc146818rtc", "fdc", "pckbd"} <= {row["idstr"] for row in rows}
    ids = [row["section_id"] for row in rows]
    assert ids == sorted(set(ids))
    sizes = (14 + len(row["idstr"]) + row["state_length"] + 5 for row in rows)  # this QEMU, not under Xen, has footers
    assert sum(sizes) == record.body_length - 8 - 8 - 1
    assert all("state" not in row for row in rows)
    assert "state" in deep(record)["qemu"]["device"][0]


# -- structures that have to be found ---------------------------------------------------------------------------------


def full(number, name, state, version=1, instance=0):
    return struct.pack(">BIB", 4, number, len(name)) + name + struct.pack(">II", instance, version) + state


def qemu(*parts, end=b"\0"):
    body = struct.pack("<II", 2, 0) + b"QEVM" + struct.pack(">I", 3) + b"".join(parts) + end
    return codec.decode(libxl.EMULATOR_CONTEXT, body, "little", len(body), deep=True)["qemu"]


def test_sections_of_qemu():
    rows = qemu(full(1, b"timer", b"abc"), full(7, b"0000:00:02.0/vga", b"", version=2, instance=3))["device"]
    assert [(row["idstr"], row["section_id"], row["state_length"]) for row in rows if "state_length" in row] == [
        ("timer", 1, 3)
    ]
    assert (rows[1]["idstr"], rows[1]["instance_id"], rows[1]["version_id"]) == ("0000:00:02.0/vga", 3, 2)


def test_footers_belong_to_no_state():
    footer = b"\x7e" + struct.pack(">I", 1)
    assert qemu(full(1, b"timer", b"abc" + footer), full(2, b"dma", b"x"))["device"][0]["state"] == b"abc".hex()
    other = b"\x7e" + struct.pack(">I", 2)
    assert qemu(full(1, b"timer", b"abc" + other), full(2, b"dma", b"x"))["device"][0]["state_length"] == 8
    assert qemu(full(1, b"timer", b"abc" + footer))["device"][0]["state_length"] == 3


@pytest.mark.parametrize(
    "state",
    [
        b"\4\0\0\0\1\0" + bytes(8),  # no name
        b"\4\0\0\x10\0\3abc" + bytes(8),  # section id 4096
        b"\4\0\0\0\1\3a(c" + bytes(8),  # not a name
        b"\4\0\0\0\1\3abc" + bytes(4) + b"\0\0\1\0",  # version 256
        b"\4" * 30,
    ],
)
def test_what_is_no_section(state):
    rows = qemu(full(1, b"timer", state))["device"]
    assert [(row["idstr"], row["state_length"]) for row in rows] == [("timer", len(state))]


def test_a_blob_that_is_not_qemus():
    body = struct.pack("<II", 2, 0) + b"something else"
    assert "qemu" not in codec.decode(libxl.EMULATOR_CONTEXT, body, "little", len(body), deep=True)
    record = real("hvm-remus-libxl", "EMULATOR_CONTEXT")
    cut = codec.decode(record.definition, record.body[:9000], "little", record.body_length, deep=True)
    assert "qemu" not in cut


# -- any bytes -------------------------------------------------------------------------------------------------------


def check(nodes, low, high, order):
    """Nodes follow each other and none goes beyond its bytes, however deep."""
    at = low
    for node in nodes:
        assert at <= node.offset
        at = node.offset + node.size
        assert at <= high
        if isinstance(node.element, Array):
            inner = node.offset
            for item in node.value:
                inner = check(item, inner, high, order)
        check(inside(node, order), node.offset, node.offset + node.size, order)
    return at


@st.composite
def chains(draw):
    """Chains of sections of real types with lengths that are right, or nearly."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        code = draw(st.sampled_from([*hvm_sections.SECTIONS, 99]))
        known = hvm_sections.SECTIONS.get(code)
        right = draw(st.sampled_from(known.length.exact or (24, 600))) if known else 8
        length = max(0, right + draw(st.sampled_from((0, 0, 0, 1, -1))))
        there = draw(st.sampled_from((length, length, max(0, length - 5))))
        parts.append(section(code, 0, draw(st.binary(min_size=there, max_size=there)), length=length))
    return b"".join(parts) + draw(st.binary(max_size=12))


@modest(120)
@given(chains(), st.sampled_from(("little", "big")))
def test_hostile_chains(body, order):
    check(codec.walk(libxc.HVM_CONTEXT, body, order), 0, len(body), order)
    codec.decode(libxc.HVM_CONTEXT, body, order, len(body), deep=True)


@modest(120)
@given(st.sampled_from(ALL_RECORDS), st.binary(max_size=300), st.sampled_from(("little", "big")), st.integers(0, 9))
def test_any_bytes_go_as_deep_as_they_like(record, body, order, more):
    check(codec.walk(record, body, order), 0, len(body), order)
    codec.decode(record, body, order, len(body) + more, deep=True)


pieces = st.one_of(
    st.binary(max_size=20),
    st.just(b"\4\0\0\0"),
    st.builds(full, st.integers(0, 5000), st.sampled_from((b"dma", b"", b"a(b")), st.binary(max_size=9)),
)


@modest(120)
@given(st.lists(pieces, max_size=8).map(b"".join))
def test_hostile_save_files(blob):
    body = struct.pack("<II", 2, 0) + b"QEVM\0\0\0\3" + blob
    check(codec.walk(libxl.EMULATOR_CONTEXT, body, "little"), 0, len(body), "little")
    codec.decode(libxl.EMULATOR_CONTEXT, body, "little", len(body), deep=True)


def subset(part, whole):
    """What is there is as it is in the whole."""
    if isinstance(part, dict):
        return all(
            key in whole and subset(value, whole[key])
            for key, value in part.items()
            if not key.endswith("_length") and f"{key}_length" not in part
        )
    if isinstance(part, list):
        return len(part) <= len(whole) and all(subset(*pair) for pair in zip(part, whole, strict=False))
    return part == whole


def test_nothing_is_invented_where_a_body_is_cut():
    for name, kind in (("xl-migrate-hvm", "HVM_CONTEXT"), ("pv-live-libxl", "SHARED_INFO")):
        record = real(name, kind)
        whole = deep(record)
        for end in range(0, len(record.body), 61):
            part = codec.decode(record.definition, record.body[:end], record.order, record.body_length, deep=True)
            assert subset(part, whole)


@pytest.mark.parametrize("layout", [*hvm_sections.INSIDE_SECTION.layouts.values()], ids=lambda layout: layout.name)
def test_nothing_is_invented_where_a_section_is_cut(layout):
    length = max(layout.length.exact or (680,))
    data = bytes(range(1, 256)) * 6
    whole = context(section(code_of(layout), 0, data[:length]))["section"][0]
    for end in range(length):
        part = context(section(code_of(layout), 0, data[:end], length=length))["section"][0]
        assert subset(part, whole), end


def code_of(layout):
    return next(code for code, one in hvm_sections.SECTIONS.items() if one is layout)


# -- small parts -----------------------------------------------------------------------------------------------------


def test_numbers_and_skips():
    numbers = Numbers("n", 2, 3, "three of them")
    assert read(numbers, memoryview(b"\1\0\2\0\3\0\4\0"), 0, {}, "little") == Node(numbers, 0, 6, (1, 2, 3))
    assert read(numbers, memoryview(b"\0\1\0\2\0"), 0, {}, "big").value == (1, 2)
    assert read(Skip(3), memoryview(b"abc"), 0, {}, "little").size == 3
    assert read(Skip(3), memoryview(b"ab"), 0, {}, "little") is None


def test_what_follows_an_incomplete_list_is_not_read():
    layout = Layout("X", "", "", (Numbers("n", 4, 2, ""), Field("f", 1, "")), Length(minimum=0))
    element = Bytes("b", "", "size", inside=Choice("prefix", {b"": layout}))
    node = read(element, memoryview(b"\1\0\0\0\2"), 0, {"size": 9}, "little")
    assert [(one.element.name, one.value) for one in inside(node, "little")] == [("n", (1,))]


def test_choices():
    one, two = (Layout(name, "", "", (Field("f", 1, ""),), Length(minimum=1)) for name in ("ONE", "TWO"))
    assert chosen(Choice("field", {5: one}, "kind"), {"kind": 5}, 4, b"abcd") is one
    assert chosen(Choice("field", {5: one}, "kind"), {}, 4, b"abcd") is None
    assert chosen(Choice("length", {4: one, 8: two}), {}, 8, b"abcd") is two
    assert chosen(Choice("prefix", {b"ab": one}), {}, 4, b"abcd") is one
    assert chosen(Choice("prefix", {b"bc": one}), {}, 4, b"abcd") is None
    zeros = Choice("zeros", {2: one, 4: two})
    assert chosen(zeros, {}, 6, b"ab\0\0\0\0") is one
    assert chosen(zeros, {}, 6, b"abc\0\0\0") is two
    assert chosen(zeros, {}, 6, b"ab\0\0") is None


def test_names_that_depend_on_fields_before():
    edx = next(item for item in libxc.X86_CPUID_POLICY.body[0].items if item.name == "edx")
    assert names_among(edx, {"leaf": 1, "subleaf": 0xFFFFFFFF}).bits[0] == "FPU"
    assert names_among(edx, {"leaf": 1, "subleaf": 0}) is None
    assert names_among(edx, {}) is None
