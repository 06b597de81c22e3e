# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
import sys

import pytest

from dissector import __version__
from dissector.wireshark import starter


@pytest.mark.parametrize("beside", [True, False])
def test_it_starts_this_installation(tmp_path, monkeypatch, beside):
    if not beside:  # no program there: our module in the same Python
        python = tmp_path / "a folder" / "python"
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
    path = tmp_path / "starter"
    path.write_text(starter.text())
    path.chmod(0o755)
    assert starter.command()[1:] == ([] if beside else ["-P", "-m", starter.MODULE])
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == f"xendissect-extcap {__version__}\n"


def test_no_starter_where_we_cannot_capture(monkeypatch):
    assert starter.name() == "xendissect-extcap"
    monkeypatch.setattr(sys, "platform", "win32")
    assert starter.name() is None
