# SPDX-License-Identifier: GPL-2.0-or-later
"""The status below the records, on a small terminal of our own."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from types import SimpleNamespace

import pytest

from dissector.cli import status as module
from dissector.cli.status import DrawnStatus, PlainStatus, capture_line, flow_line, status_for, visible
from dissector.sinks.progress import ProgressSink
from tests.sample_events import BEGIN, GAP, SUMMARY, page_data, record


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    return made


class Screen:
    """A terminal that knows line feed, cursor up, erase below, and wraps long lines; it keeps what scrolled away."""

    encoding = "utf-8"

    def __init__(self, columns=80, lines=24):
        self.columns, self.lines = columns, lines
        self.rows, self.row, self.column = [""], 0, 0
        self.written = []

    def isatty(self):
        return True

    def fileno(self):
        raise OSError("no terminal of the system")

    def flush(self):
        pass

    def write(self, text):
        self.written.append(text)
        for part in re.findall(r"\x1b\[[\d;]*[A-Za-z]|\n|[^\x1b\n]", text):
            self._take(part)
        return len(text)

    def _take(self, part):
        if part == "\n":
            self._down()
        elif part.endswith("F") and part[0] == "\x1b":
            up = int(part[2:-1])
            assert up < self.lines, "what has scrolled away can not be reached"
            self.row, self.column = self.row - up, 0
            assert self.row >= 0
        elif part == "\x1b[J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            del self.rows[self.row + 1 :]
        elif part[0] != "\x1b":
            if self.column >= self.columns:
                self._down()
            line = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = line[: self.column] + part + line[self.column + 1 :]
            self.column += 1

    def _down(self):
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append("")


def watch(**changed):
    told = {"frames": 12345, "dropped": 0, "recording": None, "engine": SimpleNamespace(progress=list)}
    return SimpleNamespace(**told | changed)


def progress(flows=1, **changed):
    sink = ProgressSink()
    for number in range(flows):
        sink.write(dataclasses.replace(BEGIN, flow=number, **changed))
        sink.write(page_data([1, 2, 3], flow=number))
    return sink


def drawn(screen, sink, *, share=True, **changed):
    status = DrawnStatus(watch(**changed), sink, screen)
    status._size = lambda: (screen.columns, screen.lines)
    return status.share(screen) if share else status


# -- lines ------------------------------------------------------------------------------------------------------------


def test_the_line_about_the_capture():
    assert capture_line(watch(), 3.7) == "3 s, 12,345 packets, 0 dropped"
    assert capture_line(watch(dropped=None), 65) == "1 min 05 s, 12,345 packets, drops not known"
    writer = SimpleNamespace(packets=9, path="x.pcapng", dropped=0)
    assert capture_line(watch(recording=SimpleNamespace(writer=writer)), 1).endswith(", 9 in x.pcapng")
    writer.dropped = 4
    assert capture_line(watch(recording=SimpleNamespace(writer=writer)), 1).endswith("4 not written: the disk is slow")


def test_the_line_about_a_migration():
    sink = progress()
    assert flow_line(sink.flows[0]) == "#0 migration, pass 1, 3 pages"
    sink.positions(1.0, [(0, "forward", 0)])
    sink.positions(2.0, [(0, "forward", 1_000_000)])
    sink.write(GAP)
    assert flow_line(sink.flows[0]) == "#0 migration, pass 1, 3 pages, 8.0 Mbit/s, 2.8 KiB lost"


def test_what_a_capture_says_does_not_reach_the_terminal():
    sink = progress()
    sink.write(dataclasses.replace(SUMMARY, outcome="\x1b[2Jgone"))
    assert "\x1b" not in flow_line(sink.flows[0])


# -- plain ------------------------------------------------------------------------------------------------------------


def test_a_plain_line_every_ten_seconds(clock):
    out = io.StringIO()
    status = PlainStatus(watch(), progress(2), out)
    for _ in range(25):
        clock.now += 1
        status.tick()
    status.clear()
    both = "#0 migration, pass 1, 3 pages; #1 migration, pass 1, 3 pages"
    assert out.getvalue().splitlines() == [f"{seconds} s, 12,345 packets, 0 dropped; {both}" for seconds in (10, 20)]


# -- drawn ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8:1234:5678:9abc:def0:1234:5678"])
def test_no_line_is_wider_than_the_terminal(clock, address, encoding):
    screen = Screen()
    screen.encoding = encoding
    sink = progress(5, sender=(address, 65535), receiver=(address, 65535))
    sink.write(dataclasses.replace(GAP, flow=3, length=10**9))
    sink.positions(1.0, [(3, "forward", 0)])
    sink.positions(2.0, [(3, "forward", 10**9)])
    status = drawn(screen, sink)
    for columns in range(20, 220):
        lines = status.picture(9.0, columns, 24)
        assert max(map(visible, lines)) < columns
        if encoding == "ascii":
            assert not re.search("[→←]", "".join(lines))
        if columns >= 60:
            assert "953.7 MiB lost" in "".join(lines)


@pytest.mark.parametrize("lines", [1, 4, 5, 6, 10, 24, 60])
@pytest.mark.parametrize("columns", [80, 160])
def test_the_table_leaves_lines_for_records(clock, columns, lines):
    status = drawn(Screen(columns, lines), progress(30))
    picture = status.picture(9.0, columns, lines)
    assert len(picture) <= max(1, lines - 2)
    assert f"{30 - sum(line.startswith('#') for line in picture)} more migrations" in picture[-1]


def test_columns(clock):
    narrow, middle, wide = (drawn(Screen(), progress()).picture(1.0, columns, 24) for columns in (70, 100, 160))
    assert [len(lines) for lines in (narrow, middle, wide)] == [4, 4, 3]
    assert "rate ←" not in narrow[0]
    assert "rate ←" in middle[0]
    assert middle[2].strip() == "pass 1, 3 pages"
    assert wide[1].endswith("none  pass 1, 3 pages")
    assert wide[0].index("phase") == wide[1].index("pass 1")


def test_words_when_nothing_goes_on():
    sink = progress(0)
    assert "no migration so far, Ctrl-C ends" in drawn(Screen(), sink).picture(1.0, 80, 24)[0]
    sink = progress()
    sink.write(SUMMARY)
    assert "no migration at the moment, Ctrl-C ends" in drawn(Screen(), sink).picture(1.0, 80, 24)[0]


def test_records_scroll_and_the_table_stays(clock):
    screen, sink = Screen(), progress(2)
    status = drawn(screen, sink)
    for number in range(200):
        for part in range(number % 3):
            status.write(f"record {number} {part}" + "x" * (number % 100) + "\n")
        clock.now += 0.03
        status.tick()
    status.tick()
    table = [row for row in screen.rows if not row.startswith(("record", "x"))]
    assert table[-2].startswith("6 s, 12,345 packets") or table[-2].startswith("5 s, 12,345 packets")
    assert sum("sender" in row for row in screen.rows) == 1
    assert screen.rows[-7].lstrip().startswith("sender")
    status.clear()
    records = re.findall(r"record (\d+) (\d+)", "\n".join(screen.rows))
    assert records == [(str(number), str(part)) for number in range(200) for part in range(number % 3)]
    assert not any("sender" in row for row in screen.rows)
    assert screen.rows[-1] == ""


def test_it_is_not_drawn_for_every_record(clock):
    screen = Screen()
    status = drawn(screen, progress())
    for number in range(1000):
        status.write(f"record {number}\n")
        clock.now += 0.0001
        status.tick()
    assert len(screen.written) < 20


def test_a_terminal_that_becomes_narrower(clock):
    screen = Screen(120)
    status = drawn(screen, progress(3))
    status.tick()
    before = [row for row in screen.rows if row]
    screen.columns = 60
    screen.rows, screen.row, screen.column = [""], 0, 0
    screen.write("".join(f"{row}\n" for row in before))  # as a terminal breaks its lines anew
    status.clear()
    assert screen.rows == [""]


def test_lines_of_another_stream_are_none_of_its_business(clock):
    screen = Screen()
    status = drawn(screen, progress(), share=False)
    status.tick()
    count = len(screen.rows)
    clock.now += 0.1
    status.tick()
    assert len(screen.rows) == count
    status.clear()
    assert screen.rows == [""]


def test_drops_are_seen(clock, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    quiet, loud = (drawn(Screen(), progress(), dropped=count).picture(1.0, 100, 24)[-1] for count in (0, 3))
    assert quiet.startswith("\x1b[2m")
    assert loud.startswith("\x1b[33m")


# -- which ------------------------------------------------------------------------------------------------------------


def test_which_status(clock, monkeypatch):
    def kind(wanted, stream):
        return type(status_for(watch(), progress(), stream, wanted))

    assert kind("off", Screen()) is type(None)
    assert kind("auto", Screen()) is DrawnStatus
    assert kind("plain", Screen()) is PlainStatus
    assert kind("auto", io.StringIO()) is PlainStatus
    monkeypatch.setenv("TERM", "dumb")
    assert kind("auto", Screen()) is PlainStatus


def test_the_size_of_a_real_terminal(clock):
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    with os.fdopen(slave, "w") as stream:
        status = DrawnStatus(watch(), progress(), stream)
        assert status._size() == (111, 33)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        assert status._size() == (80, 24)
        status.tick()
    os.close(master)
    assert DrawnStatus(watch(), progress(), Screen())._size() == (80, 24)


def test_a_record_of_a_migration_moves_its_line():
    sink = progress()
    sink.write(record("libxc", "END"))
    assert "device state" in drawn(Screen(), sink).picture(1.0, 100, 24)[2]
