# SPDX-License-Identifier: GPL-2.0-or-later
"""Transcripts: receive these bytes (or lose some), must emit those units and be in that state."""

from __future__ import annotations

import random
import struct
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import bodies
from captures.guests import Guest, colo, plain, pv64, remus, save
from captures.streams import BANNER, GO, READY, REPORT, Half
from dissector.spec import BY_NAME
from dissector.wire.framer import Framer, unknown_record
from dissector.wire.limits import Limits, ThoroughLimits
from dissector.wire.machine import State
from tests.cross.tools import modest

LIMITS = Limits()


def head(type_id: int, length: int, order: str = "<") -> bytes:
    return struct.pack(order + "II", type_id, length)


def record(type_id: int, body: bytes = b"", order: str = "<") -> bytes:
    return head(type_id, len(body), order) + body + bytes(-len(body) % 8)


def page_data(*types: int, first: int = 0, order: str = "<") -> bytes:
    """PAGE_DATA with a pfn per type nibble."""
    entries = [kind << 60 | first + index for index, kind in enumerate(types)]
    contents = 4096 * sum(kind < 0xD for kind in types)
    return record(1, struct.pack(f"{order}II{len(entries)}Q", len(entries), 0, *entries) + bytes(contents), order)


def pfns(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


XL = b"Xen saved domain, xl format\n \0 \r"
CONFIG = b'{"c_info": {}}\0'
OPTIONAL = struct.pack("<I", len(CONFIG)) + CONFIG
LIBXL = b"LibxlFmt" + struct.pack(">II", 2, 0)
IMAGE = b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, 0, 0, 0)
DOMAIN = struct.pack("<IHHII", 2, 12, 0, 4, 17)
CONTEXT = record(1)
TSC = record(8, struct.pack("<IIQII", 0, 2_000_000, 5, 1, 0))
CHECKPOINT, CHECKPOINT_END, END = record(0x0E), record(4), record(0)
NEW, SUSPENDED, SVM_READY, RESUMED = (record(5, struct.pack("<I", number)) for number in range(4))
EMULATOR = record(3, struct.pack("<II", 2, 0) + b"QEVM\0\0\0\x03" + bytes(5))


def xl_header(flags: int = 3, length: int = len(OPTIONAL), order: str = "<") -> bytes:
    return XL + struct.pack(order + "IIII", 0x01020304, flags, 0, length)


class Lost(int):
    """So many bytes never come."""


def dirty_list(stray: int, *values: int) -> bytes:
    return head(0x0F, 8 * len(values)) + bytes(stray) + pfns(*values)


