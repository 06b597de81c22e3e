# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast data pass through ``xendissect tap``, next to ``cat``: ``python bench/tap.py --size 3G``.

Method
    A file in /dev/shm - a migration, or with ``--data random`` bytes that are none - goes from ``cat`` through the
    relay to a command and, for the echo, back and into the void. The runs are interleaved - one of every row, then
    the next of every row - and every figure is the median; other work on the machine slows all rows alike, so
    compare the ratios, not the seconds. The ratio is the speed next to the row with ``cat`` in place of the tap.
    The time is that of the whole pipeline with Python's start and the end of the recording.

    "one way" is a migration: the command throws away what it gets. "echo" sends everything back, so twice as much
    passes, and twice as much is recorded, as `cat` makes.

    Before each recording a file of its size is written to the same place and deleted: a virtual machine has to be given
    the memory that it has not used yet by its host, which is slower than all that is measured here.

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
from bench.stream import Stream, cut

SCRIPT = Path(sys.executable).with_name("xendissect")
TAP = shlex.quote(str(SCRIPT)) if SCRIPT.exists() else f"{sys.executable} -m dissector"
ONE_WAY = "sh -c 'cat > /dev/null'"


class Row(NamedTuple):
    """A pipeline.

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


def rows(source: Path, folders: list[Path]) -> list[Row]:
    """Make the table."""
    feed = f"cat {source} |"
    found = [
        Row("one way, cat", f"{feed} cat | {ONE_WAY}", "one way, cat"),
        Row("echo, cat", f"{feed} cat | cat | cat > /dev/null", "echo, cat"),
        Row("one way, tap --no-record", f"{feed} {TAP} tap --no-record -- {ONE_WAY}", "one way, cat"),
        Row("echo, tap --no-record", f"{feed} {TAP} tap --no-record -- cat | cat > /dev/null", "echo, cat"),
    ]
    for folder in folders:
        for options in ("", "--slim "):
            path = folder / f"xendissect-bench-tap-{os.getpid()}.pcapng"
            tap = f"{feed} {TAP} tap {options}-w {shlex.quote(str(path))} --"
            found.append(Row(f"one way, tap {options}-w {folder}", f"{tap} {ONE_WAY}", "one way, cat", path))
            found.append(Row(f"echo, tap {options}-w {folder}", f"{tap} cat | cat > /dev/null", "echo, cat", path))
    return found


def make_source(kind: str, amount: int) -> Path:
    """Write what is sent."""
    path = Path("/dev/shm") / f"xendissect-bench-tap-{os.getpid()}.data"
    with path.open("wb") as file:
        if kind == "migration":
            for piece in cut(Stream(amount, "1024-page").pieces(), 1 << 20):
                file.write(piece)
        else:
            pool = os.urandom(16 << 20)
            for start in range(0, amount, len(pool)):
                file.write(pool[: amount - start])
    return path


def warm(row: Row, amount: int) -> None:
    """Write and delete as much as the recording will have."""
    if row.recording is not None and "--slim" not in row.pipeline:
        piece = bytes(1 << 20)
        with row.recording.open("wb") as file:
            for _ in range((amount << row.name.startswith("echo")) >> 20):
                file.write(piece)
        row.recording.unlink()


def run(row: Row) -> tuple[float, bool]:
    """Run a pipeline; return its seconds, and whether the recording, if any, is complete."""
    begin = time.perf_counter()
    done = subprocess.run(row.pipeline, shell=True, stderr=subprocess.PIPE, text=True, check=True, timeout=600)
    seconds = time.perf_counter() - begin
    if row.recording is not None:
        row.recording.unlink(missing_ok=True)
    return seconds, "stopped" not in done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=size, default=size("4G"), help="bytes that are sent, such as 4G")
    parser.add_argument("--repeat", type=int, default=3, help="runs of every row")
    parser.add_argument("--folder", type=Path, action="append", help="where recordings go; several times (/dev/shm, .)")
    parser.add_argument("--data", choices=["migration", "random"], default="migration", help="what is sent")
    options = parser.parse_args()
    source = make_source(options.data, options.size)
    amount = source.stat().st_size
    table = rows(source, options.folder or [Path("/dev/shm"), Path.cwd()])
    seconds: dict[str, list[float]] = {row.name: [] for row in table}
    complete = dict.fromkeys(seconds, 0)
    for _ in range(options.repeat):
        for row in table:
            warm(row, amount)
            taken, whole = run(row)
            seconds[row.name].append(taken)
            complete[row.name] += whole
    source.unlink()
    print("| pipeline | s | MB/s | speed to cat | recording complete |")
    print("|---|---:|---:|---:|---|")
    for row in table:
        median = statistics.median(seconds[row.name])
        ratio = statistics.median(seconds[row.base]) / median
        told = f"{complete[row.name]} of {options.repeat}" if row.recording else "-"
        print(f"| {row.name} | {median:.2f} | {amount / median / 1e6:.0f} | {ratio:.2f} | {told} |")


if __name__ == "__main__":
    main()
