# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of docs/wireshark.md run, in the order in which they stand there, and say something."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dissector.wireshark.setup import profile_files
from tests.cli.commands import environment
from tests.wireshark.tools import real_tshark

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/wireshark.md").read_text()


def commands() -> list[str]:
    lines = [
        line for block in re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()
    ]
    assert all(line.startswith(("xendissect ", "tshark ")) for line in lines)
    # What is uninstalled in the middle of the page is needed further down.
    return sorted(lines, key=lambda line: line.endswith("uninstall"))


def test_commands(tmp_path):
    real_tshark()
    (tmp_path / "captures").symlink_to(ROOT / "captures")
    env = environment(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path / ".config"))
    for line in commands():
        command = line.replace("xendissect", f"{sys.executable} -m dissector", 1) if line.startswith("xen") else line
        if "lua_script" in line:  # not with the installed one
            command = f"HOME={tmp_path}/other {command}"
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120, check=False
        )
        said = [text for text in done.stderr.splitlines() if "Running as user" not in text]
        assert (done.returncode, said) == (0, []), (line, done.stdout)
        assert done.stdout or " -o xenmig.lua" in line, line


@pytest.mark.parametrize("target", re.findall(r"\]\(([\w./-]+)\)", TEXT))
def test_links(target):
    assert (ROOT / "docs" / target).exists()


def test_buttons_are_named():
    labels = re.findall(r'^"TRUE","([^"]+)"', profile_files()["dfilter_buttons"], re.MULTILINE)
    assert f"{', '.join(labels)}." in TEXT
