# SPDX-License-Identifier: GPL-2.0-or-later
"""json.lua takes for JSON what Python does, and finds the same members."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.spec import xl
from dissector.wire import codec
from tests.cross.tools import modest
from tests.templates.test_framer import VERSIONS, lua
from tests.templates.test_values import same

TEXTS = [
    '{"c_info": {"name": "x", "type": "hvm"}, "b_info": {"max_memkb": 4096, "max_vcpus": 0}}',
    '{"c_info": {"name": "a\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00 é€😀"}}',
    '{"c_info": {"name": "\\ud800"}, "x": [1, 2.5, -3e+7, true, false, null, [], {}, [[{"a": []}]]]}',
    '{"c_info": {"name": "first"}, "c_info": {"name": "second"}}',
    '{"b_info": {"max_memkb": 9007199254740991, "target_memkb": 9007199254740992, "max_vcpus": -1}}',
    '{"b_info": {"max_memkb": 1.0, "target_memkb": 1e3, "max_vcpus": "4"}}',
    '{"c_info": {"name": "\x7f"}}',
    " \t\r\n{ } \n",
    "{",
    "{}}",
    "{}\0",
    '{"a" 1}',
    '{"a": 1,}',
    '{"a": [1,]}',
    '{"a": 01}',
    '{"a": .5}',
    '{"a": 1.}',
    '{"a": 1e}',
    '{"a": -}',
    '{"a": +1}',
    '{"a": NaN}',
    '{"a": -Infinity}',
    '{"a": nul}',
    '{"a": nullx}',
    '{"a": True}',
    '{"a": "\t"}',
    '{"a": "\\x"}',
    '{"a": "\\u12"}',
    '{"a": "\\u00 1"}',
    '{"a": "',
    "{'a': 1}",
    "{a: 1}",
    "{1: 1}",
    "[]",
    "name = 'x'",
]


def config(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("text", TEXTS)
def test_texts(version: str, text: str) -> None:
    for raw in (text.encode(), text.encode() + b"\0"):
        same(lua(version), xl.CONFIG, config(raw), "little", None)


def test_some_of_them_are_json() -> None:
    values = [codec.decode(xl.CONFIG, config(text.encode() + b"\0"), "little", None) for text in TEXTS]
    assert sum("config_error" in value for value in values) > 20
    assert sum("guest_name" in value for value in values) >= 5


@pytest.mark.parametrize("version", VERSIONS)
@modest(150)
@given(text=st.text('{}[]":,\\ux0123456789abcdefADFnrtl.-+eE \n\x01é😀', max_size=30), cut=st.integers(0, 60))
def test_any_text(version: str, text: str, cut: int) -> None:
    raw = ('{"c_info": {"name": ' + json.dumps(text) + "}, " + text + "}").encode()
    for one in (raw, raw[:cut], b'{"c_info": {"name": "' + text.encode() + b'"}}'):
        same(lua(version), xl.CONFIG, config(one), "little", None)


@pytest.mark.parametrize("version", VERSIONS)
@modest(100)
@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-5, 1 << 60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_json(version: str, value: Any) -> None:
    about = {"c_info": {"name": value, "more": value, "type": "pv"}, "b_info": {"max_memkb": value}}
    raw = json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\0"
    assert codec.decode(xl.CONFIG, config(raw), "little", None)["guest_type"] == "pv"
    same(lua(version), xl.CONFIG, config(raw), "little", None)
