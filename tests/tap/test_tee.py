# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import ctypes
import errno
import os
import tempfile

import pytest

from dissector.tap import tee as module
from dissector.tap.tee import tee


@pytest.fixture
def pipes():
    ends = [*os.pipe(), *os.pipe()]
    yield ends
    for fd in ends:
        os.close(fd)


def test_the_same_bytes_in_both(pipes):
    source, feed, drain, sink = pipes
    os.write(feed, b"some bytes")
    assert tee(source, sink, 4) == 4
    assert os.read(drain, 100) == b"some"
    assert os.read(source, 100) == b"some bytes"


def test_a_full_sink(pipes):
    source, feed, _, sink = pipes
    os.set_blocking(sink, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(sink, bytes(65536))
    os.write(feed, b"x")
    with pytest.raises(BlockingIOError):
        tee(source, sink, 1)
    assert os.read(source, 1) == b"x"


def test_the_end_and_a_sink_that_nobody_reads():
    source, feed = os.pipe()
    drain, sink = os.pipe()
    os.write(feed, b"x")
    os.close(feed)
    assert tee(source, sink, 10) == 1
    assert os.read(source, 10) == b"x"
    assert tee(source, sink, 10) == 0
    os.close(drain)
    other, feed = os.pipe()
    os.write(feed, b"x")
    with pytest.raises(BrokenPipeError):
        tee(other, sink, 10)
    for fd in (source, sink, other, feed):
        os.close(fd)


def test_no_pipe(pipes):
    with tempfile.TemporaryFile() as file, pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        tee(file.fileno(), pipes[3], 10)


def test_no_such_call(monkeypatch, pipes):
    def none(_name: str | None, **_options: object) -> object:
        return object()

    module._call.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", none)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        tee(pipes[0], pipes[3], 10)
    module._call.cache_clear()
