# SPDX-License-Identifier: GPL-2.0-or-later
"""The Wireshark plugin finds wrong with a migration what `xendissect check` does, as far as it looks.

Rules it does not look for say why (`Rule.beyond_wireshark`); that check.lua judges as the core does, record by record,
is the matter of tests/templates/test_check.py.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from captures.files import pcap
from captures.network import Host
from dissector.check.checker import Checker
from dissector.reader import read_events
from dissector.spec import rules
from dissector.wire.events import Record
from tests.check.broken import TABLE, end_after_checkpoint
from tests.check.scripts import colo_hvm, hvm, pv, remus_hvm
from tests.cross.test_lua import DISSECTED, FILES
from tests.wireshark.tshark import PLUGIN, available

pytestmark = [
    pytest.mark.skipif(not PLUGIN.exists(), reason=f"{PLUGIN} is not there"),
    pytest.mark.parametrize("tshark", available(), ids=str),
]

JUDGED = {rule.id for rule in rules.RULES if not rule.beyond_wireshark}
EXPERT = {"note": 4194304, "warn": 6291456, "error": 8388608}
SECONDS = 10
LATER = {"xl.banner_first", "libxc.checkpoint.plain"}
"""Told of a record in an earlier frame than the one that shows it: tshark has printed that frame after one pass."""


@cache
def core(path):
    """What the core finds with records: flow, direction, place, rule, severity, words."""
    checker = Checker()
    return sorted(
        (one.flow, one.direction, one.offset, one.id, one.severity, one.text)
        for event in read_events(path)
        for one in checker.feed(event)
        if isinstance(event, Record) and one.id in JUDGED
    )


def told(trees):
    """What the plugin tells of records, likewise."""
    found = []
    for _, roots in trees:
        for root in roots:
            for record in root.children:
                nodes = [node for node in record.children if node.name == "xenmig.finding"]
                found += [(int(root["xenmig.flow"][0]), *_told(node)) for node in nodes]
    return sorted(found)


def _told(node):
    [direction] = node["xenmig.finding.direction"]
    [offset] = node["xenmig.finding.offset"]
    [severity] = node["xenmig.finding.severity"]
    [expert] = [child for child in node.children if child.name == "_ws.expert"]
    assert int(expert["_ws.expert.severity"][0]) == EXPERT[severity]
    assert f"xenmig.expert.{node.show}" in expert
    return direction, int(offset), node.show, severity, expert["_ws.expert.message"][0]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One capture with every broken migration, one after the other, each from a port of its own."""
    packets = []
    for number, row in enumerate(TABLE):
        script = row.make()[0]
        script.link |= {"sender": Host("192.0.2.1", 20000 + number, b"\0\x16\x3e\0\0\x0a")}
        later = number * SECONDS * 1_000_000_000
        packets += [replace(packet, time=packet.time + later) for packet in script.packets()]
    assert all(one.time <= other.time for one, other in pairwise(packets))
    path = tmp_path_factory.mktemp("broken") / "broken.pcap"
    path.write_bytes(pcap(packets, nanos=True))
    return path


def test_the_core_finds_every_rule_that_is_judged(tshark, broken):
    assert {one[3] for one in core(broken)} == JUDGED


@pytest.mark.parametrize(
    "shown", ["xenmig.finding", "frame"], ids=["trees on the first pass", "fast path on the first"]
)
def test_broken_migrations_in_two_passes(tshark, broken, shown):
    assert told(tshark.trees(broken, "-2", display_filter=shown)) == core(broken)


def test_broken_migrations_in_one_pass(tshark, broken):
    expected = [one for one in core(broken) if one[3] not in LATER]
    assert told(tshark.trees(broken, display_filter="xenmig.finding")) == expected


def test_statistics_count_them(tshark, broken):
    ran = tshark.run(broken, "-q", "-o", "xenmig.statistics:TRUE")
    counts = Counter(re.findall(r"^  (\w+): ([\w.]+), (\d+) x$", ran.stdout, re.MULTILINE))
    told_ = Counter()
    for (severity, id_, number), times in counts.items():
        told_[severity, id_] += int(number) * times
    expected = Counter((one[4], one[3]) for one in core(broken))
    assert {key: count for key, count in told_.items() if key[1] in JUDGED} == expected


@pytest.mark.parametrize("make", [hvm, pv, remus_hvm, colo_hvm])
def test_good_migrations(tshark, tmp_path, make):
    path = tmp_path / "good.pcap"
    path.write_bytes(pcap(make().packets(), nanos=True))
    assert told(tshark.trees(path, "-2")) == core(path) == []


@pytest.mark.parametrize("name", DISSECTED)
def test_captures(tshark, name):
    path = FILES[name]
    cut = "cut short in the middle of a packet" if name == "file-cut" else ""
    assert told(tshark.trees(path, "-2", display_filter="xenmig.finding", allowed=cut)) == core(path)


def test_end_of_a_session_whose_release_was_not_captured(tshark, tmp_path):
    script = end_after_checkpoint()[0]
    for late, found in ((0, ["libxc.end.after_checkpoint"]), (30, [])):
        path = tmp_path / f"{late}.pcap"
        path.write_bytes(pcap(script.packets()[late:], nanos=True))
        assert told(tshark.trees(path, "-2")) == core(path)
        assert [one[3] for one in core(path) if one[4] != "note"] == found
