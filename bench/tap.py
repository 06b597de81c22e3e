# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast data pass through ``xendissect tap``, next to ``cat``: ``python bench/tap.py --size 4G``.

Method
    Zeros go from ``head -c`` through the relay to a command and, for the echo, back and into the void. The runs are
    interleaved - one of every row, then the next of every row - and every figure is the median; other work on the
    machine slows all rows alike, so compare the ratios, not the seconds. The ratio is the speed next to the row with
    ``cat`` in place of the tap. The time is that of the whole pipeline with Python's start and the end of the
    recording.

    "one way" is a migration: the command throws away what it gets. "echo" sends everything back, so twice as much
    passes, and twice as much is recorded, as `head` makes.

    The recordings are deleted after every run. A row whose recording stopped, because packets came faster than the
    disk took them, says so: the transfer was complete, its recording was not.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generate import size

SCRIPT = Path(sys.executable).with_name("xendissect")
TAP = shlex.quote(str(SCRIPT)) if SCRIPT.exists() else f"{sys.executable} -m dissector"
ONE_WAY = "sh -c 'cat > /dev/null'"


class Row(NamedTuple):
    """A pipeline; `{size}` is filled in.

    Attributes:
        name: As shown.
        pipeline: For the shell.
        base: Name of the row it is compared with.
        recording: What it writes.
    """

    name: str
    pipeline: str
    base: str
    recording: Path | None = None


def rows(folders: list[Path]) -> list[Row]:
    """Make the table."""
    found = [
        Row("one way, cat", f"head -c {{size}} /dev/zero | cat | {ONE_WAY}", "one way, cat"),
        Row("echo, cat", "head -c {size} /dev/zero | cat | cat > /dev/null", "echo, cat"),
        Row(
            "one way, tap --no-record",
            f"head -c {{size}} /dev/zero | {TAP} tap --no-record -- {ONE_WAY}",
            "one way, cat",
        ),
        Row(
            "echo, tap --no-record",
            f"head -c {{size}} /dev/zero | {TAP} tap --no-record -- cat | cat > /dev/null",
            "echo, cat",
        ),
    ]
    for folder in folders:
        path = folder / f"xendissect-bench-tap-{os.getpid()}.pcapng"
        tap = f"head -c {{size}} /dev/zero | {TAP} tap -w {shlex.quote(str(path))} --"
        found.append(Row(f"one way, tap -w {folder}", f"{tap} {ONE_WAY}", "one way, cat", path))
        found.append(Row(f"echo, tap -w {folder}", f"{tap} cat | cat > /dev/null", "echo, cat", path))
    return found


def run(row: Row, amount: int) -> tuple[float, bool]:
    """Run a pipeline; return its seconds, and whether the recording, if any, is complete."""
    begin = time.perf_counter()
    done = subprocess.run(
        row.pipeline.format(size=amount), shell=True, stderr=subprocess.PIPE, text=True, check=True, timeout=600
    )
    seconds = time.perf_counter() - begin
    if row.recording is not None:
        row.recording.unlink(missing_ok=True)
    return seconds, "stopped" not in done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=size, default=size("4G"), help="bytes that are sent, such as 4G")
    parser.add_argument("--repeat", type=int, default=3, help="runs of every row")
    parser.add_argument("--folder", type=Path, action="append", help="where recordings go; several times (/dev/shm, .)")
    options = parser.parse_args()
    table = rows(options.folder or [Path("/dev/shm"), Path.cwd()])
    seconds: dict[str, list[float]] = {row.name: [] for row in table}
    complete = dict.fromkeys(seconds, 0)
    for _ in range(options.repeat):
        for row in table:
            taken, whole = run(row, options.size)
            seconds[row.name].append(taken)
            complete[row.name] += whole
    print("| pipeline | s | MB/s | speed to cat | recording complete |")
    print("|---|---:|---:|---:|---|")
    for row in table:
        median = statistics.median(seconds[row.name])
        ratio = statistics.median(seconds[row.base]) / median
        told = f"{complete[row.name]} of {options.repeat}" if row.recording else "-"
        print(f"| {row.name} | {median:.2f} | {options.size / median / 1e6:.0f} | {ratio:.2f} | {told} |")


if __name__ == "__main__":
    main()
