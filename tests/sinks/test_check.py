# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import struct

import pytest

from dissector.check.checker import checked
from dissector.reader import Reader
from dissector.sinks.check import CheckSink, place_lines, wire_bytes
from dissector.sinks.colour import Palette
from dissector.spec import libxc, rules
from dissector.wire.events import Finding
from tests.check.scripts import LIMITS, colo_hvm, engine_batches, hvm, patch, remus_hvm
from tests.check.tools import made
from tests.cross.tools import paths


def shown(batches, **more):
    text = io.StringIO()
    sink = CheckSink(text, Palette(enabled=False), **more)
    for batch in checked(iter(batches)):
        sink.write_all(batch)
    sink.close()
    return text.getvalue()


def capture(name, **more):
    reader = Reader(paths(name), limits=LIMITS)
    try:
        return shown(reader.batches(), **more)
    finally:
        reader.close()


def test_good_migration():
    lines = capture("xl-migrate-hvm").splitlines()
    assert lines[0].endswith("plain migration, xl stream, x86 HVM guest, from Xen 4.17, 1,044 records")
    assert lines[-3] == "  ended       completed: the guest runs at the target [ending.completed]"
    assert lines[-1] == "1 migration, 2 notes"
    assert not any("first wrong" in line for line in lines)


def test_worst_first_with_the_last_good_record():
    lines = capture("hvm-colo-xl-420").splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["error", "warn", "note", "note"]
    assert lines[5].startswith("  first wrong libxc CHECKPOINT_DIRTY_PFN_LIST at 102, ← 110 (frame 5337)")
    assert lines[6] == "  last good   libxl CHECKPOINT_STATE at 86 (frame 5335), SVM_SUSPENDED"
    assert lines[7].startswith("  ended       error: the session died at checkpoint 2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loss-in-pages", "13,032 bytes lost forward, 1 record incomplete"),
        (
            "mid-stream-colo",
            "what came before the capture, 11,848 bytes forward passed over without framing",
        ),
    ],
)
def test_what_was_not_captured_is_said(name, said):
    assert f"\n  not seen    {said}; what is missing is not judged\n" in capture(name)
    assert "not seen" not in capture("xl-migrate-hvm")


def test_a_capture_with_flaws_is_not_a_wrong_migration():
    text = capture("snap-128")
    assert "[capture.snaplen]" in text
    assert "first wrong" not in text


def test_findings_of_one_rule_are_counted():
    script = remus_hvm()
    for index in range(3):
        patch(script.find("X86_TSC_INFO", index), 28, b"\1")
    text = shown(engine_batches(script.packets()))
    [line] = [line for line in text.splitlines() if "[libxc.x86_tsc_info.reserved]" in line]
    assert line.startswith("  warn     3x → ")
    assert text.splitlines()[-1] == "1 migration, 3 warnings, 2 notes"


def test_reasons_and_bytes():
    script = hvm()
    item = script.find("X86_TSC_INFO")
    patch(item, 28, b"\1")
    text = shown(engine_batches(script.packets()), verbose=1)
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if "tsc_info.reserved" in line)
    assert lines[at + 1].split() == ["why", "Readers", "ignore", "it;", "verify-stream-v2", "rejects", "it."]
    assert "rule 77, section 4.6" in lines[at + 2]
    assert f"forward stream bytes {script.place(item)}-{script.place(item) + 31}" in lines[at + 3]
    first, second, mark = lines[at + 4 : at + 7]
    assert first.startswith(f"    {script.place(item):08x}  08 00 00 00 18 00 00 00")
    assert second.startswith(f"  > {script.place(item) + 16:08x}")
    column = mark.index("^")
    assert second[column : column + 2] == "01"
    assert mark.strip() == "^^"


@pytest.mark.parametrize("at", range(16))
def test_the_mark_stands_under_its_byte(at):
    body = bytes(range(0x10, 0x30))
    record = made(libxc.X86_TSC_INFO, body, offset=64)
    finding = Finding(rules.TSC_RESERVED, "", 0, "forward", 64 + 16 + at, record=record)
    lines = list(place_lines(finding))
    row, mark = next((one, lines[number + 1]) for number, one in enumerate(lines) if one.startswith(">"))
    column = mark.index("^")
    assert row[column : column + 2] == f"{0x10 + 8 + at:02x}"


