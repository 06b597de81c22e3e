# SPDX-License-Identifier: GPL-2.0-or-later
"""Slim captures say what those say that they were made of, to our reader and to Wireshark, and tell no secret."""

from __future__ import annotations

import copy
import random
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import generate
from captures.guests import Guest, colo, plain, remus
from dissector.recording import scrubbing
from dissector.spec.model import Array, StringPairs
from dissector.wire import codec
from dissector.wire.events import Record
from tests.captures.tools import tool
from tests.cross import test_segmentation, tools
from tests.cross.lua_tools import of_trees
from tests.cross.slim_tools import WAYS, captured, objects, slimmed, unlike, written
from tests.cross.test_lua import FILES, IPV6_LENGTH_0, LARGE, list_cap
from tests.cross.tools import NAMES, RawPacket, is_capture, modest, packets, paths
from tests.wireshark.tshark import PLUGIN, available

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CAPTURES = [name for name in NAMES if is_capture(name)]
CUT_FILES = {"file-cut"}
"""The file ends inside a packet; what is made of it does not."""


@cache
def original(name: str, *, frames: bool) -> list[dict]:
    """What our reader says of a capture."""
    found = objects(*paths(name), frames=frames)
    if name in CUT_FILES:
        found = [one for one in found if one.get("id") != "capture.cut"]
        found[-1]["findings"]["warn"] -= 1
    return found


# -- every capture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", CAPTURES)
def test_our_reader_says_the_same(name, how, tmp_path):
    """With ``cut`` everything, with ``heads`` all but frame numbers; and again when it is made slim again."""
    first = tmp_path / "first.pcapng"
    slimmed(paths(name), first, how)
    frames = how == "cut"
    assert unlike(original(name, frames=frames), objects(first, frames=frames)) == []
    again = tmp_path / "again.pcapng"
    slimmed([first], again, how)
    assert unlike(original(name, frames=frames), objects(again, frames=frames)) == []
    if how == "heads":
        assert len(captured(again)) <= len(captured(first))
    else:
        assert content(captured(again)) == content(captured(first))
        slimmed([first], again, "heads")
        assert unlike(original(name, frames=False), objects(again, frames=False)) == []


def content(found):
    return [(p.time, bytes(p.data), p.wire_length, p.linktype, p.left_out, p.snapped) for p in found]


@pytest.mark.parametrize("name", [name for name in CAPTURES if not name.startswith("fragments")])
@pytest.mark.parametrize("how", ["", *WAYS])
def test_scrubbed_captures_have_the_same_records(name, how, tmp_path):
    """Same records, same keys of their fields; only values are others. IP fragments are cut to their headers."""
    path = tmp_path / "x.pcapng"
    slimmed(paths(name), path, how, scrub=True)
    frames = how != "heads"
    before, after = original(name, frames=frames), objects(path, frames=frames)
    assert unlike([without_fields(one) for one in before], [without_fields(one) for one in after]) == []
    for one, other in zip(before, after, strict=True):
        if one["event"] == "record":
            assert keys(one["fields"]) == keys(other["fields"]), (one["type"], one["offset"])


def without_fields(one):
    return {key: value for key, value in one.items() if key != "fields"}


def keys(fields):
    """Names of fields; of what is inside, names and sizes."""
    found = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            value = {inner: len(str(text)) for inner, text in value.items()}
        elif isinstance(value, list):
            value = [sorted(one) if isinstance(one, dict) else None for one in value]
        elif isinstance(value, str) and not key.endswith("_name"):
            value = len(value)
        else:
            value = None
        found[key] = value
    found.pop("qemu", None)  # read out of what is blanked
    return {key: value for key, value in found.items() if not key.endswith("_name")}


# -- Wireshark --------------------------------------------------------------------------------------------------------

WIRESHARK = [name for name in FILES if name not in LARGE and name != IPV6_LENGTH_0]


@pytest.mark.skipif(not PLUGIN.exists(), reason=f"{PLUGIN} is not there")
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", WIRESHARK)
@pytest.mark.parametrize("tshark", available()[:1], ids=str)
def test_wireshark_finds_every_record(tshark, name, how, tmp_path):
    """Type, place and size; whether PAGE_DATA is complete Wireshark cannot know."""
    path = tmp_path / "x.pcapng"
    slimmed([FILES[name]], path, how)
    found = of_trees(tshark.trees(path, "-2", *list_cap(40), display_filter="frame"))
    theirs = sorted((row["direction"], row["layer"], row["type"], row["offset"], row["size"]) for row in found.records)
    assert theirs == records(objects(FILES[name]))


