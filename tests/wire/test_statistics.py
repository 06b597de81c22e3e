# SPDX-License-Identifier: GPL-2.0-or-later
"""What a flow adds up to: counts, passes, checkpoints, and how it ended."""

from __future__ import annotations

import struct

import pytest

from captures.guests import Guest, colo, hvm, plain, remus
from dissector.spec import libxc, libxl, xl
from dissector.spec.findings import FRAMING, LEGACY
from dissector.wire.events import Finding, Gap, Record, Resync, Summary
from dissector.wire.statistics import Statistics
from tests.cross import tools
from tests.cross.tools import truth
from tests.wire.test_events import record


def page_data(first: int, count: int, kind: int = 0xF) -> Record:
    entries = [kind << 60 | first + n for n in range(count)]
    return record(libxc.PAGE_DATA, struct.pack(f"<II{count}Q", count, 0, *entries))


def summary(*events, mode="plain", entry="xl", end="fin") -> Summary:
    statistics = Statistics()
    for event in events:
        statistics.add(event)
    return statistics.summary(0, mode, entry, end)


# stream.md 4.8: a new pass starts where the batch before was not full, or the pfns go back
PASSES = {
    "none": ((), 0),
    "one batch": (((0, 48),), 1),
    "full batches go on": (((0, 1024), (1024, 1024), (2048, 52)), 1),
    "a second pass": (((0, 1024), (1024, 52), (3, 5)), 2),
    "after a short batch": (((0, 48), (48, 5)), 2),
    "after a full batch, pfns go back": (((0, 1024), (3, 5), (1, 2)), 3),
    "the same pfn again": (((0, 1024), (1023, 1)), 2),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes(name):
    batches, count = PASSES[name]
    assert summary(*(page_data(*batch) for batch in batches)).passes == count


def test_passes_are_counted_up_to_the_first_checkpoint():
    events = (page_data(0, 48), page_data(3, 4), record(libxc.CHECKPOINT, b""), page_data(1, 2), page_data(5, 2))
    assert (summary(*events).passes, summary(*events).checkpoints) == (2, 1)


def test_pages_that_were_sent():
    assert summary(page_data(0, 10, 0), page_data(0, 5), page_data(5, 3, 0xC)).pages == 13


def test_guest_and_versions():
    image = b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, 0, 0, 0)
    found = summary(
        record(libxc.IMAGE_HEADER, image), record(libxc.DOMAIN_HEADER, struct.pack("<IHHII", 1, 12, 0, 4, 17))
    )
    assert (found.guest, found.xen, found.version) == ("x86 PV", "4.17", 3)
    assert (summary().guest, summary().xen, summary().version) == ("", "", None)
    odd = record(libxc.DOMAIN_HEADER, struct.pack("<IHHII", 9, 12, 0, 4, 17))
    assert summary(odd).guest == "type 9"
    cut = record(libxc.DOMAIN_HEADER, b"\1\0", complete=False, lost=((2, 14),))
    assert summary(cut).guest == ""


def test_records_loss_and_findings():
    found = summary(
        page_data(0, 4),
        record(libxc.X86_TSC_INFO, b"", complete=False, lost=((8, 24),)),
        Gap(0, "forward", 8, 24, "lost", None, 1),
        Gap(0, "reverse", 8, 5, "lost", None, 1),
        Gap(0, "reverse", 88, 1, "lost", None, 1),
        Resync(0, "forward", 90, 50, "", None, 1),
        Finding(FRAMING, "x"),
        Finding(LEGACY, "y"),
        Finding(LEGACY, "z"),
    )
    assert found.records == {"libxc PAGE_DATA": 1, "libxc X86_TSC_INFO": 1}
    assert found.incomplete == 1
    assert found.lost == {"forward": 24, "reverse": 6}
    assert found.skipped == {"forward": 50, "reverse": 0}
    assert found.findings == {"error": 1, "note": 2}


def test_a_header_that_was_begun():
    """Some bytes came behind the banner, but no record."""
    statistics = Statistics()
    statistics.add(back(xl.BANNER, b""))
    statistics.seen("forward", 5, None)
    assert statistics.summary(0, "unknown", "xl", "fin").outcome == "no header sent after the banner"


def test_bytes_and_time():
    statistics = Statistics()
    statistics.seen("forward", 100, 1_000_000_000)
    statistics.seen("reverse", 54, 500)
    statistics.seen("forward", 90, 3_500_000_000)
    found = statistics.summary(0, "plain", "xl", "fin")
    assert found.bytes == {"forward": 100, "reverse": 54}
    assert found.seconds == 2.5
    assert Statistics().summary(0, "plain", "xl", None).seconds is None


