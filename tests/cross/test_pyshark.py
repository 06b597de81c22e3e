# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections, their packets and their payload bytes are those that pyshark counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest

from dissector.wire.events import Flow, Summary, Total
from tests.captures.tools import tool
from tests.cross.tools import events, paths

pyshark = pytest.importorskip("pyshark")
TSharkCrashException = pyshark.capture.capture.TSharkCrashException

NAMES = ("vlan", "two-migrations-and-noise")
"""One connection; and several, interleaved. Nothing is sent twice in them, so payload bytes are stream bytes."""


@pytest.fixture(scope="module", params=NAMES)
def counted(request):
    """Name of a capture, its packets per connection, payload bytes per connection and source, and all packets."""
    tool("tshark")
    [path] = paths(request.param)
    for attempt in range(3):
        try:
            return request.param, *count(path)
        except TSharkCrashException as crash:
            # On a busy machine asyncio sometimes finds its child reaped already, and says status 255.
            if "retcode: 255" not in str(crash) or attempt == 2:
                raise
    raise AssertionError


def count(path):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    capture = pyshark.FileCapture(
        str(path), keep_packets=False, decode_as={"tcp.port==8002": "data"}, eventloop=loop, tshark_path=tool("tshark")
    )
    packets: Counter[int] = Counter()
    payload: Counter[tuple[int, str, int]] = Counter()
    total = 0
    try:
        for packet in capture:
            total += 1
            if "TCP" in packet:
                stream = int(packet.tcp.stream)
                packets[stream] += 1
                payload[stream, packet.ip.src, int(packet.tcp.srcport)] += int(packet.tcp.len)
        return packets, payload, total
    finally:
        with contextlib.suppress(TSharkCrashException):
            capture.close()
        loop.close()
        asyncio.set_event_loop(None)


def flows(name):
    return [event for event in events(name) if isinstance(event, Flow) and event.phase == "begin"]


def streams(flow, payload):
    """Connections between the two ends of one of our flows."""
    found = {stream for stream, *end in payload if tuple(end) == flow.sender}
    return found & {stream for stream, *end in payload if tuple(end) == flow.receiver}


def test_payload_bytes_of_each_direction(counted):
    name, _, payload, _ = counted
    summaries = {event.flow: event for event in events(name) if isinstance(event, Summary)}
    assert len(summaries) == len(flows(name)) > 0
    for flow in flows(name):
        [stream] = streams(flow, payload)
        theirs = {"forward": payload[stream, *flow.sender], "reverse": payload[stream, *flow.receiver]}
        assert summaries[flow.flow].bytes == theirs


def test_packets_and_connections(counted):
    name, packets, payload, total = counted
    ours = events(name)[-1]
    assert isinstance(ours, Total)
    assert ours.frames == total
    assert ours.flows == len(flows(name))
    with_payload = {stream for (stream, *_), count in payload.items() if count}
    assert ours.flows + ours.other_connections == len(with_payload)
    if name == "vlan":
        assert list(packets.values()) == [ours.frames]
