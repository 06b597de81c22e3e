# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os

import pytest

from tests.wireshark.tools import real_tshark


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory):
    pytest.importorskip("pyshark")
    real_tshark()
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def home(empty_home, monkeypatch):
    """An empty home, so that tshark has no plugins and preferences of the real user; skips without a usable tshark."""
    for name in ("XDG_CONFIG_HOME", "WIRESHARK_CONFIG_DIR", "WIRESHARK_PLUGIN_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(empty_home))
    return empty_home


@pytest.fixture
def gone():
    """Assertion that there is no process of this id, not even a zombie."""

    def check(pid):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    return check
