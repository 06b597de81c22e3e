# SPDX-License-Identifier: GPL-2.0-or-later
"""Every definition is well-formed, and the tables of stream.md are all here with the right numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from captures import streams
from dissector.spec import ALL_RECORDS, BY_NAME, BY_TYPE, codes, hvm, libxc, libxl, xl
from dissector.spec.model import Array, Bytes, Enum, Field, Flags, Pages, PfnList, Record, StringPairs

NAME = re.compile(r"[a-z][a-z0-9_]*")
IDS = [f"{record.layer} {record.name}" for record in ALL_RECORDS]


def elements(record: Record):
    """All elements of a body, those inside lists too."""
    for element in record.body:
        yield element
        if isinstance(element, Array):
            yield from element.items


def fixed_size(record: Record) -> int | None:
    """Bytes of a body without anything of variable length."""
    total = 0
    for element in record.body:
        if isinstance(element, Field):
            total += element.size
        elif isinstance(element, Bytes) and isinstance(element.length, int):
            total += element.length
        else:
            return None
    return total


# stream.md 4.4: type, name, guests, release, lengths that are right, lengths that are wrong
LIBXC = """
0x00 END                       any 4.6  0                        | 8
0x01 PAGE_DATA                 any 4.6  16 24 4112 8200 4202504  | 0 8 15 17 20
0x02 X86_PV_INFO               PV  4.6  8                        | 0 16
0x03 X86_PV_P2M_FRAMES         PV  4.6  8 16 24                  | 0 4 12
0x04 X86_PV_VCPU_BASIC         PV  4.6  8 5176 2808              | 0 5168 2800
0x05 X86_PV_VCPU_EXTENDED      PV  4.6  8 9 72 136               | 0 7 137
0x06 X86_PV_VCPU_XSAVE         PV  4.6  8 24 856                 | 0 9 23
0x07 SHARED_INFO               PV  4.6  4096                     | 0 4095 4104
0x08 X86_TSC_INFO              any 4.6  24                       | 0 16 32
0x09 HVM_CONTEXT               HVM 4.6  1 8328                   | 0
0x0a HVM_PARAMS                HVM 4.6  8 24 40 216              | 0 16 25
0x0b TOOLSTACK                 any 4.6  0 1 100                  |
0x0c X86_PV_VCPU_MSRS          PV  4.6  8 24 40                  | 0 16 25
0x0d VERIFY                    any 4.6  0                        | 8
0x0e CHECKPOINT                any 4.6  0                        | 8
0x0f CHECKPOINT_DIRTY_PFN_LIST HVM 4.7  0 8 16 134217728         | 4 9 134217736
0x10 STATIC_DATA_END           any 4.14 0                        | 8
0x11 X86_CPUID_POLICY          any 4.14 24 48 1536               | 0 25 32
0x12 X86_MSR_POLICY            any 4.14 16 32                    | 0 8 24
"""
# stream.md 3.3
LIBXL = """
0 END                    any 4.6 0     | 8
1 LIBXC_CONTEXT          any 4.6 0     | 8
2 EMULATOR_XENSTORE_DATA HVM 4.6 8 100 | 0 7
3 EMULATOR_CONTEXT       HVM 4.6 8 309 | 0 7
4 CHECKPOINT_END         any 4.6 0     | 8
5 CHECKPOINT_STATE       any 4.7 4     | 0 8
"""
ROWS = [("libxc", *line.split(None, 4)) for line in LIBXC.strip().splitlines()] + [
    ("libxl", *line.split(None, 4)) for line in LIBXL.strip().splitlines()
]


@pytest.mark.parametrize(("layer", "number", "name", "guests", "since", "lengths"), ROWS, ids=[row[2] for row in ROWS])
def test_record_types(layer, number, name, guests, since, lengths):
    record = BY_TYPE[layer, int(number, 0)]
    assert (record.name, record.guests, record.since) == (name, guests, since)
    right, wrong = lengths.split("|")
    assert [length for length in right.split() if not record.length.allows(int(length))] == []
    assert [length for length in wrong.split() if record.length.allows(int(length))] == []


def test_no_other_record_types():
    assert set(BY_TYPE) == {(row[0], int(row[1], 0)) for row in ROWS}


def test_headers_and_messages():
    sizes = {(r.layer, r.name): r.length.exact for r in ALL_RECORDS if r.type_id is None}
    assert sizes == {
        ("xl", "SAVE_FILE_HEADER"): (48,),
        ("xl", "CONFIG"): (),
        ("xl", "BANNER"): (54,),
        ("xl", "READY"): (34,),
        ("xl", "GO"): (44,),
        ("xl", "REPORT"): (39,),
        ("xl", "REPORT_STATUS"): (1,),
        ("libxl", "STREAM_HEADER"): (16,),
        ("libxc", "IMAGE_HEADER"): (24,),
        ("libxc", "DOMAIN_HEADER"): (16,),
    }


def test_the_independent_builder_has_the_same_numbers():
    for layer, types in (("libxl", streams.LIBXL_TYPES), ("libxc", streams.LIBXC_TYPES)):
        for name, number in types.items():
            assert BY_TYPE[layer, number].name == name
    assert {name: number for number, name in libxl.CONTROL_ID.values.items()} == streams.STATES
    assert {name: number for number, name in libxc.PAGE_TYPE.values.items()} == streams.PAGE_TYPES
    for text, record in ((streams.BANNER, xl.BANNER), (streams.READY, xl.READY), (streams.GO, xl.GO)):
        assert record.body[0].const == text
    assert xl.REPORT.body[0].const == streams.REPORT
    assert xl.XL_MAGIC == streams.XL_MAGIC


def test_directions():
    """What goes back: the receiver's messages, and of records only the dirty list (stream.md 2.1, 3.3, 4.4)."""
    assert {r.name for r in ALL_RECORDS if r.direction == "reverse"} == {
        "BANNER",
        "READY",
        "REPORT",
        "REPORT_STATUS",
        "CHECKPOINT_DIRTY_PFN_LIST",
    }
    assert {r.name for r in ALL_RECORDS if r.direction == "both"} == {"GO", "CHECKPOINT_STATE"}


