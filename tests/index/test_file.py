# SPDX-License-Identifier: GPL-2.0-or-later
"""The index file: whole or not at all, and never believed when a bit is wrong."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from dissector.index import SUFFIX, IndexFile, IndexWriter, Stamp, UnusableIndexError
from dissector.index.file import BLOCK_EVENTS, MAGIC
from dissector.wire.events import Gap
from dissector.wire.limits import Limits

EVENTS = [Gap(0, "forward", number, 1, "lost", None, number) for number in range(2 * BLOCK_EVENTS + 3)]


@pytest.fixture
def capture(tmp_path):
    path = tmp_path / "capture.pcap"
    path.write_bytes(b"capture")
    path.chmod(0o640)
    return str(path)


def names(path):
    return sorted(each.name for each in Path(path).parent.iterdir())


def stamp(capture):
    return Stamp.take(capture, None, Limits())


def write(capture, events=EVENTS):
    writer = IndexWriter(capture, stamp(capture))
    for event in events:
        writer.add(event)
    writer.finish({"places": []})
    return capture + SUFFIX


def trouble(capture):
    with pytest.raises(UnusableIndexError) as caught:
        IndexFile(capture, stamp(capture))
    return caught.value


@pytest.mark.parametrize("count", [0, 1, BLOCK_EVENTS, len(EVENTS)])
def test_what_was_written_is_read(capture, count):
    write(capture, EVENTS[:count])
    with IndexFile(capture, stamp(capture)) as index:
        assert list(index.events(None)) == EVENTS[:count]
        assert IndexFile.places(index.closing()) == {"places": []}


def test_none_is_nothing_to_speak_of(capture):
    assert trouble(capture).text == ""


def test_stale_is_nothing_to_speak_of(capture):
    write(capture)
    os.utime(capture, ns=(1, 1))
    assert trouble(capture).text == ""


def test_it_has_the_mode_of_the_capture(capture):
    path = write(capture)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o640
    assert names(path) == ["capture.pcap", "capture.pcap.xmi"]


def test_abandoned_leaves_nothing(capture):
    writer = IndexWriter(capture, stamp(capture))
    writer.add(EVENTS[0])
    writer.abandon()
    assert names(capture) == ["capture.pcap"]


def test_every_damaged_byte_is_noticed(capture):
    path = write(capture, EVENTS[:40])
    whole = Path(path).read_bytes()
    chosen = random.Random(1)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chosen.randrange(8)
        Path(path).write_bytes(damaged)
        trouble(capture)
    for length in range(len(whole)):
        Path(path).write_bytes(whole[:length])
        trouble(capture)
    Path(path).write_bytes(whole + b"\0")
    assert "damaged" in trouble(capture).text


@pytest.mark.parametrize("contents", [b"something else", bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_foreign_file_is_left_alone(capture, contents):
    Path(capture + SUFFIX).write_bytes(contents)
    assert trouble(capture).foreign
    assert not trouble(capture).text.startswith(MAGIC.decode("latin-1"))


def test_another_version(capture, monkeypatch):
    monkeypatch.setattr("dissector.index.file.VERSION", 2)
    write(capture)
    monkeypatch.undo()
    assert "another version" in trouble(capture).text
    assert not trouble(capture).foreign


def test_no_regular_file(capture):
    os.mkfifo(capture + SUFFIX)
    assert trouble(capture).foreign
    Path(capture + SUFFIX).unlink()
    Path(capture + SUFFIX).mkdir()
    assert trouble(capture).foreign


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_index_of_somebody_else_is_not_believed(capture):
    path = write(capture)
    os.chown(path, 12345, -1)
    assert "another user" in trouble(capture).text
    os.chown(capture, 12345, -1)
    IndexFile(capture, stamp(capture)).close()
