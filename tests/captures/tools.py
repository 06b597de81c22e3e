# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs the builder is proved against; none of them is ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

VERIFY = "/usr/lib/xen-*/bin/verify-stream-v2"


def tool(name: str) -> str:
    """Path of a program; without it the test is skipped, or fails where CI is set."""
    path = shutil.which(name)
    if path is None and name == "verify-stream-v2":
        path = next((str(found) for found in sorted(Path("/").glob(VERIFY[1:]))), None)
    if path is None:
        message = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def verify_stream(data: bytes, form: str, folder: Path) -> str:
    """Complaints of Xen's own verify-stream-v2; empty when it accepts the stream."""
    program = tool("verify-stream-v2")
    path = folder / "stream"
    path.write_bytes(data)
    library = str(Path(program).parent.parent / "lib/python")
    run = subprocess.run(
        [tool("python3"), program, "-f", form, "-i", str(path)],
        env={**os.environ, "PYTHONPATH": library},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout + run.stderr if run.returncode else ""


def tshark(path: Path, folder: Path, *arguments: str) -> list[str]:
    """Output lines of tshark with an empty configuration; only TCP is dissected, its payload is left alone."""
    options = ("ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "ipv6.tso_support:TRUE", "ip.defragment:TRUE")
    run = subprocess.run(
        [tool("tshark"), "-n", "-r", str(path), *(word for option in options for word in ("-o", option)), *arguments],
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.splitlines()


def followed(path: Path, folder: Path, stream: int) -> dict[str, bytes]:
    """Bytes of both directions of a TCP connection as tshark puts them together, by source address:port."""
    nodes: list[str] = []
    data: dict[int, list[str]] = defaultdict(list)
    for line in tshark(path, folder, "-q", "-z", f"follow,tcp,raw,{stream}"):
        if line.startswith("Node "):
            nodes.append(line.split(": ", 1)[1])
        elif line and line.strip("\t").isalnum() and len(nodes) == 2:
            data[int(line.startswith("\t"))].append(line.strip())
    return {node: bytes.fromhex("".join(data[number])) for number, node in enumerate(nodes)}
