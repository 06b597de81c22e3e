# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m dissector`` is the command."""

from __future__ import annotations

import subprocess
import sys

import dissector


def test_version():
    result = subprocess.run(
        [sys.executable, "-m", "dissector", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(f"xendissect {dissector.__version__} (")
