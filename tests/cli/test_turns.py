# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissector.cli import turns


class Terminal:
    """Standard output and error in one: what was written, in that order."""

    def __init__(self, encoding="utf-8"):
        self.bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self.bytes, encoding=encoding, errors="backslashreplace", write_through=True)

    @property
    def text(self):
        return self.bytes.getvalue().decode()


def run(tasks, processes):
    both = Terminal()
    status = turns.in_turn(
        [(f"task {number}", task) for number, task in enumerate(tasks)], processes, both.stream, both.stream
    )
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    return both.text, status


def writer(out, err="", status=0):
    def task(stream):
        stream.write(out)
        sys.stderr.write(err)
        return status

    return task


@given(
    st.lists(st.tuples(st.text("ab\n", max_size=5), st.integers(0, 40_000), st.booleans()), max_size=8),
    st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_as_if_one_after_the_other(outputs, processes):
    texts = [
        (text * times, f"complaint {number}\n" if complains else "")
        for number, (text, times, complains) in enumerate(outputs)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "SPOOL_BYTES", 10_000)
        out, err = Terminal(), Terminal()
        tasks = [("", writer(*pair, status=number % 2)) for number, pair in enumerate(texts)]
        assert turns.in_turn(tasks, processes, out.stream, err.stream) == (len(texts) > 1)
    assert out.text == "".join(text for text, _ in texts)
    assert err.text == "".join(text for _, text in texts)


def test_later_ones_run_meanwhile_and_wait_for_their_turn(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def first(stream):
        with fifo.open() as said:  # until the second one has run
            stream.write(said.read())
        return 0

    def second(stream):
        stream.write("second\n" * 100_000)
        stream.flush()
        with fifo.open("w") as said:
            said.write("first\n")
        return 0

    assert run([first, second], 2) == ("first\n" + "second\n" * 100_000, 0)


def test_no_more_than_so_many_at_a_time(tmp_path):
    def task(stream):
        with tempfile.NamedTemporaryFile(dir=tmp_path):
            stream.write(f"{len(list(tmp_path.iterdir()))} ")
            stream.flush()
        return 0

    text, _ = run([task] * 12, 1)
    assert text == "1 " * 12


def test_what_has_run_ahead_is_bounded(monkeypatch, tmp_path):
    """While the first one runs, only AHEAD tasks per process are started at all."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    started: list[int] = []
    alone: list[int] = []
    fork = os.fork

    class Selector(turns.selectors.DefaultSelector):
        def select(self, timeout=None):
            if len(self.get_map()) == 2 and not alone:  # the two pipes of the first one: nothing else runs
                alone.append(len(started))
                with fifo.open("w") as said:
                    said.write("go on")
            return super().select(timeout)

    def counted():
        started.append(1)
        return fork()

    def first(stream):
        with fifo.open() as said:
            said.read()
        return 0

    monkeypatch.setattr(turns.os, "fork", counted)
    monkeypatch.setattr(turns.selectors, "DefaultSelector", Selector)
    assert run([first] + [writer("x")] * 50, 2) == ("x" * 50, 0)
    assert alone == [2 * turns.AHEAD]
    assert len(started) == 51


def test_the_status_is_the_largest():
    assert run([writer("", status=1), writer("", status=2), writer("")], 2)[1] == 2


def test_one_that_a_signal_ends_and_one_that_raises():
    def killed(stream):
        stream.write("half\n")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    text, status = run([killed, writer("whole\n")], 2)
    assert text == "half\nxendissect: task 0: reading was ended by SIGKILL\nwhole\n"
    assert status == 2

    def raises(stream):
        raise ZeroDivisionError

    text, status = run([raises, writer("whole\n")], 2)
    assert "ZeroDivisionError" in text
    assert text.endswith("whole\n")
    assert status == 2


def test_the_encoding_is_that_of_the_output():
    out = Terminal("ascii")
    turns.in_turn([("", writer("gäst\r\n"))], 1, out.stream, out.stream)
    assert out.text == "g\\xe4st\r\n"


ENDLESS = """
import os, sys, signal
from dissector.cli import turns
signal.signal(signal.SIGINT, signal.default_int_handler)
def task(stream):
    try:
        while True:
            stream.write("line\\n")
    except KeyboardInterrupt:
        open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
        raise
def waits(stream):
    open(os.path.join(sys.argv[1], "ready"), "w").close()
    try:
        signal.pause()
    except KeyboardInterrupt:
        open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
        raise
try:
    turns.in_turn([("", task), ("", waits)], 2, sys.stdout, sys.stderr)
except BrokenPipeError:
    os._exit(99)
except KeyboardInterrupt:
    os._exit(98)
"""


@pytest.mark.parametrize(("how", "status"), [("broken pipe", 99), ("interrupt", 98)])
def test_when_nobody_reads_any_more_or_ctrl_c_all_end(how, status, tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as process:
        assert process.stdout
        assert process.stderr
        while not (tmp_path / "ready").exists():
            assert process.stdout.readline() == b"line\n"
        if how == "interrupt":
            process.send_signal(signal.SIGINT)  # to this one process only: it must end the others
            for _ in range(4096):  # whatever happens: not for ever, and not all at once
                if not process.stdout.read(1 << 16):
                    break
        process.stdout.close()
        assert process.wait(20) == status
        assert process.stderr.read() == b""  # and nobody holds it open any more
    assert len(list(tmp_path.iterdir())) >= 2  # one that waits is told, and can tidy up
