# SPDX-License-Identifier: GPL-2.0-or-later
"""The Wireshark plugin is good Lua 5.2 and 5.4, and calls only what every Wireshark has."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest

from tests.captures.tools import tool
from tests.cross.tools import CAPTURES
from tests.wireshark.tshark import PLUGIN, available

CONFIG = Path(__file__).parents[1] / "wireshark" / "luacheckrc"
OPTIONAL = {"Conversation", "register_packet_menu"}

needs_plugin = pytest.mark.skipif(not PLUGIN.exists(), reason=f"{PLUGIN} is not there")


@needs_plugin
@pytest.mark.parametrize("std", ["lua52", "lua54"])
def test_luacheck(std):
    words = [tool("luacheck"), "--no-color", "--codes", "--config", str(CONFIG), "--std", std, str(PLUGIN)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@needs_plugin
@pytest.mark.parametrize("version", ["lua52", "lua53", "lua54"])
def test_it_compiles(version):
    lua = importlib.import_module(f"lupa.{version}").LuaRuntime()
    compiled = lua.eval("function(text) return load(text, '=xenmig.lua', 't') end")(PLUGIN.read_text())
    assert not isinstance(compiled, tuple), compiled


@pytest.mark.parametrize("tshark", available(), ids=str)
def test_names_that_luacheck_knows_are_in_every_wireshark(tshark, tmp_path):
    names = set(re.findall(r'"(\w+)"', CONFIG.read_text()))
    script = tmp_path / "names.lua"
    script.write_text("for name in pairs(_G) do print(name) end")
    ran = tshark.run(CAPTURES / "banner-only.pcap", "-q", plugin=script)
    assert names - OPTIONAL - set(ran.stdout.split()) == set()