# name -> (first state, what is received, what must be emitted)
TRANSCRIPTS: dict[str, tuple[State, tuple, str]] = {
    # beginnings
    "xl": (
        State.START,
        (xl_header(), OPTIONAL, LIBXL, CONTEXT, IMAGE, DOMAIN),
        (
            "xl SAVE_FILE_HEADER 0+48, xl CONFIG 48+19, libxl STREAM_HEADER 67+16, libxl LIBXC_CONTEXT 83+8, "
            "libxc IMAGE_HEADER 91+24, libxc DOMAIN_HEADER 115+16, at LIBXC"
        ),
    ),
    "libxl": (State.START, (LIBXL, CONTEXT), "libxl STREAM_HEADER 0+16, libxl LIBXC_CONTEXT 16+8, at IMAGE_HEADER"),
    "libxc": (State.START, (IMAGE, DOMAIN), "libxc IMAGE_HEADER 0+24, libxc DOMAIN_HEADER 24+16, at LIBXC"),
    "banner": (State.START, (BANNER,), "xl BANNER 0+54, at AFTER_BANNER"),
    "something else": (State.START, (b"GET / HTTP/1.1\r\n",), "failed at 0"),
    "a marker that is no XENF": (State.START, (b"\xff" * 8 + b"XEMF",), "failed at 0"),
    "too little to tell": (State.START, (b"Xen saved d",), "at START"),
    "magic that goes on otherwise": (State.START, (b"Xen saved domain, xc format\n \0 \r" + bytes(16),), "failed at 0"),
    "xl header without optional data": (
        State.START,
        (xl_header(length=0), LIBXL),
        "xl SAVE_FILE_HEADER 0+48, libxl STREAM_HEADER 48+16, at LIBXL",
    ),
    "optional data of 3 bytes": (
        State.START,
        (xl_header(length=3), b"abc", LIBXL),
        "xl SAVE_FILE_HEADER 0+48, xl CONFIG 48+3, libxl STREAM_HEADER 51+16, at LIBXL",
    ),
    "optional data with a surplus": (
        State.START,
        (xl_header(length=len(OPTIONAL) + 5), OPTIONAL, b"extra", LIBXL),
        "xl SAVE_FILE_HEADER 0+48, xl CONFIG 48+24, libxl STREAM_HEADER 72+16, at LIBXL",
    ),
    "big-endian xl header": (
        State.START,
        (xl_header(order=">"), struct.pack(">I", len(CONFIG)) + CONFIG, LIBXL),
        "xl SAVE_FILE_HEADER 0+48, xl CONFIG 48+19, libxl STREAM_HEADER 67+16, at LIBXL",
    ),
    "legacy by the flags": (
        State.START,
        (xl_header(flags=1), OPTIONAL, bytes(100)),
        "xl SAVE_FILE_HEADER 0+48, xl CONFIG 48+19, finding stream.legacy 67, at LEGACY",
    ),
    "big-endian libxl": (
        State.START,
        (b"LibxlFmt" + struct.pack(">II", 2, 1), record(1, order=">"), IMAGE),
        (
            "libxl STREAM_HEADER 0+16, finding stream.big_endian 0, libxl LIBXC_CONTEXT 16+8, "
            "libxc IMAGE_HEADER 24+24, at DOMAIN_HEADER"
        ),
    ),
    "big-endian libxc": (
        State.START,
        (IMAGE[:16] + b"\0\1" + IMAGE[18:], struct.pack(">IHHII", 2, 12, 0, 4, 17), page_data(0, order=">")),
        (
            "libxc IMAGE_HEADER 0+24, finding stream.big_endian 0, libxc DOMAIN_HEADER 24+16, libxc PAGE_DATA 40+4120, "
            "at LIBXC"
        ),
    ),
    # the hand-over (stream.md 3.7)
    "libxc END hands over to libxl": (
        State.LIBXC,
        (END, EMULATOR, END, GO),
        "libxc END 0+8, libxl EMULATOR_CONTEXT 8+32, libxl END 40+8, xl GO 48+44, at DONE",
    ),
    "PVH: two END in a row": (State.LIBXC, (END, END, GO), "libxc END 0+8, libxl END 8+8, xl GO 16+44, at DONE"),
    "Remus": (
        State.LIBXC,
        (CHECKPOINT, EMULATOR, CHECKPOINT_END, page_data(0xF), TSC, CHECKPOINT, EMULATOR, CHECKPOINT_END),
        (
            "libxc CHECKPOINT 0+8, libxl EMULATOR_CONTEXT 8+32, libxl CHECKPOINT_END 40+8, libxc PAGE_DATA 48+24, "
            "libxc X86_TSC_INFO 72+32, libxc CHECKPOINT 104+8, libxl EMULATOR_CONTEXT 112+32, "
            "libxl CHECKPOINT_END 144+8, at AFTER_CHECKPOINT_END"
        ),
    ),
    "Remus, empty checkpoint": (
        State.AFTER_CHECKPOINT_END,
        (TSC, CHECKPOINT, CHECKPOINT_END),
        "libxc X86_TSC_INFO 0+32, libxc CHECKPOINT 32+8, libxl CHECKPOINT_END 40+8, at AFTER_CHECKPOINT_END",
    ),
    "COLO": (
        State.LIBXC,
        (CHECKPOINT, EMULATOR, CHECKPOINT_END, NEW, page_data(0xF)),
        (
            "libxc CHECKPOINT 0+8, libxl EMULATOR_CONTEXT 8+32, libxl CHECKPOINT_END 40+8, "
            "libxl CHECKPOINT_STATE 48+16, libxc PAGE_DATA 64+24, at LIBXC"
        ),
    ),
    "libxc type 5 with another length is libxc's": (
        State.LIBXC,
        (record(5, bytes(72)),),
        "libxc X86_PV_VCPU_EXTENDED 0+80, at LIBXC",
    ),
    "4.6: END after checkpoints": (
        State.AFTER_CHECKPOINT_END,
        (END, EMULATOR, END),
        "libxc END 0+8, libxl EMULATOR_CONTEXT 8+32, libxl END 40+8, at AFTER_END",
    ),
    # reverse
    "plain, reverse": (
        State.START,
        (BANNER, READY, REPORT, b"\0"),
        "xl BANNER 0+54, xl READY 54+34, xl REPORT 88+39, xl REPORT_STATUS 127+1, at AFTER_STATUS",
    ),
    "failed, reverse": (
        State.START,
        (BANNER, READY, REPORT, b"\x03", GO),
        "xl BANNER 0+54, xl READY 54+34, xl REPORT 88+39, xl REPORT_STATUS 127+1, xl GO 128+44, at DONE",
    ),
    "COLO, reverse": (
        State.START,
        (BANNER, SVM_READY, RESUMED, SUSPENDED, dirty_list(0, 3, 9), SVM_READY, RESUMED),
        (
            "xl BANNER 0+54, libxl CHECKPOINT_STATE 54+16, libxl CHECKPOINT_STATE 70+16, libxl CHECKPOINT_STATE 86+16, "
            "libxc CHECKPOINT_DIRTY_PFN_LIST 102+24 header 8, libxl CHECKPOINT_STATE 126+16, "
            "libxl CHECKPOINT_STATE 142+16, at BACK_CHANNEL"
        ),
    ),
    "COLO without xl": (
        State.REVERSE_START,
        (SVM_READY, RESUMED),
        "libxl CHECKPOINT_STATE 0+16, libxl CHECKPOINT_STATE 16+16, at BACK_CHANNEL",
    ),
    "reverse that is neither": (State.REVERSE_START, (b"hello, world",), "failed at 0"),
    "bytes after GO": (State.GO, (GO, b"x"), "xl GO 0+44, finding stream.trailing 44, at LEGACY"),
    "bytes after END": (
        State.LIBXL,
        (END, b"something quite different"),
        "libxl END 0+8, finding stream.trailing 8, at LEGACY",
    ),
    "GO with a wrong word": (State.GO, (GO.replace(b"yours", b"mines"),), "finding xl.message 0, failed at 0"),
    # the list of 8, 16 or 12 bytes of header (stream.md 5.4)
    "list, 8 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(0, 3, 9), SVM_READY),
        "libxc CHECKPOINT_DIRTY_PFN_LIST 0+24 header 8, libxl CHECKPOINT_STATE 24+16, at BACK_CHANNEL",
    ),
    "list, 16 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(8, 3, 9), SVM_READY),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+32 header 16, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "libxl CHECKPOINT_STATE 32+16, at BACK_CHANNEL"
        ),
    ),
    "list, 12 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(4, 3, 9), SVM_READY),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+28 header 12, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "libxl CHECKPOINT_STATE 28+16, at BACK_CHANNEL"
        ),
    ),
    "empty list, 8 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(0), SVM_READY),
        "libxc CHECKPOINT_DIRTY_PFN_LIST 0+8 header 8, libxl CHECKPOINT_STATE 8+16, at BACK_CHANNEL",
    ),
    "empty list, 16 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(8), SVM_READY),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+16 header 16, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "libxl CHECKPOINT_STATE 16+16, at BACK_CHANNEL"
        ),
    ),
    "empty list, 12 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(4), SVM_READY),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+12 header 12, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "libxl CHECKPOINT_STATE 12+16, at BACK_CHANNEL"
        ),
    ),
    "list with pfn 0, 8 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(0, 0, 9), SVM_READY),
        "libxc CHECKPOINT_DIRTY_PFN_LIST 0+24 header 8, libxl CHECKPOINT_STATE 24+16, at BACK_CHANNEL",
    ),
    "list with pfn 0, 16 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(8, 0, 9), SVM_READY),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+32 header 16, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "libxl CHECKPOINT_STATE 32+16, at BACK_CHANNEL"
        ),
    ),
    "list at the end, 8 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(0, 3, 9), "end"),
        "libxc CHECKPOINT_DIRTY_PFN_LIST 0+24 header 8, at BACK_CHANNEL",
    ),
    "list at the end, 16 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(8, 3, 9), "end"),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+32 header 16, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "at BACK_CHANNEL"
        ),
    ),
    "list at the end, 12 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(4, 3, 9), "end"),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+28 header 12, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "at BACK_CHANNEL"
        ),
    ),
    "empty list at the end, 16 bytes": (
        State.BACK_CHANNEL,
        (dirty_list(8), "end"),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+16 header 16, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "at BACK_CHANNEL"
        ),
    ),
    "the header size is kept": (
        State.BACK_CHANNEL,
        (dirty_list(8, 3), SVM_READY, RESUMED, SUSPENDED, dirty_list(8, 4, 5), b"\5\0"),
        (
            "libxc CHECKPOINT_DIRTY_PFN_LIST 0+24 header 16, finding libxc.checkpoint_dirty_pfn_list.header 0, "
            "libxl CHECKPOINT_STATE 24+16, libxl CHECKPOINT_STATE 40+16, libxl CHECKPOINT_STATE 56+16, "
            "libxc CHECKPOINT_DIRTY_PFN_LIST 72+32 header 16, finding libxc.checkpoint_dirty_pfn_list.header 72, "
            "at BACK_CHANNEL"
        ),
    ),
    # odd records
    "unknown optional record": (
        State.LIBXC,
        (record(0x80000013, b"12345"), TSC),
        "libxc UNKNOWN 0+16, finding record.unknown_optional 0, libxc X86_TSC_INFO 16+32, at LIBXC",
    ),
    "unknown mandatory record": (
        State.LIBXC,
        (record(0x13, b"12345"), TSC),
        "libxc UNKNOWN 0+16, finding record.unknown 0, libxc X86_TSC_INFO 16+32, at LIBXC",
    ),
    "bit 31 is no amnesty in libxl": (
        State.LIBXL,
        (record(0x80000003, bytes(8)), END),
        "libxl UNKNOWN 0+16, finding record.unknown 0, libxl END 16+8, at AFTER_END",
    ),
    "a type number that is nonsense": (
        State.LIBXC,
        (TSC, head(0x54381286, 8)),
        "libxc X86_TSC_INFO 0+32, failed at 32",
    ),
    "a length beyond REC_LENGTH_MAX": (State.LIBXC, (head(9, (128 << 20) + 1),), "failed at 0"),
    "TSC_INFO that is too short": (
        State.LIBXC,
        (record(8, bytes(16)), CHECKPOINT),
        "libxc X86_TSC_INFO 0+24, finding record.length 0, libxc CHECKPOINT 24+8, at AFTER_CHECKPOINT",
    ),
    "PAGE_DATA whose length does not fit its types": (
        State.LIBXC,
        (record(1, struct.pack("<IIQQ", 2, 0, 0, 0xF << 60 | 1) + bytes(8192)), TSC),
        "libxc PAGE_DATA 0+8224, finding record.length 0, libxc X86_TSC_INFO 8224+32, at LIBXC",
    ),
    "CHECKPOINT_END outside a checkpoint": (
        State.LIBXL,
        (CHECKPOINT_END, END),
        "libxl CHECKPOINT_END 0+8, finding stream.unexpected 0, libxl END 8+8, at AFTER_END",
    ),
    "padding is part of the record": (
        State.LIBXC,
        (record(9, b"\1" * 13), CHECKPOINT),
        "libxc HVM_CONTEXT 0+24, libxc CHECKPOINT 24+8, at AFTER_CHECKPOINT",
    ),
    # loss
    "page contents are lost": (
        State.LIBXC,
        (page_data(0)[:30], Lost(4090), TSC),
        "libxc PAGE_DATA 0+4120 body 16, libxc X86_TSC_INFO 4120+32, at LIBXC",
    ),
    "page contents and the next head": (
        State.LIBXC,
        (page_data(0)[:30], Lost(4091), TSC[1:]),
        "libxc PAGE_DATA 0+4120 body 16, failed at 4120",
    ),
    "the end of a body": (
        State.LIBXC,
        (TSC[:20], Lost(12), CHECKPOINT),
        "libxc X86_TSC_INFO 0+32 body 12, libxc CHECKPOINT 32+8, at AFTER_CHECKPOINT",
    ),
    "the middle of a body": (
        State.LIBXC,
        (TSC[:20], Lost(2), TSC[22:], CHECKPOINT),
        "libxc X86_TSC_INFO 0+32 body 12, libxc CHECKPOINT 32+8, at AFTER_CHECKPOINT",
    ),
    "part of the pfn list": (
        State.LIBXC,
        (page_data(0, 0xF, 0xF)[:28], Lost(4), page_data(0, 0xF, 0xF)[32:], TSC),
        "libxc PAGE_DATA 0+4136 body 20, libxc X86_TSC_INFO 4136+32, at LIBXC",
    ),
    "the count": (
        State.LIBXC,
        (page_data(0)[:10], Lost(6), page_data(0)[16:], TSC),
        "libxc PAGE_DATA 0+4120 body 2, libxc X86_TSC_INFO 4120+32, at LIBXC",
    ),
    "half a record header": (State.LIBXC, (TSC[:5], Lost(3), TSC[8:]), "failed at 0"),
    "a whole record": (State.LIBXC, (TSC, Lost(32), TSC), "libxc X86_TSC_INFO 0+32, failed at 32"),
    "a whole message": (State.START, (BANNER, Lost(34), REPORT), "xl BANNER 0+54, failed at 54"),
    "READY in part": (
        State.READY,
        (READY[:10], Lost(24), REPORT, b"\0"),
        "xl READY 0+34 body 10, xl REPORT 34+39, xl REPORT_STATUS 73+1, at AFTER_STATUS",
    ),
    "REPORT, and nothing else": (
        State.READY,
        (READY, Lost(39), b"\x03"),
        "xl READY 0+34, xl REPORT_STATUS 73+1, at AFTER_STATUS",
    ),
    "domain header in part": (
        State.DOMAIN_HEADER,
        (DOMAIN[:4], Lost(12), TSC),
        "libxc DOMAIN_HEADER 0+16 body 4, libxc X86_TSC_INFO 16+32, at LIBXC",
    ),
    "the length of the config is known": (
        State.START,
        (xl_header(), Lost(19), LIBXL),
        "xl SAVE_FILE_HEADER 0+48, libxl STREAM_HEADER 67+16, at LIBXL",
    ),
    "config in part": (
        State.START,
        (xl_header(), OPTIONAL[:6], Lost(13), LIBXL),
        "xl SAVE_FILE_HEADER 0+48, xl CONFIG 48+19 body 6, libxl STREAM_HEADER 67+16, at LIBXL",
    ),
    "body of a list": (
        State.BACK_CHANNEL,
        (dirty_list(0, 3, 9, 12)[:14], Lost(18), SVM_READY),
        "libxc CHECKPOINT_DIRTY_PFN_LIST 0+32 header 8 body 6, libxl CHECKPOINT_STATE 32+16, at BACK_CHANNEL",
    ),
    # the end of the stream
    "ends inside page contents": (
        State.LIBXC,
        (page_data(0, 0)[:3000], "end"),
        "libxc PAGE_DATA 0+8224 body 24 cut at 3000, finding stream.record_cut 0",
    ),
    "ends inside a body": (
        State.LIBXC,
        (TSC[:12], "end"),
        "libxc X86_TSC_INFO 0+32 body 4 cut at 12, finding stream.record_cut 0",
    ),
    "ends inside a record header": (
        State.LIBXC,
        (TSC, TSC[:3], "end"),
        "libxc X86_TSC_INFO 0+32, finding stream.record_cut 32",
    ),
    "ends inside a message": (
        State.START,
        (BANNER[:30], "end"),
        "xl BANNER 0+54 body 30 cut at 30, finding stream.record_cut 0",
    ),
    "ends between records": (State.LIBXC, (TSC, "end"), "libxc X86_TSC_INFO 0+32, at LIBXC"),
    "ends inside a list": (
        State.BACK_CHANNEL,
        (dirty_list(0, 3, 9)[:19], "end"),
        "libxc CHECKPOINT_DIRTY_PFN_LIST 0+24 body 11 cut at 19, finding stream.record_cut 0",
    ),
}


