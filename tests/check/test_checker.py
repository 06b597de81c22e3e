# SPDX-License-Identifier: GPL-2.0-or-later
"""Every rule fires on a migration that breaks it, at the right place, and says nothing about good ones."""

from __future__ import annotations

import os
import struct
import tracemalloc
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissector.check import checker
from dissector.check.checker import CHECKS, checks_on
from dissector.reader import Reader
from dissector.spec import rules
from dissector.spec.rules import BY_ID
from tests.check.broken import TABLE
from tests.check.scripts import (
    LIMITS,
    colo_hvm,
    findings,
    findings_in,
    hvm,
    image,
    patch,
    pv,
    record,
    remus_hvm,
    stream_batches,
)
from tests.cli.commands import run
from tests.cross.tools import NAMES, paths, truth


def said(script):
    if script.items and all(item.direction == "forward" for item in script.items):
        entry = {"xl": "xl", "libxl": "libxl", "libxc": "libxc"}[script.items[0].layer]
        return findings_in(stream_batches(script.forward(), entry))
    return findings(script.packets())


def wrong(found):
    return {finding.id for finding in found if finding.severity != "note"}


@pytest.mark.parametrize("row", TABLE, ids=[f"{row.id}-{row.make.__name__}" for row in TABLE])
def test_rule_fires_where_it_is_broken(row):
    script, item, at = row.make()
    found = said(script)
    mine = [finding for finding in found if finding.id == row.id]
    assert mine, [(finding.id, finding.offset, finding.text) for finding in found]
    if item is not None:
        places = [(finding.direction, finding.offset) for finding in mine]
        assert (item.direction, script.place(item) + at) == places[0]
        assert 0 <= at < max(1, len(item.data))
    severity = BY_ID[row.id].severity
    assert wrong(found) == row.also | ({row.id} if severity != "note" else set())


GOOD = {"hvm": hvm, "pv": pv, "image": image, "remus": remus_hvm, "colo": colo_hvm}


@pytest.mark.parametrize("name", GOOD)
def test_good_migration(name):
    found = said(GOOD[name]())
    assert wrong(found) == set()
    assert {finding.id for finding in found} - {"release.sender", "release.secondary"} == {found[-1].id}
    assert found[-1].id in ("ending.completed", "ending.failover")


def test_every_rule_of_the_specification_is_broken_by_a_migration():
    """Rule 9 is shown by real legacy streams below; 86 is not to be reported."""
    assert {BY_ID[row.id].number for row in TABLE} | {9, 86} >= set(range(1, 101))


def test_every_rule_fires():
    rest = {rule.id for rule in rules.RULES} - {row.id for row in TABLE}
    assert rest == {"stream.framing_uncertain"} | {id_ for id_ in rest if id_.startswith("release.")}
    assert {check.rule.id for check in CHECKS} <= set(BY_ID)


# -- captures --------------------------------------------------------------------------------------------------------

CAPTURE_ONLY = ("capture.", "limit.")
"""Findings about the capture, not about the migration."""
NOT_GOOD = {
    "big-endian": {"libxl.stream_header.big_endian", "stream.big_endian"},
    "unknown-records": {"record.unknown"},
    "xl-target-fails": {"ending.failed"},
    "xl-receiver-rejects": {"ending.cut"},
    "xl-source-fails": {"ending.cut"},
    "banner-only": {"ending.failed"},
    "colo-header-12": {"libxc.checkpoint_dirty_pfn_list.header"},
    "colo-header-16": {"libxc.checkpoint_dirty_pfn_list.header"},
    "colo-list-last-16": {
        "libxc.checkpoint_dirty_pfn_list.header",
        "libxc.checkpoint_dirty_pfn_list.resent",
        "ending.failed",
    },
    "hvm-colo-xl-420": {
        "libxc.checkpoint_dirty_pfn_list.header",
        "libxc.checkpoint_dirty_pfn_list.resent",
        "ending.failed",
    },
}
"""Captures of something wrong (captures/README.md), and what is wrong with them."""


def capture_findings(name):
    reader = Reader(paths(name), limits=LIMITS)
    try:
        return findings_in(list(reader.batches()))
    finally:
        reader.close()


@pytest.mark.parametrize("name", NAMES)
def test_capture(name):
    """Among them are captures with losses and of only a part: what is not there is held against nobody."""
    found = [finding for finding in capture_findings(name) if not finding.id.startswith(CAPTURE_ONLY)]
    assert wrong(found) == NOT_GOOD.get(name, set())
    endings = [finding for finding in found if finding.id.startswith("ending.")]
    assert len(endings) == len(truth(name).get("flows", [1]))


def test_dirty_list_of_xen_420():
    found = {finding.id: finding for finding in capture_findings("hvm-colo-xl-420")}
    assert "16-byte" in found["libxc.checkpoint_dirty_pfn_list.header"].text
    assert "efe8de1f91" in found["libxc.checkpoint_dirty_pfn_list.header"].text
    text = found["libxc.checkpoint_dirty_pfn_list.resent"].text
    assert text.startswith("1 of 87 pfns")
    assert "the last pfn was left over and page 0 was sent for nothing" in text
    assert "died at checkpoint 2" in found["ending.failed"].text


