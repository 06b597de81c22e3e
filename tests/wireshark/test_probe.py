# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

import dissector
from dissector.wireshark.probe import EXPECTED, Probe, lua_error, probe, sample
from dissector.wireshark.setup import Places, install
from tests.captures.tools import tool, tshark
from tests.wireshark.tools import PLUGIN, fake_program, real_tshark

LOADING = """\
tshark: Lua: Error during loading:
/home/me/.local/lib/wireshark/plugins/xenmig.lua:2: attempt to call a nil value
stack traceback:
"""


def test_the_core_reads_the_sample(tmp_path):
    path = tmp_path / "sample.pcap"
    path.write_bytes(sample())
    assert [record.type for record in dissector.read(path)] == ["IMAGE_HEADER", EXPECTED, "STATIC_DATA_END", "END"]


def test_its_checksums_are_right(tmp_path):
    path = tmp_path / "sample.pcap"
    path.write_bytes(sample())
    assert tshark(path, tmp_path, "-T", "fields", "-e", "ip.checksum.status", "-e", "tcp.checksum.status") == ["1\t1"]


def place_plugin(home, text):
    install(Places(home / ".local/lib/wireshark/plugins/xenmig.lua", home / ".config/wireshark/profiles/x"), text)


def test_a_plugin_that_works(home):
    place_plugin(home, PLUGIN)
    assert probe(real_tshark().path) == Probe(known=True, seen=True, error="", said="")


def test_a_plugin_that_is_not_there(home):
    found = probe(tool("tshark"))
    assert not found.known
    assert not found.seen
    assert not found.error


def test_a_plugin_that_sees_nothing(home):
    place_plugin(home, PLUGIN.replace("return true", "return false").replace("tree:add", "local _ = 0 --"))
    found = probe(real_tshark().path)
    assert found.known
    assert not found.seen


def test_a_plugin_with_an_error_when_it_is_loaded(home):
    place_plugin(home, PLUGIN + "nonsense()\n")
    assert "Lua: Error during loading: " in probe(real_tshark().path).error
    assert "nonsense" in probe(real_tshark().path).error


def test_a_plugin_with_an_error_when_it_runs(home):
    place_plugin(home, PLUGIN.replace("  tree:add", "  nonsense()\n  tree:add"))
    assert "nonsense" in probe(real_tshark().path).error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ""),
        ("tshark: something else", ""),
        (LOADING, " ".join(LOADING.splitlines()[:2])),
        ("\tLua Error: [string]:6: bad argument", "Lua Error: [string]:6: bad argument"),
    ],
)
def test_lua_errors_are_one_line(text, error):
    assert lua_error(text) == error


def test_options_go_to_tshark(tmp_path):
    path = fake_program(tmp_path, "tshark", "", reads='echo "$1 $2 DOMAIN_HEADER"; echo complaint >&2')
    assert probe(str(path), "-C", "Xen migration") == Probe(known=True, seen=True, error="", said="complaint")