# -- enumerations -----------------------------------------------------------------------------------------------------


def test_page_types():
    names = (
        "NOTAB L1TAB L2TAB L3TAB L4TAB - - - - L1TAB_PINNED L2TAB_PINNED L3TAB_PINNED L4TAB_PINNED BROKEN XALLOC XTAB"
    )
    assert libxc.PAGE_TYPE.values == {n: name for n, name in enumerate(names.split()) if name != "-"}
    assert sorted(libxc.DATA_PAGE_TYPES) == [0, 1, 2, 3, 4, 9, 10, 11, 12]
    assert libxc.PFN_TYPE_SHIFT == 60
    assert libxc.PFN_MASK == 0x000F_FFFF_FFFF_FFFF
    assert libxc.PFN_MASK | libxc.PFN_RESERVED_MASK | 0xF << 60 == (1 << 64) - 1


def test_small_enumerations():
    assert libxc.DOMAIN_TYPE.values == {1: "x86 PV", 2: "x86 HVM", 3: "x86 PVH", 4: "ARM"}
    assert sorted(libxc.TSC_MODE.values) == [0, 1, 2, 3]
    assert libxc.TSC_MODE.values[3] == "PVRDTSCP"
    assert sorted(libxl.EMULATOR_ID.values) == [0, 1, 2]
    assert "traditional" in libxl.EMULATOR_ID.values[1]
    assert libxl.CONTROL_ID.values == {0: "NEW", 1: "SVM_SUSPENDED", 2: "SVM_READY", 3: "SVM_RESUMED"}
    assert xl.MANDATORY_FLAGS.bits == {0: "JSON", 1: "STREAMv2"}
    assert xl.STREAMV2 == 2
    assert sorted(libxl.OPTIONS.bits) == [0, 1]
    assert sorted(libxc.OPTIONS.bits) == [0]


def test_hvm_params():
    """stream.md 9.5: 39 indices, of which 3, 7 and 8 are not assigned."""
    assert set(hvm.HVM_PARAM.values) == set(range(39)) - {3, 7, 8}
    spot = {1: "STORE_PFN", 9: "VIRIDIAN", 15: "VM86_TSS", 19: "ACPI_IOPORTS_LOCATION", 33: "NR_IOREQ_SERVER_PAGES"}
    spot |= {5: "IOREQ_PFN", 12: "IDENT_PT", 17: "CONSOLE_PFN", 34: "VM_GENERATION_ID_ADDR", 36: "X87_FIP_WIDTH"}
    spot |= {28: "MONITOR_RING_PFN", 32: "IOREQ_SERVER_PFN", 37: "VM86_TSS_SIZED", 38: "MCA_CAP", 4: "PAE_ENABLED"}
    assert {index: hvm.HVM_PARAM.values[index] for index in spot} == spot


def test_hvm_save_types():
    names = (
        "END HEADER CPU PIC IOAPIC LAPIC LAPIC_REGS PCI_IRQ ISA_IRQ PCI_LINK PIT RTC HPET PMTIMER MTRR VIRIDIAN_DOMAIN "
        "CPU_XSAVE VIRIDIAN_VCPU VMCE_VCPU TSC_ADJUST CPU_MSR"
    )
    assert hvm.HVM_SAVE_TYPE.values == dict(enumerate(names.split()))
    assert bytes.fromhex("0100 0000 18000000 86123854") == hvm.HVM_CONTEXT_SIGNATURE


