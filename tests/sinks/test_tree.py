# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import struct

import pytest

from dissector.sinks.colour import Palette
from dissector.sinks.tree import TreeSink
from dissector.spec import ALL_RECORDS
from dissector.spec.model import Pages
from tests.sample_events import (
    GAP,
    checkpoint_state,
    dirty_list,
    hvm_params,
    output,
    page_data,
    record,
    unknown,
    written,
)


def tree(*events, **options) -> list[str]:
    stream = output(options.pop("encoding", "utf-8"))
    sink = TreeSink(stream, Palette(enabled=options.pop("colour", False)), **options)
    for event in events:
        sink.write(event)
    sink.close()
    return written(stream).splitlines()


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.strip().startswith(f"{name} "))


def test_every_field_with_value_name_and_meaning():
    lines = tree(checkpoint_state(2))
    assert lines[0].endswith("SVM_READY")
    assert row(lines, "CHECKPOINT_STATE").endswith("xenmig.libxl.checkpoint_state (stream.md 3.3, 5.3)")
    assert row(lines, "type").split()[:3] == ["type", "0x5", "CHECKPOINT_STATE"]
    assert row(lines, "body_length").split()[1] == "4"
    assert row(lines, "control_id").split(maxsplit=3) == [
        "control_id",
        "2",
        "SVM_READY",
        "step of the COLO checkpoint",
    ]
    assert lines[-1] == ""


def test_the_evidence():
    line = row(tree(page_data([1])), "evidence")
    assert "frames 8-9, 2026-11-22T21:35:10.123456789Z to 2026-11-22T21:35:11.623456789Z" in line
    assert line.endswith("forward stream bytes 2794-6913")
    bare = row(tree(record("libxc", "END", first_frame=0, time=None, time_end=None)), "evidence")
    assert bare.strip() == "evidence            forward stream bytes 2794-2801"


def test_lists_of_structures():
    lines = tree(hvm_params((1, 0x504), (63, 1)))
    assert row(lines, "param").split()[1:3] == ["2", "entries"]
    assert row(lines, "[0]").split(maxsplit=1)[1] == "index 1 STORE_PFN, value 0x504"
    assert row(lines, "[1]").split(maxsplit=1)[1] == "index 63, value 0x1"


def test_pfn_lists_are_cut_unless_asked_for():
    scattered = page_data([0xF << 60 | 3 * number for number in range(200)])
    short, long = tree(scattered), tree(scattered, pfns=True)
    assert row(short, "pfn").split(maxsplit=1)[1].startswith("200 entries, 0x0 to 0x255")
    assert row(short, "XTAB").split() == ["XTAB", "200"]
    assert any("--pfns" in line for line in short)
    assert not any("--pfns" in line for line in long)
    assert "0x255 XTAB" in long[-2]
    assert row(tree(dirty_list([])), "pfn").split()[1] == "empty"


def test_extra_facts():
    lines = tree(dirty_list([1], 16))
    assert row(lines, "header_size").split() == ["header_size", "16"]
    assert row(lines, "stray").split() == ["stray", "0" * 16]


def test_missing_bytes_and_pages():
    lines = tree(page_data([0x10, 0x11], complete=False, lost=((2794 + 40, 8),)))
    assert row(lines, "lost").strip() == "lost                8 bytes: 8 at 2834"
    assert row(lines, "pages not whole").split()[-1] == "0x10"
    cut = tree(page_data([0x10], complete=False, lost=((2800, 4),), body=b""))
    assert "part of the pfn list is missing" in row(cut, "pages not whole")
    assert "the stream ends inside" in row(tree(record("libxc", "END", complete=False)), "lost")


def test_json_configuration_is_indented_and_clean():
    text = json.dumps({"c_info": {"name": "a\x1bb"}}).encode() + b"\0"
    lines = tree(record("xl", "CONFIG", struct.pack("<I", len(text)) + text))
    assert '            "name": "a\\u001bb"' in lines
    lines = tree(record("xl", "CONFIG", struct.pack("<I", 10) + b"{ \x1b broken"))
    assert "        { \\x1b broken" in lines


