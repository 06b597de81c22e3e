# SPDX-License-Identifier: GPL-2.0-or-later
"""Bodies by their definitions: values, what is there of a cut body, and how sure a head is."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import bodies
from dissector.spec import ALL_RECORDS, BY_TYPE, libxc, libxl, xl
from dissector.spec.model import PfnList
from dissector.wire import codec
from tests.cross.tools import modest

XTAB, NOTAB, PINNED = 0xF << 60, 0, 0xC << 60


def page_data(*entries: int, count: int | None = None, order: str = "<", reserved: int = 0) -> bytes:
    total = len(entries) if count is None else count
    return struct.pack(f"{order}II{len(entries)}Q", total, reserved, *entries)


DECODED = {
    "xl header": (
        xl.SAVE_FILE_HEADER,
        xl.XL_MAGIC + struct.pack("<IIII", 0x01020304, 3, 0, 1004),
        {
            "magic_length": 32,
            "magic": xl.XL_MAGIC.hex(),
            "byteorder": 0x01020304,
            "byteorder_name": "native order of the reader",
            "mandatory_flags": 3,
            "mandatory_flags_name": "JSON, STREAMv2",
            "optional_flags": 0,
            "optional_data_len": 1004,
        },
    ),
    "config": (
        xl.CONFIG,
        struct.pack("<I", 4) + b"{ }\0",
        {"config_len": 4, "config": "{ }"},
    ),
    "config with a surplus": (
        xl.CONFIG,
        struct.pack("<I", 4) + b"{ }\0xyz",
        {"config_len": 4, "config": "{ }", "surplus_length": 3, "surplus": "78797a"},
    ),
    "config that says more than there is": (
        xl.CONFIG,
        struct.pack("<I", 400) + b"{ }\0",
        {"config_len": 400, "config": "{ }"},
    ),
    "message": (xl.READY, b"domain received, ready to unpause\0", {"text": "domain received, ready to unpause"}),
    "status": (xl.REPORT_STATUS, b"\3", {"status": 3, "status_name": "FAIL"}),
    "libxl header": (
        libxl.STREAM_HEADER,
        b"LibxlFmt" + struct.pack(">II", 2, 2),
        {"ident_length": 8, "ident": b"LibxlFmt".hex(), "version": 2, "options": 2, "options_name": "LEGACY"},
    ),
    "image header": (
        libxc.IMAGE_HEADER,
        b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, 0, 0, 0),
        {
            "marker": (1 << 64) - 1,
            "id": 0x58454E46,
            "version": 3,
            "options": 0,
            "options_name": "",
            "reserved1": 0,
            "reserved2": 0,
        },
    ),
    "domain header": (
        libxc.DOMAIN_HEADER,
        struct.pack("<IHHII", 1, 12, 0, 4, 17),
        {"type": 1, "type_name": "x86 PV", "page_shift": 12, "reserved1": 0, "xen_major": 4, "xen_minor": 17},
    ),
    "pages": (
        libxc.PAGE_DATA,
        page_data(7, XTAB | 8, PINNED | 9, XTAB | 10),
        {
            "count": 4,
            "reserved": 0,
            "first_pfn": 7,
            "last_pfn": 10,
            "data_pages": 2,
            "types": {"NOTAB": 1, "L4TAB_PINNED": 1, "XTAB": 2},
        },
    ),
    "pv info": (
        libxc.X86_PV_INFO,
        bytes([8, 4, 0, 0, 0, 0, 0, 0]),
        {"guest_width": 8, "pt_levels": 4, "reserved_length": 6, "reserved": "000000000000"},
    ),
    "p2m frames": (
        libxc.X86_PV_P2M_FRAMES,
        struct.pack("<II2Q", 0, 699, 5, 4),
        {"p2m_start_pfn": 0, "p2m_end_pfn": 699, "count": 2, "first_pfn": 5, "last_pfn": 4},
    ),
    "vcpu": (
        libxc.X86_PV_VCPU_BASIC,
        struct.pack("<II", 1, 0) + bytes(5168),
        {"vcpu_id": 1, "reserved": 0, "context_length": 5168},
    ),
    "vcpu without content": (libxc.X86_PV_VCPU_BASIC, struct.pack("<II", 1, 0), {"vcpu_id": 1, "reserved": 0}),
    "msrs of a vcpu": (
        libxc.X86_PV_VCPU_MSRS,
        struct.pack("<II", 0, 0) + struct.pack("<IIQ", 0x48, 0, 7),
        {"vcpu_id": 0, "reserved": 0, "msr": [{"index": 0x48, "index_name": "SPEC_CTRL", "reserved": 0, "value": 7}]},
    ),
    "params": (
        libxc.HVM_PARAMS,
        bodies.hvm_params("<", [(1, 0xFEFFC), (200, 5)]),
        {
            "count": 2,
            "reserved": 0,
            "param": [
                {"index": 1, "index_name": "STORE_PFN", "value": 0xFEFFC},
                {"index": 200, "index_name": "", "value": 5},
            ],
        },
    ),
    "no params": (libxc.HVM_PARAMS, bytes(8), {"count": 0, "reserved": 0, "param": []}),
    "hvm sections": (
        libxc.HVM_CONTEXT,
        struct.pack("<HHI", 3, 1, 8) + bytes(8) + struct.pack("<HHI", 0, 0, 0),
        {
            "section": [
                {
                    "typecode": 3,
                    "typecode_name": "PIC",
                    "instance": 1,
                    "length": 8,
                    "data_length": 8,
                    "data": "00" * 8,
                },
                {"typecode": 0, "typecode_name": "END", "instance": 0, "length": 0},
            ]
        },
    ),
    "cpuid": (
        libxc.X86_CPUID_POLICY,
        struct.pack("<6I", 1, 0xFFFFFFFF, 2, 3, 4, 5),
        {"leaf": [{"leaf": 1, "subleaf": 0xFFFFFFFF, "eax": 2, "ebx": 3, "ecx": 4, "edx": 5}]},
    ),
    "dirty list": (
        libxc.CHECKPOINT_DIRTY_PFN_LIST,
        struct.pack("<3Q", 3, 4, 9),
        {"count": 3, "first_pfn": 3, "last_pfn": 9},
    ),
    "empty dirty list": (libxc.CHECKPOINT_DIRTY_PFN_LIST, b"", {"count": 0}),
    "xenstore": (
        libxl.EMULATOR_XENSTORE_DATA,
        struct.pack("<II", 2, 0) + b"a/b\0value\0c\0\0",
        {
            "emulator_id": 2,
            "emulator_id_name": "QEMU upstream",
            "index": 0,
            "xenstore_data": {"a/b": "value", "c": ""},
        },
    ),
    "device state": (
        libxl.EMULATOR_CONTEXT,
        struct.pack("<II", 1, 0) + b"QEVM",
        {
            "emulator_id": 1,
            "emulator_id_name": "QEMU traditional",
            "index": 0,
            "emulator_ctx_length": 4,
            "emulator_ctx": "5145564d",
        },
    ),
    "checkpoint state": (
        libxl.CHECKPOINT_STATE,
        struct.pack("<I", 2),
        {"control_id": 2, "control_id_name": "SVM_READY"},
    ),
    "empty": (libxc.CHECKPOINT, b"", {}),
}


@pytest.mark.parametrize("name", DECODED)
def test_decode(name):
    record, body, values = DECODED[name]
    length = len(body) if record.type_id is not None else None
    assert codec.decode(record, body, "little", length) == values


@pytest.mark.parametrize("name", DECODED)
def test_every_prefix_decodes(name):
    """A cut body gives a part of the fields, never an exception, never an invented value."""
    record, body, whole = DECODED[name]
    length = len(body) if record.type_id is not None else None
    for end in range(len(body)):
        values = codec.decode(record, body[:end], "little", length)
        blobs = {key.removesuffix("_length") for key in whole if key.endswith("_length")}  # a short one is shown
        assert set(values) <= set(whole) | blobs
        for key, value in values.items():
            if (
                isinstance(value, int)
                and not key.endswith("_length")
                and key not in ("count", "last_pfn", "data_pages")
            ):
                assert value == whole[key]


def test_the_values_that_big_endian_streams_have():
    body = struct.pack(">IHHII", 2, 12, 0, 4, 17)
    assert codec.decode(libxc.DOMAIN_HEADER, body, "big", None)["xen_minor"] == 17
    body = page_data(7, XTAB | 8, order=">")
    values = codec.decode(libxc.PAGE_DATA, body, "big", None)
    assert (values["first_pfn"], values["last_pfn"], values["types"]) == (7, 8, {"NOTAB": 1, "XTAB": 1})
    image = b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, 1, 0, 0)
    assert codec.decode(libxc.IMAGE_HEADER, image, "little", None)["version"] == 3


def test_whole_pfn_lists_on_request():
    body = page_data(7, XTAB | 8)
    assert codec.decode(libxc.PAGE_DATA, body, "little", None, pfns=True)["pfn"] == [7, 8]
    body = struct.pack("<2Q", 5, 1 << 60)
    assert codec.decode(libxc.CHECKPOINT_DIRTY_PFN_LIST, body, "little", 16, pfns=True)["pfn"] == [5, 1 << 60]


def test_long_blobs_are_lengths_only():
    for count, shown in ((codec.BLOB_SHOWN, True), (codec.BLOB_SHOWN + 1, False)):
        values = codec.decode(libxl.EMULATOR_CONTEXT, bytes(8 + count), "little", 8 + count)
        assert values["emulator_ctx_length"] == count
        assert ("emulator_ctx" in values) == shown


def test_text_that_is_no_utf8():
    values = codec.decode(xl.CONFIG, struct.pack("<I", 3) + b"\xff\xfe\0", "little", None)
    assert values["config"] == "\ufffd\ufffd"


def test_count_of_a_list_that_was_not_kept_whole():
    """The length tells how many there were."""
    assert codec.decode(libxc.CHECKPOINT_DIRTY_PFN_LIST, struct.pack("<Q", 3), "little", 80)["count"] == 10


@pytest.mark.parametrize("order", ["little", "big"])
def test_arrays(order):
    body = page_data(7, XTAB | 8, PINNED | 0xF_FFFF_FFFF_FFFF, order="<" if order == "little" else ">")
    pfns = codec.pfn_array(libxc.PAGE_DATA, body, order)
    assert (pfns.dtype, pfns.tolist()) == (np.uint64, [7, 8, 0xF_FFFF_FFFF_FFFF])
    types = codec.page_type_array(libxc.PAGE_DATA, body, order)
    assert (types.dtype, types.tolist()) == (np.uint8, [0, 15, 12])


def test_nodes_lie_side_by_side():
    record, body, _ = DECODED["params"]
    nodes = list(codec.walk(record, body, "little"))
    assert [(node.element.name, node.offset, node.size) for node in nodes] == [
        ("count", 0, 4),
        ("reserved", 4, 4),
        ("param", 8, 32),
    ]


@modest(80)
@given(st.sampled_from(ALL_RECORDS), st.binary(max_size=200), st.sampled_from(("little", "big")))
def test_any_bytes_decode_as_anything(record, body, order):
    values = codec.decode(record, body, order, len(body) if record.type_id is not None else None, pfns=True)
    assert isinstance(values, dict)
    end = 0
    for node in codec.walk(record, body, order):
        assert node.offset >= end
        end = node.offset + node.size
    assert end <= len(body)
    codec.pfn_array(record, body, order)
    codec.page_type_array(record, body, order)
    codec.expected_length(record, body, order)
    assert codec.evidence(record, body, order, len(body)) >= -1


# -- pages ------------------------------------------------------------------------------------------------------------


def test_pages_that_carry_data():
    raw = struct.pack("<16Q", *(kind << 60 | 5 for kind in range(16)))
    assert codec.data_pages(raw, "little") == 9
    assert sum(codec.type_counts(raw, "little").values()) == 16
    assert codec.type_counts(raw, "little")["0x5"] == 1


@modest(50)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, (1 << 60) - 1)), max_size=50))
def test_counts_agree_with_the_slow_way(pairs):
    """Bits 59 to 52 of an entry share a byte with the type."""
    raw = struct.pack(f"<{len(pairs)}Q", *(kind << 60 | rest for kind, rest in pairs))
    assert codec.data_pages(raw, "little") == sum(kind in libxc.DATA_PAGE_TYPES for kind, _ in pairs)
    assert sum(codec.type_counts(raw, "little").values()) == len(pairs)
    for kind, name in libxc.PAGE_TYPE.values.items():
        assert codec.type_counts(raw, "little").get(name, 0) == sum(one == kind for one, _ in pairs)


@pytest.mark.parametrize(
    ("record", "body", "length"),
    [
        (libxc.PAGE_DATA, page_data(1, XTAB | 2), 8 + 16 + 4096),
        (libxc.PAGE_DATA, page_data(XTAB | 2), 16),
        (libxc.PAGE_DATA, page_data(), 8),
        (libxc.PAGE_DATA, page_data(1, count=2), None),
        (libxc.PAGE_DATA, b"\1\0\0\0", None),
        (libxc.HVM_PARAMS, bodies.hvm_params("<", [(1, 1)] * 3), 56),
        (libxc.HVM_PARAMS, bytes(8), 8),
        (libxc.X86_TSC_INFO, bytes(24), None),
        (libxc.CHECKPOINT_DIRTY_PFN_LIST, bytes(16), None),
    ],
)
def test_length_that_the_counts_ask_for(record, body, length):
    assert codec.expected_length(record, body, "little") == length


# -- evidence ---------------------------------------------------------------------------------------------------------

IMPOSSIBLE = {
    "length of another record": (libxc.X86_TSC_INFO, bytes(16), 16),
    "mode that does not exist": (libxc.X86_TSC_INFO, struct.pack("<IIQII", 7, 1, 1, 1, 0), 24),
    "reserved word": (libxc.X86_TSC_INFO, struct.pack("<IIQII", 0, 1, 1, 1, 9), 24),
    "too many pfns": (libxc.PAGE_DATA, page_data(XTAB, count=1025), 16),
    "page type that does not exist": (libxc.PAGE_DATA, page_data(0x5 << 60), 16),
    "reserved bits of a pfn": (libxc.PAGE_DATA, page_data(XTAB | 1 << 55), 16),
    "pfns that descend": (libxc.PAGE_DATA, page_data(XTAB | 5, XTAB | 4), 24),
    "a pfn twice": (libxc.PAGE_DATA, page_data(XTAB | 5, XTAB | 5), 24),
    "length that does not fit the types": (libxc.PAGE_DATA, page_data(1, 2), 24 + 4096),
    "control id": (libxl.CHECKPOINT_STATE, struct.pack("<I", 4), 4),
    "emulator id": (libxl.EMULATOR_CONTEXT, struct.pack("<II", 3, 0) + b"QEVM\0\0\0\3", 16),
    "emulator index": (libxl.EMULATOR_CONTEXT, struct.pack("<II", 2, 1) + b"QEVM\0\0\0\3", 16),
    "xenstore data without NUL": (libxl.EMULATOR_XENSTORE_DATA, struct.pack("<II", 2, 0) + b"key", 11),
    "pv info": (libxc.X86_PV_INFO, bytes([8, 4, 1, 0, 0, 0, 0, 0]), 8),
    "width": (libxc.X86_PV_INFO, bytes([9, 4, 0, 0, 0, 0, 0, 0]), 8),
    "dirty list that descends": (libxc.CHECKPOINT_DIRTY_PFN_LIST, struct.pack("<2Q", 9, 3), 16),
    "banner": (xl.BANNER, b"x" * 54, None),
    "msr flags": (libxc.X86_MSR_POLICY, struct.pack("<IIQ", 1, 1, 1), 16),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_no_toolstack_writes(name):
    record, body, length = IMPOSSIBLE[name]
    assert codec.evidence(record, body, "little", length) == -1


SURE = {
    "PAGE_DATA with many pfns": (libxc.PAGE_DATA, page_data(*(XTAB | n for n in range(200))), 8 + 1600, 16),
    "HVM_CONTEXT": (libxc.HVM_CONTEXT, bodies.hvm_context(1), len(bodies.hvm_context(1)), 7),
    "EMULATOR_CONTEXT": (libxl.EMULATOR_CONTEXT, struct.pack("<II", 2, 0) + b"QEVM\0\0\0\3" + bytes(9), 25, 5),
    "TSC_INFO": (libxc.X86_TSC_INFO, struct.pack("<IIQII", 0, 2095078, 3, 1, 0), 24, 3),
    "banner": (xl.BANNER, xl.BANNER.body[0].const, None, 54),
    "image header": (libxc.IMAGE_HEADER, b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, 0, 0, 0), None, 12),
    "END": (libxc.END, b"", 0, 0),
    "CHECKPOINT": (libxc.CHECKPOINT, b"", 0, 1),
}


@pytest.mark.parametrize("name", SURE)
def test_how_sure_it_is(name):
    record, body, length, least = SURE[name]
    assert codec.evidence(record, body, "little", length) >= least


def test_a_cut_body_is_not_held_against_a_record():
    body = page_data(*(XTAB | n for n in range(20)))
    for end in range(len(body)):
        assert codec.evidence(libxc.PAGE_DATA, body[:end], "little", len(body)) >= 0
    store = struct.pack("<II", 2, 0) + b"key\0value\0"
    for end in range(len(store)):
        assert codec.evidence(libxl.EMULATOR_XENSTORE_DATA, store[:end], "little", len(store)) >= 0


def test_zeros_prove_nothing():
    """Guest memory is full of them."""
    for record in BY_TYPE.values():
        if record.type_id == 0:
            assert codec.evidence(record, b"", "little", 0) == 0


def test_names():
    assert codec.name_of(libxc.PAGE_TYPE, 0xF) == "XTAB"
    assert codec.name_of(libxc.PAGE_TYPE, 7) == ""
    assert codec.name_of(xl.MANDATORY_FLAGS, 3) == "JSON, STREAMv2"
    assert codec.name_of(xl.MANDATORY_FLAGS, 2) == "STREAMv2"
    assert codec.name_of(xl.MANDATORY_FLAGS, 0) == ""


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=20), st.binary(max_size=7), st.sampled_from(("little", "big")))
def test_pfns_are_entries_without_their_type(entries, cut, order):
    raw = struct.pack(f"{'<' if order == 'little' else '>'}{len(entries)}Q", *entries) + cut
    assert codec.pfn_numbers(raw, order) == tuple(entry & libxc.PFN_MASK for entry in entries)


@given(st.sampled_from(ALL_RECORDS), st.integers(0, 5), st.binary(max_size=60), st.sampled_from(("little", "big")))
def test_the_pfn_list_is_what_walking_finds(definition, count, rest, order):
    body = count.to_bytes(4, order) + rest
    walked = [node for node in codec.walk(definition, body, order) if isinstance(node.element, PfnList)]
    assert codec.pfn_list(definition, body, order) == next(((node.element, node.value) for node in walked), None)
