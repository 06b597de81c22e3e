# SPDX-License-Identifier: GPL-2.0-or-later
"""Events are frozen and slotted, know their kind, and decode what they hold."""

from __future__ import annotations

import struct
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from dissector.spec import findings, libxc, libxl
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total, make_record
from dissector.wire.unit import Unit

KINDS = {
    Record: "record",
    Flow: "flow",
    Gap: "gap",
    Resync: "resync",
    Finding: "finding",
    Summary: "summary",
    Total: "summary",
}


def record(definition, body: bytes, **more) -> Record:
    values = {
        "flow": 0,
        "direction": "forward",
        "layer": definition.layer,
        "type": definition.name,
        "type_id": definition.type_id,
        "offset": 100,
        "size": 8 + (len(body) + 7 & ~7),
        "body_length": len(body),
        "time": 5,
        "time_end": 6,
        "first_frame": 1,
        "last_frame": 2,
        "complete": True,
        "lost": (),
        "definition": definition,
        "order": "little",
        "body": body,
    }
    return Record(**{**values, **more})


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind):
    assert kind.event == KINDS[kind]
    assert hasattr(kind, "__slots__")
    assert "event" not in {field.name for field in fields(kind)}


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        record(libxc.CHECKPOINT, b"").offset = 3


def test_equal_by_value():
    assert record(libxc.CHECKPOINT, b"") == record(libxc.CHECKPOINT, b"")
    assert record(libxc.CHECKPOINT, b"") != record(libxc.CHECKPOINT, b"", offset=101)


def test_fields_of_a_record():
    body = struct.pack("<IIQII", 1, 2_000_000, 77, 3, 0)
    assert record(libxc.X86_TSC_INFO, body).fields == {
        "mode": 1,
        "mode_name": "always emulate",
        "khz": 2_000_000,
        "nsec": 77,
        "incarnation": 3,
        "reserved": 0,
    }


def test_pfns_and_page_types():
    entries = (5, 0xF << 60 | 6, 0x9 << 60 | 7)
    one = record(libxc.PAGE_DATA, struct.pack("<II3Q", 3, 0, *entries))
    assert one.pfns.tolist() == [5, 6, 7]
    assert one.pfns.dtype == np.uint64
    assert one.page_types.tolist() == [0, 15, 9]
    assert "pfn" not in one.fields
    assert one.decode(pfns=True)["pfn"] == [5, 6, 7]


def test_pfns_of_records_without_any():
    one = record(libxc.CHECKPOINT, b"")
    assert one.pfns.size == one.page_types.size == 0
    assert one.fields == {}


def test_extra_facts_join_the_fields():
    body = struct.pack("<2Q", 3, 9)
    one = record(libxc.CHECKPOINT_DIRTY_PFN_LIST, body, extra={"stray": "00", "header_size": 16}, header_size=16)
    assert one.fields == {"count": 2, "first_pfn": 3, "last_pfn": 9, "stray": "00", "header_size": 16}


def test_pfns_of_a_dirty_list_keep_all_bits():
    value = 0xF123_4567_89AB_CDEF
    assert record(libxc.CHECKPOINT_DIRTY_PFN_LIST, struct.pack("<Q", value)).pfns.tolist() == [value]


def test_finding_says_what_its_rule_says():
    one = Finding(findings.FRAMING, "text")
    assert (one.id, one.severity, one.flow, one.offset, one.frame) == ("stream.framing", "error", None, None, 0)


def test_fields_of_a_cut_record():
    body = struct.pack("<II2Q", 3, 0, 5, 6)
    one = replace(record(libxc.PAGE_DATA, body), complete=False, lost=((132, 8),))
    assert one.fields["count"] == 3
    assert one.pfns.tolist() == [5, 6]
    assert record(libxl.EMULATOR_CONTEXT, b"\2\0").fields == {}


def test_a_record_made_fast_is_a_record():
    values = {field.name: object() for field in fields(Record)}
    values |= {"definition": libxc.PAGE_DATA, "layer": "libxc", "lost": ((5, 1),), "complete": False}
    slow = Record(**values)
    framed = {field.name: values[field.name] for field in fields(Unit) if field.name in values}
    unit = Unit(name=values["type"], **framed)
    told = {name: values[name] for name in ("flow", "direction", "time_end", "last_frame", "lost", "source", "unseen")}
    fast = make_record(unit, **told)
    assert type(fast) is Record
    assert all(getattr(fast, name) is value for name, value in values.items())
    assert (fast, repr(fast)) == (slow, repr(slow))
    with pytest.raises(FrozenInstanceError):
        fast.flow = 1
    assert make_record(unit, **{**told, "lost": (), "unseen": ()}).complete
    assert make_record(unit, **{**told, "lost": ()}).complete is None
