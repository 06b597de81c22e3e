# SPDX-License-Identifier: GPL-2.0-or-later
"""Every class dissects and builds the same bytes: of real records, of built ones, and of anything."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.packet import Packet, fuzz, ls

from dissector import layers
from dissector.layers import CLASSES, ITEMS, XenRecord, big_endian, record_class
from dissector.layers.packets import STRAY_HEADERS, _make_class, packet_from
from dissector.spec import ALL_RECORDS, BY_NAME
from dissector.spec.model import Array, Bytes, Field, PfnList, Record, StringPairs
from tests.layers.tools import rebuilt, records

ALL_CLASSES = [*CLASSES.values(), *(big_endian(cls) for cls in CLASSES.values())]


def test_one_class_per_definition():
    assert {(record.layer, record.name) for record in ALL_RECORDS} <= CLASSES.keys()
    assert layers.XenLibxcPageData is CLASSES["libxc", "PAGE_DATA"]
    assert layers.XenXlGo.definition is BY_NAME["xl", "GO"]
    assert record_class("libxl", 4) is layers.XenLibxlCheckpointEnd
    assert record_class("libxc", 0x7FFF) is layers.XenLibxcUnknown
    assert record_class("libxc", 1, "big") is layers.XenLibxcPageDataBE
    assert layers.XenLibxcHvmParamsParamBE.__name__ == "XenLibxcHvmParamsParamBE"
    with pytest.raises(AttributeError):
        _ = layers.XenNothing


def test_a_new_definition_is_all_it_takes():
    new = Record(
        layer="libxc",
        name="NEW_THING",
        meaning="for this test",
        section="0",
        type_id=0x13,
        body=(Field("number", 2, "number"), Bytes("text", "text", "number", text=True)),
    )
    cls = _make_class(new, "little")
    assert cls.__name__ == "XenLibxcNewThing"
    assert bytes(cls(text=b"hello!")) == bytes.fromhex("1300000008000000 0600") + b"hello!"
    assert cls(bytes(cls(text=b"hello!"))).summary() == "libxc NEW_THING text 6 bytes"


def test_names_that_scapy_needs_are_refused():
    bad = Record(layer="xl", name="BAD", meaning="", section="0", body=(Field("payload", 1, ""),))
    with pytest.raises(ValueError, match="payload"):
        _make_class(bad, "little")


def test_a_chain_ends_with_its_last_section():
    section = layers.XenLibxcHvmContextSection
    packet = layers.XenLibxcHvmContext(section=[section(typecode=19, data=bytes(8)), section(), section()])
    again = layers.XenLibxcHvmContext(bytes(packet))
    assert [one.typecode for one in again.section] == [19, 0]
    assert again.surplus == bytes(8)
    assert bytes(again) == bytes(packet)


def test_what_is_inside_of_a_section_can_be_changed():
    section = layers.XenLibxcHvmContextSection(bytes.fromhex("1300 0000 08000000 0500000000000000"))
    assert type(section.data) is layers.XenLibxcHvmContextSectionTscAdjust
    assert section.data == bytes.fromhex("0500000000000000")
    assert section.data.tsc_adjust == 5
    section.data.tsc_adjust = 0x77
    assert bytes(section) == bytes.fromhex("1300 0000 08000000 7700000000000000")
    made = layers.XenLibxcHvmContextSection(typecode=19, data=layers.XenLibxcHvmContextSectionTscAdjust(tsc_adjust=9))
    assert bytes(made) == bytes.fromhex("1300 0000 08000000 0900000000000000")


def test_what_is_not_whole_stays_bytes():
    cut = layers.XenLibxcHvmContextSection(bytes.fromhex("1300 0000 08000000 05000000"))
    assert cut.data == bytes.fromhex("05000000")
    assert isinstance(cut.data, bytes)
    odd = layers.XenLibxcHvmContextSection(bytes.fromhex("1300 0000 04000000 05000000"))
    assert isinstance(odd.data, bytes)


def test_members_of_the_configuration():
    text = b'{"c_info": {"name": "x"}}\0'
    assert layers.XenXlConfig(config=text).members == {"guest_name": "x"}
    assert layers.XenXlReady().members == {}


def packets_in(packet):
    """A packet and those in its fields, however deep."""
    inner = [one for value in packet.fields.values() for one in (value if isinstance(value, list) else [value])]
    return 1 + sum(packets_in(one) for one in inner if isinstance(one, Packet))


@pytest.mark.parametrize("cls", [*CLASSES.values(), *ITEMS.values()], ids=lambda cls: cls.__name__)
def test_shown(cls, capsys):
    ls(cls)
    cls().show()
    cls().show2()
    assert cls.__doc__
    assert capsys.readouterr().out.count("###[") == packets_in(cls()) + packets_in(cls(bytes(cls())))
    assert cls().summary()
    assert repr(cls()).startswith(f"<{cls.__name__}")
    assert eval(cls().command(), {**vars(layers), cls.__name__: cls}) == cls()
    bytes(fuzz(cls()))


def test_every_type_is_among_the_captures():
    seen = {(record["layer"], record["type"]) for _, record, _ in records()}
    assert CLASSES.keys() - seen == {("libxc", "TOOLSTACK"), ("libxl", "UNKNOWN")}


def class_for(where: str, truth: dict):
    cls = CLASSES[truth["layer"], truth["type"]]
    return big_endian(cls) if where.startswith("big-endian") else cls


def test_records_of_captures_come_back_identical():
    for where, truth, data in records():
        cls = class_for(where, truth)
        packet = packet_from(cls.definition, cls.order, data, truth.get("header_size", 8))
        assert bytes(packet) == data, where
        assert rebuilt(packet) == data, where
        assert not packet.payload, where
        assert not packet.fields.get("surplus"), where
        assert isinstance(packet.show(dump=True), str)
        if truth.get("body_length") is not None:
            # What can be computed is computed to what was there.
            for name in {"body_length", "count", "padding", "config_len"} & packet.fields.keys():
                delattr(packet, name)
            packet.padding = None
            assert bytes(packet) == data, where


FACTS = {
    "guest_type": "type",
    "vcpu": "vcpu_id",
    "state": "control_id",
    "emulator_index": "index",
    "start_pfn": "p2m_start_pfn",
    "end_pfn": "p2m_end_pfn",
}
SHORT = {**{f"L{n}": f"L{n}TAB" for n in range(1, 5)}, **{f"L{n}P": f"L{n}TAB_PINNED" for n in range(1, 5)}}
LISTS = {"leaves": "leaf", "msrs": "msr", "frames": "p2m_pfn"}
DERIVED = ("xen", "first_pfn", "last_pfn", "data_pages", "types", "params", "state_name", "json", "nul_terminated")
OF_THE_RECORD = ("layer", "type", "offset", "size", "type_id", "padding", "header_size", "byteorder", "checkpoint")


def test_fields_are_those_of_the_truth():
    checked = set()
    for where, truth, data in records():
        cls = class_for(where, truth)
        packet = packet_from(cls.definition, cls.order, data, truth.get("header_size", 8))
        for fact, value in truth.items():
            if fact in OF_THE_RECORD or fact.startswith("_"):
                continue
            checked.add(fact)
            if fact in LISTS:
                assert len(packet.getfieldval(LISTS[fact])) == value, where
            elif fact == "count" and truth["type"] == "CHECKPOINT_DIRTY_PFN_LIST":
                assert len(packet.pfn) == value, where
            elif fact == "stray":
                assert packet.stray == bytes.fromhex(value), where
            elif fact not in DERIVED:
                name = FACTS.get(fact, fact)
                if name in packet.default_fields:
                    assert packet.getfieldval(name) == value, (where, fact)
        if "types" in truth:
            types = {SHORT.get(name, name): count for name, count in truth["types"].items()}
            assert Counter(packet.page_types) == types, where
            assert len(packet.page_data) == 4096 * truth["data_pages"]
        if "first_pfn" in truth:
            assert (packet.pfns[0], packet.pfns[-1]) == (truth["first_pfn"], truth["last_pfn"]), where
        if "params" in truth:
            assert [[param.index, param.value] for param in packet.param] == truth["params"], where
        if "xen" in truth:
            assert f"{packet.xen_major}.{packet.xen_minor}" == truth["xen"]
    assert {"count", "khz", "version", "guest_width", "leaves", "msrs", "vcpu", "state", "frames"} <= checked


def test_stray_header_bytes():
    plain = layers.XenLibxcCheckpointDirtyPfnList(pfn=[1, 2])
    packet = layers.XenLibxcCheckpointDirtyPfnList(pfn=[1, 2], stray=bytes(8))
    data = bytes(plain)[:8] + bytes(8) + bytes(plain)[8:]
    assert bytes(packet) == data
    again = packet_from(STRAY_HEADERS[0], "little", data, 16)
    assert (again.stray, again.pfn, again.body_length) == (bytes(8), [1, 2], 16)
    assert bytes(again) == data


# -- any bytes, any values ------------------------------------------------------------------------------------------


@st.composite
def hostile(draw):
    """A class, and bytes that may be one record of it, or nearly, or nothing like it."""
    cls = draw(st.sampled_from(ALL_CLASSES))
    body = draw(st.binary(max_size=120))
    if draw(st.booleans()) and cls.definition.type_id is not None:
        length = draw(st.sampled_from([len(body), len(body) + 1, 0, 0xFFFFFFFF]))
        order = cls.order
        head = draw(st.sampled_from([cls.definition.type_id, 0x7F])).to_bytes(4, order) + length.to_bytes(4, order)
        count = draw(st.sampled_from([b"", *(n.to_bytes(4, order) for n in (0, 1, 3, 0xFFFFFFFF))]))
        body = head + count + body[len(count) :] + draw(st.binary(max_size=8))
    return cls, body


@given(hostile())
@settings(max_examples=1500, deadline=None)
def test_any_bytes_come_back_identical(case):
    cls, data = case
    packet = cls(data)
    if not data:
        return
    assert bytes(packet) == data
    assert rebuilt(packet) == data
    assert packet.show(dump=True)
    assert packet.summary()
    assert repr(packet)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_damaged_records_come_back_identical(data):
    where, truth, piece = data.draw(st.sampled_from([one for one in records() if len(one[2]) < 9000]))
    damaged = bytearray(piece)
    for at in data.draw(st.lists(st.integers(0, len(piece) - 1), max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    damaged = bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    packet = class_for(where, truth)(damaged)
    assert bytes(packet) == damaged
    assert rebuilt(packet) == damaged


def values(element, order):
    """A strategy for values of one element; None where the value follows from others."""
    match element:
        case Field():
            return st.integers(0, (1 << 8 * element.size) - 1)
        case Bytes(length=int()):
            return st.binary(min_size=element.length, max_size=element.length)
        case Bytes():
            return st.binary(max_size=20)
        case PfnList():
            return st.lists(st.integers(0, (1 << 64) - 1), max_size=5)
        case StringPairs():
            text = st.binary(max_size=5).map(lambda data: data.replace(b"\0", b"x"))
            return st.lists(st.tuples(text, text), max_size=4)
        case Array():
            return st.just(None)
    return st.just(b"")


@st.composite
def built(draw):
    cls = draw(st.sampled_from(ALL_CLASSES))
    counts = {
        e.length if isinstance(e, Bytes) else getattr(e, "count", None) for e in cls.definition.body if e is not None
    }
    chosen = {}
    for element in cls.definition.body:
        if element.name in counts:
            continue
        if isinstance(element, Array):
            item = next(field.cls for field in cls.fields_desc if field.name == element.name)
            feeds = {inner.length for inner in element.items if isinstance(inner, Bytes)}
            rows = draw(st.integers(0, 3))
            chosen[element.name] = [
                item(**{i.name: draw(values(i, cls.order)) for i in element.items if i.name not in feeds})
                for _ in range(rows)
            ]
            if element.last is not None:  # behind the last of a chain there are no others
                marker, value = element.last
                ends = [at for at, row in enumerate(chosen[element.name]) if row.getfieldval(marker) == value]
                del chosen[element.name][min(ends, default=rows) + 1 :]
        else:
            chosen[element.name] = draw(values(element, cls.order))
    if "page_data" in chosen:
        pages = layers.XenLibxcPageData(pfn=chosen["pfn"]).summary().split(", ")[-1].split()[0]
        chosen["page_data"] = draw(st.binary(min_size=1, max_size=1)) * 4096 * (int(pages) if chosen["pfn"] else 0)
    return cls, chosen


@given(built())
@settings(max_examples=600, deadline=None)
def test_built_packets_are_dissected_to_the_same_fields(case):
    cls, chosen = case
    packet = cls(**chosen)
    again = cls(bytes(packet))
    for name, value in chosen.items():
        found = again.getfieldval(name)
        if isinstance(value, list) and value and hasattr(value[0], "fields"):
            assert [bytes(item) for item in found] == [bytes(item) for item in value]
        else:
            assert found == value, name
    assert not again.payload
    assert bytes(again) == rebuilt(again) == bytes(packet)
    if isinstance(again, XenRecord) and cls.definition.type_id is not None:
        assert len(again) % 8 == 0
        assert again.body_length == len(again) - 8 - (-again.body_length % 8)
