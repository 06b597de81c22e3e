# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from dissector.lua_writer import generate
from dissector.wireshark.setup import profile_files
from tests.captures.tools import tool
from tests.cli.commands import COLO_420, environment, run
from tests.wireshark.tools import fake_program, real_tshark

if TYPE_CHECKING:
    from pathlib import Path


def wireshark(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run("wireshark", *arguments, HOME=str(home), XDG_CONFIG_HOME=str(home / ".config"), **env)


def test_install_doctor_uninstall(tmp_path):
    real_tshark()
    plugin = tmp_path / ".local/lib/wireshark/plugins/xenmig.lua"
    profile = tmp_path / ".config/wireshark/profiles/Xen migration"

    done = wireshark(tmp_path, "doctor")
    assert done.returncode == 1
    assert f"wrong  the plugin is not in {plugin.parent}: xendissect wireshark install\n" in done.stdout

    done = wireshark(tmp_path, "install")
    assert (done.returncode, done.stderr) == (0, "")
    starter = next(tmp_path.rglob("xendissect-extcap"))
    assert done.stdout == f"plugin   {plugin}\nprofile  {profile}\ncapture  {starter}\n"
    assert plugin.read_text() == generate()

    done = wireshark(tmp_path, "doctor")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if not line.startswith("note")] in (
        ["ok"] * 5,  # who may not capture gets a note
        ["ok"] * 6,
    )
    assert f"interfaces of {starter}" in done.stdout

    done = wireshark(tmp_path, "uninstall")
    assert (done.returncode, done.stdout) == (0, f"removed  {plugin}\nremoved  {profile}\nremoved  {starter}\n")
    assert wireshark(tmp_path, "uninstall").stdout == "nothing to remove\n"


def test_tshark_takes_the_profile_without_complaint(tmp_path):
    """Colours are compiled with --color, columns with the profile; a name that does not exist is a complaint."""
    real_tshark()
    wireshark(tmp_path, "install")
    capture = tmp_path / "colo.pcap.gz"
    capture.write_bytes(COLO_420.read_bytes())
    done = subprocess.run(
        [tool("tshark"), "-C", "Xen migration", "--color", "-r", str(capture)],
        capture_output=True,
        text=True,
        env=environment(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path / ".config")),
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if "Running as user" not in line] == []
    assert "CHECKPOINT_DIRTY_PFN_LIST" in done.stdout


def test_for_everyone(tmp_path):
    path = fake_program(tmp_path / "bin", "tshark", "TShark 4.4.0, with Lua 5.4.6", tmp_path / "shark")
    done = wireshark(tmp_path, "install", "--global", PATH=f"{path.parent}:/usr/bin:/bin")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "shark/global/xenmig.lua").read_text() == generate()
    folder = tmp_path / "shark/share/profiles/Xen migration"
    assert (folder / "preferences").read_text() == profile_files()["preferences"]
    done = wireshark(tmp_path, "uninstall", "--global", PATH=f"{path.parent}:/usr/bin:/bin")
    assert (tmp_path / "shark/global-extcap").is_dir()
    assert done.stdout.count("removed ") == 3


def test_what_is_in_the_way_is_one_line(tmp_path):
    mine = tmp_path / ".local/lib/wireshark/plugins/xenmig.lua"
    mine.parent.mkdir(parents=True)
    mine.write_text("-- mine\n")
    done = wireshark(tmp_path, "install")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"xendissect: {mine} was not made by xendissect; ")
    assert done.stderr.count("\n") == 1
    assert mine.read_text() == "-- mine\n"
    assert wireshark(tmp_path, "install", "--force").returncode == 0


def test_global_without_anybody_to_ask(tmp_path):
    done = wireshark(tmp_path, "install", "--global", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "leave out --global" in done.stderr


def test_help():
    done = run("wireshark", "--help")
    for verb in ("install", "uninstall", "doctor"):
        assert verb in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]  # nothing is cut off at 80 columns
    assert "--global" in run("wireshark", "install", "--help").stdout
