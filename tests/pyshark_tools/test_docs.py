# SPDX-License-Identifier: GPL-2.0-or-later
"""The example scripts and the Python blocks of docs/pyshark.md run."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.pyshark_tools.test_capture import CAPTURES, ROOT

EXAMPLES = ROOT / "docs" / "examples"
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pyshark.md").read_text(), re.DOTALL)


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("script", "capture", "expected"),
    [
        ("checkpoints", "hvm-colo-xl", r"1 +0\.115 +- +1988 +- +6030\n +2 +0\.269 +0\.154 +133 +87 +6469\n"),
        ("checkpoints", "remus-hvm-xl", r"\n +3 .*\n$"),
        (
            "findings",
            "loss-in-pages",
            r"^frame 5: PAGE_DATA lacks 13032 of 164240 bytes, pages 0x7 .*\nframe 37: 1448 bytes from 192\.0\.2\.1 ",
        ),
        ("findings", "file-cut", r"error: the stream ends inside libxc PAGE_DATA.*\ncapture: warn: .*cut short"),
        ("passes", "pv-live-libxl", r"^pass 1: 700 pfns, 0 .*\n(pass \d: .*\n){2}pass 4: 46 pfns, 46 of them again"),
    ],
)
def test_examples(script, capture, expected, home):
    printed = run(str(EXAMPLES / f"pyshark_{script}.py"), str(CAPTURES / f"{capture}.pcap.gz"))
    assert re.search(expected, printed), printed


def test_all_examples_are_tested_and_mentioned():
    text = (ROOT / "docs" / "pyshark.md").read_text()
    names = {path.name for path in EXAMPLES.glob("pyshark_*.py")}
    assert names == {"pyshark_checkpoints.py", "pyshark_findings.py", "pyshark_passes.py"}
    assert all(name in text for name in names)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks(block, home):
    assert run("-c", block)
