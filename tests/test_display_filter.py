# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.display_filter import MAX_DEPTH, FilterError, compile_filter
from tests.sample_events import checkpoint_state, dirty_list, hvm_params, page_data, record

PAGES = page_data([0x100, 0x101, 0xF << 60 | 0x1234], flow=1)
CUT = page_data([1], complete=False, lost=((3000, 10),), offset=9000, first_frame=100, last_frame=120)
READY = checkpoint_state(2)
PARAMS = hvm_params((1, 0x504), (17, 0x507))
DIRTY = dirty_list([0x179, 0x3F8], 16)
HEADER = record("libxc", "DOMAIN_HEADER", struct.pack("<IHHII", 2, 12, 0, 4, 17))
MESSAGE = record("xl", "READY", b"domain received, ready to unpause\0")
CONTEXT = record("libxl", "EMULATOR_CONTEXT", struct.pack("<II", 2, 0) + b"QEVM\0\0\0\3" + bytes(90))
FLAGS = record("xl", "SAVE_FILE_HEADER", bytes(32) + struct.pack("<IIII", 0x01020304, 2, 0, 1090))

RECORDS = {
    "pages": PAGES,
    "cut": CUT,
    "ready": READY,
    "params": PARAMS,
    "dirty": DIRTY,
    "header": HEADER,
    "message": MESSAGE,
    "context": CONTEXT,
    "flags": FLAGS,
}


