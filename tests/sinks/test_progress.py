# SPDX-License-Identifier: GPL-2.0-or-later
"""Where migrations are, told while the events of real and made ones come."""

from __future__ import annotations

import dataclasses

import pytest

from dissector.sinks.progress import FlowProgress, ProgressSink
from dissector.wire.events import Flow
from tests.cross.tools import events
from tests.sample_events import (
    BEGIN,
    END,
    GAP,
    RESYNC,
    SUMMARY,
    TIME,
    TOTAL,
    checkpoint_state,
    dirty_list,
    page_data,
    record,
)

SECOND = 1_000_000_000


def progress(*given):
    flow = FlowProgress(BEGIN)
    for event in given:
        flow.add(event)
    return flow


def pages(first, count=4):
    return page_data(list(range(first, first + count)))


def phases(name):
    """What is said in the course of a capture, without numbers that repeat."""
    flow, said = None, []
    for event in events(name):
        if isinstance(event, Flow) and event.phase == "begin" and flow is None:
            flow = FlowProgress(event)
        if flow is not None and getattr(event, "flow", None) == flow.number:
            flow.add(event)
            text = flow.phase()
            if not said or said[-1] != text:
                said.append(text)
    return said


def test_the_ends_are_named():
    assert (progress().sender, progress().receiver) == ("192.0.2.1:44210", "192.0.2.2:8002")
    assert (progress().number, progress().phase(), progress().loss(), progress().sent) == (0, "headers", "", 0)


def test_passes_of_a_plain_migration():
    assert progress(pages(0)).phase() == "pass 1, 4 pages"
    assert progress(pages(0), pages(2, 3)).phase() == "pass 2, 3 pages (4 in the one before)"
    flow = progress(pages(0), record("libxc", "SHARED_INFO"))
    assert flow.phase() == "processors and hypervisor state"
    flow.add(record("libxc", "END"))
    assert (flow.phase(), flow.mode) == ("device state", "plain")
    flow.add(SUMMARY)
    assert flow.phase() == "connection lost after 5 checkpoints"


def test_a_real_migration():
    said = phases("xl-migrate-hvm")
    assert said[0] == "headers"
    assert said[1].startswith("pass 1, ")
    assert any(text.startswith("pass 2, ") and "in the one before" in text for text in said)
    assert said.index("processors and hypervisor state") < said.index("device state")
    assert said[-1] == "completed" or said[-1]


def test_a_real_protection_by_colo():
    said = [text for text in phases("hvm-colo-xl") if text.startswith("checkpoint ")]
    numbers = [int(text.split()[1].rstrip(",")) for text in said]
    assert numbers == sorted(numbers)
    assert numbers[-1] >= 5
    assert any("dirty at the secondary" in text and "every" in text and " long" in text for text in said)


def test_a_real_protection_by_remus():
    said = [text for text in phases("hvm-remus-libxl") if text.startswith("checkpoint ")]
    assert said
    assert not any("secondary" in text for text in said)
    assert any("every" in text for text in said)


def checkpoint(at, *, new=True):
    """Of COLO: NEW and CHECKPOINT of the primary, RESUMED of the secondary a tenth of a second later."""
    begun = {"time": at, "time_end": at}
    over = {"time": at + SECOND // 10, "time_end": at + SECOND // 10}
    return [
        *([checkpoint_state(0, direction="forward", **begun)] if new else []),
        dirty_list([1, 2, 3]),
        pages(0, 7),
        record("libxc", "CHECKPOINT", **begun),
        checkpoint_state(3, **over),
    ]


def test_timing_of_checkpoints():
    flow = progress(pages(0), *checkpoint(TIME, new=False))
    assert flow.mode == "colo"
    assert flow.phase() == "checkpoint 1, 3 dirty at the secondary"
    for event in checkpoint(TIME + SECOND):
        flow.add(event)
    assert flow.phase() == "checkpoint 2, 7 pages, 3 dirty at the secondary, every 1.000 s, 0.100 s long"


def test_loss():
    assert progress(GAP).loss() == "2.8 KiB lost"
    cut = page_data([1], complete=False, lost=((2900, 5),))
    assert progress(GAP, RESYNC, cut).loss() == "2.8 KiB lost, 12.1 KiB passed over, 1 record incomplete"


def test_rates():
    flow = progress()
    assert flow.rates() is None
    flow.positions(10.0, 0, 0)
    flow.positions(10.0, 5, 5)
    assert flow.rates() is None
    flow.positions(12.0, 1_000_000, 1000)
    assert flow.rates() == ("4.0 Mbit/s", "4.0 kbit/s")
    assert flow.sent == 1_000_000
    for second in range(13, 40):
        flow.positions(float(second), 1_000_000, 1000)
    assert flow.rates() == ("0.0 bit/s", "0.0 bit/s")
    assert len(flow._positions) < 10


@pytest.mark.parametrize("event", [TOTAL, GAP, page_data([1])])
def test_events_of_flows_that_never_began_change_nothing(event):
    sink = ProgressSink()
    sink.write(event)
    assert sink.running() == []


def test_the_sink_follows_all_flows():
    sink = ProgressSink()
    other = dataclasses.replace(BEGIN, flow=1)
    for event in (BEGIN, other, pages(0), END, SUMMARY):
        sink.write(event)
    assert [flow.number for flow in sink.running()] == [1]
    assert sorted(sink.flows) == [0, 1]
    sink.positions(1.0, [(1, "forward", 10), (1, "reverse", 5), (7, "forward", 3)])
    sink.positions(2.0, [(1, "forward", 10), (1, "reverse", 5)])
    assert sink.flows[1].sent == 10
    assert sink.flows[0].rates() is None
    sink.close()
