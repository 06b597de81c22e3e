# SPDX-License-Identifier: GPL-2.0-or-later
"""Rights are given up in processes of their own, which tell what they can still do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissector.live import privileges

ROOT = Path(__file__).parents[2]
PROBE = """
import json, os, socket
from dissector.live import privileges
ring = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
privileges.drop()
privileges.drop()
ring.getsockopt(263, 6, 12)
try:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    capture = True
except PermissionError:
    capture = False
caps = [line.split()[1] for line in open("/proc/self/status", "rb") if line.startswith((b"CapPrm", b"CapEff"))]
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), capture, [int(cap, 16) for cap in caps]]))
"""


def probe(*before, **environment):
    if os.geteuid():
        pytest.skip("NOT ROOT: giving up rights is not tested")
    run = subprocess.run(
        [*before, sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
    )
    return json.loads(run.stdout)


def test_under_sudo_the_caller_is_back():
    uids, gids, groups, capture, caps = probe(SUDO_UID="12345", SUDO_GID="12346")
    assert (uids, gids, groups) == ([12345] * 3, [12346] * 3, [12346])
    assert not capture
    assert caps == [0, 0]


def test_known_user_gets_all_groups():
    _, _, groups, capture, _ = probe(SUDO_UID="1", SUDO_GID="1")
    assert groups == [1]
    assert not capture


@pytest.mark.parametrize("environment", [{}, {"SUDO_UID": "0", "SUDO_GID": "0"}, {"SUDO_UID": "x", "SUDO_GID": "1"}])
def test_root_gives_up_all_capabilities(environment):
    uids, _, _, capture, caps = probe(**environment)
    assert uids == [0, 0, 0]
    assert not capture
    assert caps == [0, 0]


def test_nothing_to_give_up(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(privileges, "_has_capabilities", lambda: False)
    monkeypatch.setattr(privileges, "_drop_capabilities", lambda: pytest.fail("there was nothing"))
    monkeypatch.setenv("SUDO_UID", "5")
    monkeypatch.setenv("SUDO_GID", "5")
    privileges.drop()


@pytest.mark.parametrize(("platform", "words"), [("linux", "usermod -aG wireshark"), ("darwin", "ChmodBPF")])
def test_explain_is_one_line(platform, words, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    line = privileges.explain("eth7")
    assert "eth7" in line
    assert "sudo" in line
    assert words in line
    assert "\n" not in line
