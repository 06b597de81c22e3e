# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import os

import pytest

pytest.importorskip("pyshark")

from dissector.lua_writer import generate
from dissector.pyshark_tools import Capture, PluginError, TsharkError, read, tshark
from tests.pyshark_tools.test_capture import SMALL
from tests.wireshark.tools import fake_program

PLUGINS = ".local/lib/wireshark/plugins"


@pytest.fixture
def own_home(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def install(home, text):
    folder = home / PLUGINS
    folder.mkdir(parents=True)
    (folder / "xenmig.lua").write_text(text)


def test_installed_plugin_is_not_loaded_twice(own_home):
    install(own_home, generate())
    assert len(list(read(SMALL))) > 20


def test_installed_plugin_of_another_version(own_home):
    install(own_home, generate() + "-- changed\n")
    with pytest.raises(PluginError, match=r"xenmig\.lua is not the plugin of this xendissect"):
        list(read(SMALL))


def test_plugin_is_written_again_if_it_was_removed(home):
    script = tshark.plugin_script()
    script.unlink()
    assert tshark.plugin_script() == script
    assert script.exists()


def test_no_tshark(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TsharkError, match="tshark is not found: install Wireshark"):
        Capture(SMALL)
    with pytest.raises(TsharkError, match="/absent/tshark is not there"):
        Capture(SMALL, tshark_path="/absent/tshark")


SAID_4_0 = "tshark: xenmig.type is neither a field nor a protocol name.\\n    xenmig.type"
SAID_4_4 = 'tshark: "xenmig.type" is not a valid protocol or protocol field.'
SAID_PREFERENCE = 'tshark: -o flag "xenmig.pfn_cap:0" specifies unknown preference'


@pytest.mark.parametrize("said", [SAID_4_0, SAID_4_4, SAID_PREFERENCE])
@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("TShark (Wireshark) 4.4.18 with Lua 5.4.6", "4.4.18 run by root ignores .* run as an ordinary user"),
        ("TShark (Wireshark) 4.0.17 with Lua 5.2.4", "doctor says why"),
        ("TShark (Wireshark) 4.4.18 without Lua", "built without Lua"),
    ],
)
def test_plugin_is_not_loaded(said, version, message, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program = fake_program(tmp_path, "tshark", version, folders=tmp_path, reads=f"printf '{said}\\n' >&2; exit 2")
    with pytest.raises(PluginError, match=message):
        list(read(SMALL, tshark_path=program))


def test_error_in_the_plugin(tmp_path):
    assert str(tshark.failure("tshark", 0, "tshark: Lua: Error during loading:\n x.lua:1: oh")) == (
        "the plugin has an error: tshark: Lua: Error during loading: x.lua:1: oh"
    )


def test_nothing_is_wrong():
    assert tshark.failure("tshark", 0, 'Running as user "root" and group "root". This could be dangerous.\n') is None
    said = 'tshark: The file "x" appears to have been cut short in the middle of a packet.'
    assert tshark.failure("tshark", 2, said) is None
    assert tshark.truncation(said) == said.removeprefix("tshark: ")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 16])
def test_packets_are_told_apart(block, monkeypatch):
    monkeypatch.setattr(tshark, "_BLOCK", block)
    text = '[\n  {\n    "a": {\n    },\n    "b": "ä  }"\n  },\n  {\n    "c": 1\n  }\n]\n'
    found = list(tshark.packets(io.BufferedReader(io.BytesIO(text.encode()))))
    assert found == ['{\n    "a": {\n    },\n    "b": "ä  }"\n  }', '{\n    "c": 1\n  }']


@pytest.mark.parametrize("text", ["[\n\n]\n", "[]\n"])
def test_no_packets(text):
    assert list(tshark.packets(io.BufferedReader(io.BytesIO(text.encode())))) == []


@pytest.mark.parametrize("text", ["", '[\n  {\n    "a": 1', '[\n  {\n    "a": 1\n  },\n'])
def test_output_that_ends_in_the_middle(text):
    with pytest.raises(EOFError):
        list(tshark.packets(io.BufferedReader(io.BytesIO(text.encode()))))
