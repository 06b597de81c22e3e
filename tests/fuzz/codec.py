# SPDX-License-Identifier: GPL-2.0-or-later
"""Bodies of every record type: decoded the fast and the plain way, judged, shown, and cut short."""

from __future__ import annotations

import io
import json

from dissector.sinks.colour import Palette
from dissector.sinks.jsonl import JsonSink
from dissector.sinks.tree import TreeSink
from dissector.spec import ALL_RECORDS
from dissector.spec.model import Array, Bytes, Field, PfnList
from dissector.wire import codec
from dissector.wire.events import Record
from dissector.wire.unit import unknown_record
from tests.cross import tools
from tests.fuzz.seeds import contents

RECORDS = (*ALL_RECORDS, unknown_record("libxc", 0x42))


def check(draw):
    """Take the rest of the bytes for the body of a record, which may be longer than what is there of it."""
    record, order = draw.pick(RECORDS), draw.pick(("little", "big"))
    more = draw.number(2) * draw.below(2)
    cut = draw.number(2) * draw.below(2)
    body = draw.rest()
    length = len(body) + more if record.type_id is not None else None
    values = codec.decode(record, body, order, length)
    plain = codec._decoded(codec.walk(record, body, order), {}, order, length, len(body), pfns=False, deep=False)
    assert values == plain
    whole = codec.decode(record, body, order, length, pfns=True)
    assert {name: whole[name] for name in values} == values
    weigh(record, body, order, length)
    lists(record, body, order)
    nodes(record, body, order)
    if cut:
        shorter = codec.decode(record, body[:cut], order, length)
        for element in record.body:
            if isinstance(element, Field) and element.name in shorter:
                assert shorter[element.name] == values[element.name]
    show(record, body, order, length)


def weigh(record, body, order, length):
    """What tells whether a head is plausible."""
    assert codec.evidence(record, body, order, length) >= -1
    expected = codec.expected_length(record, body, order)
    assert expected is None or expected >= 0
    for element in record.body:
        if isinstance(element, Field):
            value = codec.number(record, body, order, element.name)
            assert value is None or 0 <= value < 1 << 8 * element.size


def lists(record, body, order):
    """The pfn list as arrays, and where pages lie."""
    pfns, types = codec.pfn_array(record, body, order), codec.page_type_array(record, body, order)
    assert len(pfns) <= len(body) // 8
    assert len(types) in (0, len(pfns))
    for pfn in pfns[:4]:
        try:
            place = codec.page_place(record, body, order, int(pfn))
        except KeyError:
            assert not len(types)
        else:
            assert place is None or place >= 8 * len(pfns)


def nodes(record, body, order):
    """Elements lie one behind the other, and inside the body."""
    reached = 0
    for node in codec.walk(record, body, order):
        assert node.offset == reached
        assert node.size >= 0
        reached += node.size
        if isinstance(node.element, Bytes | PfnList):
            assert len(node.value) == node.size
        if isinstance(node.element, Array):
            assert sum(inner.size for item in node.value for inner in item) <= node.size
    assert reached <= len(body)


def show(record, body, order, length):
    """As the sinks show it."""
    framed = record.type_id is not None
    size = 8 + (length + 7 & ~7) if framed else len(body)
    shown = Record(
        0, "forward", record.layer, record.name, record.type_id, 64, size, length, 0, 1, 1, 2, True, (), record, order,
        body, 8 if framed else 0,
    )  # fmt: skip
    out = io.StringIO()
    for sink in (JsonSink(out, pfns=True), TreeSink(io.StringIO(), Palette(enabled=False))):
        sink.write(shown)
        sink.close()
    for line in out.getvalue().splitlines():
        json.loads(line)


def seeds():
    """Give the bodies of the records in the captures, a few of each type."""
    given = {}
    for name in contents():
        for event in tools.events(name):
            if isinstance(event, Record) and event.definition in RECORDS and len(event.body) < 4000:
                number = RECORDS.index(event.definition)
                if given.setdefault(number, 0) < 3:
                    given[number] += 1
                    yield bytes([number, event.order == "big", 0, 0, 0, 0, 0, 0]) + event.body