def back(definition, body: bytes) -> Record:
    return record(definition, body, direction="reverse")


GO = record(xl.GO, xl.GO.body[0].const)
OUTCOMES = {
    "status 0": ((GO, back(xl.REPORT_STATUS, b"\0")), {}, "completed"),
    "status 3": ((GO, back(xl.REPORT_STATUS, b"\3")), {}, "ERROR_FAIL"),
    "permission": ((GO, back(xl.REPORT_STATUS, b"\3"), back(xl.GO, b"")), {}, "sender may resume"),
    "status 255": ((GO, back(xl.REPORT_STATUS, b"\xff")), {}, "no correct GO"),
    "no report": ((GO,), {}, "no report seen"),
    "libxl END": ((record(libxl.END, b""),), {"entry": "libxl"}, "stream complete"),
    "libxc END": ((record(libxc.END, b""),), {"entry": "libxc"}, "stream complete"),
    "libxc END of an xl stream": ((record(libxc.END, b""),), {}, "ended after libxc END"),
    "banner only": ((back(xl.BANNER, b""),), {"mode": "unknown"}, "nothing sent after the banner"),
    "nothing": ((), {"mode": "unknown"}, "no record seen"),
    "legacy": ((), {"entry": "legacy"}, "legacy"),
    "Remus": (
        (record(libxl.CHECKPOINT_END, b""), record(libxl.CHECKPOINT_END, b""), record(libxc.CHECKPOINT, b"")),
        {"mode": "remus", "end": "rst"},
        "lost after 2 checkpoints",
    ),
    "COLO, capture ends": (
        (record(libxl.CHECKPOINT_END, b""),),
        {"mode": "colo", "end": "capture end"},
        "capture ends after 1 checkpoints",
    ),
    "capture ends": ((page_data(0, 3),), {"mode": "unknown", "end": "capture end"}, "capture ends in the middle"),
    "cut record": (
        (record(libxc.X86_TSC_INFO, b"", size=32, complete=False, lost=((110, 22),)),),
        {"mode": "unknown"},
        "ends inside libxc X86_TSC_INFO at offset 100",
    ),
    "lost in the middle of the last record": (
        (record(libxc.X86_TSC_INFO, b"", size=32, complete=False, lost=((110, 2),)),),
        {"mode": "unknown"},
        "ended after libxc X86_TSC_INFO",
    ),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(name):
    events, more, words = OUTCOMES[name]
    assert words in summary(*events, **more).outcome


@pytest.mark.parametrize(
    ("talk", "passes", "checkpoints"),
    [
        (plain(hvm(), passes=((3, 5), (1,))), 3, 0),
        (plain(Guest(pages=1024), passes=((3,),)), 2, 0),
        (remus(hvm(), ((5,), (3, 4), ())), 3, 3),
        (colo(hvm(), ((1, 5), (), (7,))), 2, 4),
    ],
)
def test_on_whole_streams(talk, passes, checkpoints):
    data = bytes(talk.forward.data)
    frames = [
        tools.frame("forward", start, 0, tools.ACK, data[start : start + 1400]) for start in range(0, len(data), 1400)
    ]
    frames.insert(0, tools.frame("forward", 0xFFFF_FFFF, 0, tools.SYN))
    found = tools.engine_events([(n, tools.raw(frame, n)) for n, frame in enumerate(frames, 1)])
    [one] = [event for event in found if isinstance(event, Summary)]
    assert (one.passes, one.checkpoints) == (passes, checkpoints)
    true = [r for r in talk.forward.records if r["type"] == "PAGE_DATA"]
    assert one.pages == sum(r["data_pages"] for r in true)
    assert one.xen == "4.17"


@pytest.mark.parametrize("name", [name for name in tools.NAMES if truth(name).get("real")])
def test_on_real_captures(name):
    [one] = [event for event in tools.events(name) if isinstance(event, Summary)]
    records = tools.true_records(name, "forward")
    assert one.pages == sum(r["data_pages"] for r in records if r["type"] == "PAGE_DATA")
    assert one.checkpoints == sum(r["type"] == "CHECKPOINT" for r in records)
    header = next(r for r in records if r["type"] == "DOMAIN_HEADER")
    assert one.xen == header["xen"]
    assert one.guest == {1: "x86 PV", 2: "x86 HVM"}[header["guest_type"]]
    assert one.version == 3
    assert one.seconds is not None
    assert 0 < one.seconds < 600
