# SPDX-License-Identifier: GPL-2.0-or-later
"""The README is true: its commands run, its Python blocks run, its sample output is what the command prints."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conversations import conversation
from tests.live.link import INTERFACE, Link, needs_namespaces
from tests.live.replay import play

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


LIVE = [command for command in commands() if command.startswith("xendissect sniff")]
SLIM = [command for command in commands() if command.startswith("xendissect slim")]


def shell(command: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = command.replace("xendissect ", f"{sys.executable} -m dissector ")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    if home is not None:
        environment["HOME"] = str(home)
    return subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)


@pytest.mark.parametrize("command", [command for command in commands() if command not in (*LIVE, *SLIM)])
def test_command(command, tmp_path):
    if command.endswith("doctor"):  # it is to find what the line above it installed
        assert shell("xendissect wireshark install", tmp_path).returncode == 0
    result = shell(command, tmp_path)
    assert result.returncode == (command == "xendissect check captures/hvm-colo-xl-420.pcap.gz"), result.stderr
    assert result.stderr == ""
    assert result.stdout.count("\n") >= (2 if " wireshark " in command else 5)


@pytest.mark.parametrize("command", SLIM)
def test_slim(command, tmp_path):
    (tmp_path / "captures").symlink_to(ROOT / "captures")
    result = shell(f"cd {tmp_path}; {command.replace('xendissect ', f'PYTHONPATH={ROOT} xendissect ')}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert " packets in " in result.stderr
    assert shell(f"xendissect read {tmp_path}/*.pcapng").stdout.count("\n") > 70


@pytest.mark.parametrize("command", [command for command in LIVE if "--ssh" not in command])
def test_live(command, tmp_path):
    needs_namespaces()
    words = shlex.split(command.replace("eth0", INTERFACE).replace("xendissect ", f"{sys.executable} -m dissector ", 1))
    with Link() as link:
        sniff = link.receiver.start(
            *words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert b"capturing on" in sniff.stderr.readline()
        play(link, conversation("xl-hvm-v3"))
        sniff.send_signal(signal.SIGINT)
        out, _ = sniff.communicate(timeout=60)
    assert sniff.returncode == 0
    assert b"completed: the guest runs at the receiver" in out


def test_remote_capture_and_tap_have_these_options():
    assert [command for command in LIVE if "--ssh" in command]
    shown = shell("xendissect sniff --help").stdout
    assert "--ssh" in shown
    assert re.search(r"xl migrate -s 'xendissect tap -- ssh'", TEXT)


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


def test_sample_of_a_check_is_what_is_printed():
    [sample] = [block for _, block in BLOCKS if block.startswith("  error ")]
    printed = shell("xendissect check captures/hvm-colo-xl-420.pcap.gz").stdout
    for line in sample.splitlines():
        assert line.removesuffix("…") in printed
