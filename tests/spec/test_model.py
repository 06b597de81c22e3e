# SPDX-License-Identifier: GPL-2.0-or-later
"""Definitions are well formed: what the interpreters in codec, scapy classes and display filters rely on."""

from __future__ import annotations

import pytest

from dissector.spec import ALL_RECORDS, BY_NAME, BY_TYPE
from dissector.spec.model import (
    Array,
    Bytes,
    Enum,
    Field,
    Flags,
    Length,
    Pages,
    PfnList,
    StringPairs,
    padded,
)

IDS = [f"{record.layer} {record.name}" for record in ALL_RECORDS]


def test_names_and_types_are_unique():
    assert len(BY_NAME) == len(ALL_RECORDS)
    assert len(BY_TYPE) == sum(record.type_id is not None for record in ALL_RECORDS)


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_body(record):
    names = [element.name for element in record.body]
    assert len(names) == len(set(names))
    seen: set[str] = set()
    for place, element in enumerate(record.body):
        assert element.name == element.name.lower()
        assert element.name.isidentifier()
        assert element.meaning
        match element:
            case Field():
                assert element.size in (1, 2, 4, 8)
                seen.add(element.name)
            case Bytes(length=str() as length) | PfnList(count=str() as length) | Array(count=str() as length):
                assert length in seen
            case Bytes(length=None) | PfnList(count=None) | Array(count=None) | StringPairs():
                assert place == len(record.body) - 1
            case Pages():
                assert isinstance(record.element(element.pfns), PfnList)
                assert place == len(record.body) - 1


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_enumerations(record):
    def check(field):
        if isinstance(field.names, Enum):
            assert all(0 <= value < 1 << 8 * field.size for value in field.names.values)
        elif isinstance(field.names, Flags):
            assert all(0 <= bit < 8 * field.size for bit in field.names.bits)
        if field.const is not None:
            assert 0 <= field.const < 1 << 8 * field.size

    for element in record.body:
        for field in element.items if isinstance(element, Array) else (element,):
            if isinstance(field, Field):
                check(field)


@pytest.mark.parametrize("record", ALL_RECORDS, ids=IDS)
def test_every_record_names_its_section(record):
    assert record.section
    assert record.meaning
    assert record.filter_name == f"xenmig.{record.layer}.{record.name.lower()}"


def test_fixed_lengths_fit_the_body():
    for record in ALL_RECORDS:
        fixed = 0
        for element in record.body:
            size = element.size if isinstance(element, Field) else getattr(element, "length", None)
            if not isinstance(size, int):
                break
            fixed += size
        else:
            assert record.length.exact in ((fixed,), ()), record.name


def test_length_rules():
    length = Length(minimum=8, step=16, maximum=40, tolerated=(3,))
    assert [n for n in range(60) if length.allows(n)] == [3, 8, 24, 40]
    assert str(length) == "8 + 16n, at most 40"
    assert str(Length(exact=(5176, 2808))) == "5176 or 2808"
    assert str(Length(minimum=9, maximum=136)) == "at least 9, at most 136"


def test_padding():
    assert [padded(n) for n in (0, 1, 7, 8, 9)] == [0, 8, 8, 8, 16]


def test_unknown_element():
    with pytest.raises(KeyError):
        ALL_RECORDS[0].element("nonsense")
