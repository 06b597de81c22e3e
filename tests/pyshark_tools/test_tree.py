# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import warnings
from contextlib import suppress

import pytest

pytest.importorskip("pyshark")

import pyshark
from pyshark.capture.capture import TSharkCrashException

from dissector.pyshark_tools import events, packet_events, pyshark_options
from dissector.pyshark_tools.tree import frame_time, tree_events
from tests.pyshark_tools.test_capture import CAPTURES, SMALL


@pytest.mark.parametrize(
    ("shown", "time"),
    [
        ("1795383310.123908001", 1_795_383_310_123_908_001),
        ("1795383310", 1_795_383_310_000_000_000),
        ("2026-11-22T21:35:10.123908001Z", 1_795_383_310_123_908_001),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("", None),
    ],
)
def test_frame_time(shown, time):
    assert frame_time(shown) == time


@pytest.mark.parametrize("name", ["xl-hvm-xenstore.pcap.gz", "loss-page-data-head.pcap.gz"])
def test_packets_of_a_capture_of_pyshark(name, home):
    """What pyshark's own FileCapture reads is as good; only times of other frames are not known."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    capture = pyshark.FileCapture(str(CAPTURES / name), keep_packets=False, eventloop=loop, **pyshark_options())
    found = []
    try:
        # Now and then pyshark loses the race for the exit status of its own child, and takes that for a crash.
        with suppress(TSharkCrashException), capture:
            for packet in capture:
                found += packet_events(packet)
    finally:
        capture._running_processes.clear()  # else it would close them when it is collected, with a closed loop
        loop.close()
        asyncio.set_event_loop(None)
    others = list(events(CAPTURES / name))
    assert [type(event) for event in found] == [type(event) for event in others]
    for event, other in zip(found, others, strict=True):
        assert (event.flow, event.direction, event.offset) == (other.flow, other.direction, other.offset)
        if event.event == "record":
            assert event.fields == other.fields
            assert (event.lost, event.lost_pfns) == (other.lost, other.lost_pfns)
            assert event.time in (None, other.time)


def common(direction, layer, name, offset, **more):
    return {
        "xenmig.direction": direction,
        "xenmig.layer": layer,
        "xenmig.type": name,
        "xenmig.offset": str(offset),
        "xenmig.size": "16",
        "xenmig.first_frame": "3",
        **{f"xenmig.{key}": value for key, value in more.items()},
    }


def test_records_of_one_type_in_one_frame():
    root = {
        "xenmig.flow": "1",
        "xenmig.libxl.checkpoint_end": common("forward", "libxl", "CHECKPOINT_END", 24),
        "xenmig.libxl.checkpoint_state": [
            common("forward", "libxl", "CHECKPOINT_STATE", 40) | {"xenmig.libxl.checkpoint_state.control_id": "2"},
            common("forward", "libxl", "CHECKPOINT_STATE", 8) | {"xenmig.libxl.checkpoint_state.control_id": "0"},
        ],
    }
    found = tree_events([root], 3, 7, lambda: "packet")
    assert [(event.offset, event.fields) for event in found] == [
        (8, {"control_id": 0, "control_id_name": "NEW"}),
        (24, {}),
        (40, {"control_id": 2, "control_id_name": "SVM_READY"}),
    ]
    assert {(event.flow, event.time, event.packet) for event in found} == {(1, 7, "packet")}


def test_several_findings_in_one_frame():
    def finding(text, **more):
        below = {f"xenmig.finding.{key}": value for key, value in more.items()}
        return {**below, "_ws.expert": {"xenmig.expert.stream.trailing": "", "_ws.expert.message": text}}

    root = {
        "xenmig.flow": "0",
        "xenmig.finding": ["stream.trailing", "capture.snaplen"],
        "xenmig.finding_tree": [finding("one", direction="forward", offset="9"), finding("two")],
    }
    found = tree_events([root], 3, None, lambda: None)
    assert [(event.id, event.text, event.direction, event.offset, event.frame) for event in found] == [
        ("stream.trailing", "one", "forward", 9, 3),
        ("capture.snaplen", "two", None, None, 3),
    ]


def test_no_warnings(home):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(events(SMALL))