def said(framer: Framer) -> list[str]:
    """What was emitted, one line each; findings behind the unit they belong to."""
    lines = []
    for unit in framer.units:
        line = f"{unit.definition.layer} {unit.name} {unit.offset}+{unit.size}"
        if "header_size" in unit.extra:
            line += f" header {unit.extra['header_size']}"
            assert unit.header_size == unit.extra["header_size"]
        whole = unit.size - unit.header_size if unit.body_length is None else unit.body_length
        if unit.cut_at is not None:
            line += f" body {len(unit.body)} cut at {unit.cut_at}"
        elif len(unit.body) != whole:
            line += f" body {len(unit.body)}"
        lines.append((unit.offset, 0, line))
    lines += [(offset, 1, f"finding {rule.id} {offset}") for rule, offset, values in framer.findings]
    for rule, _, values in framer.findings:
        assert "{" not in rule.text.format(**values)
    return [line for _, _, line in sorted(lines, key=lambda one: one[:2])]


def play(state: State, received: tuple, chunk: int | None = None) -> tuple[list[str], Framer]:
    """Feed a framer; `chunk` cuts the bytes into pieces of that size."""
    framer = Framer(state, 0, LIMITS)
    for frame, item in enumerate(received, 1):
        if framer.failed:
            break
        if isinstance(item, Lost):
            framer.gap(item, frame, frame)
        elif isinstance(item, bytes):
            for start in range(0, len(item), chunk or len(item)):
                piece = memoryview(item)[start : start + (chunk or len(item))]
                used = framer.data(piece, frame, frame)
                assert framer.failed or used == len(piece)
                if framer.failed:
                    break
        else:
            framer.end()
    lines = said(framer)
    if framer.failed:
        lines.append(f"failed at {framer.start}")
    return lines, framer


