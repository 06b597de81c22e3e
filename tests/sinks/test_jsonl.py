# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import dataclasses
import json
import re
import struct
from pathlib import Path

import msgspec.json
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.sinks.jsonl import JsonSink, event_object, record_object
from dissector.spec import ALL_RECORDS, findings
from dissector.spec.model import Array, Pages
from dissector.wire.events import Finding
from tests.sample_events import (
    BEGIN,
    END,
    FINDING,
    GAP,
    RESYNC,
    SUMMARY,
    TIME,
    TOTAL,
    XTAB,
    dirty_list,
    output,
    page_data,
    record,
    unknown,
    written,
)


def objects(*events, **options) -> list[dict]:
    stream = output()
    sink = JsonSink(stream, **options)
    for event in events:
        sink.write(event)
    sink.close()
    return [json.loads(line) for line in written(stream).splitlines()]


def test_a_record():
    (shown,) = objects(page_data([0, 1, 0xF << 60 | 2]))
    assert shown == {
        "schema": 1,
        "event": "record",
        "flow": 0,
        "direction": "forward",
        "layer": "libxc",
        "type": "PAGE_DATA",
        "type_id": 1,
        "offset": 2794,
        "size": 8 + 8 + 3 * 8 + 2 * 4096,
        "body_length": 8 + 3 * 8 + 2 * 4096,
        "time": "2026-11-22T21:35:10.123456789Z",
        "time_end": "2026-11-22T21:35:11.623456789Z",
        "first_frame": 8,
        "last_frame": 9,
        "complete": True,
        "fields": {
            "count": 3,
            "reserved": 0,
            "first_pfn": 0,
            "last_pfn": 2,
            "data_pages": 2,
            "types": {"NOTAB": 2, "XTAB": 1},
        },
    }
    assert list(shown)[:2] == ["schema", "event"]


def test_only_the_first_object_names_the_schema():
    assert ["schema" in shown for shown in objects(BEGIN, page_data([1]), TOTAL)] == [True, False, False]


def test_whole_pfn_lists_on_request():
    (shown,) = objects(page_data([7, 0xF << 60 | 9]), pfns=True)
    assert shown["fields"]["pfn"] == [7, 9]


def test_headers_and_messages_have_no_type_number():
    (shown,) = objects(record("xl", "READY", b"domain received, ready to unpause\0"))
    assert "type_id" not in shown
    assert "body_length" not in shown
    assert shown["fields"] == {"text": "domain received, ready to unpause"}


def test_what_is_missing():
    shown, cut = objects(
        page_data([3, 4], complete=False, lost=((2794 + 40, 8),)), record("libxc", "END", complete=False)
    )
    assert (shown["complete"], shown["lost"], shown["lost_pfns"]) == (False, [[2834, 8]], [3])
    assert cut["lost"] == []
    assert "lost_pfns" not in cut
    assert "lost" not in event_object(record("libxc", "END"))


def test_null_where_there_is_no_time_or_frame():
    (shown,) = objects(record("libxc", "END", time=None, time_end=None, first_frame=0, last_frame=0))
    assert [shown[key] for key in ("time", "time_end", "first_frame", "last_frame")] == [None] * 4


def test_stray_bytes_of_a_dirty_list():
    (shown,) = objects(dirty_list([0x179, 0x3F8], 16))
    assert shown["size"] == 32
    assert shown["fields"] == {
        "count": 2,
        "first_pfn": 0x179,
        "last_pfn": 0x3F8,
        "header_size": 16,
        "stray": "0000000000000000",
    }


def test_flows():
    begin, end = objects(BEGIN, END)
    assert begin["sender"] == {"address": "192.0.2.1", "port": 44210}
    assert (begin["phase"], begin["start"], begin["entry"], begin["mode"], begin["end"]) == (
        "begin",
        "syn",
        "xl",
        "unknown",
        None,
    )
    assert (end["phase"], end["end"], end["mode"]) == ("end", "rst", "colo")
    (bare,) = objects(dataclasses.replace(BEGIN, sender=("", 0), receiver=("", 0), start="file", time=None, frame=0))
    assert (bare["sender"], bare["receiver"], bare["time"], bare["frame"]) == (None, None, None, None)


def test_gaps_and_resynchronisation():
    gap, resync, lost = objects(GAP, RESYNC, dataclasses.replace(RESYNC, found=""))
    assert gap == {
        "schema": 1,
        "event": "gap",
        "flow": 0,
        "direction": "forward",
        "offset": 5000,
        "length": 2896,
        "reason": "lost",
        "time": "2026-11-22T21:35:10.123456789Z",
        "frame": 12,
    }
    assert (resync["skipped"], resync["found"], lost["found"]) == (12345, "libxc PAGE_DATA", None)


@pytest.mark.parametrize("cause", ["capture", "wire"])
def test_who_lost_what_is_missing(cause):
    assert objects(dataclasses.replace(GAP, cause=cause))[0]["cause"] == cause


