# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import pty
import re
import subprocess

import pytest

from dissector.filter_names import ALL, EXPERTS
from dissector.filter_page import page
from tests.cli.commands import MAIN, environment, run


def on_a_terminal(columns: int, *arguments: str) -> str:
    """What the command writes on a terminal so wide."""
    ours, theirs = pty.openpty()
    env = environment(COLUMNS=str(columns), NO_COLOR="1", TERM="xterm")
    with subprocess.Popen([*MAIN, *arguments], stdout=theirs, env=env) as process:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
        process.wait()
    os.close(ours)
    return re.sub(r"\x1b\[[\d;]*m", "", said.decode()).replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the other side was closed
        return b""


def test_a_line_for_each_field():
    done = run("fields")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [field.name for field in (*ALL, *EXPERTS)]
    assert "\nxenmig.libxl.checkpoint_state.control_id " in done.stdout
    assert re.search(r"\.control_id +FT_UINT32 +step of the COLO checkpoint \(stream\.md 3\.3\)\n", done.stdout)


@pytest.mark.parametrize("prefix", ["libxc.page_data.types", "xenmig.libxc.page_data.types", "PAGE_DATA.types"])
def test_only_some(prefix):
    names = [line.split()[0] for line in run("fields", prefix).stdout.splitlines()]
    assert names[0] == "xenmig.libxc.page_data.types"
    assert all(name.startswith("xenmig.libxc.page_data.types") for name in names)


def test_the_prefix_of_all():
    assert run("fields", "xenmig").stdout == run("fields").stdout


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("control_id", "did you mean xenmig.libxl.checkpoint_state.control_id?"),
        ("time_end", "(only read -Y knows it)"),
        ("nonsense", "no field begins with 'nonsense'\n"),
    ],
)
def test_no_such_field(prefix, said):
    done = run("fields", prefix)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_markdown():
    assert run("fields", "--markdown").stdout == page((*ALL, *EXPERTS))
    assert run("fields", "--markdown", "libxl.end").stdout.count("\n## ") == 1


def test_on_a_wide_terminal():
    text = on_a_terminal(160, "fields", "libxc.page_data")
    assert "xenmig.libxc.page_data.count " in text
    assert "stream.md" in text


def test_on_a_narrow_terminal():
    text = on_a_terminal(80, "fields", "libxc.page_data")
    assert "xenmig.libxc.page_data " in text
    assert "  .count " in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "xenmig.libxc.page_data.count " in on_a_terminal(80, "fields", "libxc.page_data.count")