@pytest.mark.parametrize("chunk", [None, 1, 7])
@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name, chunk):
    state, received, wanted = TRANSCRIPTS[name]
    lines, framer = play(state, received, chunk)
    if ", at " in wanted or wanted.startswith("at "):
        lines.append(f"at {framer.state.name}")
    short = [line.rsplit(" body", 1)[0] if "body" not in wanted and "PAGE_DATA" in line else line for line in lines]
    assert "\n".join(short) == wanted.replace(", ", "\n")


def test_dirty_list_in_the_forward_direction_does_not_lose_the_forward_records():
    _, framer = play(State.LIBXC, (record(0x0F, pfns(1, 2)), TSC, CHECKPOINT))
    assert [(unit.name, unit.offset, unit.size) for unit in framer.units] == [
        ("CHECKPOINT_DIRTY_PFN_LIST", 0, 24),
        ("X86_TSC_INFO", 24, 32),
        ("CHECKPOINT", 56, 8),
    ]
    assert [rule.id for rule, _, _ in framer.findings] == ["stream.unexpected"]


@pytest.mark.parametrize("rest", [b"x", bytes(14), bytes(15)])
def test_bytes_after_the_end_are_reported(rest):
    _, framer = play(State.LIBXL, (END, rest, "end"))
    assert [rule.id for rule, _, _ in framer.findings] == ["stream.trailing"]


