# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes an index stale."""

from __future__ import annotations

import os

import pytest

from dissector.index import Stamp
from dissector.index.stamp import HASHED, program
from dissector.wire.limits import Limits


@pytest.fixture
def capture(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(bytes(range(256)) * 1024)
    return path


def take(path, as_format=None, limits=None):
    return Stamp.take(str(path), as_format, limits or Limits())


def change(path, position):
    """One byte is another one, and the times are as before."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"?")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_the_same_twice(capture):
    assert take(capture) == take(capture)
    assert take(capture).text() == take(capture).text()


@pytest.mark.parametrize("position", [0, HASHED - 1, -HASHED, -1])
def test_head_and_tail_are_hashed(capture, position):
    before = take(capture)
    change(capture, position % capture.stat().st_size)
    assert take(capture) != before
    assert take(capture).text() != before.text()


def test_size_and_time(capture):
    before = take(capture).text()
    os.utime(capture, ns=(1, 2))
    assert take(capture).text() != before
    middle = take(capture).text()
    with capture.open("ab") as file:
        file.write(b"x")
    os.utime(capture, ns=(1, 2))
    assert take(capture).text() != middle


def test_options(capture):
    before = take(capture).text()
    assert take(capture, "pcap").text() != before
    assert take(capture, None, Limits(max_body=4096)).text() != before
    assert take(capture, None, Limits()).text() == before


def test_code(capture, monkeypatch):
    before = take(capture).text()
    monkeypatch.setattr("dissector.index.stamp.program", lambda: program() ^ 1)
    assert take(capture).text() != before


def test_what_has_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert take(tmp_path / "pipe") is None
    assert take(tmp_path) is None
    assert take(tmp_path / "missing") is None


def test_a_named_pipe_is_not_opened(tmp_path, monkeypatch):
    """Its writer would begin, and lose its reader."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened"))
    assert take(tmp_path / "pipe") is None


def test_holds(capture):
    before = take(capture)
    assert before.holds(str(capture))
    os.utime(capture, ns=(1, 2))
    assert not before.holds(str(capture))
    capture.unlink()
    assert not before.holds(str(capture))
