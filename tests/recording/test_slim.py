# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest

from dissector.reader import Reader
from dissector.recording.slim import OTHER_KEPT
from dissector.sources.slim import SNAPPED
from tests.cross import test_segmentation, tools
from tests.cross.slim_tools import WAYS, captured, objects, slimmed, unlike, written
from tests.cross.tools import SYN, packets, paths


def frames(*names, window=0):
    """Packets of several connections, one after the other or in turn."""
    found = []
    for number, name in enumerate(names):
        wire = test_segmentation.Wire(name, (1448,), (1, 1), window, 0, 0, 2, "fin", "forward", number)
        packets_, _ = test_segmentation.frames(test_segmentation.talk(name), wire)
        port = 40_000 + number
        for packet in packets_:
            data = bytearray(packet.data)
            at = 34 if data[34:38] == tools.PORTS["forward"] else 36
            data[at : at + 2] = struct.pack(">H", port)
            found.append(packet._replace(data=bytes(data)))
    return found


def udp(payload):
    data = bytearray(tools.frame("forward", 0, 0, payload=payload))
    data[23] = 17
    return bytes(data)


def make(kept, folder, how, **more):
    source = written(kept, folder / "in.pcap")
    slimmed([source], folder / "out.pcapng", how, **more)
    return captured(folder / "out.pcapng")


def test_cut_keeps_every_packet_and_its_lengths(tmp_path):
    kept = frames("large")
    found = make(kept, tmp_path, "cut")
    assert [(p.time, p.wire_length) for p in found] == [(p.time, p.wire_length) for p in kept]
    assert all(before.data.startswith(bytes(after.data)) for before, after in zip(kept, found, strict=True))
    sizes = [len(p.data) for p in found]
    assert sizes.count(54) > len(sizes) // 2
    assert all(p.left_out == () and not p.snapped for p in found)


def test_heads_leaves_out_what_the_kernel_passed(tmp_path):
    kept = frames("large")
    found = make(kept, tmp_path, "heads")
    assert len(found) < len(kept) / 5
    marks = [mark for packet in found for mark in packet.left_out]
    assert sum(mark.length for mark in marks) > 150 * 4096
    assert all(mark.ack >= 0 for mark in marks if not mark.length)


@pytest.mark.parametrize("how", WAYS)
def test_what_is_no_tcp_keeps_its_first_bytes(how, tmp_path):
    kept = [tools.raw(udp(b"other" * 100), test_segmentation.START), *frames("plain")]
    assert len(make(kept, tmp_path, how)[0].data) == OTHER_KEPT
    assert len(make(kept, tmp_path, how, scrub=True)[0].data) == 34


@pytest.mark.parametrize("how", WAYS)
def test_other_connections_keep_their_first_packets(how, tmp_path):
    """Until it is clear that they are no migration; with ``heads`` what comes then is left out, else it is cut."""
    other = [
        tools.raw(tools.frame("forward", seq, 1, flags, payload, ports=b"\0\x50\x9c\x40"), test_segmentation.START + at)
        for at, (seq, flags, payload) in enumerate(
            [(0, SYN, b""), *((1 + 100 * i, tools.ACK, b"\x16" * 100) for i in range(9))]
        )
    ]
    found = make([*other, *frames("plain")], tmp_path, how)
    mine = [p for p in found if bytes(p.data[34:38]) == b"\0\x50\x9c\x40"]
    assert len(mine) == (2 if how == "heads" else 10)
    assert all(len(p.data) <= 54 for p in mine[2:])


def test_what_was_cut_by_a_snap_length_says_so(tmp_path):
    kept = [packet._replace(data=packet.data[:200]) for packet in frames("large")]
    found = make(kept, tmp_path, "cut")
    assert any(packet.snapped for packet in found)
    assert SNAPPED.encode() in (tmp_path / "out.pcapng").read_bytes()


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "names", [("large", "plain", "remus"), ("large", "large", "pv"), ("colo 8", "large pv", "large")]
)
def test_connections_in_turn(names, how, tmp_path):
    """Packets of several migrations interleaved, the same ports again later, and an end in page contents."""
    ports: dict[bytes, list] = {}
    for packet in frames(*names):
        ports.setdefault(bytes(sorted(packet.data[34:38])), []).append(packet)
    mixed, lists = [], [list(one) for one in ports.values()]
    while any(lists):
        mixed += [one.pop(0) for one in lists if one]
    mixed = [*mixed, *frames(names[0])[: len(frames(names[0])) // 2]]
    kept = [packet._replace(time=test_segmentation.START + 1000 * n) for n, packet in enumerate(mixed)]
    source = written(kept, tmp_path / "in.pcap")
    slimmed([source], tmp_path / "out.pcapng", how)
    frames_too = how == "cut"
    before, after = objects(source, frames=frames_too), objects(tmp_path / "out.pcapng", frames=frames_too)
    assert unlike(before, after) == []


def test_a_thousand_connections_at_once(tmp_path):
    """What is said of them at once is more than one comment can hold."""
    kept = []
    for number in range(1000):
        ports = struct.pack(">HH", 10_000 + number, 9)
        kept.append(tools.frame("forward", 0, 0, SYN, ports=ports))
        kept.append(tools.frame("forward", 1, 1, ports=ports))
    kept += [tools.frame("forward", 1, 2, ports=struct.pack(">HH", 10_000 + number, 9)) for number in range(1000)]
    kept.append(udp(b"last"))
    raw = [tools.raw(data, test_segmentation.START + 1000 * at) for at, data in enumerate(kept)]
    found = make(raw, tmp_path, "heads")
    assert len(found) >= 1000
    assert unlike(objects(tmp_path / "in.pcap", frames=False), objects(tmp_path / "out.pcapng", frames=False)) == []


@pytest.mark.parametrize("how", WAYS)
def test_slim_files_in_one_go(how, tmp_path):
    """Files of a ring that overlap in time are read packet by packet."""
    kept = frames("large")
    for part in (0, 1):
        slim = [p for n, p in enumerate(kept) if n // 7 % 2 == part]
        written(slim, tmp_path / f"{part}.pcap")
    sources = [tmp_path / "0.pcap", tmp_path / "1.pcap"]
    slimmed(sources, tmp_path / "out.pcapng", how)
    slimmed([tmp_path / "out.pcapng"], tmp_path / "again.pcapng", how)
    for made in ("out.pcapng", "again.pcapng"):
        assert unlike(objects(*sources, frames=False), objects(tmp_path / made, frames=False)) == []


def test_packets_left_out_are_counted(tmp_path):
    reader = Reader(paths("two-migrations-and-noise"))
    total = len(packets("two-migrations-and-noise"))
    reader.close()
    recording = slimmed(paths("two-migrations-and-noise"), tmp_path / "x", "heads")
    assert recording.recorder.left_out >= 0
    assert recording.batch.packets == len(captured(tmp_path / "x")) < total
