# SPDX-License-Identifier: GPL-2.0-or-later
"""The speed table: what is measured, what is estimated, and what happens without a tool."""

from __future__ import annotations

import sys

import pytest

from bench import kinds, peers, read, tables
from bench.generate import Options, generate
from bench.kinds import MIB
from bench.measure import NOT_INSTALLED, Command, interleave, run
from bench.results import START, Figures, Results, load, measure
from bench.tools import Tool


@pytest.fixture(autouse=True)
def _data(monkeypatch, tmp_path):
    monkeypatch.setattr(kinds, "DATA", tmp_path)
    monkeypatch.setattr(kinds, "ensure", lambda name, options: (tmp_path / name, generate(tmp_path / name, options)))


def python(name, code, **more):
    return Tool(name, name, lambda path: Command(name, [sys.executable, "-S", "-c", code, str(path)], path), **more)


def test_a_program_that_is_not_there_is_no_error():
    assert run(Command("", ["xendissect-no-such-program"])).failed == NOT_INSTALLED
    capture = kinds.made("mtu", Options(size=MIB))
    (one,) = measure(capture, [Tool("a", "a", peers.tcpdump, lambda: NOT_INSTALLED)], 1, 9, {})
    assert one.failed == NOT_INSTALLED
    assert NOT_INSTALLED in tables.tools(Results([one]), "mtu", MIB)


def test_status_and_time_limit():
    assert run(Command("", [sys.executable, "-c", "raise SystemExit(3)"])).failed == "status 3"
    assert run(Command("", ["sleep", "60"], timeout=0.2)).failed == "killed after 0 s"


def test_a_small_program_shows_its_own_memory():
    assert run(Command("", ["cat", "/dev/null"])).peak < 12 << 10
    big = run(Command("", [sys.executable, "-c", "b = bytearray(64 << 20)"]))
    assert big.peak > 64 << 10


def test_slow_commands_get_fewer_runs_but_one():
    slow, fast = Command("", ["sleep", "0.2"]), Command("", ["true"])
    assert [row.runs for row in interleave([slow, fast], 5, budget=0.1)] == [1, 5]


def test_a_shorter_capture_is_scaled_without_start_up():
    capture = kinds.made("mtu", Options(size=8 * MIB))
    tool = python("a", "import time; time.sleep(0.3)", packets=1000)
    start = Figures("a", "a", START, "", 0, "pcap", 1, 1, 1.0, wall=0.2, cpu=0.0)
    (one,) = measure(capture, [tool], 1, 9, {"a": start})
    assert 0.11 < one.part < 0.14
    assert one.wall > 0.2 + 0.1 / 0.14
    assert tables.ABOUT in tables.tools(Results([one]), "mtu", 8 * MIB)


def test_figures_are_kept(tmp_path):
    one = Figures("a", "a", "mtu", "MTU 1500", MIB, "pcap", 10, 5, 1.5, 0.5, 0.4, 9.0, 3, 0.1)
    Results([one]).save(tmp_path / "kept", {"x": "y"})
    results, facts = load(tmp_path / "kept")
    assert (list(results), facts) == ([one], {"x": "y"})
    assert (one.packets_per_second, one.records_per_second) == (20, 10)


def test_ratio_to_cat_is_beyond_start_up():
    def figures(tool, label, cpu):
        return Figures(tool, tool, label, "", MIB, "pcap", 10, 5, 1.5, 0.5, cpu)

    made = [figures("cat", START, 0.1), figures("cat", "mtu", 0.3), figures("c", START, 1.0), figures("c", "mtu", 1.5)]
    results = Results(made)
    assert tables.over(made[3], made[1], results) == "2.50"
    assert tables.over(made[2], made[1], results) == "0.00"


def test_only_the_part_between_the_marks_is_replaced():
    text = f"a\n{read.BEGIN}\nold\n{read.END}\nb\n"
    once = read.insert(text, "new")
    assert once == f"a\n{read.BEGIN}\n\nnew\n\n{read.END}\nb\n"
    assert read.insert(once, "new") == once
    with pytest.raises(ValueError, match="no lines"):
        read.insert("a", "new")
    assert read.DOCS.read_text().count(read.BEGIN) == 1
