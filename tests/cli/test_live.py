# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live capture shows, says and ends with; the sources are made up."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from pathlib import Path

import pytest
import typer

from dissector.cli import live
from dissector.cli.live import run
from dissector.cli.pump import ERRORS, ERRORS_FOUND, OK, TROUBLE, Plan
from dissector.cli.recording import wanted
from dissector.cli.selection import Selection
from dissector.cli.status import PlainStatus
from dissector.live.source import Counters
from dissector.sinks.jsonl import JsonSink
from dissector.sources import open_capture
from dissector.wire.events import Record
from dissector.wire.limits import Limits
from tests.cross.tools import events
from tests.test_watch import NAME, Fake, cut, frames

RECORDS = sum(isinstance(event, Record) for event in events(NAME))


@pytest.fixture(autouse=True)
def rights(monkeypatch):
    """This process keeps its rights."""
    given_up = []

    @contextlib.contextmanager
    def dropped_for(path):
        given_up.append(path)
        yield

    monkeypatch.setattr(live.privileges, "dropped_for", dropped_for)
    return given_up


def made(path=None, **options):
    return wanted(path, options.get("ring", ()), options.get("autostop", ()), None, None, scrub=False)


def sniffed(*sources, record=None, status="off", duration=None, stdout=None, selection=None, **options):
    stdout = stdout or io.StringIO()
    plan = Plan(selection or Selection(), lambda output: [JsonSink(output)], at_once=True, **options)
    result = run(sources, plan, stdout, limits=Limits(), record=record or made(), duration=duration, status=status)
    assert all(source.closed for source in sources)
    return result, [json.loads(line) for line in stdout.getvalue().splitlines()]


def count(objects, kind="record"):
    return sum(one["event"] == kind for one in objects)


def test_everything_is_shown(rights, capsys):
    result, objects = sniffed(Fake(cut(frames()), method="stdin"))
    assert (result, count(objects)) == (OK, RECORDS)
    assert objects[-1]["scope"] == "input"
    assert capsys.readouterr().err == ""
    assert rights == [None]


def test_what_is_said(capsys):
    ended = "xendissect: ended:"
    sniffed(Fake([frames()], ended=None, counts=[Counters(2000, 7)]), duration=0.05, status="plain")
    assert capsys.readouterr().err.splitlines() == [
        "xendissect: capturing on eth0 (ring)",
        f"{ended} 0.05 s have passed; {len(frames())} packets dissected, 2,000 received, 7 dropped by the kernel",
    ]
    sniffed(Fake([frames()], method="stdin"), status="plain")
    assert capsys.readouterr().err.splitlines()[-1].endswith("packets dissected, nobody tells what was dropped")


def test_count(capsys):
    result, objects = sniffed(Fake(cut(frames(), 5), ended=None), count=3, status="plain")
    assert (result, count(objects)) == (OK, 3)
    assert "ended: 3 records are shown" in capsys.readouterr().err


def test_selection_and_strict():
    result, objects = sniffed(
        Fake(cut(frames("colo-header-16")), method="stdin"), selection=Selection(types={"CHECKPOINT_STATE"})
    )
    assert result == OK
    assert {one["type"] for one in objects if one["event"] == "record"} == {"CHECKPOINT_STATE"}
    error = any(getattr(event, "severity", "") == "error" for event in events("colo-header-16"))
    assert error
    assert sniffed(Fake([frames("colo-header-16")], method="stdin"), judged=ERRORS)[0] == ERRORS_FOUND


def test_limits_without_a_file(capsys):
    result, _ = sniffed(Fake([], ended=None), record=made(autostop=["duration:0.05"]), status="plain")
    assert result == OK
    assert "ended: 0.05 s have passed" in capsys.readouterr().err
    sniffed(Fake([], ended=None), record=made(autostop=["duration:100"]), duration=0.04, status="plain")
    assert "ended: 0.04 s have passed" in capsys.readouterr().err
    sniffed(Fake(cut(frames()), ended=None), record=made(autostop=["packets:30"]), status="plain")
    assert "packets are captured" in capsys.readouterr().err


def test_a_source_that_breaks(capsys):
    result, objects = sniffed(Fake([frames()], error="eth0: broken", ended=None))
    assert (result, count(objects)) == (TROUBLE, RECORDS)
    assert capsys.readouterr().err == "xendissect: eth0: broken\n"


def test_one_of_two_breaks_and_that_is_said_at_once(capsys):
    fine = Fake([frames(), None, frames()[:1]], name="eth1", method="stdin")
    result, objects = sniffed(Fake([], error="eth0: broken", ended=None), fine, status="plain")
    assert (result, count(objects)) == (TROUBLE, RECORDS)
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "xendissect: eth0: broken; the other captures go on"
    assert said[2].startswith("xendissect: ended: it is over")
    assert len(said) == 3


