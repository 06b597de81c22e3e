# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold of the events of any input, however hostile."""

from __future__ import annotations

from itertools import pairwise

from dissector.wire import codec
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total
from dissector.wire.limits import Limits

SMALL = Limits(
    max_body=4096,
    max_flow_buffer=20_000,
    max_total_buffer=40_000,
    max_flows=4,
    max_search=50_000,
    max_holes=8,
    max_held=64,
    max_lost=8,
    max_candidates=4,
    max_fragment_bytes=5_000,
    reorder_window=5_000,
)


def check_record(record, limits):
    """Sizes fit together, what is lost lies inside, and of page contents not one byte was kept."""
    assert record.offset >= 0
    assert record.size >= 0
    if record.body_length is not None:
        assert record.size == record.header_size + (record.body_length + 7 & ~7)
    assert len(record.body) <= limits.max_body
    plan = codec.list_plan(record.definition)
    if plan is not None and len(record.body) >= plan[0]:
        before, at, width = plan
        assert len(record.body) <= before + 8 * int.from_bytes(record.body[at : at + width], record.order)
    assert record.complete == (None if record.unseen and not record.lost else not record.lost)
    reached = record.offset
    for start, length in record.lost:
        assert length > 0
        assert reached <= start
        reached = start + length
    assert reached <= record.offset + record.size
    assert record.time is None or record.time_end is None or record.first_frame <= record.last_frame


def check_events(events, limits=SMALL):
    """Records ascend without overlap, flows open and close once, what they add up to is what was said."""
    assert isinstance(events[-1], Total)
    reached, gone, ended, records, findings = {}, {}, {}, {}, 0
    for event in events:
        str(event)
        if isinstance(event, Total):
            assert event is events[-1]
            continue
        if isinstance(event, Flow):
            assert (event.flow in ended) == (event.phase == "end")
            ended[event.flow] = event.phase == "end"
        elif isinstance(event, Record):
            assert ended[event.flow] is False
            check_record(event, limits)
            place = event.flow, event.direction
            assert event.offset >= reached.get(place, 0)
            reached[place] = event.offset + event.size
            records[event.flow] = records.get(event.flow, 0) + 1
        elif isinstance(event, Gap):
            assert ended[event.flow] is False
            assert event.length > 0
            gone.setdefault((event.flow, event.direction), []).append((event.offset, event.offset + event.length))
        elif isinstance(event, Resync):
            assert ended[event.flow] is False
            assert event.skipped >= 0
        elif isinstance(event, Summary):
            assert ended[event.flow] is True
            assert sum(event.records.values()) == records.get(event.flow, 0)
            assert event.bytes.keys() <= {"forward", "reverse"}
            for direction, count in event.bytes.items():
                assert event.lost.get(direction, 0) >= 0
                assert 0 <= event.skipped.get(direction, 0) <= count + event.lost.get(direction, 0)
        elif isinstance(event, Finding):
            findings += 1
            assert "\n" not in event.text
    for spans in gone.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(spans)))
    assert all(ended.values())
    assert sum(events[-1].findings.values()) == findings