def records(found: list[dict]) -> list[tuple]:
    """Records in few words."""
    chosen = ("direction", "layer", "type", "offset", "size")
    return sorted(tuple(one[what] for what in chosen) for one in found if one["event"] == "record")


# -- any network ------------------------------------------------------------------------------------------------------


def check(kept: Sequence[RawPacket], how: str, folder: Path) -> None:
    """Make packets slim, read, compare; and what comes of making that slim again."""
    source = written(kept, folder / "in.pcap")
    target, again = folder / "out.pcapng", folder / "again.pcapng"
    frames = how == "cut"
    before = objects(source, frames=frames)
    slimmed([source], target, how)
    assert unlike(before, objects(target, frames=frames)) == []
    slimmed([target], again, how)
    assert unlike(before, objects(again, frames=frames)) == []


def check_scrubbed_records(kept: Sequence[RawPacket], how: str, folder: Path) -> None:
    """The same for records with their secrets blanked."""
    source, target = written(kept, folder / "in.pcap"), folder / "out.pcapng"
    frames = how == "cut"
    slimmed([source], target, how, scrub=True)
    before, after = objects(source, frames=frames), objects(target, frames=frames)
    assert unlike([without_fields(one) for one in before], [without_fields(one) for one in after]) == []


NETWORK = {
    "wire": test_segmentation.wires(
        list(test_segmentation.TALKS), st.one_of(st.integers(20, 1460), st.integers(1, 65160))
    ),
    "lost": st.sampled_from((0, 0, 0.02, 0.2)),
    "start": st.sampled_from((0, 0, 0.3, 0.9)),
    "end": st.sampled_from((1, 1, 0.8, 0.3)),
    "snap": st.sampled_from((0, 0, 0, 40, 54, 60, 200, 1000)),
    "how": st.sampled_from(WAYS),
}


def taken(wire, lost: float, start: float, end: float, snap: int) -> list[RawPacket]:
    """What is captured of a connection."""
    found, _ = test_segmentation.frames(test_segmentation.talk(wire.name), wire)
    rng = random.Random(wire.seed)
    chosen = found[int(len(found) * start) : max(int(len(found) * end), 1)]
    kept = [packet for packet in chosen if rng.random() >= lost]
    return [packet._replace(data=packet.data[:snap]) for packet in kept] if snap else kept


@modest(80)
@given(**NETWORK)
def test_any_network(wire, lost, start, end, snap, how, tmp_path_factory):
    """Any segmentation, order, repetition, loss and snap length; from the middle, and up to the middle."""
    kept = taken(wire, lost, start, end, snap)
    folder = tmp_path_factory.mktemp("slim")
    if kept:
        check(kept, how, folder)
    if kept and not (lost or start or snap):  # to find records again takes bytes that are secret
        check_scrubbed_records(kept, how, folder)


# -- nothing secret gets out ------------------------------------------------------------------------------------------

SECRET = bytes(range(0x80, 0x100))
"""Secret bytes are these, no others are; fillers never are."""
CHECKSUM = slice(50, 52)
PAYLOAD = 54
"""In the frames of `tools.frame`: Ethernet, IPv4 and TCP without options."""


def secretive(**more) -> Guest:
    """A guest whose configuration has secret values."""
    rng = random.Random(str(more))
    values = [bytes(rng.choices(SECRET, k=count)) for count in (3, 40, 200)]
    config = b'{"c_info": {"name": "%b", "n": -12, "list": ["%b", true, 1.5e3]}, "b_info": "%b\\""}\0' % (*values,)
    return Guest(
        pages=8, types=dict.fromkeys((2, 3, 5), "XTAB"), emulator_bytes=300, config=config, xenstore=True, **more
    )


