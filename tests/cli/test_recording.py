# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dissector.cli.choices import SlimChoice
from dissector.cli.recording import WAYS, removal_lines, wanted
from dissector.recording.rotation import Limits
from dissector.sources import open_capture
from dissector.wire.engine import Engine

FILE = Path("x.pcapng")


def ask(path=FILE, ring=(), autostop=(), slim=None, capture_filter=None, scrub=False):
    return wanted(path, ring, autostop, slim, capture_filter, scrub=scrub)


def test_nothing():
    found = ask(None)
    assert (found.path, found.ring, found.autostop, found.slim, found.scrub) == (None, None, None, "", False)


def test_everything():
    found = ask(FILE, ["packets:5", "files:2"], ["duration:9"], SlimChoice.HEADS, "port 80", scrub=True)
    assert (found.path, found.slim, found.scrub, found.filter_text) == ("x.pcapng", "heads", True, "port 80")
    assert found.ring == Limits(packets=5, files=2)
    assert found.autostop == Limits(seconds=9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": None, "ring": ["packets:5"]}, "-b needs -w FILE"),
        ({"path": None, "slim": SlimChoice.CUT}, "--slim needs -w FILE"),
        ({"path": None, "scrub": True}, "--scrub needs -w FILE"),
        ({"path": None, "autostop": ["filesize:5"]}, "-a filesize and files need -w FILE"),
        ({"path": None, "autostop": ["files:5"]}, "-a filesize and files need -w FILE"),
        ({"ring": ["files:5"]}, "needs a duration, filesize or packets"),
        ({"ring": ["colour:5"]}, "-b colour:5: write"),
        ({"autostop": ["packets:x"]}, "'x' is no whole number"),
        ({"path": Path("-"), "ring": ["packets:5"]}, "can not be written to standard output"),
    ],
)
def test_what_makes_no_sense(options, text):
    with pytest.raises(ValueError, match=text):
        ask(**options)


def test_no_capture_into_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(ValueError, match="standard output is a terminal"):
        ask(Path("-"))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: False))
    assert ask(Path("-")).path == "-"


def test_none_is_no_way_to_make_it_slim():
    assert ask(None, slim=SlimChoice.NONE).slim == ""
    assert set(WAYS) == {None, *SlimChoice}


def test_limits_hold_without_a_file():
    assert ask(None, autostop=["packets:5", "duration:2"]).autostop == Limits(seconds=2, packets=5)


def test_the_file_says_what_it_is(tmp_path):
    path = tmp_path / "x.pcapng"
    recording = ask(path, slim=SlimChoice.CUT, capture_filter="port 80", scrub=True).open(Engine(), "sniff", "drop")
    recording.finish(5)
    data = path.read_bytes()
    for text in (b"xendissect 0", b" sniff", b"xendissect slim", b"xendissect scrubbed"):
        assert text in data
    open_capture(str(path)).close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_that_can_not_be_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "no" / "x").open(Engine(), "sniff", "drop")


def test_what_was_blanked():
    recording = SimpleNamespace(removed=lambda: [("xl.config.config", 1234)], fragments=2)
    first, second = removal_lines(recording)
    assert first.split() == ["blanked", "1,234", "bytes", "xl.config.config"]
    assert second.startswith("2 IP fragments")
    assert removal_lines(SimpleNamespace(removed=list, fragments=0)) == []
