# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.tap import relay
from tests.cross.tools import modest

ROOT = Path(__file__).parents[2]
TIMEOUT = 60


class Watcher:
    """Remembers what it is told; stops watching after some calls."""

    def __init__(self, calls: int) -> None:
        self.watching = calls > 0
        self.order = threading.RLock()
        self.data = b""
        self.taken_bytes = 0
        self.broken: bool | None = None
        self._left = calls

    def passed(self, _side: int, data: bytes) -> None:
        self.data += data
        self._left -= 1
        self.watching = self._left > 0

    def taken(self, _side: int, count: int) -> None:
        self.taken_bytes += count

    def ended(self, _side: int, *, broken: bool, unread: int = 0) -> None:
        self.broken = broken


def ends(kind: str) -> tuple[int, int]:
    """Reading and writing end."""
    if kind == "pipe":
        return os.pipe()
    one, other = socket.socketpair()
    return one.detach(), other.detach()


KINDS = st.sampled_from(["pipe", "socket"])


@modest(60)
@given(
    sizes=st.lists(st.integers(0, 300_000), max_size=6),
    reads=st.lists(st.integers(1, 200_000), min_size=1, max_size=4),
    source_kind=KINDS,
    sink_kind=KINDS,
    blocking=st.tuples(st.booleans(), st.booleans()),
    calls=st.sampled_from([0, 1, 2, 1 << 30]),
)
def test_what_goes_in_comes_out(sizes, reads, source_kind, sink_kind, blocking, calls):
    source, feed = ends(source_kind)
    drain, sink = ends(sink_kind)
    os.set_blocking(source, blocking[0])
    os.set_blocking(sink, blocking[1])
    data = b"".join(bytes([number + 1]) * size for number, size in enumerate(sizes))
    watcher = Watcher(calls)

    def write() -> None:
        rest = memoryview(data)
        for size in sizes:
            part, rest = rest[:size], rest[size:]
            while part:
                part = part[os.write(feed, part) :]
        os.close(feed)

    def carry() -> None:
        assert not relay._carry(source, sink, 0, watcher)
        os.close(sink)

    threads = [threading.Thread(target=one) for one in (write, carry)]
    for one in threads:
        one.start()
    got = b""
    number = 0
    while piece := os.read(drain, reads[number % len(reads)]):
        got += piece
        number += 1
    for one in threads:
        one.join()
    os.close(source)
    os.close(drain)
    assert got == data
    assert data.startswith(watcher.data)
    assert watcher.taken_bytes == len(watcher.data)
    if calls == 1 << 30:
        assert watcher.data == data


def test_an_answer_is_not_told_before_what_it_answers():
    told: list[int] = []
    entered, going = threading.Event(), threading.Event()

    class Slow(Watcher):
        def passed(self, side: int, data: bytes) -> None:
            if side == 0:
                # The other side has it already: time enough to answer.
                entered.set()
                going.wait(1)
            with self.order:
                told.append(side)
            super().passed(side, data)

    watcher = Slow(1 << 30)
    source, feed = os.pipe()
    drain, sink = os.pipe()
    back_source, back_feed = os.pipe()
    back_drain, back_sink = os.pipe()
    threads = [
        threading.Thread(target=relay._carry, args=(source, sink, 0, watcher)),
        threading.Thread(target=relay._carry, args=(back_source, back_sink, 1, watcher)),
    ]
    for one in threads:
        one.start()
    os.write(feed, b"question")
    assert entered.wait(TIMEOUT)
    assert os.read(drain, 100) == b"question"
    os.write(back_feed, b"answer")
    going.set()
    assert os.read(back_drain, 100) == b"answer"
    os.close(feed)
    os.close(back_feed)
    for one in threads:
        one.join(TIMEOUT)
    assert told == [0, 1]
    for fd in (source, drain, sink, back_source, back_drain, back_sink):
        os.close(fd)


