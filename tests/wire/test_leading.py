# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.spec import ALL_RECORDS, libxc, libxl, xl
from dissector.spec.model import Array, Field
from dissector.wire import codec
from dissector.wire.leading import field_order, leading

OWNERS = [
    *ALL_RECORDS,
    *(element for record in ALL_RECORDS for element in record.body if isinstance(element, Array)),
]
ORDERS = ("little", "big")


def elements(owner):
    return owner.items if isinstance(owner, Array) else owner.body


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.name)
def test_it_is_the_beginning_of_the_definition(owner, order):
    start = leading(owner, order)
    fields = elements(owner)[: len(start.names)]
    assert all(isinstance(field, Field) for field in fields)
    assert tuple(field.name for field in fields) == start.names
    assert elements(owner)[len(fields) :] == start.rest
    assert start.size == sum(field.size for field in fields)
    body = bytes(range(1, start.size + 1))
    at = 0
    for field, number in zip(fields, start.unpack(body, 0), strict=True):
        assert number == int.from_bytes(body[at : at + field.size], field_order(field, order))
        at += field.size


def test_it_ends_where_the_byte_order_changes():
    for owner in OWNERS:
        start = leading(owner, "little")
        if start.rest and isinstance(start.rest[0], Field) and start.names:
            first = elements(owner)[0]
            assert field_order(start.rest[0], "little") != field_order(first, "little")


def test_only_definitions_with_named_values_have_names():
    assert leading(libxc.PAGE_DATA, "little").named == ()
    assert [label for _, label, names in leading(libxl.CHECKPOINT_STATE, "little").named if names] == [
        "control_id_name"
    ]
    assert leading(xl.BANNER, "little").names == ()


def by_walk(record, body, order, body_length, *, pfns):
    return codec._decoded(codec.walk(record, body, order), {}, order, body_length, len(body), pfns=pfns, deep=False)


@given(st.data(), st.sampled_from(ALL_RECORDS), st.sampled_from(ORDERS), st.booleans())
def test_decoding_with_it_is_decoding_by_the_walk(data, record, order, pfns):
    start = leading(record, order)
    size = start.size + data.draw(st.integers(-start.size, 200))
    body = data.draw(st.binary(min_size=size, max_size=size))
    if data.draw(st.booleans()):  # counts that are small enough to be met
        small = data.draw(st.integers(0, 12))
        at = 0
        for field in record.body:
            if not isinstance(field, Field):
                break
            if field.name == "count" and len(body) >= at + field.size:
                raw = small.to_bytes(field.size, field_order(field, order))
                body = body[:at] + raw + body[at + field.size :]
            at += field.size
    length = data.draw(st.sampled_from([len(body), len(body) + 8, None]))
    mine = codec.decode(record, body, order, length, pfns=pfns)
    theirs = by_walk(record, body, order, length, pfns=pfns)
    assert mine == theirs
    assert list(mine) == list(theirs)  # the order of keys is the order of lines


@given(st.data(), st.sampled_from(ALL_RECORDS), st.sampled_from(ORDERS))
def test_numbers_are_those_of_the_walk(data, record, order):
    body = data.draw(st.binary(max_size=80))
    found = {
        node.element.name: node.value for node in codec.walk(record, body, order) if isinstance(node.element, Field)
    }
    for element in record.body:
        if isinstance(element, Field):
            assert codec.number(record, body, order, element.name) == found.get(element.name)