def matching(text: str) -> set[str]:
    test = compile_filter(text)
    return {name for name, shown in RECORDS.items() if test(shown)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("type == PAGE_DATA", {"pages", "cut"}),
        ("type == page_data and complete", {"pages"}),
        ("not complete", {"cut"}),
        ("complete == false", {"cut"}),
        ("lost > 5", {"cut"}),
        ("lost", {"cut"}),
        ("xenmig.libxc.page_data.count > 1", {"pages"}),
        ("libxc.page_data.count >= 1 && !(flow == 1)", {"cut"}),
        ("page_data.count le 1 or hvm_params", {"cut", "params"}),
        ("layer == xl", {"message", "flags"}),
        ("xl", {"message", "flags"}),
        ("direction == reverse", {"ready", "dirty", "message"}),
        ("xenmig.direction != reverse", {"pages", "cut", "params", "header", "context", "flags"}),
        ("xenmig.libxl.checkpoint_state.control_id == SVM_READY", {"ready"}),
        ("xenmig.libxl.checkpoint_state.control_id == 2", {"ready"}),
        ('checkpoint_state.control_id_name matches "^svm"', {"ready"}),
        ("domain_header.type == x86_hvm", {"header"}),
        ('domain_header.type == "x86 HVM"', {"header"}),
        # Repeated fields: any of them.
        ("xenmig.libxc.page_data.pfn == 0x1234", {"pages"}),
        ("libxc.page_data.pfn == 0x1234 and libxc.page_data.pfn == 0x100", {"pages"}),
        ("libxc.page_data.pfn != 0x1234", {"cut"}),
        ("libxc.hvm_params.param.index == CONSOLE_PFN", {"params"}),
        ("libxc.hvm_params.param.value in {0x504, 1}", {"params"}),
        ("libxc.hvm_params.param.index", {"params"}),
        ("libxc.hvm_params.param", {"params"}),
        # Derived fields.
        ("page_data.first_pfn == 0x100", {"pages"}),
        ("page_data.data_pages == 2", {"pages"}),
        ("page_data.types == XTAB", {"pages"}),
        ("page_data.types.xtab == 1", {"pages"}),
        ("checkpoint_dirty_pfn_list.header_size != 8", {"dirty"}),
        ("checkpoint_dirty_pfn_list.count == 2", {"dirty"}),
        # Sets and ranges.
        ("frame in {100..110}", {"cut"}),
        ("offset in {0, 5, 8000..10000}", {"cut"}),
        ("type in {READY, PAGE_DATA}", {"pages", "cut", "message"}),
        ("page_data.count not in {1, 2}", {"pages"}),
        ("libxc.domain_header.xen_minor in {17}", {"header"}),
        # Texts and bytes.
        ('type contains "PFN"', {"dirty"}),
        ('type matches "pfn|header"', {"dirty", "header", "flags"}),
        ('type ~ "^page"', {"pages", "cut"}),
        ('ready.text contains "unpause"', {"message"}),
        ("emulator_context.emulator_ctx contains 51:45:56:4d", {"context"}),
        ('emulator_context.emulator_ctx contains "QEVM"', {"context"}),
        ("emulator_context.emulator_ctx_length == 98", {"context"}),
        # Bits.
        ("save_file_header.mandatory_flags & STREAMv2", {"flags"}),
        ("save_file_header.mandatory_flags & JSON", set()),
        ("save_file_header.mandatory_flags & 3 == 2", {"flags"}),
        # A record without the field matches neither a comparison nor its opposite.
        ("page_data.count > 1000000", set()),
        ("not page_data.count > 0", {"ready", "params", "dirty", "header", "message", "context", "flags"}),
        ("type_id == 1", {"pages", "cut"}),
        ("body_length == 4", {"ready"}),
        ('time >= "2026-11-22T21:35:10Z" and time < 2000000000 and layer == xl', {"message", "flags"}),
        # 'and' binds more tightly than 'or'.
        ("layer == xl or layer == libxl and type == CHECKPOINT_STATE", {"message", "flags", "ready"}),
        ("(layer == xl or layer == libxl) and type == CHECKPOINT_STATE", {"ready"}),
        ("NOT layer == libxc AND NOT layer == xl", {"ready", "context"}),
        ("! ! xl", {"message", "flags"}),
    ],
)
def test_filters(text, names):
    assert matching(text) == names


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "the filter is empty"),
        ("   ", 4, "the filter is empty"),
        ("libxc.page_dta.count > 3", 1, "did you mean libxc.page_data.count"),
        ("flow == 1 and nonsense", 15, "unknown field 'nonsense'"),
        ("flow ==", 8, "expected a value"),
        ("flow == 1 2", 11, "expected 'and' or 'or'"),
        ("(flow == 1", 11, r"expected '\)'"),
        ("flow == 1)", 10, "expected 'and' or 'or'"),
        ("flow == )", 9, "expected a value"),
        ("== 1", 1, "expected a field name"),
        ("flow = 1", 6, "unexpected character '='"),
        ('type == "x', 9, "closing quote"),
        ("size in 5", 9, "expected '{'"),
        ("size in {5..1}", 10, "ends before it begins"),
        ("size in {5", 11, "expected a value"),
        ("type in {A..B}", 10, "is no type"),
        ("direction in {forward..reverse}", 15, "no ranges"),
        ('type matches "("', 14, "no valid regular expression"),
        ('type matches "a{99999999999}"', 14, "no valid regular expression: the repetition number is too large"),
        (f'type matches "{"(" * 9000}"', 14, "no valid regular expression: nested too deeply"),
        ("size contains 5", 6, "is no text"),
        ("type > 5", 6, "is no number"),
        ("emulator_context.emulator_ctx matches x", 31, "is no text"),
        ("type & 5", 8, "is no number"),
        ("libxc.page_data == 5", 17, "no value of its own"),
        ("libxc.page_data in {5}", 20, "no value of its own"),
        ("checkpoint_state.control_id == SVM_RDY", 32, "did you mean SVM_READY"),
    ],
)
def test_errors_show_the_place(text, column, message):
    with pytest.raises(FilterError, match=message) as caught:
        compile_filter(text)
    said = str(caught.value)
    assert f"at column {column}:" in said
    assert caught.value.position == column - 1
    assert "\n" not in said


def test_the_message_is_one_line_whatever_the_filter_holds():
    with pytest.raises(FilterError) as caught:
        compile_filter("flow\n== \x1b 1")
    assert str(caught.value).isprintable()


def test_nesting_is_limited():
    assert compile_filter("(" * (MAX_DEPTH - 1) + "xl" + ")" * (MAX_DEPTH - 1))(MESSAGE)
    for text in ("(" * 10_000 + "xl" + ")" * 10_000, "!" * 10_000 + "xl"):
        with pytest.raises(FilterError, match="levels of parentheses"):
            compile_filter(text)


def test_only_records_that_can_match_are_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr("dissector.wire.codec.walk", lambda record, *_: decoded.append(record.name) or iter(()))
    monkeypatch.setattr("dissector.wire.codec.number", lambda record, *_: decoded.append(record.name))
    matching("libxc.page_data.count > 1 or hvm_params.param.value == 3")
    assert set(decoded) == {"PAGE_DATA", "HVM_PARAMS"}


@given(st.text(alphabet='()!&|<>={}.,~ "x5and or not in type size == PAGE_DATA', max_size=40))
def test_any_text_is_a_filter_or_an_error(text):
    try:
        test = compile_filter(text)
    except FilterError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert test(PAGES) in (True, False)
