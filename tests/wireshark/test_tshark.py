# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness itself: every way in which a plugin fails is noticed, in every Wireshark at hand."""

from __future__ import annotations

import pytest

from tests.cross.test_lua_fuzz import INVISIBLE, TWO_PASS
from tests.cross.tools import paths
from tests.wireshark.tshark import Tshark, available, checked

GOOD = """
local p = Proto("xenmig", "Stand-in")
local record, kind = ProtoField.none("xenmig.record", "Record"), ProtoField.string("xenmig.type", "Type")
p.fields = { record, kind }
p:register_heuristic("tcp", function(tvb, pinfo, tree)
  if tvb:len() < 8 then return false end
  local top = tree:add(p, tvb())
  for n = 1, 2 do top:add(record, tvb()):add(kind, "T" .. n) end
  %s
  return true
end)
%s
"""
BROKEN = {
    "raises": ('if pinfo.number % 2 == 0 then error("boom") end', ""),
    "reads too far": ("if pinfo.number % 2 == 0 then tvb(tvb:len() - 2, 10):uint() end", ""),
    "indexes nil": ("if pinfo.number % 2 == 0 then p.nothing.more = 1 end", ""),
}
UNLOADABLE = {"raises when loaded": ("", "local x; x.y = 1"), "does not compile": ("", "7 8")}

pytestmark = pytest.mark.parametrize("tshark", available(), ids=str)


def plugin(folder, inside, behind):
    path = folder / "plugin.lua"
    path.write_text(GOOD % (inside, behind))
    return path


@pytest.fixture(scope="module")
def capture():
    [path] = paths("vlan")
    return path


def test_values_and_trees(tshark, capture, tmp_path):
    good = plugin(tmp_path, "", "")
    rows = tshark.rows(capture, ["frame.number", "xenmig.type", "udp.port"], "-2", "-Y", "xenmig", plugin=good)
    trees = tshark.trees(capture, plugin=good)
    assert [int(number) for [number], _, _ in rows] == [number for number, _ in trees]
    assert {(*types, *none) for _, types, none in rows} == {("T1", "T2")}
    for _, [tree] in trees:
        assert [node["xenmig.type"] for node in tree.every("xenmig.record")] == [["T1"], ["T2"]]


def test_a_plugin_is_loaded_only_if_asked_for(tshark, capture):
    checked(tshark.run(capture, plugin=None))
    ran = tshark.run(capture, "-Y", "xenmig", plugin=None)
    assert ran.status
    assert "xenmig" in ran.stderr


@pytest.mark.parametrize("failure", BROKEN)
@pytest.mark.parametrize("mode", [("-V",), TWO_PASS, INVISIBLE], ids=["one pass", "two passes", "invisible"])
def test_errors_while_dissecting_are_noticed(tshark, failure, mode, capture, tmp_path):
    ran = tshark.run(capture, *mode, plugin=plugin(tmp_path, *BROKEN[failure]))
    assert ran.complaints()
    assert "Lua Error" in ran.stdout


@pytest.mark.parametrize("failure", UNLOADABLE)
def test_errors_on_load_are_noticed(tshark, failure, capture, tmp_path):
    ran = tshark.run(capture, "-q", plugin=plugin(tmp_path, *UNLOADABLE[failure]))
    assert any("Lua" in complaint for complaint in ran.complaints())


def test_version_of_a_root(tshark):
    assert isinstance(tshark, Tshark)
    assert tshark.version >= (4, 0)
