# SPDX-License-Identifier: GPL-2.0-or-later
"""An index answers as the capture does, or it does not answer."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from pathlib import Path

import pytest

import dissector
from captures.make import produce
from captures.table import CASES
from dissector.index import SUFFIX
from dissector.indexed import IndexedInput, IndexingInput, input_events, open_input
from dissector.reader import Reader, read_events
from dissector.sinks.colour import Palette
from dissector.sinks.jsonl import JsonSink
from dissector.sinks.text import TextSink
from dissector.sinks.tree import TreeSink
from dissector.sources import CaptureError
from dissector.wire.events import LostBytesError, Record
from dissector.wire.limits import Limits
from tests.cross.tools import NAMES, paths

CAPTURES = Path(__file__).parents[1] / "captures"
SINGLE = [name for name in NAMES if len(paths(name)) == 1]


@pytest.fixture
def capture(tmp_path):
    files, _ = produce(CASES["loss-in-pages"])
    (data,) = files.values()
    path = tmp_path / "capture.pcap"
    path.write_bytes(data)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(path, **options):
    """Read with an index being made; the events and what was said."""
    said = []
    opened = open_input([path], index=True, note=said.append, **options)
    try:
        return list(opened.events()), said
    finally:
        opened.close()


def answers(path, **options):
    """Whether the index is used, and what was said."""
    said = []
    opened = open_input([path], note=said.append, **options)
    opened.close()
    return isinstance(opened, IndexedInput), said


def shown(events):
    """Everything that the sinks write, and what the objects give."""
    out = io.StringIO()
    palette = Palette(enabled=False)
    sinks = [
        JsonSink(out),
        JsonSink(out, pfns=True),
        TextSink(out, palette, pfns=True),
        TreeSink(out, palette, dump=True),
    ]
    for event in events:
        for sink in sinks:
            sink.write(event)
    for sink in sinks:
        sink.close()
    return out.getvalue()


@pytest.mark.parametrize("name", SINGLE)
def test_the_same_events_and_output(name, tmp_path):
    path = Path(shutil.copy(paths(name)[0], tmp_path))
    plain = list(read_events(path))
    made, said = make(path)
    assert said == []
    again = open_input([path])
    assert isinstance(again, IndexedInput)
    indexed = list(again.events())
    again.close()
    assert made == plain
    assert indexed == plain
    assert shown(indexed) == shown(plain)


def page_or_loss(record, pfn):
    try:
        return record.page(pfn)
    except LostBytesError as lost:
        return str(lost)


@pytest.mark.parametrize(
    "name",
    [
        "hvm-colo-xl",
        "pcapng-two-sections",
        "loss-in-pages",
        "reorder-and-overlap",
        "save-image",
        "sequence-wrap",
        "two-migrations-and-noise",
    ],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_the_same_pages(name, compressed, tmp_path):
    source = paths(name)[0]
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes() if compressed else gzip.decompress(source.read_bytes()))
    make(path)
    assert answers(path)[0]
    compared = 0
    for one, other in zip(dissector.read(path), dissector.read(path, index=False), strict=True):
        assert one == other
        if one.type == "PAGE_DATA" and one.pfns.size and compared < 40:
            for pfn in one.pfns.tolist()[:: max(1, one.pfns.size // 5)]:
                compared += 1
                assert page_or_loss(one, pfn) == page_or_loss(other, pfn)
    assert compared


def test_the_capture_is_not_read_again(capture, monkeypatch):
    make(capture)
    monkeypatch.setattr("dissector.sources.capture.Source.__init__", None)
    assert sum(isinstance(event, Record) for event in input_events(capture)) > 5
    with pytest.raises(TypeError):
        list(input_events(capture, index=False))


def test_nothing_is_written_unless_asked_for(capture):
    list(dissector.events(capture))
    list(dissector.events(capture, index=False))
    assert names(capture.parent) == ["capture.pcap"]


def test_options_are_part_of_it(capture):
    make(capture)
    assert answers(capture) == (True, [])
    assert answers(capture, limits=Limits(max_body=64)) == (False, [])
    assert answers(capture, as_format="pcap") == (False, [])
    assert answers(capture, index=False) == (False, [])
    small, _ = make(capture, limits=Limits(max_body=64))
    assert answers(capture, limits=Limits(max_body=64)) == (True, [])
    assert list(input_events(capture, limits=Limits(max_body=64))) == small
    assert answers(capture) == (False, [])


def test_a_capture_that_grows(capture):
    whole = capture.read_bytes()
    capture.write_bytes(whole[: len(whole) // 2])
    half, _ = make(capture)
    assert answers(capture)[0]
    with capture.open("ab") as file:
        file.write(whole[len(whole) // 2 :])
    assert not answers(capture)[0]
    assert list(input_events(capture)) == list(read_events(capture)) != half


def test_a_capture_that_grows_while_it_is_read(capture):
    said = []
    opened = open_input([capture], index=True, note=said.append)
    events = opened.events()
    next(events)
    with capture.open("ab") as file:
        file.write(bytes(3))
    list(events)
    opened.close()
    assert said == ["no index: the capture changed while it was read"]
    assert names(capture.parent) == ["capture.pcap"]


def test_reading_that_is_ended_early(capture):
    said = []
    opened = open_input([capture], index=True, note=said.append)
    events = opened.events()
    next(events)
    events.close()
    opened.close()
    assert said == ["no index: the capture was not read to its end"]
    assert names(capture.parent) == ["capture.pcap"]


def test_damage_is_as_if_there_were_none(capture):
    plain, _ = make(capture)
    index = Path(f"{capture}{SUFFIX}")
    whole = index.read_bytes()
    index.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    used, said = answers(capture)
    assert not used
    assert said == [f"{index}: damaged, not used"]
    assert list(input_events(capture)) == plain
    assert make(capture) == (plain, said)
    assert index.read_bytes() == whole


def test_a_foreign_file_is_not_written_over(capture):
    index = Path(f"{capture}{SUFFIX}")
    index.write_text("mine")
    events, said = make(capture)
    assert events == list(read_events(capture))
    assert said == [f"{index}: no index of xendissect, left alone"]
    assert index.read_text() == "mine"


def test_a_folder_that_cannot_be_written(capture, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dissector.indexed.IndexWriter", refuse)
    events, said = make(capture)
    assert events == list(read_events(capture))
    assert said == [f"no index: {capture}{SUFFIX}: Permission denied"]


def test_a_full_disk(capture, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dissector.index.IndexWriter.add", full)
    events, said = make(capture)
    assert events == list(read_events(capture))
    assert said == ["no index: [Errno 28] No space left on device"]
    assert names(capture.parent) == ["capture.pcap"]


def test_what_has_no_index(tmp_path, capture):
    said = []
    open_input([capture, capture], index=True, note=said.append).close()
    assert said == ["no index: only a single file has one"]
    said.clear()
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(pipe, capture.read_bytes()[:4096])
    open_input([tmp_path / "pipe"], index=True, note=said.append).close()
    os.close(pipe)
    assert said == ["no index: the input is no regular file"]


@pytest.mark.parametrize("files", [["missing"], ["."], ["missing", "missing"]])
def test_what_can_not_be_read_needs_no_word_about_an_index(files, tmp_path):
    said = []
    with pytest.raises(CaptureError, match=r"no such file|is a directory"):
        open_input([tmp_path / name for name in files], index=True, note=said.append)
    assert said == []


def test_an_index_is_no_capture(capture):
    make(capture)
    with pytest.raises(CaptureError, match="name the capture that it belongs to"):
        Reader([f"{capture}{SUFFIX}"])


def test_pages_of_a_capture_that_changed(capture):
    make(capture)
    record = next(r for r in dissector.read(capture) if r.type == "PAGE_DATA" and r.complete)
    pfn = next(p for p, kind in zip(record.pfns.tolist(), record.page_types.tolist(), strict=True) if kind == 0)
    assert len(record.page(pfn)) == 4096
    os.utime(capture, ns=(1, 1))
    with pytest.raises(LostBytesError, match="has changed"):
        record.page(pfn)


def test_the_name_of_today(tmp_path, capture):
    data = capture.read_bytes()
    capture.write_bytes(data[:-7])
    make(capture)
    linked = tmp_path / "linked.pcap"
    linked.symlink_to(capture)
    Path(f"{capture}{SUFFIX}").rename(f"{linked}{SUFFIX}")
    assert answers(linked)[0]
    assert list(input_events(linked)) == list(read_events(linked))


def test_a_capture_whose_reading_fails_has_none(tmp_path, capture):
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(capture.read_bytes() + b"\0" * 8 + b"\xff\xff\xff\x7f" + bytes(40))
    events, _ = make(broken)
    assert events == list(read_events(broken))
    opened = open_input([broken])
    assert isinstance(opened, IndexedInput | IndexingInput | Reader)
    opened.close()
    assert list(input_events(broken)) == events


def test_size_and_progress(capture):
    make(capture)
    with_index = open_input([capture])
    assert with_index.bytes_read == with_index.bytes_total == capture.stat().st_size
    with_index.close()
