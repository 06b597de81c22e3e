# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames, times and stream offsets of every record are those that tshark's own TCP dissection gives."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cache

import pytest

from dissector.wire.events import Flow, Gap, Record, Total
from tests.captures.tools import tshark
from tests.cross.tools import NAMES, events, is_capture, offset, paths, truth

FIELDS = (
    "frame.number",
    "frame.time_epoch",
    "tcp.stream",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "tcp.seq_raw",
    "tcp.len",
    "tcp.flags.syn",
)
AS_DATA = ("-d", "tcp.port==8002,data", "-d", "tcp.port==49152,data")


def clean(name):
    """Whether it is one file of packets in which no byte and no SYN is missing."""
    flows = truth(name)["flows"]
    whole = all(not flow[way]["missing"] and flow["start"] == "syn" for flow in flows for way in ("forward", "reverse"))
    return whole and is_capture(name) and len(truth(name)["files"]) == 1


CLEAN = [name for name in NAMES if clean(name)]


@dataclass
class Half:
    """One direction of one TCP connection as tshark sees it."""

    base: int | None = None
    """Sequence number of stream offset 0."""
    starts: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    """Frame that first carried the bytes from starts[i] to starts[i + 1], 0 for a range without any so far."""

    def __post_init__(self) -> None:
        self.starts.append(0)
        self.frames.append(0)

    def _border(self, at: int) -> int:
        """Index of the range that begins at `at`, splitting one if needed."""
        index = bisect_right(self.starts, at) - 1
        if self.starts[index] == at:
            return index
        self.starts.insert(index + 1, at)
        self.frames.insert(index + 1, self.frames[index])
        return index + 1

    def take(self, start: int, stop: int, frame: int) -> None:
        """Note the payload of a frame; bytes that were there before stay with their first frame."""
        if max(start, 0) >= stop:
            return
        first, last = self._border(max(start, 0)), self._border(stop)
        for index in range(first, last):
            self.frames[index] = self.frames[index] or frame

    def frame(self, at: int) -> int:
        """Frame that first carried stream byte `at`."""
        return self.frames[bisect_right(self.starts, at) - 1]

    @property
    def length(self) -> int:
        """Stream bytes seen."""
        return self.starts[-1]


class Seen:
    """One run of tshark over a capture."""

    def __init__(self, name: str, folder) -> None:
        self.times: dict[int, int] = {}
        self.halves: dict[tuple[str, int, int], Half] = {}
        """By address and port of the source, and the number of the connection."""
        [path] = paths(name)
        output = tshark(path, folder, *AS_DATA, "-T", "fields", *(word for f in FIELDS for word in ("-e", f)))
        for line in output:
            number, epoch, stream, *rest = line.split("\t")
            seconds, _, fraction = epoch.partition(".")
            self.times[int(number)] = int(seconds or 0) * 10**9 + int(fraction.ljust(9, "0") or 0)
            if stream:
                self._segment(int(number), int(stream), *rest)

    def _segment(self, number, stream, v4, v6, port, seq, length, syn) -> None:
        half = self.halves.setdefault((v4 or v6, int(port), stream), Half())
        start = int(seq)
        if syn in ("1", "True"):
            half.base = start = start + 1
        assert half.base is not None
        at = offset(start, half.base)
        half.take(at, at + int(length), number)

    def half(self, end: tuple[str, int], stream: int) -> Half:
        return self.halves[*end, stream]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tshark")
    return cache(lambda name: Seen(name, folder))


def ends(name, number):
    """Source of each direction of one of our flows."""
    flow = next(event for event in events(name) if isinstance(event, Flow) and event.flow == number)
    return {"forward": flow.sender, "reverse": flow.receiver}


def halves(name, found):
    """Our flow number and direction -> tshark's half; connections of one 4-tuple in order of time."""
    result = {}
    streams = sorted({stream for *_, stream in found.halves})
    for number in sorted({event.flow for event in events(name) if isinstance(event, Flow)}):
        sources = ends(name, number)
        stream = next(one for one in streams if all((*end, one) in found.halves for end in sources.values()))
        streams.remove(stream)
        for direction, end in sources.items():
            result[number, direction] = found.half(end, stream)
    return result


def wrong_frames(name, found, *, long_header):
    """Records (with or without the longer list header of Xen 4.18) whose first or last frame is not tshark's."""
    places = halves(name, found)
    wrong = []
    for record in (event for event in events(name) if isinstance(event, Record)):
        if (record.header_size > 8 and record.type_id is not None) is not long_header:
            continue
        half = places[record.flow, record.direction]
        stop = min(record.offset + record.size, half.length)
        frames = (half.frame(record.offset), half.frame(stop - 1))
        if (record.first_frame, record.last_frame) != frames:
            wrong.append((record.type, record.offset, record.first_frame, record.last_frame, frames))
    return wrong


@pytest.mark.parametrize("name", CLEAN)
def test_frames_of_first_and_last_byte(name, seen):
    assert wrong_frames(name, seen(name), long_header=False) == []


@pytest.mark.parametrize("name", ["colo-header-12", "colo-header-16", "hvm-colo-xl-420"])
def test_frames_of_lists_with_a_longer_header(name, seen):
    assert wrong_frames(name, seen(name), long_header=True) == []


@pytest.mark.parametrize("name", CLEAN)
def test_times_of_first_and_last_byte(name, seen):
    times = seen(name).times
    for record in (event for event in events(name) if isinstance(event, Record)):
        assert (record.time, record.time_end) == (times[record.first_frame], times[record.last_frame])


@pytest.mark.parametrize("name", CLEAN)
def test_records_cover_what_tshark_counts(name, seen):
    """Record after record, both directions up to their last byte; the last record may be cut."""
    for (number, direction), half in halves(name, seen(name)).items():
        at = 0
        for record in events(name):
            if isinstance(record, Record) and (record.flow, record.direction) == (number, direction):
                assert record.offset == at
                at += record.size - sum(length for _, length in record.lost)
        if "legacy" not in truth(name):
            assert at == half.length


@pytest.mark.parametrize("name", CLEAN)
def test_counts(name, seen):
    found = seen(name)
    total = events(name)[-1]
    assert isinstance(total, Total)
    assert total.frames == len(found.times)
    with_payload = {stream for (*_, stream), half in found.halves.items() if half.length}
    assert total.flows + total.other_connections == len(with_payload)
    assert not [event for event in events(name) if isinstance(event, Gap)]


def test_many_captures_are_clean():
    assert len(CLEAN) > 40
    assert {"xl-migrate-hvm", "hvm-colo-xl", "hvm-remus-libxl", "pv-live-libxl", "hvm-colo-xl-420"} <= set(CLEAN)