def test_a_file(tmp_path, capsys, rights):
    path = tmp_path / "x.pcapng"
    result, objects = sniffed(Fake(cut(frames()), method="stdin"), record=made(path), status="plain")
    assert (result, count(objects)) == (OK, RECORDS)
    assert rights == [str(path)]
    said = capsys.readouterr().err
    assert f"capturing on eth0 (stdin), packets to {path}" in said
    assert f"{len(frames()):,} packets in {path}\n" in said
    assert path.stat().st_size > sum(len(packet.data) for packet in frames())


def test_packets_to_standard_output(capfdbinary):
    sniffed(Fake(cut(frames()), method="stdin"), record=made("-"), status="plain")
    written, said = capfdbinary.readouterr()
    assert written.startswith(b"\x0a\x0d\x0d\x0a")
    assert b"capturing on eth0 (stdin), packets to standard output\n" in said
    assert f" {len(frames()):,} packets in standard output\n".encode() in said


def test_a_ring_of_files(tmp_path, capsys):
    record = made(tmp_path / "x.pcapng", ring=["packets:20", "files:2"])
    sniffed(Fake(cut(frames(), 10), method="stdin"), record=record, status="plain")
    files = -(-len(frames()) // 20)
    assert len(list(tmp_path.iterdir())) == 2
    assert f" and {files - 1} files before it" in capsys.readouterr().err


def test_a_file_that_can_not_be_made(tmp_path, capsys):
    source = Fake([])
    with pytest.raises(typer.Exit) as error:
        sniffed(source, record=made(tmp_path / "no" / "x"))
    assert error.value.exit_code == TROUBLE
    assert source.closed
    assert capsys.readouterr().err == f"xendissect: {tmp_path}/no/x: No such file or directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="NO /dev/full")
def test_a_full_disk(capsys):
    result, objects = sniffed(Fake([frames()], ended=None), record=made(Path("/dev/full")))
    assert (result, count(objects)) == (TROUBLE, RECORDS)
    assert capsys.readouterr().err == "xendissect: /dev/full: No space left on device\n"


def test_packets_behind_a_limit_are_not_called_lost(tmp_path, capsys):
    record = made(tmp_path / "x", autostop=["packets:10"])
    sniffed(Fake([frames()], ended=None), record=record, status="plain")
    said = capsys.readouterr().err
    assert "too slowly" not in said
    assert "10 packets are written" in said


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError

    flush = write


def test_a_reader_that_goes_away_does_not_cost_the_file(monkeypatch, tmp_path):
    died = []
    monkeypatch.setattr(live, "die_of_broken_pipe", lambda: died.append(True))
    path, source = tmp_path / "x.pcapng", Fake([frames()], ended=None)
    plan = Plan(Selection(), lambda output: [JsonSink(output)])
    run([source], plan, Gone(), limits=Limits(), record=made(path), duration=None, status="off")
    assert died
    assert source.closed
    assert path.read_bytes()[-4:] != b""
    file = open_capture(str(path))
    for chunk in file.chunks():
        while True:
            behind, _ = chunk.format.packet(chunk.buffer, chunk.consumed, chunk.end)
            if behind == chunk.consumed:
                break
            chunk.consumed = behind
    assert file.truncated is None
    file.close()


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_signals(capsys, number, why):
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    source = Fake([lambda: os.kill(os.getpid(), number), frames()], ended=None)
    result, objects = sniffed(source, status="plain")
    assert (result, count(objects)) == (OK, RECORDS)
    assert f"ended: {why}; " in capsys.readouterr().err
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_signal_before_the_first_packet(monkeypatch, capsys):
    """Ctrl-C while the file is opened ends with a summary too."""
    dropped_for = live.privileges.dropped_for

    @contextlib.contextmanager
    def slow(path):
        os.kill(os.getpid(), signal.SIGINT)
        with dropped_for(path):
            yield

    monkeypatch.setattr(live.privileges, "dropped_for", slow)
    result, objects = sniffed(Fake([frames()], ended=None), status="plain")
    assert (result, count(objects)) == (OK, RECORDS)
    assert "ended: interrupted" in capsys.readouterr().err


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_records_and_status_on_one_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr(live.sys, "stderr", screen)
    source = Fake(cut(frames()), ended=None)
    plan = Plan(Selection(), lambda output: [JsonSink(output)], at_once=True)
    result = run([source], plan, screen, limits=Limits(), record=made(), duration=0.6, status="auto")
    text = screen.getvalue()
    assert result == OK
    assert text.count('"event":"record"') == RECORDS
    assert "no migration" in text or "sender → receiver" in text
    assert "\x1b[J" in text
    assert all(line[:1] in "{\x1b#x 0" or line.startswith("xendissect") for line in text.splitlines())
    assert text.splitlines()[-1].startswith("xendissect: ended: 0.6 s have passed")


def test_the_status_is_told_of_every_tick(monkeypatch):
    ticks = []
    monkeypatch.setattr(PlainStatus, "tick", lambda self: ticks.append(1))
    sniffed(Fake([frames()], ended=None), duration=0.5, status="plain")
    assert len(ticks) >= 2
