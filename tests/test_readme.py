# SPDX-License-Identifier: GPL-2.0-or-later
"""The README is true: its commands run, its Python blocks run, its sample output is what the command prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)


def commands() -> list[str]:
    """Return the xendissect command lines, without the explanation behind them."""
    found = []
    for language, block in BLOCKS:
        if not language:
            found += [
                re.split(r" {3,}", line)[0]
                for line in block.splitlines()
                if re.match(r"(\w+ .* \| )?xendissect ", line)
            ]
    return found


def shell(command: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = command.replace("xendissect ", f"{sys.executable} -m dissector ")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    if home is not None:
        environment["HOME"] = str(home)
    return subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)


@pytest.mark.parametrize("command", commands())
def test_command(command, tmp_path):
    if command.endswith("doctor"):  # it is to find what the line above it installed
        assert shell("xendissect wireshark install", tmp_path).returncode == 0
    result = shell(command, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.count("\n") >= (2 if " wireshark " in command else 5)


def test_there_are_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_python(block):
    result = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_sample_output():
    (sample,) = [block for language, block in BLOCKS if not language and block.startswith("23:02:49")]
    printed = shell("xendissect read captures/hvm-colo-xl.pcap.gz").stdout.splitlines()
    for line in sample.splitlines():
        assert line == "…" or line in printed


@pytest.mark.parametrize("target", re.findall(r"^ {4}make (\w+)", TEXT, re.MULTILINE))
def test_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:docs|captures|dissector)/[\w./-]+", TEXT))))
def test_path_exists(path):
    assert (ROOT / path.rstrip("./")).exists(), path