def test_between_pipes_the_sink_gets_the_pages_of_the_source(monkeypatch):
    source, feed = os.pipe()
    drain, sink = os.pipe()
    assert os.write(feed, bytes(range(256)) * 200) == 51_200
    os.close(feed)
    watcher = Watcher(1 << 30)
    monkeypatch.setattr(relay.os, "write", None)
    assert not relay._carry(source, sink, 0, watcher)
    assert os.read(drain, 1 << 20) == watcher.data == bytes(range(256)) * 200
    for fd in (source, drain, sink):
        os.close(fd)


@pytest.mark.parametrize("calls", [0, 1 << 30])
def test_a_sink_that_breaks_is_seen_without_anything_to_carry(calls):
    source, feed = os.pipe()
    drain, sink = os.pipe()
    os.close(drain)
    assert relay._carry(source, sink, 0, Watcher(calls))
    for fd in (source, feed, sink):
        os.close(fd)


def test_a_full_sink_that_breaks():
    source, feed = os.pipe()
    drain, sink = os.pipe()
    watcher = Watcher(1 << 30)
    broken: list[bool] = []
    carrying = threading.Thread(target=lambda: broken.append(relay._carry(source, sink, 0, watcher)))
    carrying.start()
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(feed, False)
        while os.write(feed, bytes(65536)):
            pass
    os.close(drain)
    carrying.join()
    assert broken == [True]
    assert watcher.taken_bytes <= len(watcher.data)
    for fd in (source, feed, sink):
        os.close(fd)


# -- with processes ----------------------------------------------------------------------------------------------------

DRIVER = """
import sys
from contextlib import nullcontext
from dissector.tap.relay import Relay
class Silent:
    watching = sys.argv[1] == "watched"
    order = nullcontext()
    def passed(self, side, data): pass
    def taken(self, side, count): pass
    def ended(self, side, *, broken, unread=0): pass
sys.exit(Relay(sys.argv[2:], Silent()).run())
"""
HOW = pytest.mark.parametrize("how", ["watched", "unwatched"])


def driver(how: str, *command: str) -> list[str]:
    return [sys.executable, "-c", DRIVER, how, *command]


def start(how: str, *command: str, **more: object) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **more}
    return subprocess.Popen(driver(how, *command), cwd=ROOT, bufsize=0, **pipes)


def run(how: str, *command: str, data: bytes = b"", **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        driver(how, *command), cwd=ROOT, input=data, capture_output=True, timeout=TIMEOUT, check=False, **more
    )


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", "import os, sys, signal\n" + code


@HOW
def test_megabytes_through_cat(how):
    data = os.urandom(1 << 20) * 9 + b"tail"
    done = run(how, "cat", data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


@HOW
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("sys.exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
        ("os.close(1); os.read(0, 1); sys.exit(3)", 3),
    ],
)
def test_exit_status(how, code, status):
    assert run(how, *python(code)).returncode == status


@HOW
def test_a_command_that_takes_only_the_beginning(how):
    data = bytes(range(256)) * 40_000
    with start(how, "head", "-c", "100000") as process:
        feeding = threading.Thread(target=lambda: feed(process, data))
        feeding.start()
        assert process.stdout.read() == data[:100_000]
        assert process.wait(TIMEOUT) == 0
        feeding.join()


def feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    rest = memoryview(data)
    with contextlib.suppress(BrokenPipeError):
        while rest:
            rest = rest[os.write(process.stdin.fileno(), rest) :]
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


@HOW
def test_the_command_ends_while_its_input_is_open(how):
    with start(how, "echo", "hello") as process:
        assert process.stdout.read() == b"hello\n"
        assert process.wait(TIMEOUT) == 0


@HOW
def test_the_input_ends_and_the_command_goes_on(how):
    code = "assert os.read(0, 9) == b''\nfor _ in range(50): os.write(1, bytes(100_000))"
    done = run(how, *python(code))
    assert (done.returncode, len(done.stdout)) == (0, 5_000_000)


@HOW
def test_the_output_ends_and_the_command_goes_on(how, tmp_path):
    code = f"os.close(1)\ndata = sys.stdin.buffer.read()\nopen({str(tmp_path / 'got')!r}, 'wb').write(data)"
    with start(how, *python(code)) as process:
        assert process.stdout.read() == b""
        feed(process, bytes(range(256)) * 20_000)
        assert process.wait(TIMEOUT) == 0
    assert (tmp_path / "got").read_bytes() == bytes(range(256)) * 20_000


