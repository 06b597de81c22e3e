# SPDX-License-Identifier: GPL-2.0-or-later
"""Gaps, resynchronisation, findings and flows as packets."""

from __future__ import annotations

from scapy.sendrecv import sniff

from dissector import layers
from dissector.layers import MigrationSession, XenRecord, notes
from dissector.wire import events
from tests.layers.test_session import engine_events
from tests.layers.tools import paths

LOSSY = "loss-in-pages"


def test_lost_bytes_and_notes():
    session = MigrationSession(gaps=True, findings=True, flows=True)
    packets = sniff(offline=paths(LOSSY)[0], session=session)
    whole = engine_events(LOSSY)
    kinds = (events.Record, *notes.CLASSES)
    assert [packet.event for packet in packets] == [event for event in whole if type(event) in kinds]
    record = next(p for p in packets if isinstance(p, XenRecord) and not p.complete)
    assert record.lost == ((30408, 1448), (60816, 11584))
    assert record.summary().endswith("[lost 13032 bytes]")
    gap = next(p for p in packets if isinstance(p, layers.XenMigrationGap))
    assert (gap.direction, gap.offset, gap.length) == ("forward", 30408, 1448)
    assert gap.summary() == f"forward 30408 migration gap length=1448 reason={gap.reason} frame={gap.frame}"
    assert bytes(gap) == b""
    assert gap.copy().event is gap.event
    assert {type(packet).__name__ for packet in packets} >= {"XenMigrationFlow", "XenMigrationSummary"}
    for packet in packets:
        assert packet.show(dump=True)
        assert packet.summary()
    only = sniff(offline=paths("loss-page-data-head")[0], session=MigrationSession(gaps=True))
    assert any(isinstance(packet, layers.XenMigrationResync) for packet in only)
    found = sniff(offline=paths("colo-header-16")[0], session=MigrationSession(findings=True))
    finding = next(packet for packet in found if isinstance(packet, layers.XenMigrationFinding))
    assert finding.id in finding.show(dump=True)
    assert finding.text in finding.summary()