def test_places_are_few_and_more_with_vv():
    script = remus_hvm()
    for index in range(3):
        patch(script.find("X86_TSC_INFO", index), 28, b"\1")
    pages = script.find("X86_TSC_INFO")
    for _ in range(4):
        script.insert(pages, bytes(pages.data))
    once = shown(engine_batches(script.packets()), verbose=1)
    twice = shown(engine_batches(script.packets()), verbose=2)
    assert "and 4 more places" in once
    assert "more place" not in twice
    assert twice.count("^^") > once.count("^^")


def test_lines_fit_the_terminal():
    for width in (60, 80, 120):
        text = capture("hvm-colo-xl-420", width=width)
        assert max(map(len, text.splitlines())) <= width
    wide = capture("hvm-colo-xl-420")
    assert sum("[libxc.checkpoint_dirty_pfn_list" in line for line in wide.splitlines()) == 2
    for name in ("hvm-colo-xl-420", "unknown-records", "xl-source-fails"):
        assert max(map(len, capture(name, width=80, verbose=1).splitlines())) <= 80


def test_what_a_capture_holds_cannot_reach_the_terminal():
    script = hvm(xenstore=True)
    item = script.find("EMULATOR_XENSTORE_DATA")
    item.data[:] = struct.pack("<II", 2, 24) + struct.pack("<II", 2, 0) + b"/\x1b[2J\x07\0value\0\0\0\0"
    text = shown(engine_batches(script.packets()), verbose=2)
    assert "libxl.xenstore_data" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_nothing_found():
    assert shown(engine_batches([])) == "no Xen migration found, nothing to report\n"


def test_two_migrations():
    text = capture("two-migrations-and-noise")
    assert [line[:6] for line in text.splitlines() if line.startswith("flow")] == ["flow 0", "flow 1"]
    assert text.count("  ended ") == 2


def test_findings_about_the_capture_stand_in_front():
    lines = capture("file-cut").splitlines()
    assert lines[0].startswith("  warn ")
    assert "[capture.cut]" in lines[0]


def test_bytes_of_a_dirty_list_with_a_long_header():
    record = made(libxc.CHECKPOINT_DIRTY_PFN_LIST, struct.pack("<Q", 7), header_size=16, stray="00" * 8)
    assert wire_bytes(record) == struct.pack("<IIQQ", 15, 8, 0, 7)


def test_a_finding_without_a_record_has_no_place():
    assert list(place_lines(Finding(rules.FAILED, "x", 0, "forward", 3))) == []


def test_bodies_are_not_kept():
    sink = CheckSink(io.StringIO(), Palette(enabled=False), verbose=1)
    record = made(libxc.HVM_CONTEXT, bytes(1 << 20))
    sink.write(record)
    sink.write(Finding(rules.HVM_CONTEXT_CHAIN, "broken", 0, "forward", 8, record=record))
    block = sink._blocks[0]
    assert list(block.recent["forward"]) == [None]
    assert all(group.first.record is None for group in block.groups.values())


def test_ascii_only():
    class Ascii(io.StringIO):
        encoding = "ascii"

    text = Ascii()
    sink = CheckSink(text, Palette(enabled=False), verbose=2)
    for batch in checked(iter(engine_batches(colo_hvm(16).packets()))):
        sink.write_all(batch)
    sink.close()
    assert text.getvalue().isascii()


def test_how_it_ended_is_explained_and_shown_too():
    script = hvm()
    script.cut(script.find("HVM_CONTEXT"), 50)
    brief, full = (shown(engine_batches(script.packets()), verbose=verbose) for verbose in (0, 1))
    assert "  why " not in brief
    ending = full.partition("  ended ")[2]
    assert "why      A plain stream is whole only with libxl's END" in ending
    assert "record   libxc HVM_CONTEXT: frame" in ending
    assert "\n  > " in ending


def test_a_good_end_needs_no_explanation():
    assert "  why " not in shown(engine_batches(hvm().packets()), verbose=1).partition("  ended ")[2]
