# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import os
import re
import select
import subprocess
from typing import TYPE_CHECKING

import pytest

from captures.guests import colo, hvm, plain, remus
from dissector.reader import read_events
from dissector.wire.events import Finding, Record, Summary
from tests.cli.commands import run
from tests.tap.peers import migrate, tap_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from captures.streams import Conversation

CONVERSATIONS = {
    "plain": lambda: plain(hvm()),
    "remus": lambda: remus(hvm(), checkpoints=((3, 5), (7,))),
    "colo": lambda: colo(hvm(), ((1, 5, 9), (), (7,))),
}


def check_recording(path: Path, conversation: Conversation) -> None:
    """What is recorded is what was said: by our reader against the builder's list, and without complaints of tshark."""
    events = list(read_events(path))
    for direction in ("forward", "reverse"):
        mine = [(e.type, e.offset, e.size) for e in events if isinstance(e, Record) and e.direction == direction]
        assert mine == [(r["type"], r["offset"], r["size"]) for r in conversation.half(direction).records]
    assert not [e for e in events if isinstance(e, Finding) and e.severity == "error"]
    complaints = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-Y", "tcp.analysis.flags or _ws.expert.severity >= 0x600000"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert complaints.stdout == ""


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_a_migration(kind, tmp_path):
    conversation = CONVERSATIONS[kind]()
    path = tmp_path / "tap.pcapng"
    status, stderr = migrate(conversation, tmp_path, "-w", path)
    assert status == 0, stderr
    first, last = stderr.splitlines()
    assert first == f"xendissect: tap: recording to {path}"
    sent, received = len(conversation.forward.data), len(conversation.reverse.data)
    assert re.fullmatch(rf"xendissect: tap: {sent} bytes sent, {received} received; \d+ packets in {path}", last)
    check_recording(path, conversation)
    (summary,) = (event for event in read_events(path) if isinstance(event, Summary))
    assert summary.bytes == {"forward": sent, "reverse": received}


@pytest.mark.parametrize(("taken", "flags"), [("100000", "0x0014"), ("5000000", "0x0011")])
def test_a_command_that_stops_early_resets_the_connection(taken, flags, tmp_path):
    path = tmp_path / "a.pcapng"
    done = run("tap", "-w", path, "--", "head", "-c", taken, stdin=bytes(5_000_000))
    assert (done.returncode, len(done.stdout)) == (0, int(taken))
    shown = subprocess.run(
        [
            "tshark",
            "-n",
            "-r",
            str(path),
            "-T",
            "fields",
            "-e",
            "tcp.flags",
            "-Y",
            "tcp.flags.reset==1 or tcp.flags.fin==1",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert flags in shown.stdout.split()
    assert ("0x0014" in shown.stdout) == (flags == "0x0014")


def test_live_records(tmp_path):
    conversation = plain(hvm())
    status, stderr = migrate(conversation, tmp_path, "--no-record", "--live", tmp_path / "live", "--json")
    assert (status, stderr) == (0, "")
    shown = [json.loads(line) for line in (tmp_path / "live").read_text().splitlines()]
    types = [one["type"] for one in shown if one["event"] == "record" and one["direction"] == "forward"]
    assert types == [record["type"] for record in conversation.forward.records]


def test_live_text_on_standard_error(tmp_path):
    path = tmp_path / "a.pcapng"
    status, stderr = migrate(plain(hvm()), tmp_path, "-w", path, "--live", "-")
    assert status == 0
    assert "libxc  PAGE_DATA" in stderr
    assert "from the start of the connection" in stderr


def test_a_ring(tmp_path):
    conversation = plain(hvm())
    path = tmp_path / "ring.pcapng"
    status, stderr = migrate(conversation, tmp_path, "-w", path, "-b", "packets:6")
    assert status == 0, stderr
    files = sorted(tmp_path.glob("ring_*.pcapng"))
    assert len(files) > 1
    types = [event.type for event in read_events(*files) if isinstance(event, Record) and event.direction == "forward"]
    assert types == [record["type"] for record in conversation.forward.records]


def test_the_name_of_the_file(tmp_path):
    done = run("tap", "--", "true", XENDISSECT_TAP_DIR=str(tmp_path))
    assert done.returncode == 0
    (made,) = tmp_path.iterdir()
    assert re.fullmatch(r"xendissect-tap-\d{8}-\d{6}-\d+\.pcapng", made.name)
    assert str(made) in done.stderr


def test_status_and_standard_error_of_the_command():
    done = run("tap", "--no-record", "--", "sh", "-c", "echo complaint >&2; exit 7")
    assert (done.returncode, done.stderr) == (7, "complaint\n")


def test_options_of_the_command_are_its_own():
    done = run("tap", "--no-record", "echo", "-w", "--json", "--help")
    assert (done.returncode, done.stdout) == (0, "-w --json --help\n")


@pytest.mark.parametrize(("command", "status"), [("/no/such/command", 127), ("/etc", 126)])
def test_a_command_that_can_not_be_started(command, status, tmp_path):
    path = tmp_path / "a.pcapng"
    done = run("tap", "-w", path, "--", command)
    assert done.returncode == status
    assert re.fullmatch(rf"xendissect: tap: {command}: .+\n", done.stderr)
    assert not path.exists()


@pytest.mark.parametrize("options", [["-w", "-"], ["-b", "files:2"], ["-a", "nonsense"]])
def test_wrong_options_start_nothing(options, tmp_path):
    done = run("tap", *options, "--", "touch", tmp_path / "started")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "started").exists()


# -- recordings that can not go on: the transfer does ----------------------------------------------------------------

LARGE = 40 << 20


def echoed(size: int, *options: str | Path) -> tuple[int, str]:
    """Send bytes through `cat`; they come back or this fails."""
    source = subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE)
    with source, tap_process(*options, "--", "cat", stdin=source.stdout) as tap:
        assert source.stdout is not None
        assert tap.stdout is not None
        assert tap.stderr is not None
        source.stdout.close()
        left = size
        while piece := tap.stdout.read(1 << 20):
            assert not piece.strip(b"\0")
            left -= len(piece)
        assert left == 0
        return tap.wait(60), tap.stderr.read().decode()


