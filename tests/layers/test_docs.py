# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/scapy.md run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_examples_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/scapy.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    run = subprocess.run(
        [sys.executable, "-"], input="\n".join(blocks), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "1044 records" in run.stdout
    assert "libxc PAGE_DATA 1024 pfns 0x0-0x3ff" in run.stdout
    assert "[lost 13032 bytes]" in run.stdout
