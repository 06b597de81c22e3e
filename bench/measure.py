# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs commands in turn and takes their time and memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Command:
    """One row of a table.

    Attributes:
        name: As shown.
        argv: What to run; standard output is thrown away unless `reports`.
        path: The capture it reads.
        packets: In that capture.
        reports: The command prints seconds and packets itself: its own start-up does not count.
        timeout: Seconds until it is killed.
    """

    name: str
    argv: Sequence[str]
    path: Path | None = None
    packets: int = 0
    reports: bool = False
    timeout: float = 600.0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One run."""

    wall: float
    cpu: float
    peak: int
    """Largest resident set, KiB. A child never shows less than this process had when it was started."""
    output: str
    failed: str = ""
    user: float = 0.0
    """Seconds of user CPU time alone."""


def run(command: Command) -> Sample:
    """Run a command once."""
    begin = time.perf_counter()
    with subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if command.reports else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **command.environment},
    ) as child:
        late = threading.Timer(command.timeout, child.kill)
        late.start()
        output = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        timed_out = not late.is_alive()
        late.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
    failed = f"killed after {command.timeout:.0f} s" if timed_out else f"status {child.returncode}"
    cpu = usage.ru_utime + usage.ru_stime
    return Sample(wall, cpu, usage.ru_maxrss, output, failed if child.returncode else "", usage.ru_utime)


@dataclass(frozen=True)
class Row:
    """Medians of all runs of a command, and the least of some figures."""

    command: Command
    wall: float
    cpu: float
    peak: float
    """MiB."""
    packets: int
    output: str
    failed: str
    user: float
    user_least: float
    """Of all runs, as is `wall_least`."""
    wall_least: float

    @property
    def packets_per_second(self) -> float:
        """Rate over wall time."""
        return self.packets / self.wall

    @property
    def megabytes_per_second(self) -> float:
        """Rate over wall time, of bytes of the capture file (10^6)."""
        path = self.command.path
        return path.stat().st_size / 1e6 / self.wall if path else 0.0


def interleave(commands: Sequence[Command], repeat: int) -> list[Row]:
    """Run all commands in turn, `repeat` times over, so that a busy machine slows all of them alike."""
    samples: list[list[Sample]] = [[] for _ in commands]
    for turn in range(repeat):
        for number, command in enumerate(commands):
            _progress(f"{turn + 1}/{repeat} {command.name}")
            if turn and samples[number][-1].failed:
                continue
            samples[number].append(run(command))
    _progress("")
    return [_row(command, runs) for command, runs in zip(commands, samples, strict=True)]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _row(command: Command, runs: Sequence[Sample]) -> Row:
    last = runs[-1]
    wall, packets = statistics.median(sample.wall for sample in runs), command.packets
    if command.reports and not last.failed:
        told = [sample.output.split() for sample in runs]
        wall, packets = statistics.median(float(words[0]) for words in told), int(told[-1][1])
    return Row(
        command,
        wall,
        statistics.median(sample.cpu for sample in runs),
        statistics.median(sample.peak for sample in runs) / 1024,
        packets,
        last.output,
        last.failed,
        statistics.median(sample.user for sample in runs),
        min(sample.user for sample in runs),
        min(sample.wall for sample in runs),
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table; all columns but the first are right-aligned."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])