def test_libxl_errors():
    """stream.md 2.1 and 9.8."""
    spot = {0: "guest started", 1: "NONSPECIFIC", 3: "FAIL", 6: "INVAL", 12: "OSEVENT_REG_FAIL", 32: "QEMU_API"}
    spot |= {18: "CHECKPOINT_DEVOPS_DOES_NOT_MATCH", 25: "FEATURE_REMOVED", 26: "PROTOCOL_ERROR_QMP"}
    assert {value: xl.LIBXL_ERROR.values[value] for value in spot} == spot
    assert set(xl.LIBXL_ERROR.values) == {*range(33), 255}


def test_codes_in_words():
    assert codes.describe_status(3) == "ERROR_FAIL"
    assert codes.describe_status(255) == "no correct GO received"
    assert codes.describe_status(77) == "status 77"


def test_sizes_and_limits():
    assert libxc.REC_LENGTH_MAX == 134_217_728
    assert libxc.MAX_BATCH_SIZE == 1024
    assert libxc.LARGEST_PAGE_DATA == 4_202_512
    assert libxc.PAGE_SIZE == 4096
    assert libxc.IMAGE_MARKER.to_bytes(8) + libxc.IMAGE_ID.to_bytes(4) == b"\xff" * 8 + b"XENF"
    assert bytes.fromhex("4c6962786c466d74") == libxl.LIBXL_IDENT


# -- well-formed ------------------------------------------------------------------------------------------------------


def test_names_and_types_are_unique():
    assert len({(r.layer, r.name) for r in ALL_RECORDS}) == len(ALL_RECORDS) == len(BY_NAME)
    assert len({r.filter_name for r in ALL_RECORDS}) == len(ALL_RECORDS)
    assert len(BY_TYPE) == sum(r.type_id is not None for r in ALL_RECORDS)


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_record_is_well_formed(record):
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", record.name)
    assert record.filter_name == f"xenmig.{record.layer}.{record.name.lower()}"
    assert record.meaning
    assert re.fullmatch(r"[0-9.]+(, [0-9.]+)*", record.section)
    assert record.since in ("4.6", "4.7", "4.14")
    names = [element.name for element in record.body]
    assert len(set(names)) == len(names)
    for element in elements(record):
        assert NAME.fullmatch(element.name), element.name
        assert element.meaning
    for element in record.body:
        assert record.element(element.name) is element
    with pytest.raises(KeyError):
        record.element("no such element")


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_fields_are_well_formed(record):
    for element in elements(record):
        if isinstance(element, Field):
            assert element.size in (1, 2, 4, 8)
            largest = (1 << 8 * element.size) - 1
            for value in (element.const, element.maximum):
                assert value is None or 0 <= value <= largest
            if isinstance(element.names, Enum):
                assert all(0 <= value <= largest for value in element.names.values)
            if isinstance(element.names, Flags):
                assert all(0 <= bit < 8 * element.size for bit in element.names.bits)
            assert not (element.reserved and element.const)
        if isinstance(element, Bytes) and element.const is not None:
            assert element.length == len(element.const)


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_references_point_backwards(record):
    """A length, a count or a pfn list that another element names comes before it."""
    seen: set[str] = set()
    for element in record.body:
        if isinstance(element, Bytes) and isinstance(element.length, str):
            assert element.length in seen
        if isinstance(element, Array | PfnList) and element.count is not None:
            assert element.count in seen
        if isinstance(element, Pages):
            assert element.pfns in seen
        seen.add(element.name)
        if isinstance(element, Array):
            inner: set[str] = set()
            for item in element.items:
                if isinstance(item, Bytes):
                    assert isinstance(item.length, int) or item.length in inner
                inner.add(item.name)


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_only_the_last_element_is_open_ended(record):
    for element in record.body[:-1]:
        counted = getattr(element, "length", None) is not None or getattr(element, "count", None) is not None
        assert isinstance(element, Field) or counted


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_length_fits_the_body(record):
    size = fixed_size(record)
    if size is not None:
        assert record.length.allows(size)
        if record.length.exact:
            assert record.length.exact == (size,)
    elif record.length.exact:
        assert not any(isinstance(element, StringPairs | Pages) for element in record.body)
    if record.signature is not None:
        at, text = record.signature
        assert at >= 0
        assert text


def test_reserved_elements_are_marked():
    for record in ALL_RECORDS:
        for element in elements(record):
            if element.name.startswith("reserved"):
                assert getattr(element, "reserved", False) or not any(element.const)


def test_fixed_byte_orders():
    """Only the libxl and the image header are big endian whatever the options say (stream.md 3.1, 4.1)."""
    fixed = {r.name for r in ALL_RECORDS for e in elements(r) if isinstance(e, Field) and e.order != "stream"}
    assert fixed == {"STREAM_HEADER", "IMAGE_HEADER"}


def test_spec_imports_nothing_of_ours_and_nothing_foreign():
    folder = Path(libxc.__file__).parent
    for path in folder.glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                module = line.split()[1]
                assert module.startswith("dissector.spec") or module.split(".")[0] in (
                    "__future__",
                    "collections",
                    "dataclasses",
                    "typing",
                ), f"{path.name}: {line}"