def test_text_pairs_and_bytes():
    assert row(tree(record("xl", "READY", b"domain received, ready to unpause\0")), "text").split('"')[1] == (
        "domain received, ready to unpause"
    )
    body = struct.pack("<II", 1, 0) + b"physmap/0/name\0vga\x1b\0"
    assert row(tree(record("libxl", "EMULATOR_XENSTORE_DATA", body)), "physmap/0/name").split()[1] == "vga\\x1b"
    assert "4,096 bytes: 00 00" in row(tree(record("libxc", "SHARED_INFO", bytes(4096))), "shared_info")


def test_hex_dump_of_what_is_kept():
    lines = tree(page_data([1]), dump=True)
    assert row(lines, "bytes").split()[1:] == ["16", "of", "4,112"]
    # The body begins behind the record header of 8 bytes.
    assert lines[-2] == f"        {2794 + 8:08x}  01 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00  ................"
    assert not any(line.strip().startswith("bytes") for line in tree(record("libxc", "END"), dump=True))


def test_unknown_records():
    lines = tree(unknown())
    assert row(lines, "UNKNOWN").split()[-3:] == ["xenmig.type_id", "(stream.md", "4.3)"]
    assert row(lines, "data").strip() == "data                61 62 63                          opaque"


def test_other_events_are_lines():
    assert len(tree(GAP)) == 1


def test_without_utf8():
    lines = tree(record("xl", "READY", "gäst\0".encode()), encoding="ascii")
    assert '"g\\xe4st"' in row(lines, "text")


def test_colours():
    assert "\x1b[36mcontrol_id\x1b[0m" in "".join(tree(checkpoint_state(1), colour=True))


@pytest.mark.parametrize("definition", ALL_RECORDS, ids=lambda definition: f"{definition.layer} {definition.name}")
def test_every_definition_has_a_tree(definition):
    for size in (0, 5, 17, 200):
        lines = tree(record(definition.layer, definition.name, bytes(size)))
    # 200 zero bytes are a legal beginning of every body without a count of its own.
    first = definition.body[0] if definition.body else None
    if first is not None and not isinstance(first, Pages):
        assert any(line.strip().startswith(first.name) for line in lines)


def test_what_is_inside_of_bytes():
    header = struct.pack("<HHI", 1, 0, 24) + struct.pack("<IIQII", 0x54381286, 1, 0, 0x806F8, 2095078)
    adjust = struct.pack("<HHIQ", 19, 1, 8, 7)
    lines = tree(record("libxc", "HVM_CONTEXT", header + adjust + bytes(8)))
    assert row(lines, "[1]").split(maxsplit=1)[1] == "typecode 19 TSC_ADJUST, instance 1, length 8"
    assert row(lines, "magic").split()[1] == "0x54381286"
    assert row(lines, "gtsc_khz").split()[1] == "2,095,078"
    at = lines.index(row(lines, "[1]"))
    assert lines[at + 1].split()[:3] == ["tsc_adjust", "8", "bytes"]
    assert lines[at + 2].split()[:2] == ["tsc_adjust", "0x7"]
    assert len(lines[at]) - len(lines[at].lstrip()) < len(lines[at + 2]) - len(lines[at + 2].lstrip())


def test_names_that_depend_on_other_fields():
    lines = tree(record("libxc", "X86_CPUID_POLICY", struct.pack("<6I", 1, 0xFFFFFFFF, 2, 3, 1, 1 << 25)))
    assert row(lines, "ecx").split() == ["ecx", "SSE3"]
    assert row(lines, "edx").split() == ["edx", "SSE"]
    assert not [line for line in lines if line.split()[:1] == ["ebx"]]
    lines = tree(record("libxc", "X86_MSR_POLICY", struct.pack("<IIQ", 0xCE, 0, 1 << 31)))
    assert "index 0xce PLATFORM_INFO" in row(lines, "[0]")
    assert row(lines, "value").split() == ["value", "CPUID_FAULTING"]


def test_of_a_cut_blob_nothing_inside_is_shown():
    body = struct.pack("<II", 2, 0) + b"QEVM" + struct.pack(">I", 3) + bytes(9)
    assert [line for line in tree(record("libxl", "EMULATOR_CONTEXT", body)) if " qemu " in line]
    cut = record("libxl", "EMULATOR_CONTEXT", body, body_length=4000)
    assert not [line for line in tree(cut) if " qemu " in line]
