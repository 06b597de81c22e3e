# SPDX-License-Identifier: GPL-2.0-or-later
"""What the generator says it wrote is what a reader finds, and the same every time."""

from __future__ import annotations

import struct

import pytest

from bench.generate import Options, chance, generate
from bench.generate import size as parse_size
from bench.stream import KINDS, LARGEST, PAGE, Stream, cut
from dissector.reader import read_events
from dissector.spec.libxc import REC_LENGTH_MAX
from dissector.wire.events import Finding, Gap, Record, Resync, Summary, Total

MIB = 1 << 20


def written_and_read(tmp_path, **changes):
    path = tmp_path / "made.pcap"
    truth = []
    expected = generate(path, Options(**{"size": 6 * MIB, **changes}), truth.append)
    return truth, expected, list(read_events(path))


def records(events):
    return [event for event in events if isinstance(event, Record)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"format": "pcapng"},
        {"segment": 8948},
        {"segment": 65160},
        {"records": "small", "size": MIB},
        {"records": "xtab-only", "size": MIB},
        {"records": "tiny", "size": MIB // 8},
        {"records": "checkpoints", "size": MIB // 8},
        {"records": "128M"},
        {"remus": 3},
        {"reorder": 0.02},
        {"reorder": 0.02, "records": "small", "size": MIB},
    ],
    ids=str,
)
def test_everything_written_is_read(changes, tmp_path):
    truth, expected, events = written_and_read(tmp_path, **changes)
    found = records(events)
    assert [(r.layer, r.type, r.offset, r.size) for r in found] == truth
    assert all(record.complete for record in found)
    assert not [event for event in events if isinstance(event, Gap | Resync | Finding)]
    (summary,) = [event for event in events if isinstance(event, Summary)]
    assert dict(summary.records) == expected.records
    assert summary.bytes["forward"] == expected.stream_bytes
    assert summary.mode == ("remus" if changes.get("remus") or changes.get("records") == "checkpoints" else "plain")
    assert isinstance(events[-1], Total)
    assert events[-1].frames == expected.frames


def test_loss_marks_the_records_it_hits(tmp_path):
    truth, expected, events = written_and_read(tmp_path, loss=0.005)
    assert expected.missing

    def hit(offset, size):
        return [(at, at + n) for at, n in expected.missing if at < offset + size and at + n > offset]

    found = {(r.layer, r.type, r.offset, r.size): r for r in records(events)}
    assert set(found) <= set(truth)
    for record in truth:
        lost = hit(record.offset, record.size)
        if not lost:
            assert found[record].complete
        elif record in found:
            told = [(at, at + n) for at, n in found[record].lost]
            assert all(any(a <= start and stop <= b for a, b in lost) for start, stop in told)
            assert sum(b - a for a, b in told) > 0
    assert sum(gap.length for gap in events if isinstance(gap, Gap)) == sum(n for _, n in expected.missing)


def test_the_same_every_time(tmp_path):
    options = Options(size=2 * MIB, reorder=0.01, loss=0.01)
    generate(tmp_path / "one.pcap", options)
    generate(tmp_path / "two.pcap", options)
    assert (tmp_path / "one.pcap").read_bytes() == (tmp_path / "two.pcap").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpoints", [0, 4])
def test_the_stream_has_the_size_asked_for(kind, checkpoints):
    stream = Stream(3 * MIB, kind, checkpoints)
    assert sum(map(len, stream.pieces())) == stream.offset
    assert 3 * MIB - 5000 < stream.offset <= 3 * MIB


def test_the_largest_record_is_as_large_as_can_be():
    stream = Stream((128 << 20) + (64 << 10), "128M", note=lambda record: sizes.append(record.size))
    sizes: list[int] = []
    for _ in stream.pieces():
        pass
    assert max(sizes) == 8 + 8 + LARGEST * (8 + PAGE)
    assert REC_LENGTH_MAX - 8 - PAGE < max(sizes) - 8 <= REC_LENGTH_MAX


def test_cutting_loses_nothing():
    pieces = [b"a" * 10, b"b", b"", b"c" * 1, b"d" * 25, b"e" * 7]
    segments = [bytes(segment) for segment in cut(iter(pieces), 7)]
    assert b"".join(segments) == b"".join(pieces)
    assert [len(segment) for segment in segments] == [7] * 6 + [2]


def test_ip_header_checksums_are_right(tmp_path):
    generate(tmp_path / "made.pcap", Options(size=MIB))
    data = (tmp_path / "made.pcap").read_bytes()
    position = 24
    while position < len(data):
        (captured,) = struct.unpack_from("<I", data, position + 8)
        total = sum(struct.unpack_from(">10H", data, position + 16 + 14))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
        position += 16 + captured


def test_chance_has_the_rate_asked_for():
    hits = chance(0.01, 1)
    numbers = [next(hits) for _ in range(1000)]
    assert numbers == sorted(set(numbers))
    assert 80_000 < numbers[-1] < 120_000


@pytest.mark.parametrize(("text", "value"), [("1G", 1 << 30), ("256M", 256 << 20), ("0.5k", 512), ("77", 77)])
def test_sizes(text, value):
    assert parse_size(text) == value
