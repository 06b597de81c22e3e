# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs commands in turn and takes their time and memory."""

from __future__ import annotations

import ast
import math
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NOT_INSTALLED: Final = "not installed"


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
    """Largest resident set of the command and of what it waited for, KiB; 8 MiB at least (see `LAUNCH`)."""
    output: str
    failed: str = ""
    user: float = 0.0
    """Seconds of user CPU time alone."""


LAUNCH: Final = """
import os, sys, time
report = int(sys.argv[1])
os.set_inheritable(report, False)
begin = time.perf_counter()
try:
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
except OSError:
    sys.exit()
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - begin
told = wall, used.ru_utime, used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status)
os.write(report, repr(told).encode())
"""
"""A small parent: a child never shows a smaller resident set than its parent had when it was started."""


def run(command: Command) -> Sample:
    """Run a command once."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LAUNCH, str(writing), *command.argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if command.reports else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **command.environment},  # as for users: compiled once
        pass_fds=(writing,),
        start_new_session=True,
    ) as child:
        os.close(writing)
        try:
            output, _ = child.communicate(timeout=command.timeout)
            late = False
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, late = "", True
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    with os.fdopen(reading) as report:
        told = report.read()
    if late:
        return Sample(command.timeout, 0.0, 0, "", f"killed after {command.timeout:.0f} s")
    if not told:
        return Sample(0.0, 0.0, 0, "", NOT_INSTALLED)
    wall, user, system, peak, status = ast.literal_eval(told)
    return Sample(wall, user + system, peak, output or "", f"status {status}" if status else "", user)


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
    runs: int = 1
    spread: float = 0.0
    """Slowest run minus fastest run, over the median."""

    @property
    def packets_per_second(self) -> float:
        """Rate over wall time."""
        return self.packets / self.wall

    @property
    def megabytes_per_second(self) -> float:
        """Rate over wall time, of bytes of the capture file (10^6)."""
        path = self.command.path
        return path.stat().st_size / 1e6 / self.wall if path else 0.0


def interleave(commands: Sequence[Command], repeat: int, budget: float = math.inf) -> list[Row]:
    """Run all commands in turn, `repeat` times over, so that a busy machine slows all of them alike.

    A command whose runs would take more than `budget` seconds together gets fewer of them, but always one.
    """
    samples: list[list[Sample]] = [[] for _ in commands]
    for turn in range(repeat):
        for number, command in enumerate(commands):
            _progress(f"{turn + 1}/{repeat} {command.name}")
            if turn and (samples[number][-1].failed or _spent(samples[number]) > budget):
                continue
            samples[number].append(run(command))
    _progress("")
    return [_row(command, runs) for command, runs in zip(commands, samples, strict=True)]


def _spent(runs: Sequence[Sample]) -> float:
    """Seconds that all runs and one more take."""
    return sum(sample.wall for sample in runs) * (1 + 1 / len(runs))


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
        len(runs),
        (max(sample.wall for sample in runs) - min(sample.wall for sample in runs)) / wall if wall else 0.0,
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