BARE = b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, 0, 0, 0) + struct.pack("<IHHII", 2, 12, 0, 4, 17)


@pytest.mark.parametrize("rest", [b"x", bytes(8), bytes(4096), EMULATOR])
def test_behind_the_end_of_a_bare_libxc_stream_comes_nothing(rest):
    _, framer = play(State.START, (BARE, END, rest, "end"))
    assert [(rule.id, offset) for rule, offset, _ in framer.findings] == [("stream.trailing", len(BARE) + 8)]
    assert [unit.name for unit in framer.units] == ["IMAGE_HEADER", "DOMAIN_HEADER", "END"]


def test_what_begins_with_an_image_header_in_the_middle_may_go_on_with_libxl():
    framer = Framer(State.START, 0, Limits())
    framer.whole = False
    framer.data(memoryview(BARE + END + EMULATOR + END), 1, None)
    assert [unit.name for unit in framer.units][2:] == ["END", "EMULATOR_CONTEXT", "END"]
    assert not framer.findings


# -- how the bytes are cut does not matter ---------------------------------------------------------------------------


@cache
def streams() -> dict[str, tuple[bytes, list[dict]]]:
    """Both directions of several conversations, with their true records."""
    small = Guest(pages=4, types={2: "XTAB"}, emulator_bytes=61)
    talks = {
        "plain": plain(small, passes=((0,),), status=3),
        "pv": plain(pv64(), "libxl", passes=()),
        "remus": remus(small, ((1,), ())),
        "colo 8": colo(small, ((1, 3), (), (2,))),
        "colo 16": colo(small, ((1, 3), (), (2,)), 16),
        "colo 12": colo(small, ((1, 3), (), (2,)), 12),
        "libxc": save(small, "libxc"),
        "big": save(Guest(pages=4, options=1), "libxl"),
    }
    return {
        f"{name} {half.direction}": (bytes(half.data), half.records)
        for name, talk in talks.items()
        for half in (talk.forward, talk.reverse)
        if half.data
    }


