# SPDX-License-Identifier: GPL-2.0-or-later
"""Transcript tests of the stream builder, and Xen's verdict on whole migrations."""

from __future__ import annotations

import pytest

from captures.guests import colo, hvm, plain, pv64, remus
from captures.streams import Conversation
from tests.captures import tools


@pytest.mark.parametrize(
    ("form", "conversation"),
    [
        ("xl", plain(hvm())),
        ("xl", plain(hvm(version=2, xen=(4, 13)))),
        ("xl", plain(pv64())),
        ("xl", plain(hvm(kind="pvh"))),
        ("xl", plain(hvm(), verify=True)),
        ("libxl", plain(pv64(), "libxl")),
        ("libxc", plain(hvm(), "libxc")),
    ],
)
def test_xen_accepts_plain_streams(form, conversation, tmp_path):
    assert tools.verify_stream(bytes(conversation.forward.data), form, tmp_path) == ""


def test_xen_still_finds_errors(tmp_path):
    data = bytearray(plain(hvm(), "libxc").forward.data)
    data[40] = 0x77
    assert tools.verify_stream(bytes(data), "libxc", tmp_path) != ""


def test_fixed_messages_have_the_sizes_of_the_specification():
    conversation = plain(hvm(), status=3)
    sizes = [(record["type"], record["size"]) for record in conversation.reverse.records]
    assert sizes == [("BANNER", 54), ("READY", 34), ("REPORT", 39), ("REPORT_STATUS", 1), ("GO", 44)]
    assert len(conversation.reverse.data) == 172


def test_checkpoint_state_bytes():
    conversation = Conversation()
    conversation.reverse.state("SVM_READY")
    assert conversation.reverse.data.hex() == "05000000040000000200000000000000"


@pytest.mark.parametrize(
    ("header_size", "data"),
    [
        (8, "0f00000008000000 0700000000000000"),
        (16, "0f00000008000000 0000000000000000 0700000000000000"),
        (12, "0f00000008000000 00000000 0700000000000000"),
    ],
)
def test_dirty_list_headers(header_size, data):
    conversation = Conversation()
    conversation.reverse.dirty_pfns([7], header_size)
    assert conversation.reverse.data == bytes.fromhex(data)
    assert conversation.reverse.records[0]["size"] == header_size + 8


def test_page_data_bytes():
    conversation = Conversation()
    conversation.forward.page_data([(3, "NOTAB"), (4, "XTAB"), (5, "L4TAB_PINNED")], [b"a" * 4096, b"b" * 4096])
    head = "01000000 20200000 03000000 00000000 0300000000000000 04000000000000f0 05000000000000c0"
    assert conversation.forward.data[:40] == bytes.fromhex(head)
    record = conversation.forward.records[0]
    assert record["types"] == {"NOTAB": 1, "XTAB": 1, "L4TAB_PINNED": 1}
    assert (record["count"], record["data_pages"], record["size"]) == (3, 2, 40 + 8192)


def test_page_data_refuses_contents_that_do_not_fit():
    with pytest.raises(ValueError, match="contents"):
        Conversation().forward.page_data([(3, "XTAB")], [bytes(4096)])


def test_colo_order_of_both_directions():
    conversation = colo(hvm(), ((1,),))
    assert [turn.direction for turn in conversation.turns] == ["reverse", "forward"] * 3 + ["reverse"]
    types = [record.get("state_name", record["type"]) for record in conversation.reverse.records]
    assert types[1:6] == ["SVM_READY", "SVM_RESUMED", "SVM_SUSPENDED", "CHECKPOINT_DIRTY_PFN_LIST", "SVM_READY"]


def test_remus_repeats_no_header():
    conversation = remus(hvm(), ((1,), (), (2,)))
    types = [record["type"] for record in conversation.forward.records]
    assert types.count("STREAM_HEADER") == types.count("IMAGE_HEADER") == types.count("STATIC_DATA_END") == 1
    assert types.count("CHECKPOINT") == types.count("CHECKPOINT_END") == 3
    empty = types.index("CHECKPOINT_END") + 1
    assert types[empty] == "X86_TSC_INFO"


def test_cut_drops_what_was_never_sent():
    conversation = plain(hvm())
    conversation.forward.cut(50)
    assert [record["type"] for record in conversation.forward.records] == ["SAVE_FILE_HEADER", "CONFIG"]
    assert max(turn.end for turn in conversation.turns if turn.direction == "forward") == 50
