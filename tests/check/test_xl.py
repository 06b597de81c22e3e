# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules of the xl layer let pass; what they find is in broken.py."""

from __future__ import annotations

import pytest

from captures.guests import plain
from dissector.check import xl
from dissector.check.session import Session
from dissector.spec import xl as spec
from tests.check.scripts import Script, findings, guest, hvm, patch
from tests.check.tools import flow, made


def hits(check, record, session=None):
    return list(check.test(record, session or Session(flow())))


@pytest.mark.parametrize("size", range(48))
def test_of_a_cut_header_only_what_is_there_is_judged(size):
    body = spec.XL_MAGIC + b"\4\3\2\1" + b"\3\0\0\0" + bytes(4) + b"\4\0\0\0"
    record = made(spec.SAVE_FILE_HEADER, body[:size], complete=False)
    for check in (xl.byteorder, xl.mandatory_flags, xl.old_flags, xl.optional_flags, xl.no_config):
        assert hits(check, record) == []


def test_header_of_a_big_endian_sender():
    body = spec.XL_MAGIC + b"\1\2\3\4" + b"\0\0\0\3" + bytes(4) + b"\0\0\0\4"
    record = made(spec.SAVE_FILE_HEADER, body, order="big")
    assert [hit.values for hit in hits(xl.byteorder, record)] == [{"found": "01 02 03 04"}]
    assert hits(xl.mandatory_flags, record) == []


def test_configuration_that_is_no_json_by_its_flags():
    session = Session(flow())
    session.flags = 2
    text = b"name = 'old'"
    record = made(spec.CONFIG, len(text).to_bytes(4, "little") + text)
    assert hits(xl.config_json, record, session) == []
    session.flags = 3
    assert len(hits(xl.config_json, record, session)) == 1


def test_configuration_nested_without_end_is_no_exception():
    session = Session(flow())
    session.flags = 3
    text = b"[" * 100_000 + b"\0"
    record = made(spec.CONFIG, len(text).to_bytes(4, "little") + text)
    assert len(hits(xl.config_json, record, session)) == 1


def test_configuration_with_a_hole_is_not_judged():
    session = Session(flow())
    session.flags = 3
    record = made(spec.CONFIG, (100).to_bytes(4, "little") + b"{", size=104, complete=False)
    for check in (xl.config_json, xl.config_length, xl.config_surplus):
        assert hits(check, record, session) == []


def test_permission_after_a_failure_is_as_it_should_be():
    assert "xl.permission" not in {one.id for one in findings(Script.of(plain(guest(), status=3)).packets())}


def test_status_of_a_failure_is_named():
    script = Script.of(plain(guest(), status=6))
    [ending] = [one for one in findings(script.packets()) if one.id == "ending.failed"]
    assert "ERROR_INVAL (status 6)" in ending.text


def test_nothing_is_said_twice_of_a_message():
    script = hvm()
    item = script.find("READY", 0, "reverse")
    script.cut(item, 34)
    patch(item, 20, b"X")
    found = [one.id for one in findings(script.packets()) if one.severity == "error"]
    assert found == ["xl.message", "ending.failed"]


@pytest.mark.parametrize(
    "text", [b'\xef\xbb\xbf{"a": 1}', b'{"a": "\xff"}', b'{"a": NaN}', b'"a"', "{}".encode("utf-16")]
)
def test_json_that_libxl_does_not_take(text):
    session = Session(flow())
    session.flags = 3
    record = made(spec.CONFIG, (len(text) + 1).to_bytes(4, "little") + text + b"\0")
    assert len(hits(xl.config_json, record, session)) == 1