def units(data: bytes, cuts: list[int]) -> tuple[list, list, State, str]:
    framer = Framer(State.START, 0, LIMITS)
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        framer.data(memoryview(data)[start:end], 0, None)
        assert framer.position == end
    framer.end()
    assert not framer.failed
    found = [(u.definition.layer, u.name, u.offset, u.size, u.body, u.body_length, u.header_size) for u in framer.units]
    return found, framer.findings, framer.state, framer.mode


NAMES = sorted(streams())


@pytest.mark.parametrize("name", NAMES)
def test_units_are_the_true_records(name):
    data, records = streams()[name]
    found = units(data, [])[0]
    assert [one[:4] for one in found] == [(r["layer"], r["type"], r["offset"], r["size"]) for r in records]
    for _, kind, offset, size, body, length, header in found:
        assert body == data[offset + header :][: len(body)]
        if kind == "PAGE_DATA":
            assert len(body) == 8 + 8 * int.from_bytes(body[:4], "big" if name.startswith("big") else "little")
        else:
            assert len(body) == (length if length is not None else size)


@modest(120)
@given(st.sampled_from(NAMES), st.data())
def test_any_chunks_give_the_same_units(name, data):
    stream, _ = streams()[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=60)))
    assert units(stream, cuts) == units(stream, [])


@pytest.mark.parametrize("name", NAMES)
def test_single_bytes_give_the_same_units(name):
    stream, _ = streams()[name]
    assert units(stream, list(range(1, len(stream)))) == units(stream, [])


@modest(100)
@given(st.sampled_from(NAMES), st.integers(0, 1 << 32))
def test_skipped_bytes_may_be_lost(name, seed):
    """Whatever is lost inside `skip`, the same units come out."""
    stream, _ = streams()[name]
    rng = random.Random(seed)
    framer = Framer(State.START, 0, LIMITS)
    at = 0
    while at < len(stream):
        count = rng.randint(1, 500)
        if framer.skip:
            count = min(rng.randint(1, framer.skip), framer.skip)
            assert framer.gap(count, 0, None) == count
        else:
            count = min(count, len(stream) - at)
            framer.data(memoryview(stream)[at : at + count], 0, None)
        at += count
    framer.end()
    found = [(u.definition.layer, u.name, u.offset, u.size) for u in framer.units]
    assert found == [one[:4] for one in units(stream, [])[0]]


# -- the rest ---------------------------------------------------------------------------


def test_frames_and_times_of_a_unit():
    framer = Framer(State.LIBXC, 0, LIMITS)
    framer.data(memoryview(TSC[:3]), 5, 50)
    framer.data(memoryview(TSC[3:20]), 6, 60)
    framer.data(memoryview(TSC[20:] + CHECKPOINT[:1]), 7, 70)
    framer.data(memoryview(CHECKPOINT[1:]), 8, 80)
    assert [(u.first_frame, u.last_frame, u.time, u.time_end) for u in framer.units] == [(5, 7, 50, 70), (7, 8, 70, 80)]


def test_page_contents_are_never_collected():
    framer = Framer(State.LIBXC, 0, LIMITS)
    data = page_data(*[0] * 100)
    framer.data(memoryview(data[: 16 + 800]), 1, 1)
    assert framer.skip == 100 * 4096
    assert len(framer.want) == 0


def test_body_above_the_limit_is_kept_in_part():
    framer = Framer(State.LIBXC, 0, Limits(max_body=64))
    framer.data(memoryview(record(9, b"\1" * 100) + CHECKPOINT), 1, 1)
    assert [(u.name, u.size, len(u.body)) for u in framer.units] == [("HVM_CONTEXT", 112, 64), ("CHECKPOINT", 8, 0)]
    assert [rule.id for rule, _, _ in framer.findings] == ["limit.body"]


def test_body_just_at_the_limit_is_whole():
    framer = Framer(State.LIBXC, 0, Limits(max_body=64))
    framer.data(memoryview(record(9, b"\1" * 64) + CHECKPOINT), 1, 1)
    assert [(u.name, len(u.body)) for u in framer.units] == [("HVM_CONTEXT", 64), ("CHECKPOINT", 0)]
    assert framer.findings == []


