# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the command line in a process of its own, and makes small inputs for it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIGRATION = ROOT / "captures" / "xl-hvm-v3.pcap.gz"
COLO_420 = ROOT / "captures" / "colo-header-16.pcap.gz"

MAIN = [sys.executable, "-c", "from dissector.cli import main; main()"]


def environment(**changed: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", "PYTHONUTF8": "1", **changed}


def run(*arguments: str | Path, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*MAIN, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment(**env),
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def image(records: int = 1) -> bytes:
    """A bare libxc stream: headers, `records` PAGE_DATA of one page each, and END."""
    page = struct.pack("<IIIIQ", 1, 8 + 8 + 4096, 1, 0, 7) + bytes(4096)
    return (
        b"\xff" * 8
        + b"XENF\0\0\0\3"
        + bytes(8)
        + struct.pack("<IHHII", 2, 12, 0, 4, 17)
        + struct.pack("<II", 0x10, 0)
        + records * page
        + struct.pack("<II", 0, 0)
    )
