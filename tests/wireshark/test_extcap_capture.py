# SPDX-License-Identifier: GPL-2.0-or-later
"""Ends of a capture that are hard to reach from outside; the others are in test_extcap.py."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest

from dissector.wireshark import extcap_capture
from dissector.wireshark.extcap_capture import Capture, capture
from dissector.wireshark.extcap_fifo import Fifo


@pytest.fixture(autouse=True)
def signals():
    """A capture leaves the signals ignored, since its process ends."""
    before = {number: signal.getsignal(number) for number in extcap_capture._SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Source:
    """Captures nothing until it is stopped."""

    name, method, linktype = "eth0", "dumpcap", 1

    def __init__(self):
        self.ended = None
        self.closed = False
        self._ends = os.pipe()

    def fileno(self):
        return self._ends[0]

    def take(self):
        return iter(())

    def counters(self):
        return SimpleNamespace(received=0, dropped=0, dropped_by_interface=0)

    def stop(self):
        self.ended = "stopped"

    def close(self):
        if not self.closed:
            self.closed = True
            for end in self._ends:
                os.close(end)


@pytest.fixture
def source(monkeypatch):
    made = Source()
    monkeypatch.setattr(extcap_capture, "open_live", lambda *arguments, **options: [made])
    monkeypatch.setattr(extcap_capture.privileges, "drop", lambda: None)
    yield made
    made.close()


@pytest.fixture
def fifo(tmp_path):
    """A FIFO and the descriptor of its reader."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with Fifo(str(path)) as made:
        yield made, reader


def test_the_reader_goes_before_the_first_byte(source, fifo, capsys):
    made, reader = fifo
    os.close(reader)
    assert capture(Capture("eth0"), made) == 0
    assert source.closed
    assert capsys.readouterr().err == ""


def test_the_fifo_cannot_be_opened_again(source, fifo, monkeypatch):
    made, reader = fifo

    def refuse(*arguments, **options):
        raise OSError(13, "Permission denied", made.path)

    monkeypatch.setattr(extcap_capture, "CaptureWriter", refuse)
    with pytest.raises(PermissionError):
        capture(Capture("eth0"), made)
    assert source.closed
    os.close(reader)


def test_a_signal_before_anything_is_captured():
    with pytest.raises(SystemExit) as ended:
        extcap_capture._Stop()(signal.SIGTERM, None)
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("trouble", "dropped", "failed", "late", "abandoned", "status", "said"),
    [
        (None, None, None, 0, False, 0, []),
        (None, 0, None, 0, True, 0, []),
        ("eth0: gone", 0, None, 0, False, 1, ["eth0: gone"]),
        ("x: full", 0, "x: full", 0, False, 1, ["x: full"]),
        ("x: broken pipe", 0, "x: broken pipe", 9, True, 0, []),
        ("eth0: gone", 0, "x: broken pipe", 0, True, 1, ["eth0: gone"]),
        (None, 1234, None, 0, False, 0, ["1,234 packets were lost: choose a larger kernel buffer"]),
        (None, 0, None, 7, False, 0, ["7 packets were lost because Wireshark took them too slowly"]),
    ],
)
def test_what_wireshark_is_told(capsys, trouble, dropped, failed, late, abandoned, status, said):
    watch = SimpleNamespace(trouble=trouble, dropped=dropped)
    writer = SimpleNamespace(failed=failed, dropped=late)
    assert extcap_capture._tell(watch, writer, abandoned=abandoned) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said)
    for line, text in zip(lines, said, strict=True):
        assert line.startswith(f"xendissect: {text}")