STREAMS = {
    "plain": lambda: plain(secretive(), passes=((0, 1), (4,))),
    "two vcpus": lambda: plain(secretive(vcpus=2), passes=((1,),)),
    "v2": lambda: plain(secretive(version=2), passes=()),
    "pv": lambda: plain(secretive(kind="pv"), passes=((1, 4),)),
    "pv 32": lambda: plain(secretive(kind="pv", width=4), passes=()),
    "libxc": lambda: plain(secretive(), "libxc", passes=((1,),)),
    "remus": lambda: remus(secretive(), ((1,), (), (0, 4))),
    "colo": lambda: colo(secretive(), ((0, 1), (), (4,)), passes=((1,),)),
    "failed": lambda: plain(secretive(), passes=((0,),), status=3),
}


@cache
def poisoned(name: str):
    """A conversation with `SECRET` bytes in all places that are secret by the specification; and where they are."""
    conversation = STREAMS[name]()
    wire = test_segmentation.Wire(name, (1448,), (1, 1), 0, 0, 0, 0, "fin", "forward", 0)
    frames, _ = test_segmentation.frames(conversation, wire)
    rng = random.Random(name)
    masks = {direction: bytearray(len(conversation.half(direction).data)) for direction in tools.DIRECTIONS}
    for record in (event for event in test_segmentation.read(frames) if isinstance(event, Record)):
        data, mask = conversation.half(record.direction).data, masks[record.direction]
        start = record.offset + (record.header_size if record.type_id is not None else 0)
        assert record.complete
        for at in secret_places(record):
            data[start + at] = rng.choice(SECRET)
            mask[start + at] = 1
        if record.type == "CONFIG":
            for at in range(start, start + len(record.body)):
                mask[at] = data[at] >= SECRET[0]
    return conversation, masks


def secret_places(record: Record) -> set[int]:
    """Places in a body, by the flags in the specification; of the configuration those that are secret already."""
    definition = record.definition
    whole = record.body_length if record.type_id is not None and record.type == "PAGE_DATA" else len(record.body)
    places = set(range(len(record.body), whole))
    for node in codec.walk(definition, record.body, record.order):
        places |= set(places_of(node))
    if definition.signature is not None:
        at, text = definition.signature
        places -= set(range(at, at + len(text)))
    return places


def places_of(node: codec.Node):
    """Places of one element."""
    element = node.element
    if isinstance(element, Array):
        for item in node.value:
            for inner in item:
                yield from places_of(inner)
    elif isinstance(element, StringPairs):
        at = node.offset
        for key, value in node.value:
            at += len(key) + 1
            yield from range(at, at + len(value))
            at += len(value) + 1
    elif getattr(element, "secret", False) and not getattr(element, "text", False):
        yield from range(node.offset, node.offset + node.size)


def check_scrubbed(kept: Sequence[RawPacket], how: str, folder: Path, masks: dict, bases: dict) -> None:
    """Every packet, byte by byte."""
    target = folder / "out.pcapng"
    slimmed([written(kept, folder / "in.pcap")], target, how, scrub=True)
    before = {packet.time: packet for packet in kept}
    after = captured(target)
    for packet in after:
        was, now = before[packet.time], bytes(packet.data)
        assert packet.wire_length == was.wire_length
        assert len(now) <= min(len(was.data), 14 + int.from_bytes(was.data[16:18]))
        direction = "forward" if was.data[34:38] == tools.PORTS["forward"] else "reverse"
        at = tools.offset(int.from_bytes(was.data[38:42]), bases[direction])
        shown = now[PAYLOAD:]
        secret = masks[direction][at : at + len(shown)] if shown else b""
        assert not [at + place for place, hidden in enumerate(secret) if hidden and shown[place] >= SECRET[0]]
        head, old = bytearray(now[:PAYLOAD]), bytearray(was.data[: min(PAYLOAD, len(now))])
        for one in (head, old):
            one[CHECKSUM] = b""
        assert head == old
    if how != "heads":
        assert [packet.time for packet in after] == [packet.time for packet in kept]


def damaged(conversation, count: int, rng: random.Random):
    """A copy with heads of records changed: none, or another length. Types stay: what they say is believed."""
    result = copy.deepcopy(conversation)
    for direction in ("forward", "reverse"):
        half = result.half(direction)
        for record in rng.sample(half.records, min(count, len(half.records))):
            at = record["offset"]
            if record["size"] < 8 or half.data[at : at + 4] == b"\xff" * 4:
                continue
            if rng.random() < 0.5:
                half.data[at : at + 8] = b"in pieces"[:8]
            else:
                half.data[at + 4] = half.data[at + 4] ^ 8 << rng.randrange(4)
    return result


