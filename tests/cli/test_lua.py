# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.lua_writer import generate
from tests.cli.commands import run


@pytest.mark.parametrize("arguments", [[], ["-o", "-"]])
def test_standard_output(arguments):
    done = run("lua", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == generate()


def test_a_locale_without_utf8_changes_nothing():
    assert run("lua", PYTHONUTF8="0", LC_ALL="C", PYTHONIOENCODING="ascii").stdout == generate()


def test_into_a_file(tmp_path):
    path = tmp_path / "xenmig.lua"
    done = run("lua", "-o", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert path.read_bytes().decode() == generate()


def test_a_file_that_cannot_be_written(tmp_path):
    done = run("lua", "-o", tmp_path / "missing" / "xenmig.lua")
    assert done.returncode == 2
    assert done.stderr == f"xendissect: {tmp_path / 'missing' / 'xenmig.lua'}: No such file or directory\n"
