# SPDX-License-Identifier: GPL-2.0-or-later
"""Slim captures say what the captures say that they were made of, to our reader and to Wireshark, and tell no secret."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import generate
from captures import damage
from captures.guests import Guest, hvm, plain, remus
from captures.network import Link, converse
from captures.packets import travel
from dissector.recording.recording import section_comment
from dissector.sinks.jsonl import event_object
from dissector.wire.events import Record
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
    slimmed([source], target, how, scrub=True)
    scrubbed = objects(target, frames=frames)
    assert unlike([without_fields(one) for one in before], [without_fields(one) for one in scrubbed]) == []


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
    if kept:
        check(kept, how, tmp_path_factory.mktemp("slim"))
