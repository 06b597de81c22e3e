# SPDX-License-Identifier: GPL-2.0-or-later
"""Every capture against its truth: who sends, mode, each record with its facts, what is missing, how it ends."""

from __future__ import annotations

import pytest

from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary
from tests.cross import tools
from tests.cross.tools import DIRECTIONS, NAMES, events, key, truth

MODES = {"legacy-xl-45": "plain"}
"""Where the truth does not say it: the receiver's `domain received` tells (stream.md 5.5)."""
ENDS = {"fin": {"fin"}, "reverse-fin": {"fin"}, "rst": {"rst"}, "none": {"capture end", "new connection"}}

RENAMED = {
    "guest_type": "type",
    "emulator_index": "index",
    "state": "control_id",
    "state_name": "control_id_name",
    "start_pfn": "p2m_start_pfn",
    "end_pfn": "p2m_end_pfn",
    "frames": "count",
    "vcpu": "vcpu_id",
}
SAME = [
    "config_len",
    "count",
    "data_pages",
    "emulator_id",
    "first_pfn",
    "guest_width",
    "header_size",
    "incarnation",
    "khz",
    "last_pfn",
    "mandatory_flags",
    "mode",
    "nsec",
    "optional_data_len",
    "optional_flags",
    "options",
    "page_shift",
    "pt_levels",
    "status",
    "stray",
    "types",
    "version",
]


def flows(name):
    """Pairs of true flow and the number of our flow between the same ends."""
    begun = [event for event in events(name) if isinstance(event, Flow) and event.phase == "begin"]
    assert len(begun) == len(truth(name)["flows"])
    for flow in truth(name)["flows"]:
        if flow["start"] == "file":
            yield flow, begun[0].flow
            continue
        ends = (flow["sender"], flow["receiver"], flow["receiver_port"], flow.get("sender_port"))
        found = next(
            one
            for one in begun
            if (one.sender[0], one.receiver[0], one.receiver[1], one.sender[1] if ends[3] else None) == ends
        )
        begun.remove(found)
        yield flow, found.flow


def of(name, number, kind, direction=None):
    return [
        event
        for event in events(name)
        if isinstance(event, kind) and event.flow == number and (direction is None or event.direction == direction)
    ]


def expected(record):
    return (*key(record), tuple(map(tuple, record.get("lost", ()))))


@pytest.mark.parametrize("name", NAMES)
def test_records_are_the_true_ones(name):
    """Exactly the true records, in order. One whose head is hit may be left out (it lies in a resync), never bent."""
    for flow, number in flows(name):
        for direction in DIRECTIONS:
            true = flow.get(direction, {"records": ()})["records"]
            mine = [(*key(record), record.lost) for record in of(name, number, Record, direction)]
            allowed = {expected(record) for record in true if record.get("head_lost")}
            wanted = [expected(record) for record in true if expected(record) not in allowed]
            assert [record for record in mine if record not in allowed] == wanted
            assert mine == sorted(set(mine), key=lambda record: record[2])


@pytest.mark.parametrize("name", NAMES)
def test_heads_that_are_hit_lie_where_framing_was_lost(name):
    for flow, number in flows(name):
        for direction in DIRECTIONS:
            true = flow.get(direction, {"records": ()})["records"]
            mine = {record.offset for record in of(name, number, Record, direction)}
            dark = [(one.offset, one.offset + one.skipped) for one in of(name, number, Resync, direction)]
            dark += [(one.offset, one.offset + one.length) for one in of(name, number, Gap, direction)]
            for record in true:
                start, stop = record["offset"], record["offset"] + record["size"]
                if start not in mine:
                    assert not tools.holes(tools.merged(dark), start, stop), record


@pytest.mark.parametrize("name", NAMES)
def test_facts(name):
    for flow, number in flows(name):
        for direction in DIRECTIONS:
            true = {key(one): one for one in flow.get(direction, {"records": ()})["records"]}
            for record in of(name, number, Record, direction):
                one = true[key(record)]
                if one.get("head_lost") or (not record.complete and record.type != "PAGE_DATA"):
                    continue
                check_facts(one, record)


