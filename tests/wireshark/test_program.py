# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dissector.wireshark import program
from dissector.wireshark.program import Folders, ask, find, folders, run, understood, usual_folders
from tests.captures.tools import tool
from tests.wireshark.tools import fake_program

HOME = Path("/home/me")
LIB = HOME / ".local/lib/wireshark"


@pytest.mark.parametrize(
    ("text", "version", "lua"),
    [
        (
            "TShark (Wireshark) 4.0.17 (Git v4.0.17 packaged).\n\nCompiled with Lua\n5.2.4, with GnuTLS",
            (4, 0, 17),
            "5.2.4",
        ),
        ("TShark (Wireshark) 4.4.18.\n\nCompiled without Lua, with zlib", (4, 4, 18), None),
        ("Wireshark 4.6.0 (v4.6.0).\nCompiled with Lua, with zlib", (4, 6, 0), ""),
        (
            "TShark (Wireshark) 4.6.9.\n\n With:\n  +brotli\n  +Lua 5.4.9    +zlib\n Without:\n  -zlib-ng",
            (4, 6, 9),
            "5.4.9",
        ),
        ("TShark (Wireshark) 4.6.9.\n\n With:\n  +brotli\n Without:\n  -Lua", (4, 6, 9), None),
        ("TShark 1.12 with Lua 5.2", (1, 12, 0), "5.2"),
        ("TShark (Wireshark) 4.4.0, with Lua 5.4.6 (with UfW patches), with zlib", (4, 4, 0), "5.4.6"),
    ],
)
def test_versions_are_understood(text, version, lua):
    found = understood("/usr/bin/tshark", text)
    assert (found.version, found.lua) == (version, lua)
    assert found.name == f"tshark {'.'.join(map(str, version))}"


def test_other_programs_are_not_understood():
    assert understood("/bin/true", "") is None
    assert ask("/nonexistent/tshark") is None


def test_the_tshark_of_this_computer():
    found = ask(tool("tshark"))
    assert found.version >= (4, 0, 0)
    assert found.lua


def test_wireshark_tells_its_folders(home):
    found = folders(tool("tshark"))
    assert found.plugins == home / ".local/lib/wireshark/plugins"
    assert found.configuration == home / ".config/wireshark"
    assert found.deprecated_plugins == home / ".config/wireshark/plugins"
    # 4.0 does not tell; later ones do.
    assert found.extcap in (home / ".config/wireshark/extcap", home / ".local/lib/wireshark/extcap")
    assert found.global_extcap is not None
    assert found.global_plugins is not None
    assert found.global_configuration is not None
    assert found == folders(find("tshark"))


@pytest.mark.parametrize(
    ("said", "personal", "everyones"),
    [
        ("Extcap path:\\t/x/extcap\\n", "config/extcap", "/x/extcap"),
        ("Personal Extcap path:\\t/p/extcap\\nGlobal Extcap path:\\t/g/extcap\\n", "/p/extcap", "/g/extcap"),
    ],
)
def test_folders_of_capture_programs(tmp_path, said, personal, everyones):
    path = fake_program(tmp_path / "bin", "tshark", "?", tmp_path, extcap=said)
    found = folders(str(path))
    assert (found.extcap, found.global_extcap) == (tmp_path / personal, Path(everyones))


def test_without_an_answer_the_usual_folders_are_taken(home, tmp_path):
    personal = home / ".local/lib/wireshark"
    usual = Folders(personal / "plugins", home / ".config/wireshark", personal / "extcap")
    if sys.platform == "linux":
        assert folders(None) == usual
        assert folders(str(fake_program(tmp_path / "bin", "tshark", "?"))) == usual


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, Folders(LIB / "plugins", HOME / ".config/wireshark", LIB / "extcap")),
        ("linux", {"XDG_CONFIG_HOME": "/c"}, Folders(LIB / "plugins", Path("/c/wireshark"), LIB / "extcap")),
        (
            "darwin",
            {},
            Folders(
                LIB / "plugins",
                HOME / ".config/wireshark",
                LIB / "extcap",
                Path("/Applications/Wireshark.app/Contents/PlugIns/wireshark"),
                Path("/Applications/Wireshark.app/Contents/Resources/share/wireshark"),
                Path("/Applications/Wireshark.app/Contents/MacOS/extcap"),
            ),
        ),
        (
            "win32",
            {"APPDATA": "/a", "PROGRAMFILES": "/p"},
            Folders(
                Path("/a/Wireshark/plugins"),
                Path("/a/Wireshark"),
                Path("/a/Wireshark/extcap"),
                Path("/p/Wireshark/plugins"),
                Path("/p/Wireshark"),
                Path("/p/Wireshark/extcap"),
            ),
        ),
    ],
)
def test_usual_folders(platform, environment, expected):
    assert usual_folders(platform, environment, HOME) == expected


def test_what_every_root_is_told_is_no_error(tmp_path):
    path = fake_program(tmp_path, "tshark", "", reads='echo \'Running as user "root" and group "root".\' >&2')
    assert run(str(path), "-r", "x").stderr == ""


def test_a_program_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "TIMEOUT", 0.2)
    done = run(str(fake_program(tmp_path, "tshark", "", reads="exec sleep 60")), "-r", "x")
    assert done.returncode == 127
    assert "timed out" in done.stderr


def test_installers_of_other_platforms_are_found_outside_the_path(tmp_path, monkeypatch):
    fake_program(tmp_path / "Wireshark", "tshark", "TShark 4.4.0")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("PROGRAMFILES", str(tmp_path))
    assert find("tshark") is None
    monkeypatch.setattr(program.sys, "platform", "darwin")
    assert find("tshark") is None
