# SPDX-License-Identifier: GPL-2.0-or-later
"""The script that makes roots with other versions of Wireshark says what it lacks (making one takes a minute)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.wireshark.tshark import NOBODY, ROOT, available

SCRIPT = Path(__file__).with_name("roots.sh")


def run(*words, **environment):
    environment = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def test_only_root_can_make_roots():
    away = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"] if ROOT else []
    done = run(*away, "sh", "-c", SCRIPT.read_text(), "roots.sh")
    assert done.returncode == 1
    assert "only root can make roots" in done.stderr


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_debootstrap_is_needed(tmp_path):
    (tmp_path / "id").symlink_to("/usr/bin/id")
    done = run("/bin/sh", str(SCRIPT), str(tmp_path / "new"), PATH=str(tmp_path))
    assert done.returncode == 1
    assert "apt-get install debootstrap" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_roots_that_are_ready_are_left_alone():
    ready = [tshark for tshark in available() if tshark.name != "system"]
    if not ready:
        pytest.skip("no roots in XENDISSECT_TSHARKS")
    for tshark in ready:
        done = run(str(SCRIPT), str(tshark.root.parent), tshark.name, PATH="/usr/sbin:/usr/bin:/sbin:/bin")
        version = ".".join(map(str, tshark.version))
        assert done.stdout.startswith(f"roots.sh: {tshark.name}: was there already, TShark (Wireshark) {version}")
        assert done.stderr == ""
