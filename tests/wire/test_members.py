# SPDX-License-Identifier: GPL-2.0-or-later
"""Members of the configuration, and texts that are none."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dissector
from dissector.spec import xl
from dissector.spec.model import Member
from dissector.wire import codec
from dissector.wire.members import LARGEST, LONGEST, members_of
from tests.cross.tools import modest

CAPTURES = Path(__file__).parents[2] / "captures"
MEMBERS = (Member("name", ("c", "n"), "text", ""), Member("size", ("b", "s"), "number", ""))


def found(text: str) -> dict:
    return members_of(MEMBERS, "config", text.encode("utf-8", "surrogatepass") + b"\0")


def test_a_real_configuration():
    [config] = [one for one in dissector.read(CAPTURES / "xl-migrate-hvm.pcap.gz") if one.type == "CONFIG"]
    about = json.loads(config.fields["config"])
    assert {key: value for key, value in config.fields.items() if key not in ("config", "config_len")} == {
        "guest_name": about["c_info"]["name"],
        "guest_type": "hvm",
        "guest_uuid": about["c_info"]["uuid"],
        "max_vcpus": 2,
        "max_memkb": 4096,
        "target_memkb": 4096,
    }


def test_members():
    assert found('{"c": {"n": "x"}, "b": {"s": 5}}') == {"name": "x", "size": 5}
    assert found('\n {"c": {"n": "x", "n": "y"}}') == {"name": "y"}
    assert found("{}") == {}


@pytest.mark.parametrize("text", ['{"c": [], "b": 1}', '{"c": {"n": 1}, "b": {"s": "1"}}', '{"b": {"s": 1.0}}'])
def test_members_of_another_kind_are_left_out(text):
    assert found(text) == {}


@pytest.mark.parametrize(
    "number", [-1, LARGEST + 1, 10**30, int("9" * 4299), "true", "null", "1e3"], ids=lambda number: str(number)[:9]
)
def test_numbers_that_are_none(number):
    assert found(f'{{"b": {{"s": {number}}}}}') == {}


@pytest.mark.parametrize(
    "text", ["{", "{}}", '{"a": NaN}', '{"a": 01}', "{'a': 1}", '{"a": "\n"}', '{"\\ud8"}', "{}\0"]
)
def test_what_is_no_json(text):
    assert found(text) == {"config_error": "no JSON"}


def test_thousands_of_brackets():
    assert found('{"a":' + "[" * 100_000) == {"config_error": "no JSON"}


def test_nul():
    assert members_of(MEMBERS, "config", b"{}") == {"config_error": "no NUL at the end"}
    assert members_of(MEMBERS, "config", b'{"c":{"n":""}}') == {"config_error": "no NUL at the end", "name": ""}


def test_what_does_not_begin_like_json_is_nothing_to_complain_about():
    for raw in (b'name = "x"\n', b"", b"\0", b"[]", b"{" + b" " * LONGEST):
        assert members_of(MEMBERS, "config", raw) == {}


def test_halves_of_characters():
    assert found('{"c": {"n": "a\\ud800b\\udc00"}}')["name"] == "a\ufffdb\ufffd"
    assert found('{"c": {"n": "\\ud83d\\ude00"}}')["name"] == "\U0001f600"


def test_a_text_that_is_cut_has_no_members():
    raw = b'{"c_info": {"name": "x"}}\0'
    whole = codec.decode(xl.CONFIG, struct.pack("<I", len(raw)) + raw, "little", None)
    assert whole["guest_name"] == "x"
    assert codec.decode(xl.CONFIG, struct.pack("<I", len(raw) + 1) + raw, "little", None).keys() == {
        "config_len",
        "config",
    }


@modest(150)
@given(st.binary(max_size=60))
def test_any_text(raw):
    json.dumps(members_of(MEMBERS, "config", b'{"c":{"n":"' + raw)).encode()