def test_pfn_list_above_the_limit_is_kept_in_part():
    framer = Framer(State.LIBXC, 0, Limits(max_body=64))
    framer.data(memoryview(page_data(*[0xF] * 20) + TSC), 1, 1)
    assert [(u.name, u.size, len(u.body)) for u in framer.units] == [("PAGE_DATA", 176, 64), ("X86_TSC_INFO", 32, 24)]
    assert [rule.id for rule, _, _ in framer.findings] == ["limit.body"]


def test_config_above_the_limit_is_kept_in_part():
    framer = Framer(State.START, 0, Limits(max_body=64))
    optional = struct.pack("<I", 200) + bytes(200)
    framer.data(memoryview(xl_header(length=len(optional)) + optional + LIBXL), 1, 1)
    assert [(u.name, u.size, len(u.body)) for u in framer.units] == [
        ("SAVE_FILE_HEADER", 48, 48),
        ("CONFIG", 204, 64),
        ("STREAM_HEADER", 16, 16),
    ]


def test_expected_xl_header_begins_where_the_stream_did():
    """Its first bytes are there, the next ones are lost; the other direction tells that it is an xl stream."""
    framer = Framer(State.START, 0, LIMITS)
    framer.data(memoryview(XL[:5]), 1, 1)
    framer.expect(State.XL_HEADER)
    framer.gap(43, 2, 2)
    framer.data(memoryview(OPTIONAL + LIBXL), 3, 3)
    assert [(u.name, u.offset, u.size) for u in framer.units] == [
        ("SAVE_FILE_HEADER", 0, 48),
        ("CONFIG", 48, 19),
        ("STREAM_HEADER", 67, 16),
    ]


def test_expected_xl_header_that_is_lost():
    framer = Framer(State.START, 0, LIMITS)
    framer.expect(State.XL_HEADER)
    framer.gap(48, 1, 1)
    framer.data(memoryview(OPTIONAL + LIBXL), 2, 2)
    assert [(u.name, u.offset, u.size) for u in framer.units] == [("CONFIG", 48, 19), ("STREAM_HEADER", 67, 16)]


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("a type that does not belong here", CHECKPOINT_END),
        ("a length that nobody writes", record(8, bytes(32))),
        ("pfns that do not ascend", record(1, struct.pack("<IIQQ", 2, 0, 0xF << 60 | 9, 0xF << 60 | 3))),
        ("an illegal page type", record(1, struct.pack("<IIQ", 1, 0, 0x6 << 60))),
        ("reserved bits", record(1, struct.pack("<IIQ", 1, 0, 0xFF << 56))),
        ("a reserved word", record(1, struct.pack("<IIQ", 1, 1, 0xF << 60))),
        ("a length that does not fit the count", record(1, struct.pack("<IIQ", 1, 0, 0xF << 60) + bytes(8))),
        ("a TSC mode that does not exist", record(8, struct.pack("<IIQII", 9, 0, 0, 0, 0))),
        ("an unknown record", record(0x13, bytes(8))),
    ],
)
def test_strict_framer_fails_where_no_toolstack_writes_it(what, data):
    framer = Framer(State.LIBXC, 0, LIMITS, strict=True)
    framer.data(memoryview(data), 1, 1)
    assert framer.failed, what


def test_strict_framer_counts_evidence():
    framer = Framer(State.LIBXC, 0, LIMITS, strict=True)
    framer.data(memoryview(page_data(*[0xF] * 20) + TSC), 1, 1)
    assert not framer.failed
    assert framer.heads == 2
    assert framer.weight >= 16


def test_strict_framer_insists_on_the_order_of_the_back_channel():
    for wrong in ((RESUMED, SVM_READY), (SVM_READY, SVM_READY), (SUSPENDED, SVM_READY), (SVM_READY, SUSPENDED)):
        framer = Framer(State.BACK_CHANNEL, 0, LIMITS, strict=True)
        framer.data(memoryview(b"".join(wrong)), 1, 1)
        assert framer.failed
    framer = Framer(State.BACK_CHANNEL, 0, LIMITS, strict=True)
    framer.data(memoryview(RESUMED + SUSPENDED + dirty_list(0, 4) + SVM_READY + RESUMED), 1, 1)
    assert not framer.failed


@pytest.mark.parametrize(("stray", "first"), [(0, 0), (0, 4), (4, 0), (4, 4), (8, 0), (8, 4)])
def test_strict_framer_takes_any_header_of_a_list(stray, first):
    framer = Framer(State.BACK_CHANNEL, 0, LIMITS, strict=True)
    framer.data(memoryview(SUSPENDED + dirty_list(stray, first, 9) + SVM_READY + RESUMED), 1, 1)
    assert not framer.failed
    assert [unit.name for unit in framer.units][1] == "CHECKPOINT_DIRTY_PFN_LIST"


def test_lost_bytes_behind_an_empty_list_of_16_bytes_make_no_end_record():
    """Eight stray zero bytes read like an END record; in this direction there is none."""
    framer = Framer(State.BACK_CHANNEL, 0, LIMITS)
    framer.data(memoryview(SUSPENDED + dirty_list(8)), 1, 1)
    framer.gap(100, 2, 2)
    assert [unit.name for unit in framer.units] == ["CHECKPOINT_STATE", "CHECKPOINT_DIRTY_PFN_LIST"]
    assert framer.units[1].size == 16


