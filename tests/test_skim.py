# SPDX-License-Identifier: GPL-2.0-or-later
"""Skimming finds the records of a full read, says what it did not look at, and claims nothing about that."""

from __future__ import annotations

import gzip
import json
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissector
from bench.generate import Options, generate
from dissector.indexed import open_input
from dissector.reader import Reader
from dissector.sinks.jsonl import record_object
from dissector.skim import PROOF
from dissector.wire.events import Finding, Gap, LostBytesError, Record, Resync, Summary
from tests.cross.tools import NAMES, is_capture, paths

MIB = 1 << 20
SINGLE = [name for name in NAMES if is_capture(name) and len(paths(name)) == 1]


def events(path, *, skim):
    reader = Reader([path], skim=skim)
    try:
        return list(reader.events())
    finally:
        reader.close()


def records(found):
    return [event for event in found if isinstance(event, Record)]


def facts(record):
    return (
        record.flow, record.direction, record.layer, record.type, record.offset, record.size, record.time,
        record.time_end, record.body, record.order, record.header_size, record.extra,
    )  # fmt: skip


def bytes_of(spans):
    return {(start, start + length) for start, length in spans}


def inside(span, others):
    return any(start <= span[0] and span[1] <= end for start, end in others)


def unseen_share(found):
    texts = [event.text for event in found if isinstance(event, Finding) and event.id == "capture.skim"]
    assert len(texts) <= 1
    return int(texts[0].split("(")[1].split()[0]) if texts else 0


def compare(path):
    """Check everything that must hold; the share of the file that was not looked at, in percent."""
    full, skimmed = events(path, skim=False), events(path, skim=True)
    share = unseen_share(skimmed)
    assert [facts(record) for record in records(skimmed)] == [facts(record) for record in records(full)]
    for one, other in zip(records(full), records(skimmed), strict=True):
        assert other.complete is None or other.complete == one.complete
        assert (other.complete is None) <= bool(other.unseen)
        assert all(inside(span, bytes_of(one.lost)) for span in bytes_of(other.lost))
        assert other.first_frame in (0, one.first_frame)
        assert other.last_frame in (0, one.last_frame)
    lost = {(gap.direction, gap.offset, gap.offset + gap.length) for gap in full if isinstance(gap, Gap)}
    for gap in skimmed:
        if isinstance(gap, Gap):
            spans = {(start, end) for direction, start, end in lost if direction == gap.direction}
            assert inside((gap.offset, gap.offset + gap.length), spans)
    assert [e for e in skimmed if isinstance(e, Resync)] == [] or any(isinstance(e, Resync) for e in full)
    if not share:
        assert [e for e in skimmed if not isinstance(e, Finding)] == [e for e in full if not isinstance(e, Finding)]
    return share


@pytest.mark.parametrize("name", SINGLE)
def test_every_capture(name, tmp_path):
    source = paths(name)[0]
    path = tmp_path / "plain"
    path.write_bytes(gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes())
    compare(path)


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
@pytest.mark.parametrize("segment", [1448, 8948, 65160])
def test_most_is_not_looked_at(form, segment, tmp_path):
    path = tmp_path / "made"
    generate(path, Options(size=40 * MIB, segment=segment, format=form))
    assert compare(path) > 70


@settings(max_examples=12, deadline=None)
@given(
    size=st.integers(3 * MIB, 24 * MIB),
    segment=st.sampled_from([700, 1448, 8948, 32000, 65160]),
    loss=st.sampled_from([0, 0.0005, 0.003, 0.03]),
    reorder=st.sampled_from([0, 0.0005, 0.01, 0.2]),
    form=st.sampled_from(["pcap", "pcapng"]),
    remus=st.sampled_from([0, 3]),
    seed=st.integers(1, 1000),
)
def test_loss_and_reordering(tmp_path_factory, size, segment, loss, reorder, form, remus, seed):
    path = tmp_path_factory.mktemp("skim") / "made"
    generate(path, Options(size, segment, "1024-page", reorder, loss, form, remus, seed))
    compare(path)


def packets(data):
    at = 24
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        yield data[at : at + 16 + length]
        at += 16 + length


def on_port(packet, port):
    """The same packet of a connection whose sender has another port."""
    changed = bytearray(packet)
    for at in (16 + 34, 16 + 36):
        if changed[at : at + 2] == (41234).to_bytes(2):
            changed[at : at + 2] = port.to_bytes(2)
    return bytes(changed)


def made(tmp_path, seed=1, **changes):
    path = tmp_path / f"made{seed}"
    generate(path, Options(**{"size": 16 * MIB, "seed": seed, **changes}))
    return path.read_bytes()


