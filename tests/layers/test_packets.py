# SPDX-License-Identifier: GPL-2.0-or-later
"""Every class dissects and builds the same bytes: of real records, of built ones, and of anything."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.packet import Padding, Raw, fuzz, ls

from dissector import layers
from dissector.layers import CLASSES, ITEMS, Cut, XenRecord, big_endian, record_class
from dissector.layers.packets import STRAY_HEADERS, _make_class, packet_from
from dissector.spec import ALL_RECORDS, BY_NAME
from dissector.spec.model import Array, Bytes, Field, PfnList, Record, StringPairs
from tests.layers.tools import records

ALL_CLASSES = [*CLASSES.values(), *(big_endian(cls) for cls in CLASSES.values())]


def rebuilt(packet) -> bytes:
    """Bytes built from the fields, not from what scapy remembers of dissection."""
    clone = packet.copy()
    clone.clear_cache()
    for item in (item for value in clone.fields.values() if isinstance(value, list) for item in value):
        if hasattr(item, "clear_cache"):
            item.clear_cache()
    return bytes(clone)


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


@pytest.mark.parametrize("cls", [*CLASSES.values(), *ITEMS.values()], ids=lambda cls: cls.__name__)
def test_shown(cls, capsys):
    ls(cls)
    cls().show()
    cls().show2()
    assert cls.__doc__
    assert capsys.readouterr().out.count("###[") == 2
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


def test_page_contents():
    data = bytes([1]) * 4096 + bytes([2]) * 4096
    packet = layers.XenLibxcPageData(pfn=[3, (4, "XTAB"), (5, "L1TAB")], page_data=data)
    packet = layers.XenLibxcPageData(bytes(packet))
    assert packet.count == 3
    assert packet.pfns == [3, 4, 5]
    assert packet.page_types == ["NOTAB", "XTAB", "L1TAB"]
    assert packet.page(5) == bytes([2]) * 4096
    assert packet.page(4) is None
    assert packet.summary() == "libxc PAGE_DATA 3 pfns 0x3-0x5, 2 pages"
    assert "[0x3, 0x4 XTAB, 0x5 L1TAB]" in packet.show(dump=True)
    assert layers.XenLibxcEnd().page(1) is None
    assert layers.XenLibxcEnd().pfns == []


def test_what_follows_a_record_is_not_ours():
    both = bytes(layers.XenLibxlCheckpointState(control_id="SVM_READY")) + b"next"
    packet = layers.XenLibxlCheckpointState(both)
    assert packet.control_id == 2
    assert packet.payload == Padding(b"next")
    assert bytes(packet) == both
    assert bytes(layers.XenXlGo(b"domain is yours, you are cleared to unpause\0more").payload) == b"more"


def test_odd_padding_and_surplus_are_kept_and_shown():
    data = bytes.fromhex("0800000003000000 616263 0102030405")
    packet = layers.XenLibxcX86TscInfo(data)
    assert packet.padding == bytes([1, 2, 3, 4, 5])
    assert isinstance(packet.mode, Cut)
    assert bytes(packet.mode) == b"abc"
    assert not packet.nsec
    assert rebuilt(packet) == data
    assert "<cut 61 62 63>" in packet.show(dump=True)
    data = bytes.fromhex("0e00000003000000 616263 0000000000")
    packet = layers.XenLibxcCheckpoint(data)
    assert packet.surplus == b"abc"
    assert packet.padding is None
    assert rebuilt(packet) == data


def test_changed_fields_are_built():
    packet = layers.XenLibxcHvmParams(param=[layers.XenLibxcHvmParamsParam(index="STORE_PFN", value=7)])
    packet = layers.XenLibxcHvmParams(bytes(packet))
    packet.param[0].value = 8
    packet.param.append(layers.XenLibxcHvmParamsParam(index=2, value=9))
    del packet.count
    del packet.body_length
    again = layers.XenLibxcHvmParams(bytes(packet))
    assert again.count == 2
    assert again.body_length == 40
    assert [(param.index, param.value) for param in again.param] == [(1, 8), (2, 9)]


def test_string_pairs():
    packet = layers.XenLibxlEmulatorXenstoreData(xenstore_data={"physmap/1/size": "10", b"physmap/1/name": b""})
    again = layers.XenLibxlEmulatorXenstoreData(bytes(packet))
    assert again.xenstore_data == [(b"physmap/1/size", b"10"), (b"physmap/1/name", b"")]
    assert "physmap/1/size=10" in again.show(dump=True)
    assert again.summary() == "libxl EMULATOR_XENSTORE_DATA emulator_id=unknown, 2 pairs"


def test_flags_and_orders():
    header = layers.XenLibxcImageHeader(version=3, options="BIG_ENDIAN")
    assert bytes(header) == bytes.fromhex("ffffffffffffffff 58454e46 00000003 0001 0000 00000000")
    assert layers.XenLibxcImageHeader(bytes(header)).options == "BIG_ENDIAN"
    xl = layers.XenXlSaveFileHeader(mandatory_flags=["JSON", "STREAMv2"], optional_data_len=5)
    assert bytes(xl)[32:] == bytes.fromhex("04030201 03000000 00000000 05000000")
    big = layers.XenLibxcX86TscInfoBE(khz=1)
    assert bytes(big) == bytes.fromhex("00000008 00000018 00000000 00000001") + bytes(16)
    assert big_endian(type(big)) is type(big)


def test_stray_header_bytes():
    plain = layers.XenLibxcCheckpointDirtyPfnList(pfn=[1, 2])
    packet = layers.XenLibxcCheckpointDirtyPfnList(pfn=[1, 2], stray=bytes(8))
    data = bytes(plain)[:8] + bytes(8) + bytes(plain)[8:]
    assert bytes(packet) == data
    again = packet_from(STRAY_HEADERS[0], "little", data, 16)
    assert (again.stray, again.pfn, again.body_length) == (bytes(8), [1, 2], 16)
    assert bytes(again) == data


def test_long_lists_have_no_limit_of_scapy():
    packet = layers.XenLibxcCheckpointDirtyPfnList(pfn=range(100_000))
    assert layers.XenLibxcCheckpointDirtyPfnList(bytes(packet)).pfn == list(range(100_000))
    assert "(100000 pfns)" in packet.show(dump=True)
    leaves = layers.XenLibxcX86CpuidPolicy(leaf=[layers.XenLibxcX86CpuidPolicyLeaf(leaf=n) for n in range(5000)])
    assert len(layers.XenLibxcX86CpuidPolicy(bytes(leaves)).leaf) == 5000


def test_hand_made_packets_copy_and_pickle():
    packet = layers.XenLibxcPageData(pfn=[1], page_data=bytes(4096))
    for clone in (packet.copy(), copy.deepcopy(packet), pickle.loads(pickle.dumps(packet))):
        assert bytes(clone) == bytes(packet)
    big = layers.XenLibxcPageDataBE(pfn=[1])
    assert bytes(pickle.loads(pickle.dumps(big))) == bytes(big)
    with pytest.raises(AttributeError):
        _ = packet.offset
    packet.omitted = 1
    with pytest.raises(ValueError, match="not kept"):
        bytes(packet)


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