def test_scrubbed_capture(tmp_path):
    """What --scrub blanks is no fault of the migration."""
    for name in ("xl-pv64-v3", "hvm-colo-xl", "xl-hvm-xenstore"):
        (tmp_path / "scrubbed.pcapng").unlink(missing_ok=True)
        done = run("slim", "--scrub", *paths(name), tmp_path / "scrubbed.pcapng")
        assert done.returncode == 0, done.stderr
        reader = Reader([tmp_path / "scrubbed.pcapng"], limits=LIMITS)
        found = findings_in(list(reader.batches()))
        reader.close()
        assert wrong(found) == set(), name


# -- what was not captured is not judged -----------------------------------------------------------------------------


SCRIPTS = {"hvm": hvm, "pv": pv, "remus": remus_hvm, "colo": colo_hvm}
ACCUSES = "error", "warn"


def accusations(found):
    return [(f.id, f.text) for f in found if f.severity in ACCUSES and not f.id.startswith(CAPTURE_ONLY)]


@settings(max_examples=int(os.environ.get("MANY", "60")), deadline=None)
@given(st.data())
def test_no_accusation_because_of_lost_packets(data):
    name = data.draw(st.sampled_from(sorted(SCRIPTS)))
    packets = SCRIPTS[name]().packets()
    number = len(packets)
    runs = data.draw(st.lists(st.tuples(st.integers(0, number - 1), st.integers(1, 40)), min_size=1, max_size=5))
    gone = {at for start, length in runs for at in range(start, start + length)}
    kept = [packet for at, packet in enumerate(packets) if at not in gone]
    assert accusations(findings(kept)) == []


@settings(max_examples=int(os.environ.get("MANY", "40")), deadline=None)
@given(st.data())
def test_no_accusation_because_the_capture_begins_late_or_ends_early(data):
    packets = SCRIPTS[data.draw(st.sampled_from(sorted(SCRIPTS)))]().packets()
    first = data.draw(st.integers(0, len(packets) - 1))
    last = data.draw(st.integers(first, len(packets)))
    assert accusations(findings(packets[first:last])) == []


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(SCRIPTS)), st.integers(60, 1500))
def test_no_accusation_because_of_a_snap_length(name, length):
    packets = [packet.snapped(length) for packet in SCRIPTS[name]().packets()]
    assert accusations(findings(packets)) == []


# -- anything may come -----------------------------------------------------------------------------------------------


@settings(max_examples=int(os.environ.get("MANY", "120")), deadline=None)
@given(st.data())
def test_no_mutation_raises_and_each_ends(data):
    script = SCRIPTS[data.draw(st.sampled_from(sorted(SCRIPTS)))]()
    for _ in range(data.draw(st.integers(1, 4))):
        item = script.items[data.draw(st.integers(0, len(script.items) - 1))]
        what = data.draw(st.sampled_from(["byte", "word", "remove", "repeat", "cut", "random"]))
        size = max(1, min(len(item.data), 96))
        if what == "byte" and item.data:
            item.data[data.draw(st.integers(0, size - 1)) % len(item.data)] = data.draw(st.integers(0, 255))
        elif what == "word" and len(item.data) >= 8:
            patch(
                item,
                4,
                data.draw(st.sampled_from([0, 1, 4, 7, 8, 16, 1 << 20, 1 << 27, (1 << 32) - 1])).to_bytes(4, "little"),
            )
        elif what == "remove" and len(script.items) > 1:
            script.remove(item)
        elif what == "repeat":
            script.insert(item, bytes(item.data), item.direction)
        elif what == "cut":
            del item.data[data.draw(st.integers(0, len(item.data))) :]
        else:
            script.insert(item, data.draw(st.binary(max_size=64)), item.direction)
    found = said(script)
    flows = {finding.flow for finding in found if finding.flow is not None}
    endings = [finding.flow for finding in found if finding.id.startswith("ending.")]
    assert sorted(endings) == sorted(flows)
    assert all("{" not in finding.text or finding.id.startswith("xl.") for finding in found)


def test_hostile_pfns_fill_no_memory():
    """Pfns all over 2^52, a NEW in front of them, and a list of as many."""
    script = colo_hvm()
    pages = script.find("X86_TSC_INFO", 1)
    for start in range(0, 1 << 16, 1024):
        entries = [(0xF << 60) | (start + at) << 36 for at in range(1024)]
        script.insert(pages, record(1, struct.pack("<II1024Q", 1024, 0, *entries)))
    huge = struct.pack("<65536Q", *(at << 36 for at in range(1 << 16)))
    script.find("CHECKPOINT_DIRTY_PFN_LIST", 0, "reverse").data[:] = record(0x0F, huge)
    tracemalloc.start()
    found = said(script)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
    assert any(finding.id.startswith("ending.") for finding in found)


def test_every_single_check_finds_something(monkeypatch):
    """Taking any one away would be noticed: none of them only repeats another."""
    found = set()

    def watched(definition):
        return tuple(replace(one, test=partial(watch, one)) for one in checks_on(definition))

    def watch(one, record, session):
        for hit in one.test(record, session):
            found.add(one)
            yield hit

    monkeypatch.setattr(checker, "checks_on", watched)
    for row in TABLE:
        said(row.make()[0])
    assert {one.test.__name__ for one in CHECKS if one not in found} == set()