@pytest.mark.parametrize("size", [1, 8, 100])
def test_all_bytes_looked_at_behind_a_list_are_there_when_framing_is_lost(size):
    """Whoever searches on begins at `start` and knows where it is."""
    stream = SUSPENDED + dirty_list(0, 0, 9) + bytes(24) + b"no record head"
    framer, used = Framer(State.BACK_CHANNEL, 0, LIMITS), 0
    while not framer.failed:
        used += framer.data(memoryview(stream[used : used + size]), 1, 1)
    assert framer.want == stream[framer.start : used]
    assert framer.position == used


def test_list_with_a_long_header_that_the_stream_ends_in():
    framer = Framer(State.BACK_CHANNEL, 0, LIMITS)
    framer.data(memoryview(SUSPENDED + dirty_list(8, 4, 9) + SVM_READY + dirty_list(8, 4, 9)[:-4]), 1, 1)
    framer.end()
    whole, cut = (unit for unit in framer.units if unit.name == "CHECKPOINT_DIRTY_PFN_LIST")
    assert (cut.size, cut.header_size, cut.extra) == (whole.size, 16, whole.extra)
    assert cut.body == whole.body[:-4]
    assert cut.cut_at == cut.end - 4


def test_unknown_record_definitions():
    assert unknown_record("libxl", 7) is unknown_record("libxl", 7)
    one = unknown_record("libxc", 0x80000013)
    assert (one.layer, one.name, one.type_id) == ("libxc", "UNKNOWN", 0x80000013)
    assert ("libxc", "UNKNOWN") not in BY_NAME


def test_the_builder_knows_all_types_that_are_played_here():
    """So that the transcripts stay in step with the independent builder."""
    half = Half("forward", [])
    half.libxc("X86_TSC_INFO", TSC[8:])
    half.libxl("CHECKPOINT_END")
    half.state("NEW")
    assert bytes(half.data) == TSC + CHECKPOINT_END + NEW
    assert bodies.hvm_params("<", [(1, 2)])[:8] == struct.pack("<II", 1, 0)


# -- padding ---------------------------------------------------------------------------------------------------------

PADDED = ThoroughLimits()


def padded_units(data: bytes, cuts: list[int], limits: Limits = PADDED) -> tuple[list, list]:
    framer = Framer(State.LIBXC, 0, limits)
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        framer.data(memoryview(data)[start:end], 0, None)
    framer.end()
    assert not framer.failed
    return [(u.name, u.offset, u.size, u.body, u.extra) for u in framer.units], framer.findings


def stream_with_padding(padding: bytes) -> bytes:
    return TSC + head(9, 101) + bytes(101) + padding + page_data(0, 15, 0) + record(9, b"\1" * 16) + CHECKPOINT


@pytest.mark.parametrize("size", [1, 7, 13, 40, 1000, 100_000])
def test_padding_that_is_not_zero_is_kept_if_asked_for(size):
    data = stream_with_padding(b"\0\2\0")
    cuts = list(range(size, len(data), size))
    found, said_ = padded_units(data, cuts)
    assert [one[4] for one in found] == [{}, {"padding": "000200"}, {}, {}, {}]
    assert said_ == []
    plain_units, _ = padded_units(data, cuts, LIMITS)
    assert [one[4] for one in plain_units] == [{}] * 5
    assert [one[:4] for one in found] == [one[:4] for one in plain_units]


def test_padding_of_zeros_is_nothing():
    found, _ = padded_units(stream_with_padding(bytes(3)), [])
    assert [one[4] for one in found] == [{}] * 5


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_padding_may_be_lost(lost):
    data = stream_with_padding(b"\1\1\1")
    behind = len(TSC) + 8 + 101
    framer = Framer(State.LIBXC, 0, PADDED)
    framer.data(memoryview(data[: behind + 3 - lost]), 0, None)
    assert framer.gap(lost, 0, None) == lost
    framer.data(memoryview(data[behind + 3 :]), 0, None)
    framer.end()
    assert not framer.failed
    assert [(u.name, u.size) for u in framer.units] == [one[::2][:2] for one in padded_units(data, [])[0]]
    assert framer.units[1].extra == {}


def test_a_stream_that_ends_inside_padding():
    data = stream_with_padding(b"\1\1\1")[: len(TSC) + 8 + 101 + 1]
    framer = Framer(State.LIBXC, 0, PADDED)
    framer.data(memoryview(data), 0, None)
    framer.end()
    unit = framer.units[-1]
    assert (unit.name, unit.cut_at, len(unit.body)) == ("HVM_CONTEXT", len(data), 101)


@modest(60)
@given(st.sampled_from(NAMES), st.data())
def test_looking_at_padding_changes_no_unit(name, data):
    stream, _ = streams()[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=40)))

    def found(limits):
        framer = Framer(State.START, 0, limits)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            framer.data(memoryview(stream)[start:end], 0, None)
        framer.end()
        return framer.units, framer.findings, framer.state

    assert found(PADDED) == found(LIMITS)