def check_facts(one, record):
    fields = record.fields
    assert (record.type_id, record.body_length) == (one.get("type_id"), one.get("body_length"))
    facts = {k: v for k, v in one.items() if k in SAME or k in RENAMED}
    assert {k: fields[RENAMED.get(k, k)] for k in facts} == facts
    if "padding" in one:
        assert record.size == record.header_size + one["body_length"] + one["padding"]
    if "byteorder" in one:
        assert fields["byteorder"] == int(one["byteorder"], 16)
    if "xen" in one:
        assert f"{fields['xen_major']}.{fields['xen_minor']}" == one["xen"]
    if "leaves" in one:
        assert len(fields["leaf"]) == one["leaves"]
    if "msrs" in one:
        assert len(fields["msr"]) == one["msrs"]
    if "params" in one:
        assert [[param["index"], param["value"]] for param in fields["param"]] == one["params"]
    if one.get("json"):
        assert fields["config"].startswith("{")


@pytest.mark.parametrize("name", NAMES)
def test_mode_start_and_end(name):
    for flow, number in flows(name):
        last = of(name, number, Flow)[-1]
        assert last.phase == "end"
        assert (last.mode, last.start) == (MODES.get(name, flow["mode"]), flow["start"])
        if "end" in flow and flow["end"] != "cut":
            assert last.end in ENDS[flow["end"]]
        elif flow.get("end") == "cut":
            assert last.end == "capture end"


@pytest.mark.parametrize("name", [name for name in NAMES if tools.is_capture(name)])
def test_missing_bytes_are_gaps(name):
    for flow, number in flows(name):
        for direction in DIRECTIONS:
            gaps = [(gap.offset, gap.offset + gap.length) for gap in of(name, number, Gap, direction)]
            gaps = [(a, b - a) for a, b in tools.merged(gaps)]
            assert gaps == [tuple(span) for span in flow[direction]["missing"]]


@pytest.mark.parametrize("name", NAMES)
def test_summary_counts(name):
    for flow, number in flows(name):
        [summary] = of(name, number, Summary)
        assert summary.bytes == {d: flow.get(d, {"bytes": 0})["bytes"] for d in DIRECTIONS}
        assert sum(summary.records.values()) == len(of(name, number, Record))
        assert summary.incomplete == sum(not record.complete for record in of(name, number, Record))
        assert summary.lost == {
            d: sum(length for _, length in flow.get(d, {"missing": ()})["missing"]) for d in DIRECTIONS
        }


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_where_nothing_is_wrong(name):
    """On a complete stream as Xen writes it, no finding speaks of framing or lengths."""
    allowed = {
        "big-endian": {"stream.big_endian"},
        "unknown-records": {"record.unknown", "record.unknown_optional"},
        **{one: {"stream.legacy"} for one in NAMES if one.startswith("legacy")},
        "file-cut": {"capture.cut"},
        "snap-128": {"capture.snaplen"},
        "snap-1000": {"capture.snaplen"},
    }.get(name, set())
    if "colo" in name:
        allowed = {"libxc.checkpoint_dirty_pfn_list.header"}
    cut = any(
        "cut" in record
        for flow in truth(name)["flows"]
        for d in DIRECTIONS
        for record in flow.get(d, {"records": ()})["records"]
    )
    found = {event.id for event in events(name) if isinstance(event, Finding)}
    assert found - allowed == ({"stream.record_cut"} if cut else set())


@pytest.mark.parametrize("name", [name for name in NAMES if tools.is_capture(name)])
def test_evidence_of_every_record(name):
    """Frames are numbered and in order, times lie in the capture (a simple packet block has none)."""
    count = len(tools.packets(name))
    times = [packet.time for packet in tools.packets(name)]
    for record in (event for event in events(name) if isinstance(event, Record)):
        assert 1 <= record.first_frame <= count
        assert 1 <= record.last_frame <= count
        assert record.time == times[record.first_frame - 1]
        assert record.time_end == times[record.last_frame - 1]


def test_real_captures_are_there():
    assert [name for name in NAMES if truth(name).get("real")] == [
        "hvm-colo-xl",
        "hvm-colo-xl-420",
        "hvm-remus-libxl",
        "pv-live-libxl",
        "xl-migrate-hvm",
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if "legacy" in truth(name)])
def test_legacy_streams_are_named(name):
    """Recognise, say so and stop (stream.md 6)."""
    [found] = [event for event in events(name) if isinstance(event, Finding)]
    assert (found.id, found.direction) == ("stream.legacy", "forward")
    assert "convert-legacy-stream" in found.text
    assert truth(name)["legacy"].split(",")[0] in found.text or "STREAMv2" in found.text