def test_flows_one_after_the_other_and_interleaved(tmp_path):
    one, two = (list(packets(made(tmp_path, seed))) for seed in (1, 2))
    two = [on_port(packet, 41235) for packet in two]
    head = made(tmp_path)[:24]
    path = tmp_path / "both"
    path.write_bytes(head + b"".join(one) + b"".join(two))
    assert compare(path) > 50
    chosen, both = random.Random(1), []
    first, second = iter(one), iter(two[: len(two) // 2])
    while True:
        packet = next(chosen.choice([first, second]), None)
        if packet is None:
            both += [*first, *second]
            break
        both.append(packet)
    path.write_bytes(head + b"".join(both))
    compare(path)


def test_a_capture_inside_the_pages_is_not_believed(tmp_path):
    """Packets whose contents are packets of this very connection, with sequence numbers that fit."""
    data = bytearray(made(tmp_path, segment=65160))
    small = list(packets(made(tmp_path)))
    forward = [packet for packet in small if len(packet) == 16 + 66 + 1448]
    at = 24
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        if length > 65000:
            place, stop = at + 16 + 66 + 9000, at + 16 + length
            (seq,) = struct.unpack_from(">I", data, at + 16 + 38)
            for packet in forward[:30]:
                if place + len(packet) > stop:
                    break
                nested = bytearray(packet)
                struct.pack_into(">I", nested, 16 + 38, seq + 1448 * 40 & 0xFFFFFFFF)
                data[place : place + len(nested)] = nested
                place += len(nested)
        at += 16 + length
    path = tmp_path / "nested"
    path.write_bytes(data)
    assert compare(path) > 10


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 400), st.booleans())
def test_damage_raises_nothing_new(tmp_path_factory, place, length, cut):
    folder = tmp_path_factory.mktemp("skim")
    data = bytearray(made(folder))
    place %= len(data)
    if cut:
        del data[place:]
    else:
        data[place : place + length] = random.Random(place).randbytes(len(data[place : place + length]))
    path = folder / "damaged"
    path.write_bytes(data)
    if len(data) < 24 or (not cut and place < 24):
        return
    whole = {(r.type, r.offset): r.size for r in records(events(folder / "made1", skim=False))}
    for record in records(events(path, skim=True)):
        if record.complete is None:
            assert whole[record.type, record.offset] == record.size


def test_pages_of_records_that_were_passed_over(tmp_path):
    made(tmp_path, size=24 * MIB)
    full = [r for r in records(events(tmp_path / "made1", skim=False)) if r.type == "PAGE_DATA"]
    skimmed = [r for r in records(events(tmp_path / "made1", skim=True)) if r.type == "PAGE_DATA"]
    for one, other in zip(full, skimmed, strict=True):
        for pfn in one.pfns.tolist()[::300]:
            assert one.page(pfn) == other.page(pfn)
    assert full[2].whole_body() == skimmed[2].whole_body()
    made(tmp_path, seed=3, size=24 * MIB, loss=0.01)
    with pytest.raises(LostBytesError):
        for record in records(events(tmp_path / "made3", skim=True)):
            record.whole_body()


def test_what_is_said(tmp_path):
    made(tmp_path)
    found = events(tmp_path / "made1", skim=True)
    passed = [record for record in records(found) if record.complete is None]
    assert passed
    for record in passed:
        shown = json.loads(json.dumps(record_object(record)))
        assert shown["complete"] is None
        assert shown["last_frame"] is None
        assert sum(length for _, length in shown["unseen"]) < shown["size"] - PROOF // 2
        assert "lost" not in shown
    (summary,) = (event for event in found if isinstance(event, Summary))
    assert summary.incomplete == 0
    assert sum(summary.lost.values()) == 0


def test_only_where_the_file_can_be_entered(tmp_path):
    path = tmp_path / "made.gz"
    path.write_bytes(gzip.compress(made(tmp_path), 1))
    assert compare(path) == 0


def test_no_index_is_made(tmp_path):
    made(tmp_path)
    said = []
    opened = open_input([tmp_path / "made1"], index=True, skim=True, note=said.append)
    list(opened.events())
    opened.close()
    assert said == ["no index: not everything is looked at with --skim"]
    assert not (tmp_path / "made1.xmi").exists()


def test_the_public_names(tmp_path):
    made(tmp_path)
    path = tmp_path / "made1"
    assert list(dissector.events(path, skim=True)) == events(path, skim=True) != list(dissector.events(path))
    found = list(dissector.read(path, display_filter="libxc.page_data", skim=True))
    assert {record.complete for record in found} >= {None}
    assert [facts(record) for record in found] == [
        facts(record) for record in dissector.read(path, display_filter="libxc.page_data")
    ]
    assert found[-1].page(int(found[-1].pfns[0])) is not None


@pytest.mark.parametrize("size", [4, 40])
def test_a_legacy_stream_has_no_end(size, tmp_path):
    data = made(tmp_path, size=size * MIB)
    at = data.index(b"LibxlFmt")
    path = tmp_path / "legacy"
    path.write_bytes(data[:at] + b"LinuxGuestRecord" + data[at + 16 :])
    full, skimmed = events(path, skim=False), events(path, skim=True)
    assert [e.id for e in full if isinstance(e, Finding)] == ["stream.legacy"]
    assert next(e.id for e in skimmed if isinstance(e, Finding)) == "stream.legacy"
    assert records(full) == records(skimmed) == []


def test_idle_connections_do_not_matter(tmp_path):
    data = made(tmp_path)
    ack = next(packet for packet in packets(data) if len(packet) == 16 + 66 and packet[16 + 47] == 0x10)
    path = tmp_path / "idle"
    path.write_bytes(data[:24] + on_port(ack, 41235) + data[24:])
    assert compare(path) > 50
