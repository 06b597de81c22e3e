# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading

import pytest

from dissector.recording import output
from dissector.recording.output import MOST_PIECES, OutputFile


def test_many_pieces_one_file_for_the_owner_only(tmp_path):
    path = tmp_path / "out"
    out = OutputFile(str(path))
    pieces = [bytes([number & 255]) * (number % 5) for number in range(3 * MOST_PIECES)]
    out.write(pieces)
    out.write([memoryview(b"end")])
    out.close()
    out.close()
    assert path.read_bytes() == b"".join(pieces) + b"end"
    assert out.written == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_can_not_be_made_is_an_oserror(tmp_path):
    with pytest.raises(IsADirectoryError):
        OutputFile(str(tmp_path))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError) as caught:
        OutputFile(str(fifo), patient=False)
    assert caught.value.errno == errno.ENXIO


def test_a_slow_reader_gets_everything(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    out = OutputFile(str(fifo), patient=False)
    pieces = [bytes([number]) * 70_001 for number in range(20)]

    def write() -> None:
        out.write(pieces)
        out.close()

    writing = threading.Thread(target=write)
    writing.start()
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"".join(pieces)
    writing.join()
    assert out.written == 20 * 70_001
    assert not out.whole


def test_a_reader_that_stops_is_given_up(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    out = OutputFile(str(fifo), patient=False)
    out.abandon()
    with pytest.raises(TimeoutError):
        out.write([bytes(1 << 20)])
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        out.write([b"x"])


def test_a_piece_that_does_not_fit_leaves_nothing(tmp_path):
    path = tmp_path / "out"
    code = (
        "import resource, sys\n"
        "from dissector.recording.output import OutputFile\n"
        "out = OutputFile(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "out.write([b'a' * 4000, b'b' * 4000])\n"
        "try:\n    out.write([b'c' * 1000, b'd' * 4000])\n"
        "except OSError as error:\n    print(error.strerror)\n"
        "out.write([b'e' * 2000])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == os.strerror(errno.EFBIG)
    assert path.read_bytes() == b"a" * 4000 + b"b" * 4000 + b"e" * 2000


def test_a_large_piece_that_does_not_fit_leaves_nothing(tmp_path):
    path = tmp_path / "out"
    code = (
        "import resource, sys\n"
        "from dissector.recording.output import OutputFile\n"
        "out = OutputFile(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_001, 5_000_001))\n"
        "out.write([b'a' * 700_001, b'b' * 1_400_000])\n"
        "out.write([b'c' * 9])\n"
        "try:\n"
        "    out.write([b'd' * 3_000_000])\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
        "out.write([b'e' * 2_000_000])\n"
        "out.close()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "File too large\n"
    assert path.read_bytes() == b"a" * 700_001 + b"b" * 1_400_000 + b"c" * 9 + b"e" * 2_000_000


class Clock:
    """Tells how long each way takes for a piece."""

    def __init__(self, past, through):
        self.now, self.taken = 0.0, []
        self.past, self.through = past, through

    def monotonic(self):
        return self.now

    def way_past(self, pieces, offset):
        self.now += self.past
        self.taken.append("past")

    def way_through(self, pieces):
        self.now += self.through
        self.taken.append("through")


@pytest.fixture
def timed(tmp_path, monkeypatch):
    def make(past, through):
        clock, out = Clock(past, through), OutputFile(str(tmp_path / "out"))
        monkeypatch.setattr(output, "clock", clock)
        monkeypatch.setattr(out, "_write_all", clock.way_through)
        if out._direct is None:
            pytest.skip("NOT TESTED, no O_DIRECT here")
        monkeypatch.setattr(out._direct, "write", clock.way_past)
        return out, clock

    return make


PIECE = bytes(output.LEAST_BYTES)


def test_large_pieces_go_past_the_page_cache(timed):
    out, clock = timed(9.0, 1.0)
    for _ in range(5):
        out.write([PIECE])
        out.write([PIECE[1:]])
    assert clock.taken == ["past", "through"] * 5


@pytest.mark.parametrize(("past", "through", "faster"), [(4.0, 1.0, "through"), (1.0, 4.0, "past")])
def test_who_is_behind_goes_the_faster_way_and_tries_the_other_again(timed, past, through, faster):
    out, clock = timed(past, through)
    for _ in range(100):
        out.write([PIECE], behind=True)
    assert 90 <= clock.taken.count(faster) < 100
    assert len(set(clock.taken[10:])) == 2
    clock.taken.clear()
    out.write([PIECE])
    assert clock.taken == ["past"]


def test_a_way_that_was_refused_is_not_taken_again(timed):
    out, clock = timed(1.0, 4.0)
    out.write([PIECE])
    out._direct.refused = True
    out.write([PIECE])
    out.write([PIECE], behind=True)
    assert clock.taken == ["past", "through", "through"]
