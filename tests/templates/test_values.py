# SPDX-License-Identifier: GPL-2.0-or-later
"""values.lua decodes bodies as :func:`dissector.wire.codec.decode` does."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dissector
from dissector.spec import ALL_RECORDS, BY_NAME, libxc
from dissector.spec.model import Array, Bytes, Element, Field, Numbers, PfnList, Record, StringPairs
from dissector.wire import codec
from tests.cross.tools import modest
from tests.templates.test_framer import VERSIONS, Lua, lua

if TYPE_CHECKING:
    from collections.abc import Iterable

CAPTURES = Path(__file__).parents[2] / "captures"
SAMPLES = tuple(path.name for path in sorted(CAPTURES.glob("*.pcap.gz")) if path.stat().st_size < 200_000)


@cache
def bodies() -> list[tuple[Record, bytes, Any, int | None]]:
    """Every body of some captures, once per record type and length."""
    seen = {}
    for name in SAMPLES:
        path = CAPTURES / name
        if path.exists():
            for record in (one for one in dissector.read(path) if one.definition in ALL_RECORDS):
                key = (record.definition, len(record.body), record.order)
                seen[key] = (record.definition, record.body, record.order, record.body_length)
    assert len({record for record, *_ in seen.values()}) > 20
    return list(seen.values())


def plain(value: Any, elements: Iterable[Element]) -> dict[str, Any]:
    """Turn a Lua table of values into what decode() gives."""
    given_values = {key.decode(): item for key, item in value.items()}
    shown: dict[str, Any] = {}
    for element in elements:
        name = element.name
        if f"{name}_rest" in given_values:
            shown[f"{name}_rest"] = int(given_values[f"{name}_rest"])
        match element:
            case Field() if name in given_values:
                shown[name] = int(given_values[name])
                if f"{name}_name" in given_values:
                    shown[f"{name}_name"] = given_values[f"{name}_name"].decode()
            case Bytes(text=True) if name in given_values:
                shown[name] = given_values[name].decode("utf-8", "replace")
                if f"{name}_error" in given_values:
                    shown[f"{name}_error"] = given_values[f"{name}_error"].decode()
                for member in element.members:
                    if member.name in given_values:
                        said = given_values[member.name]
                        shown[member.name] = said.decode("utf-8", "replace") if member.kind == "text" else int(said)
            case Bytes() if f"{name}_length" in given_values:
                shown[f"{name}_length"] = int(given_values[f"{name}_length"])
                if name in given_values:
                    shown[name] = given_values[name].hex()
                for layout in element.inside.layouts.values() if element.inside is not None else ():
                    if layout.key in given_values:
                        shown[layout.key] = plain(given_values[layout.key], layout.body)
            case Numbers() if name in given_values:
                shown[name] = [int(number) for number in given_values[name].values()]
            case Array() if name in given_values:
                shown[name] = [plain(row, element.items) for row in given_values[name].values()]
                assert int(given_values[f"{name}_count"]) == len(shown[name])
            case StringPairs() if name in given_values:
                pairs = [
                    [text.decode("utf-8", "replace") for text in row.values()] for row in given_values[name].values()
                ]
                shown[name] = dict(pairs)
            case PfnList():
                for fact in ("count", "first_pfn", "last_pfn", "data_pages"):
                    if fact in given_values:
                        shown[fact] = int(given_values[fact])
                if "types" in given_values:
                    shown["types"] = {key.decode(): int(count) for key, count in given_values["types"].items()}
    return shown


def rounded(value: Any) -> Any:
    """u64 in Lua is a float: compare what that keeps."""
    if isinstance(value, bool) or not isinstance(value, int | dict | list):
        return value
    if isinstance(value, int):
        return int(float(value))
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return {key: rounded(item) for key, item in value.items()}


def same(one: Lua, record: Record, body: bytes, order: Any, body_length: int | None) -> None:
    parts, runtime = one.parts, one.runtime
    key = f"{record.layer}.{record.name}".encode()
    unit = runtime.table_from(
        {
            b"record": parts[b"RECORDS"][key],
            b"body": body,
            b"order": order.encode(),
            b"body_length": body_length,
        }
    )
    for deep in (False, True):
        found = plain(parts[b"values"][b"of"](unit, None, deep), record.body)
        assert found == rounded(codec.decode(record, body, order, body_length, deep=deep))


@pytest.mark.parametrize("version", VERSIONS)
def test_bodies_of_captures(version: str) -> None:
    for record, body, order, body_length in bodies():
        same(lua(version), record, body, order, body_length)


@pytest.mark.parametrize("version", VERSIONS)
def test_bodies_that_are_cut(version: str) -> None:
    for record, body, order, body_length in bodies():
        for length in (0, 1, len(body) // 2, max(len(body) - 1, 0)):
            same(lua(version), record, body[:length], order, body_length)


@pytest.mark.parametrize("version", VERSIONS)
@modest(150)
@given(
    record=st.sampled_from(ALL_RECORDS),
    body=st.binary(max_size=120),
    order=st.sampled_from(("little", "big")),
    more=st.integers(0, 16),
)
def test_any_bytes(version: str, record: Record, body: bytes, order: str, more: int) -> None:
    same(lua(version), record, body, order, None if record.type_id is None else len(body) + more)


@pytest.mark.parametrize("version", VERSIONS)
def test_which_pages_lie_where(version: str) -> None:
    one = lua(version)
    entries = [0x10, 0xF << 60 | 0x11, 0x12, 0x9 << 60 | 0x13]
    body = struct.pack("<II4Q", 4, 0, *entries)
    unit = one.runtime.table_from(
        {
            b"record": one.parts[b"RECORDS"][b"libxc.PAGE_DATA"],
            b"body": body,
            b"order": b"little",
            b"offset": 1000,
            b"size": 8 + len(body) + 3 * libxc.PAGE_SIZE,
            b"header_size": 8,
            b"body_length": len(body) + 3 * libxc.PAGE_SIZE,
        }
    )
    between = one.parts[b"values"][b"pfns_between"]
    first = 1000 + 8 + len(body)
    assert between(unit, first, first + 1) == (0x10, 0x10)
    assert between(unit, first, first + 4096) == (0x10, 0x10)
    assert between(unit, first + 4095, first + 4097) == (0x10, 0x12)
    assert between(unit, 1000, first + 3 * 4096) == (0x10, 0x13)
    assert between(unit, first + 2 * 4096, first + 9 * 4096) == (0x13, 0x13)
    assert between(unit, 1000, first) is None


def test_every_kind_of_element_is_covered() -> None:
    kinds = {type(element) for record in BY_NAME.values() for element in record.body}
    assert kinds >= {Field, Bytes, Array, PfnList, StringPairs}
