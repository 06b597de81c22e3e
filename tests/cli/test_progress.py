# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import time
from dataclasses import dataclass

import pytest

from dissector.cli import progress
from dissector.cli.progress import LARGE, Bar, wants_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Reading:
    bytes_read: int = 0
    bytes_total: int | None = 1000


@pytest.mark.parametrize(
    ("total", "stdout", "stderr", "wanted"),
    [
        (1000, io.StringIO(), Terminal(), True),
        (1000, io.StringIO(), io.StringIO(), False),
        (1000, Terminal(), Terminal(), False),
        (LARGE + 1, Terminal(), Terminal(), True),
        (None, io.StringIO(), Terminal(), False),
    ],
)
def test_when_there_is_a_bar(total, stdout, stderr, wanted):
    assert wants_bar(Reading(bytes_total=total), stdout, stderr) is wanted


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setenv("TERM", "xterm")


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_bar_shows_how_far_it_is_and_goes_away():
    reading, stdout, stderr = Reading(500), io.StringIO(), Terminal()
    with Bar(reading, stdout, stderr) as bar:
        bar.write("a line\n")
        until(lambda: "500" in stderr.getvalue())
    assert stdout.getvalue() == "a line\n"
    # The cursor is back and the line is empty.
    assert stderr.getvalue().endswith("\x1b[2K")
    assert "\x1b[?25h" in stderr.getvalue()


def test_lines_on_the_same_terminal_clear_the_bar_first():
    reading, stdout, stderr = Reading(bytes_total=LARGE + 1), Terminal(), Terminal()
    with Bar(reading, stdout, stderr) as bar:
        until(lambda: "MiB" in stderr.getvalue())
        bar.write("a line\n")
        until(lambda: "\r\x1b[2K" in stderr.getvalue())
    assert stdout.getvalue() == "a line\n"


def test_a_short_reading_draws_nothing(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 60)
    stderr = Terminal()
    with Bar(Reading(), io.StringIO(), stderr):
        pass
    assert stderr.getvalue() == ""