def test_counters_of_a_live_capture():
    none, dropped, both = objects(
        TOTAL, dataclasses.replace(TOTAL, dropped=0), dataclasses.replace(TOTAL, received=9, dropped=2)
    )
    assert "capture" not in none
    assert dropped["capture"] == {"received": None, "dropped": 0}
    assert both["capture"] == {"received": 9, "dropped": 2}


def test_findings():
    shown, about_all = objects(FINDING, Finding(findings.CAPTURE_CUT, "cut"))
    assert (shown["id"], shown["rule"], shown["severity"], shown["section"], shown["frames"]) == (
        "libxc.checkpoint_dirty_pfn_list.header",
        93,
        "error",
        "4.6",
        [20],
    )
    assert {about_all[key] for key in ("rule", "flow", "direction", "offset", "time", "section")} == {None}
    assert about_all["frames"] == []


def test_summaries():
    flow, total = objects(SUMMARY, TOTAL)
    assert (flow["event"], flow["scope"], flow["flow"]) == ("summary", "flow", 0)
    assert flow["bytes"] == {"forward": 8399290, "reverse": 1766}
    assert flow["findings"] == {"error": 1, "warn": 0, "note": 2}
    assert flow["seconds"] == 0.75
    assert total == {
        "event": "summary",
        "scope": "input",
        "frames": 7102,
        "flows": 1,
        "other_connections": 3,
        "findings": {"error": 1, "warn": 0, "note": 0},
    }


@pytest.mark.parametrize("value", [0, 2**53 + 1, 2**64 - 1])
def test_integers_are_exact(value):
    body = b"\xff" * 8 + b"XENF\0\0\0\3" + bytes(8)
    (shown,) = objects(record("libxc", "IMAGE_HEADER", value.to_bytes(8, "big") + body[8:]))
    assert shown["fields"]["marker"] == value


def test_text_that_is_no_utf8_stays_valid_json():
    (shown,) = objects(record("xl", "CONFIG", b"\3\0\0\0a\xff\0"))
    assert shown["fields"]["config"] == "a\ufffd"


@pytest.mark.parametrize("definition", ALL_RECORDS, ids=lambda definition: f"{definition.layer} {definition.name}")
def test_the_published_schema_names_every_field(definition):
    """A new record type or field needs a line in docs/json.md."""
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| (xl|libxl|libxc) `", line)]
    (keys,) = [row[2] for row in rows if row[1].split()[0] == definition.layer and f"`{definition.name}`" in row[1]]
    for element in definition.body:
        if not isinstance(element, Pages):
            for name in (
                element.name,
                *(inner.name for inner in (element.items if isinstance(element, Array) else ())),
            ):
                assert f"`{name}`" in keys


def test_what_is_inside_of_bytes_on_request():
    body = struct.pack("<HHIQ", 19, 1, 8, 7) + bytes(8)
    plain, deep = (objects(record("libxc", "HVM_CONTEXT", body), deep=deep)[0]["fields"] for deep in (False, True))
    assert "tsc_adjust" not in plain["section"][0]
    assert deep["section"][0].pop("tsc_adjust") == {"tsc_adjust": 7}
    assert plain == deep


def test_deep_has_the_facts_that_are_not_in_the_body():
    for deep in (False, True):
        assert objects(dirty_list([5, 6], header_size=16), deep=deep)[0]["fields"]["header_size"] == 16


PACKETS = st.tuples(st.sampled_from([None, 0, TIME]), st.sampled_from([None, 0, TIME]), st.integers(0, 2))
RECORDS = st.builds(
    lambda sample, flow, offset, when, complete: dataclasses.replace(
        sample,
        flow=flow,
        offset=offset,
        time=when[0],
        time_end=when[1],
        first_frame=when[2],
        last_frame=when[2] and 2,
        complete=complete,
        lost=() if complete else ((offset, 1),),
    ),
    st.sampled_from(
        [
            page_data([1, XTAB | 2]),
            page_data([1]),
            page_data([3, 4, 5], direction="reverse"),
            dirty_list([7, 8], 16),
            record("libxc", "HVM_CONTEXT", b"abc"),
            record("xl", "BANNER", b"x"),
            unknown(),
            unknown(0x7F),
        ]
    ),
    st.integers(0, 1),
    st.integers(0, 3),
    PACKETS,
    st.booleans(),
)


@given(st.lists(RECORDS, max_size=8), st.booleans())
def test_lines_put_together_from_remembered_parts_are_those_that_are_encoded_whole(records, pfns):
    stream = output()
    sink = JsonSink(stream, pfns=pfns)
    sink.write(TOTAL)
    sink.write_all(records)
    lines = written(stream).splitlines()[1:]
    assert lines == [msgspec.json.encode(record_object(one, pfns=pfns)).decode() for one in records]


def test_remembered_parts_are_bounded(monkeypatch):
    monkeypatch.setattr("dissector.sinks.jsonl._REMEMBERED", 2)
    flows = [0, 1, 2, 3, 0]
    shown = objects(TOTAL, *(page_data([1, 2], flow=flow) for flow in flows))
    assert [one["flow"] for one in shown[1:]] == flows