SECRETS = {
    **NETWORK,
    "wire": test_segmentation.wires(list(STREAMS), st.one_of(st.integers(20, 1460), st.integers(1, 65160))),
    "snap": st.sampled_from((0, 0, 0, 60, 200, 1000)),
    "how": st.sampled_from(("", *WAYS)),
    "damage": st.sampled_from((0, 0, 1, 4)),
    "waiting": st.sampled_from((32 << 20, 32 << 20, 20_000, 0)),
    "trailers": st.booleans(),
}


@modest(120)
@given(**SECRETS)
def test_no_secret_gets_out(wire, lost, start, end, snap, how, damage, waiting, trailers, tmp_path_factory):
    """Whatever is lost, late, doubled, cut, damaged, or has bytes behind the datagram."""
    rng = random.Random(wire.seed)
    conversation, masks = poisoned(wire.name)
    if damage:
        conversation = damaged(conversation, damage, rng)
    found, _ = test_segmentation.frames(conversation, wire)
    if damage:  # what follows shows the damage
        end, lost = 1, 0
    chosen = found[int(len(found) * start) : max(int(len(found) * end), 1)]
    kept = [packet for packet in chosen if rng.random() >= lost]
    if trailers:
        kept = [trailed(packet, rng) for packet in kept]
    if snap:
        kept = [packet._replace(data=packet.data[:snap]) for packet in kept]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scrubbing, "MAX_WAITING", waiting)
        if kept:
            bases = dict(zip(tools.DIRECTIONS, (isn + 1 for isn in wire.isns), strict=True))
            check_scrubbed(kept, how, tmp_path_factory.mktemp("scrub"), masks, bases)


def trailed(packet: RawPacket, rng: random.Random) -> RawPacket:
    """A frame with bytes behind its datagram, as some network cards leave them there."""
    data = packet.data + bytes(rng.choices(SECRET, k=rng.choice((0, 4, 6, 46))))
    return packet._replace(data=data, wire_length=len(data))


# -- checksums, sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["", *WAYS])
@pytest.mark.parametrize("name", ["xl-hvm-xenstore", "xl-pv64-v3", "raw-ipv6", "vlan"])
def test_checksums_stay_right(name, how, tmp_path):
    """By tshark, of all segments that are whole."""
    path = tmp_path / "x.pcapng"
    slimmed(paths(name), path, how, scrub=True)
    fields = ("tcp.checksum.status", "tcp.len", "frame.cap_len", "frame.len")
    command = [tool("tshark"), "-n", "-o", "tcp.check_checksum:TRUE", "-r", str(path), "-T", "fields"]
    command += [part for field in fields for part in ("-e", field)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    whole = [status for status, _, captured_length, length in rows if captured_length == length]
    assert len(whole) > 10
    assert set(whole) == {"1"}
    assert {status for status, *_ in rows} <= {"1", "2", "3", ""} - {"0"}


def test_a_wrong_checksum_stays_wrong(tmp_path):
    name = "xl-hvm-xenstore"
    broken = []
    for packet in packets(name):
        data = bytearray(packet.data)
        data[50] ^= 1
        broken.append(packet._replace(data=bytes(data)))
    path = tmp_path / "x.pcapng"
    slimmed([written(broken, tmp_path / "in.pcap")], path, "", scrub=True)
    command = [tool("tshark"), "-n", "-o", "tcp.check_checksum:TRUE", "-r", str(path)]
    command += ["-Y", "tcp.checksum.status == 1", "-T", "fields", "-e", "frame.number"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == ""


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
@pytest.mark.parametrize(("how", "least", "most"), [("cut", 9, 12), ("heads", 100, 1000)])
def test_sizes(form, how, least, most, tmp_path):
    """Page contents at MTU 1500: 66 bytes of headers and 36 of the block stay of a packet of 1514."""
    source, target = tmp_path / "in", tmp_path / "out.pcapng"
    generate.generate(source, generate.Options(size=16 << 20, format=form))
    slimmed([source], target, how)
    assert least < source.stat().st_size / target.stat().st_size < most
    assert unlike(objects(source, frames=how == "cut"), objects(target, frames=how == "cut")) == []
