# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest

from dissector.check import session as module
from dissector.check.session import Batch, Half, Memory, Session
from dissector.spec import libxc, libxl, xl
from tests.check.tools import flow, made


def page_data(entries, offset=0, **more):
    body = struct.pack(f"<II{len(entries)}Q", len(entries), 0, *entries)
    return made(libxc.PAGE_DATA, body, offset=offset, **more)


def feed(session, *records):
    for record in records:
        session.meet(record)
        session.take(record)


def test_a_header_at_offset_0_is_the_beginning_even_without_a_syn():
    half = Half()
    half.meet(made(xl.SAVE_FILE_HEADER, bytes(48)), started=False)
    assert half.whole


def test_a_record_at_offset_0_is_the_beginning_only_with_a_syn():
    for started in (True, False):
        half = Half()
        half.meet(made(libxc.END), started=started)
        assert half.whole is started


def test_a_hole_between_records_ends_what_is_certain():
    half = Half()
    first = made(libxl.STREAM_HEADER, bytes(16))
    half.meet(first, started=True)
    half.take(first)
    half.meet(made(libxl.LIBXC_CONTEXT, offset=24), started=True)
    assert (half.whole, half.adjoins, half.stage_whole) == (False, False, False)


def test_a_checkpoint_begins_anew():
    half = Half()
    for record in (made(libxc.X86_TSC_INFO, bytes(24), offset=100), made(libxl.CHECKPOINT_END, offset=132)):
        half.meet(record, started=True)
        half.take(record)
    assert (half.whole, half.stage_whole) == (False, True)
    assert not half.stage
    assert half.count[libxc.X86_TSC_INFO] == 1


@pytest.mark.parametrize(
    ("lists", "passes"),
    [
        ([(1024, 0, 1023), (1024, 1024, 2047)], True),
        ([(1024, 0, 1023), (100, 1024, 1123), (3, 1200, 1300)], False),
        ([(1024, 0, 1023), (1024, 5, 2000)], False),
    ],
)
def test_where_the_first_pass_ends(lists, passes):
    memory = Memory()
    for count, first, last in lists:
        memory.take(count, first, last, last)
    assert memory.first_pass is passes


def test_highest_pfn_of_all_lists():
    session = Session(flow())
    feed(session, page_data([0, 1, (0xF << 60) | 9]), page_data([3], 40))
    assert session.memory.highest == 9
    assert session.memory.certain


def test_a_cut_list_makes_memory_uncertain():
    session = Session(flow())
    record = made(libxc.PAGE_DATA, struct.pack("<IIQ", 2, 0, 1), length=24, complete=False)
    feed(session, record)
    assert not session.memory.certain


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (b'{"c_info": {"type": "pvh"}}\0', "pvh"),
        (b'{"c_info": {"type": "xxx"}}\0', ""),
        (b'{"c_info": []}\0', ""),
        (b"[1, 2]\0", ""),
        (b"name = 'x'", ""),
        (b"\xff\xfe\0", ""),
    ],
)
def test_kind_of_guest(config, kind):
    session = Session(flow())
    feed(session, made(xl.CONFIG, struct.pack("<I", len(config)) + config))
    assert session.kind == kind


def test_conversion_is_known_from_either_header():
    session = Session(flow())
    assert not session.original
    feed(session, made(libxl.STREAM_HEADER, b"LibxlFmt" + struct.pack(">II", 2, 0)))
    assert session.original
    feed(session, made(libxc.DOMAIN_HEADER, struct.pack("<IHHII", 2, 12, 0, 0, 1), offset=16))
    assert session.converted
    assert not session.original


def test_what_is_not_seen_at_the_end():
    session = Session(flow())
    feed(session, made(libxl.STREAM_HEADER, bytes(16)))
    assert not session.end_unseen("forward")
    session.not_seen("forward", 16)
    assert not session.end_unseen("forward")
    session.not_seen("forward", 17)
    session.not_seen("forward", 3)
    assert session.end_unseen("forward")


def test_lists_that_wait_are_few():
    session = Session(flow())
    offset = 0
    for _ in range(10):
        record = made(libxc.CHECKPOINT_DIRTY_PFN_LIST, bytes(8), offset=offset, direction="reverse")
        feed(session, record)
        offset += record.size
    assert [number for number, _ in session.lists] == [9, 10]
    assert len(session.lists) == module.OUTSTANDING


def test_batch_of_a_list_that_is_not_there():
    assert Batch.of(made(libxc.PAGE_DATA, b"\1\0")) is None
    batch = Batch.of(made(libxc.PAGE_DATA, struct.pack("<IIQ", 3, 0, 7) + b"\1\2", length=32))
    assert (batch.count, batch.whole, batch.pfns, batch.tops) == (3, False, (7,), b"\0")


def test_release_of_the_secondary():
    session = Session(flow())
    assert session.secondary == ""
    feed(session, made(libxc.CHECKPOINT_DIRTY_PFN_LIST, bytes(8), direction="reverse"))
    assert "4.7 to 4.17" in session.secondary
    feed(session, made(libxc.CHECKPOINT_DIRTY_PFN_LIST, bytes(8), direction="reverse", offset=16, header_size=16))
    assert "4.18 or later" in session.secondary


def test_the_end_of_a_46_session_comes_alone_even_if_only_the_end_of_its_checkpoint_was_seen():
    session = Session(flow())
    for offset, definition in ((4000, libxl.CHECKPOINT_END), (4008, libxc.END)):
        record = made(definition, offset=offset)
        session.meet(record)
        assert session.comes_alone(record) == (definition is libxc.END)
        session.take(record)
    assert not session.comes_alone(made(libxc.CHECKPOINT, offset=4016))
    assert not Session(flow()).comes_alone(made(libxc.END))