def test_no_room_at_all():
    status, stderr = echoed(LARGE, "-w", "/dev/full")
    assert status == 0
    assert re.search(r"recording stopped behind byte \d+ .*the transfer goes on: /dev/full: No space left", stderr)
    assert len(stderr.splitlines()) == 2


def test_no_such_folder(tmp_path):
    status, stderr = echoed(1 << 20, "-w", tmp_path / "no" / "a.pcapng")
    assert status == 0
    assert re.fullmatch(
        r"xendissect: tap: nothing is recorded, the transfer goes on: .*No such file or directory\n", stderr
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_the_disk_fills(small_disk):
    path = small_disk / "a.pcapng"
    status, stderr = echoed(LARGE, "-w", path)
    assert status == 0
    assert "No space left on device" in stderr
    shown = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.comment"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert len(shown) > 50
    assert "recording stopped behind byte" in shown[-1]
    assert "No space left on device" in shown[-1]


def test_nobody_reads_the_recording(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    status, stderr = echoed(200 << 20, "-w", fifo)
    os.close(reader)
    assert status == 0
    assert "recording stopped behind byte" in stderr
    assert "the file is written too slowly" in stderr
    assert "Traceback" not in stderr


def test_the_reader_of_the_recording_goes_away(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with tap_process("-w", fifo, "--", "cat") as tap:
        assert tap.stdin is not None
        assert tap.stdout is not None
        assert tap.stderr is not None
        begun = select.poll()
        begun.register(reader, select.POLLIN)
        assert begun.poll(60_000)
        assert os.read(reader, 4) == b"\n\r\r\n"
        os.close(reader)
        tap.stdin.write(b"still here")
        assert tap.stdout.read(10) == b"still here"
        tap.stdin.close()
        assert tap.wait(60) == 0
        assert b"Broken pipe" in tap.stderr.read()


def test_a_fifo_without_a_reader(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    status, stderr = echoed(1 << 20, "-w", tmp_path / "fifo")
    assert status == 0
    assert "nothing is recorded, the transfer goes on" in stderr
