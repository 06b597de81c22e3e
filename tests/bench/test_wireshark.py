# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench of the Wireshark plugin measures what it says, and only a plugin that finds all records."""

from __future__ import annotations

import pytest

from bench import kinds
from bench.generate import Expected, generate
from bench.measure import Command, Row
from bench.wireshark import Bench, Capture, cells, main
from tests.captures.tools import tool
from tests.wireshark.tshark import PLUGIN, Tshark

NOTHING = """
local p = Proto("xenmig", "Finds nothing")
p.fields = {
  ProtoField.string("xenmig.direction", "d"), ProtoField.string("xenmig.layer", "l"),
  ProtoField.string("xenmig.type", "t"), ProtoField.uint64("xenmig.offset", "o"),
}
DissectorTable.get("tcp.port"):add_for_decode_as(p)
function p.dissector() end
"""


@pytest.fixture(autouse=True)
def _data(monkeypatch, tmp_path):
    tool("tshark")
    monkeypatch.setattr(kinds, "DATA", tmp_path / "data")
    monkeypatch.setattr(kinds, "ensure", ensure)


def ensure(name, options):
    """Write a capture in this process; return its path and what is in it."""
    kinds.DATA.mkdir(exist_ok=True)
    return kinds.DATA / name, generate(kinds.DATA / name, options)


def row(name, user, peak, failed=""):
    return Row(Command(name, []), user, user, peak, 0, "", failed, user, user / 2, user)


def test_figures_of_a_row():
    base = row("base", 2.0, 100.0)
    assert cells(base, base, 1024) == ["base", "2.00", "1.00", "2.00", "100", "", "", "", ""]
    assert cells(row("ours", 3.0, 101.0), base, 1024)[-4:] == ["1.50", "1.50", "1.01", "1,024"]
    assert cells(row("dead", 3.0, 101.0, "status 1"), base, 1024)[:3] == ["dead", "status 1", ""]


def test_frames_with_data():
    assert Capture("", None, Expected(stream_bytes=2897), 1448).data_frames == 3


def test_a_plugin_that_misses_records_is_not_measured(tmp_path):
    plugin = tmp_path / "nothing.lua"
    plugin.write_text(NOTHING)
    path, expected = kinds.variant("mtu", size=1 << 20)
    bench = Bench(Tshark(), plugin, repeat=1, checks=True)
    with pytest.raises(SystemExit, match=r"found \{\}"):
        bench.check(Capture("", path, expected, 1448))


@pytest.mark.skipif(not PLUGIN.exists(), reason=f"{PLUGIN} is not there")
def test_all_tables_of_small_captures(capsys):
    assert main(["load", "fields", "--size", "1M", "3M", "--repeat", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("###") == 6
    assert "status" not in shown