@HOW
def test_who_writes_learns_that_the_command_reads_no_more(how):
    code = "os.close(0); os.write(1, b'closed'); signal.sigwait({signal.SIGTERM})"
    with start(how, *python("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n" + code)) as process:
        assert process.stdout.read(6) == b"closed"
        broken = select.poll()
        broken.register(process.stdin, 0)
        assert broken.poll(TIMEOUT * 1000)[0][1] & select.POLLERR
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0


@HOW
def test_the_command_learns_that_nobody_reads(how):
    code = "os.write(1, b'x')\ntry:\n    while True: os.write(1, bytes(65536))\nexcept BrokenPipeError: sys.exit(9)"
    with start(how, *python(code)) as process:
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.wait(TIMEOUT) == 9


@HOW
@pytest.mark.parametrize("number", relay.SIGNALS)
def test_signals_are_passed_on(how, number):
    code = (
        f"signal.pthread_sigmask(signal.SIG_BLOCK, {{{int(number)}}})\nos.write(1, b'ready')\n"
        f"signal.sigwait({{{int(number)}}})\nos.write(1, b'got it')\nsys.exit(5)"
    )
    with start(how, *python(code)) as process:
        assert process.stdout.read(5) == b"ready"
        process.send_signal(number)
        assert process.stdout.read() == b"got it"
        assert process.wait(TIMEOUT) == 5


@HOW
def test_killed_by_a_signal_that_was_passed_on(how):
    with start(how, *python("os.write(1, b'ready'); signal.pause()")) as process:
        assert process.stdout.read(5) == b"ready"
        process.terminate()
        assert process.wait(TIMEOUT) == 128 + signal.SIGTERM


@HOW
def test_a_child_of_the_command_that_still_writes(how, tmp_path):
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    shell = f"(read line < {fifo}; echo $line) & echo first"
    with start(how, "sh", "-c", shell) as process:
        assert process.stdout.read(6) == b"first\n"
        fifo.write_text("second\n")
        assert process.stdout.read() == b"second\n"
        assert process.wait(TIMEOUT) == 0


@HOW
@pytest.mark.parametrize(
    ("redirection", "stdout"), [("<&-", b"0\n"), ("< /dev/null", b"0\n"), ("<&- 2>&-", b"0\n"), (">&-", b"")]
)
def test_closed_descriptors(how, redirection, stdout, tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    shell = f'exec "$0" {tmp_path / "driver.py"} {how} sh -c "wc -c; exit 4" {redirection}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (4, stdout)


@HOW
def test_one_socket_as_input_and_output(how):
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT)
    with theirs, start(how, "cat", stdin=theirs, stdout=theirs) as process:
        theirs.close()
        ours.sendall(b"x" * 100_000)
        ours.shutdown(socket.SHUT_WR)
        got = b""
        while piece := ours.recv(65536):
            got += piece
        assert got == b"x" * 100_000
        assert process.wait(TIMEOUT) == 0
    ours.close()


@HOW
def test_files(how, tmp_path):
    (tmp_path / "in").write_bytes(bytes(range(256)) * 10_000)
    (tmp_path / "out").write_bytes(b"before")
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("ab") as sink:
        assert start(how, "cat", stdin=source, stdout=sink).wait(TIMEOUT) == 0
    assert (tmp_path / "out").read_bytes() == b"before" + bytes(range(256)) * 10_000


@HOW
def test_a_terminal(how):
    master, slave = pty.openpty()
    with start(how, "head", "-n", "1", stdin=slave, stdout=slave) as process:
        os.close(slave)
        os.write(master, b"typed\n")
        assert process.wait(TIMEOUT) == 0
    assert os.read(master, 100) == b"typed\r\ntyped\r\n"
    os.close(master)


def test_no_such_command():
    class Silent(Watcher):
        pass

    with pytest.raises(FileNotFoundError):
        relay.Relay(["/no/such/command"], Silent(0))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
