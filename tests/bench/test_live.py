# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench of live captures counts what is lost, and finds that nothing is where nothing is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench import live
from bench.live import (
    UNPACED,
    Capturer,
    Result,
    Step,
    amount,
    bits,
    bits_per_second,
    cell,
    dropped_by_dumpcap,
    highest,
    measure,
    of_consumer,
    of_events,
    of_file,
    per_million,
    table,
)
from tests.captures.tools import tool
from tests.cross.tools import CAPTURES
from tests.live.link import Link, needs_namespaces

TRUE = {"libxc PAGE_DATA": 3, "libxc END": 1}
SAID = "Packets received/dropped on interface 'mig0': 950/50 (pcap:40/dumpcap:10/flushed:0/ps_ifdrop:0) (95.0%)"


def step(wanted=1e9, reached=1e9, packets=1000, read=1000, dropped=0, records=TRUE, **more):
    return Step(wanted, reached, packets, Result(read, dropped, records), TRUE, **more)


def test_what_is_lost():
    assert step().lossless
    assert step(read=990).lost == 10
    assert step(dropped=7).lost == 7
    assert step(dropped=None).lossless
    assert step(records=None).lossless
    assert step(records={"libxc PAGE_DATA": 2, "libxc END": 1}).missing == 1
    assert step(records={**TRUE, "libxc CHECKPOINT": 1}).missing == 1
    assert not step(failed="dead").lossless


def test_the_highest_rate_is_below_the_first_loss():
    assert highest([step(reached=4e9), step(reached=1e9), step(reached=2e9, read=999)]) == 1e9
    assert highest([step(reached=1e9), step(reached=2e9)]) == 2e9
    assert highest([step(read=0)]) == 0


def test_cells():
    assert cell(step()) == "0"
    assert cell(step(read=990)) == "1.00%"
    assert cell(step(read=990, records={"libxc END": 1})) == "1.00%, records 3/4"
    assert cell(step(reached=8e8)) == "0, at 800M"
    assert cell(step(UNPACED, 3.25e9, late=1.5)) == "0, at 3.2G, late 1.5 s"
    assert cell(Step(1e9, failed="dead")) == "failed"


def test_a_table():
    assert per_million([step(cpu=1.0), step(cpu=2.0), Step(1e9, failed="dead")]) == "1500.0"
    assert per_million([]) == "-"
    lines = table({"ring": [step(cpu=1.0), step(UNPACED, 5e9, read=500)]}, [1e9, UNPACED]).splitlines()
    assert [word.strip() for word in lines[0].split("|")[2:-1]] == [
        "no loss up to",
        "CPU s per 10^6 packets",
        "1.0G",
        "all",
    ]
    assert [word.strip() for word in lines[2].split("|")[1:-1]] == ["ring", "1.0G", "666.7", "0", "50.00%, at 5.0G"]


def test_bit_rates():
    assert [bits_per_second(text) for text in ("250M", "1G", "all", "1000")] == [250e6, 1e9, UNPACED, 1000]
    assert [bits(rate) for rate in (250e6, 2e9)] == ["250M", "2.0G"]
    assert amount(1e9, 2, 1 << 30) == 250_000_000
    assert amount(1e9, 200, 1 << 30) == amount(UNPACED, 1, 1 << 30) == 1 << 30


def test_what_capturers_tell(tmp_path):
    assert dropped_by_dumpcap(SAID) == 50
    assert dropped_by_dumpcap("nothing") is None
    line = json.dumps({"packets": 5, "dropped": None, "records": TRUE, "gaps": 0})
    assert of_consumer(line, "", tmp_path) == Result(5, None, TRUE)
    path = CAPTURES / "pv-live-libxl.pcap.gz"
    written = of_file("", SAID, path)
    read = subprocess.run(
        [sys.executable, "-m", "dissector", "read", "-q", "--json", str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=CAPTURES.parent,
    )
    assert of_events(read.stdout, SAID, path) == written
    assert written.dropped == 50
    assert written.records["libxl STREAM_HEADER"] == 1
    assert written.packets > 1000


@pytest.mark.parametrize("name", ["ring", "dumpcap -w FILE alone", "scapy sniff()"])
def test_a_slow_migration_is_captured_whole(name):
    needs_namespaces()
    if "dumpcap" in name:
        tool("dumpcap")
    (capturer,) = [one for one in live.capturers() if one.name == name]
    with Link(offload=True) as link:
        made = measure(capturer, link, 50e6, 1 << 20)
    assert made.failed == ""
    assert made.packets > 20
    assert made.lossless
    assert made.cpu > 0


def test_a_capturer_that_fails_is_told():
    needs_namespaces()
    with Link() as link:
        dead = Capturer("dead", [[sys.executable, "-c", "import sys; sys.exit('no way')"]], of_consumer)
        assert "no way" in measure(dead, link, 50e6, 1 << 20).failed
