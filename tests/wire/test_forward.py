# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast-forward kernel changes nothing: with it and without it the same events come out, down to frame and time.

Everything runs with the kernel in Python, and with the one in C, each call of which is compared with that in Python.
"""

from __future__ import annotations

import random
import struct
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import packets as wire_packets
from captures.files import Interface, Pcapng, pcap
from captures.guests import hvm, plain, remus
from captures.network import Host, Link, converse
from captures.packets import Style, travel
from dissector import walk
from dissector.live.ring_format import RingFormat
from dissector.reader import Reader
from dissector.sources import Chunk
from dissector.walk import Walk
from dissector.wire.engine import Engine
from dissector.wire.events import Flow, Record
from dissector.wire.forward import template_for
from dissector.wire.halfflow import IGNORE
from tests.cross import slim_tools, test_segmentation, tools
from tests.cross.tools import modest
from tests.live import blocks
from tests.wire import kernels

PLAIN = [name for name in tools.NAMES if tools.is_capture(name)]
LINK6 = Link(
    Host("2001:db8::1", 41234, b"\x00\x16\x3e\x00\x00\x0a"), Host("2001:db8::2", 8002, b"\x00\x16\x3e\x00\x00\x0b")
)
STYLES = {
    "ethernet 4": (Link(), Style()),
    "ethernet 6": (LINK6, Style()),
    "vlan": (Link(), Style(vlans=((0x8100, 42),))),
    "qinq 6": (LINK6, Style(vlans=((0x88A8, 7), (0x8100, 42)))),
    "sll": (Link(), Style("sll")),
    "sll2 6": (LINK6, Style("sll2")),
    "raw": (Link(), Style("raw")),
    "raw 6": (LINK6, Style("ipv6")),
    "options": (Link(), Style(ip_options=b"\x07\x0b\x04" + bytes(8) + b"\0")),
    "null": (Link(), Style("null")),
}


@pytest.fixture(scope="module", params=kernels.KERNELS, autouse=True)
def kernel(request):
    with pytest.MonkeyPatch.context() as patch:
        kernels.use(patch, request.param)
        yield request.param


def pcapng(order):
    def write(packets):
        out = Pcapng()
        out.section(order)
        out.interface(Interface(packets[0].linktype))
        for packet in packets:
            out.enhanced(packet)
        return bytes(out.out)

    return write


WRITERS = {
    "pcap <": pcap,
    "pcap >": lambda packets: pcap(packets, ">"),
    "pcap ns": lambda packets: pcap(packets, nanos=True),
    "pcapng <": pcapng("<"),
    "pcapng >": pcapng(">"),
}


def walked(packets, limits=None):
    """Events of the long way."""
    return tools.engine_events(list(enumerate(packets, 1)), limits)


def compare(fast, slow):
    assert [str(event) for event in fast] == [str(event) for event in slow]
    assert list(fast) == list(slow)


@pytest.mark.parametrize("name", PLAIN)
def test_on_every_capture(name):
    slow = walked(tools.packets(name))
    fast = [event for event in tools.events.__wrapped__(name) if getattr(event, "id", "") != "capture.cut"]
    if name == "file-cut":  # the cut itself is counted in the total
        fast, slow = fast[:-1], slow[:-1]
    compare(fast, slow)


def read(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    reader = Reader([path])
    try:
        return list(reader.events())
    finally:
        reader.close()


def as_raw(packets, unit=1000):
    return [tools.RawPacket(p.time // unit * unit, p.linktype, p.data, p.wire_length or len(p.data)) for p in packets]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("style", STYLES)
def test_on_every_kind_of_frame_and_file(style, writer, tmp_path):
    link, kind = STYLES[style]
    conversation = plain(hvm(pages=44), passes=((3, 5),))
    packets = travel(converse(conversation, replace(link, segment=1400)), link, kind)
    slow = walked(as_raw(packets, 1 if writer == "pcap ns" or "pcapng" in writer else 1000))
    compare(read(tmp_path, WRITERS[writer](packets)), slow)
    records = [event for event in slow if isinstance(event, Record)]
    assert len(records) == len(conversation.forward.records) + len(conversation.reverse.records)


@modest(60)
@given(
    wire=test_segmentation.wires(
        list(test_segmentation.TALKS), st.one_of(st.integers(20, 1460), st.integers(1, 65160))
    ),
    lost=st.sampled_from((0, 0, 0.02, 0.2)),
    cut=st.sampled_from((0, 0, 0.3, 0.9)),
    writer=st.sampled_from(sorted(WRITERS)),
)
def test_on_any_network(wire, lost, cut, writer, tmp_path_factory):
    """Any segmentation, reordering, repetition and loss, from the start or from the middle."""
    packets, _ = test_segmentation.frames(test_segmentation.talk(wire.name), wire)
    rng = random.Random(wire.seed)
    kept = [packet for packet in packets[int(len(packets) * cut) :] if rng.random() >= lost]
    data = WRITERS[writer]([wire_packets.Packet(p.time, p.data) for p in kept]) if kept else None
    if data is not None:
        compare(read(tmp_path_factory.mktemp("net"), data), walked(kept))


@modest(40)
@given(seed=st.integers(0, 1 << 32), kind=st.sampled_from(("pcap <", "pcap >", "pcapng <", "pcapng >")))
def test_on_odd_frames(seed, kind, tmp_path_factory):
    """Frames with a byte changed, cut short, padded, or of something else, between those of a migration."""
    rng = random.Random(seed)
    packets = travel(converse(plain(hvm(pages=44), passes=()), Link()), Link())
    odd = []
    for packet in packets:
        data = packet.data
        choice = rng.random()
        if choice < 0.03:
            at = rng.randrange(min(len(data), 66))
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif choice < 0.05:
            data = data[: rng.randrange(len(data) + 1)]
        elif choice < 0.07:
            data += bytes(rng.randrange(20))
        elif choice < 0.08:
            data = rng.randbytes(rng.randrange(200))
        odd.append(replace(packet, data=data, wire_length=max(len(packet.data), len(data))))
    compare(read(tmp_path_factory.mktemp("odd"), WRITERS[kind](odd)), walked(as_raw(odd, 1 if "ng" in kind else 1000)))


def test_capture_that_ends_in_page_contents(tmp_path):
    """The last frame that carried bytes is known even if the kernel passed it."""
    packets = travel(converse(plain(hvm()), Link()), Link())[:80]
    fast, slow = read(tmp_path, pcap(packets)), walked(as_raw(packets))
    last = max(number for number, packet in enumerate(packets, 1) if packet.length)
    ends = [event for event in slow if isinstance(event, Flow) and event.phase == "end"]
    assert [event.frame for event in ends] == [last]
    compare(fast, slow)


@pytest.mark.xfail(strict=True, reason="of several connections passed in one go only the last frame of one is known")
def test_two_connections_that_end_in_page_contents(tmp_path):
    """Both are passed in one go; of each the last frame is known."""
    links = [Link(), Link(sender=Host("192.0.2.1", 41300))]
    talks = [travel(converse(plain(hvm(pages=90)), link), link)[:90] for link in links]
    packets = [packet for pair in zip(*talks, strict=True) for packet in pair]
    compare(read(tmp_path, pcap(packets)), walked(as_raw(packets)))


def test_capture_whose_peer_dies_in_page_contents(tmp_path):
    conversation = remus(hvm(), ((5, 8), (3, 4)))
    conversation.forward.cut(conversation.find("PAGE_DATA", 2)["offset"] + 12_000)
    link = Link(close="rst")
    packets = travel(converse(conversation, link), link)
    compare(read(tmp_path, pcap(packets)), walked(as_raw(packets)))


# -- the kernel by itself ---------------------------------------------------------------------------


def block(frame: bytes) -> bytes:
    return struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame


KEY = tools.ADDRESSES["forward"] + tools.PORTS["forward"]


def forward(frames: list[bytes], state: list[int], shape: str = "pcap<", key: bytes = KEY) -> tuple[int, list[int]]:
    """Packets passed, and what became of the state."""
    buffer = b"".join(block(frame) for frame in frames) + bytes(100)
    end = len(buffer) - 100
    fast = {key: list(state)}
    position, passed = walk.make_kernel().forward(memoryview(buffer), 0, end, shape, 1, fast)
    assert position == sum(len(block(frame)) for frame in frames[:passed])
    return passed, fast[key]


def data(seq: int, count: int, flags: int = 0x10, ack: int = 7) -> bytes:
    return tools.frame("forward", seq, ack, flags, bytes(count))


WRAP = 1 << 32
TOP = 1 << 32
# frames; next sequence number, number that a segment must end before, last ACK; packets passed; and the same afterwards
TABLE = {
    "in order, far from the limit": ([data(100, 50), data(150, 50)], [100, 1100, -1], 2, [200, 1100, 7]),
    "ends at the limit: looked at": ([data(100, 50)], [100, 150, -1], 0, [100, 150, -1]),
    "ends one byte before the limit": ([data(100, 50)], [100, 151, -1], 1, [150, 151, 7]),
    "not in order": ([data(101, 50)], [100, 1100, -1], 0, [100, 1100, -1]),
    "again": ([data(100, 50), data(100, 50)], [100, 1100, -1], 1, [150, 1100, 7]),
    "pure ACK": ([data(100, 0, ack=55)], [100, 0, -1], 1, [100, 0, 55]),
    "pure ACK out of order": ([data(90, 0, ack=55)], [100, 0, -1], 1, [100, 0, 55]),
    "PSH": ([data(100, 50, 0x18)], [100, 1100, -1], 1, [150, 1100, 7]),
    "FIN": ([data(100, 50, 0x11)], [100, 1100, -1], 0, [100, 1100, -1]),
    "RST": ([data(100, 0, 0x14)], [100, 1100, -1], 0, [100, 1100, -1]),
    "SYN": ([data(100, 0, 0x02)], [100, 1100, -1], 0, [100, 1100, -1]),
    "URG": ([data(100, 50, 0x30)], [100, 1100, -1], 0, [100, 1100, -1]),
    "ECN marks": ([data(100, 50, 0x50), data(150, 50, 0x90)], [100, 1100, -1], 2, [200, 1100, 7]),
    "up to the sequence wrap": ([data(TOP - 50, 49), data(TOP - 1, 1)], [TOP - 50, TOP, -1], 1, [TOP - 1, TOP, 7]),
    "of no interest": ([data(5, 50), data(900, 3)], [0, IGNORE, -1], 2, [0, IGNORE, 7]),
    "of no interest, but a SYN": ([data(5, 0, 0x02)], [0, IGNORE, -1], 0, [0, IGNORE, -1]),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_may_be_passed(case):
    frames, state, passed, after = TABLE[case]
    assert forward(frames, state) == (passed, after)


def test_unknown_connection_is_looked_at():
    assert forward([data(100, 0)], [100, 0, -1], key=bytes(12))[0] == 0


def test_udp_with_the_same_ports_is_looked_at():
    frame = bytearray(data(100, 50))
    frame[23] = 17
    assert forward([bytes(frame)], [100, 1100, -1])[0] == 0


@pytest.mark.parametrize(("word", "passed"), [(0x0000, 1), (0x4000, 1), (0x2000, 0), (0x0001, 0), (0x6000, 0)])
def test_fragments_are_looked_at(word, passed):
    frame = bytearray(data(100, 50))
    frame[20:22] = word.to_bytes(2)
    assert forward([bytes(frame)], [100, 1100, -1])[0] == passed


def test_frame_cut_by_the_snap_length_is_looked_at():
    assert forward([data(100, 500)[:200]], [100, 1100, -1])[0] == 0


def test_ethernet_padding_is_no_payload():
    assert forward([data(100, 1) + bytes(5)], [100, 1100, -1]) == (1, [101, 1100, 7])


def test_total_length_zero_is_looked_at():
    frame = bytearray(data(100, 50))
    frame[16:18] = b"\0\0"
    assert forward([bytes(frame)], [100, 1100, -1])[0] == 0


@pytest.mark.parametrize("shape", ["kuznetzov<", "kuznetzov>", ""])
def test_other_file_formats_are_left_alone(shape):
    assert forward([data(100, 50)], [100, 1100, -1], shape)[0] == 0


def test_incomplete_packet_is_left_alone():
    whole = block(data(100, 50))
    for end in range(len(whole)):
        fast = {KEY: [100, 1100, -1]}
        assert walk.make_kernel().forward(memoryview(whole), 0, end, "pcap<", 1, fast) == (0, 0)
        assert fast == {KEY: [100, 1100, -1]}


@pytest.mark.parametrize(
    ("linktype", "frame", "found"),
    [
        (1, bytes(12) + b"\x08\x00" + b"\x45", True),
        (1, bytes(12) + b"\x81\x00\0\x05\x86\xdd", True),
        (1, bytes(12) + b"\x88\xa8\0\x05\x81\x00\0\x06\x08\x00", True),
        (1, bytes(12) + b"\x08\x06", False),
        (1, b"", False),
        (101, b"\x45", True),
        (101, b"\x60", True),
        (101, b"\x75", False),
        (101, b"", False),
        (0, b"\2\0\0\0\x45", False),
        (113, bytes(14) + b"\x08\x00", True),
        (276, b"\x86\xdd" + bytes(18), True),
    ],
)
def test_template_for_a_frame(linktype, frame, found):
    assert (template_for("pcap", linktype, memoryview(frame)) is not None) == found


# -- rings ------------------------------------------------------------------------------------------

NATIVE = "<" if sys.byteorder == "little" else ">"


def read_ring(packets, linktype=1, per_block=500, **more):
    """Events of packets in blocks of a ring that is used again and again."""
    engine, form = Engine(), RingFormat("eth0", linktype)
    walk, ring, events = Walk(engine), bytearray(1 << 22), []
    for first in range(0, len(packets), per_block):
        records = [blocks.Record(p.time, p.data, p.wire_length, **more) for p in packets[first : first + per_block]]
        content = blocks.block(records, NATIVE, seed=first)
        ring[: len(content)] = content
        chunk = Chunk(memoryview(ring), 0, len(content), form, 0)
        for found in walk.chunk(chunk):
            events += found
        assert chunk.consumed == chunk.end
        assert chunk.packets == len(records)
    return events + engine.finish(), walk


@pytest.mark.parametrize("style", [name for name in STYLES if "sll" not in name and name != "null"])
def test_ring_on_every_kind_of_frame(style):
    link, kind = STYLES[style]
    packets = travel(converse(plain(hvm(pages=44), passes=((3, 5),)), replace(link, segment=1400)), link, kind)
    place = {} if packets[0].linktype == 1 else {"frame_at": 96, "protocol": 0x86DD if "6" in style else 0x0800}
    fast, _ = read_ring(packets, packets[0].linktype, **place)
    compare(fast, walked(as_raw(packets, 1)))


@pytest.mark.parametrize("style", ["raw", "raw 6"])
def test_cooked_ring(style):
    """Frames without link header are read as those of SLL2 are."""
    link, kind = STYLES[style]
    conversation = plain(hvm(pages=44), passes=((3, 5),))
    packets = travel(converse(conversation, replace(link, segment=1400)), link, kind)
    cooked = travel(converse(conversation, replace(link, segment=1400)), link, Style("sll2"))
    fast, _ = read_ring(packets, 276, frame_at=96, protocol=0x86DD if "6" in style else 0x0800)
    compare(fast, walked(as_raw(cooked, 1)))


@modest(12)
@given(
    wire=test_segmentation.wires(
        list(test_segmentation.TALKS), st.one_of(st.integers(20, 1460), st.integers(1, 65160))
    ),
    lost=st.sampled_from((0, 0, 0.02, 0.2)),
    cut=st.sampled_from((0, 0, 0.3, 0.9)),
    per_block=st.sampled_from((7, 60, 500)),
)
def test_ring_on_any_network(wire, lost, cut, per_block):
    packets, _ = test_segmentation.frames(test_segmentation.talk(wire.name), wire)
    rng = random.Random(wire.seed)
    kept = [packet for packet in packets[int(len(packets) * cut) :] if rng.random() >= lost]
    if kept:
        fast, _ = read_ring([wire_packets.Packet(p.time, p.data) for p in kept], per_block=per_block)
        compare(fast, walked(kept))


@modest(40)
@given(seed=st.integers(0, 1 << 32))
def test_ring_with_records_of_every_kind(seed):
    """Status, VLAN tag and the place of the frame change from record to record."""
    rng = random.Random(seed)
    packets = travel(converse(plain(hvm(pages=44), passes=()), Link()), Link())
    engine, form = Engine(), RingFormat("eth0", 1)
    walk, events, raws, records = Walk(engine), [], [], []
    share = rng.choice((0, 0.01, 0.3))
    for packet in packets:
        data, more = packet.data, {}
        if rng.random() < share:
            more["frame_at"] = rng.choice((70, 78, 86, 96))
        if rng.random() < share:
            more |= {"status": 1 | blocks.VLAN_VALID | blocks.TPID_VALID, "vlan": (rng.randrange(4096), 0x8100)}
        if rng.random() < share:
            more["status"] = more.get("status", 1) | 8
        if rng.random() < share / 3:
            data = data[: rng.randrange(14, len(data) + 1)]
        records.append(blocks.Record(packet.time, data, len(packet.data), **more))
        raws.append(tools.RawPacket(packet.time, 1, data, len(packet.data)))
    content = blocks.block(records, NATIVE, seed)
    for found in walk.chunk(Chunk(memoryview(content + bytes(200)), 0, len(content), form, 0)):
        events += found
    compare(events + engine.finish(), walked(raws))


def ring_forward(records, state, order=NATIVE, linktype=1, kernel=None, behind=b""):
    """Packets that the kernel passed, where it stopped, and what became of the state."""
    content = blocks.block(records, order)
    fast = {KEY: list(state)}
    position, passed = (kernel or walk.make_kernel()).forward(
        memoryview(content + behind + bytes(200)), 0, len(content), f"ring{order}", linktype, fast
    )
    sizes = [len(blocks.block([record])) for record in records]
    assert position == sum(sizes[:passed])
    return passed, fast[KEY]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("case", TABLE)
def test_what_may_be_passed_of_a_ring(case, order):
    frames, state, passed, after = TABLE[case]
    assert ring_forward([blocks.Record(7, frame) for frame in frames], state, order) == (passed, after)


def test_frames_at_another_place_leave_the_fast_path(kernel):
    """Of the kernel in Python, which has a template for one place; the one in C looks at each record by itself."""
    records = [blocks.Record(7, data(100, 50)), blocks.Record(7, data(150, 50), frame_at=78)]
    assert ring_forward(records, [100, 1100, -1])[0] == {"python": 1, "c": 2}[kernel]


def test_all_frames_at_another_place_are_passed():
    records = [blocks.Record(7, data(100 + 50 * n, 50), frame_at=78) for n in range(3)]
    assert ring_forward(records, [100, 1100, -1]) == (3, [250, 1100, 7])


def test_ring_kernel_stops_where_the_block_ends():
    """Behind it are the next packets of the stream, left from an older filling."""
    record = blocks.Record(7, data(100, 50))
    stale = blocks.block([blocks.Record(7, data(150 + 50 * n, 50)) for n in range(3)])
    assert ring_forward([record], [100, 1100, -1], behind=stale) == (1, [150, 1100, 7])


def test_another_status_is_learned():
    kernel = walk.make_kernel()
    for status in (1, 9, 1):
        records = [blocks.Record(7, data(100 + 50 * n, 50), status=status) for n in range(3)]
        assert ring_forward(records, [100, 1100, -1], kernel=kernel) == (3, [250, 1100, 7])


def test_cooked_frame_of_another_protocol_is_looked_at():
    records = [blocks.Record(7, data(100, 50)[14:], frame_at=96, protocol=0x8847)]
    assert ring_forward(records, [100, 1100, -1], linktype=276)[0] == 0
    assert ring_forward([replace(records[0], protocol=0x0800)], [100, 1100, -1], linktype=276)[0] == 1


def test_damaged_ring_is_left_alone():
    for at in (0, 51, 0xFFFF):
        content = bytearray(blocks.block([blocks.Record(7, data(100, 50))], NATIVE))
        content[24:26] = struct.pack(NATIVE + "H", at)
        fast = {KEY: [100, 1100, -1]}
        assert walk.make_kernel().forward(memoryview(content), 0, len(content), f"ring{NATIVE}", 1, fast) == (0, 0)


@pytest.mark.parametrize("how", ["cut", "heads"])
@pytest.mark.parametrize("name", PLAIN)
def test_on_slim_captures(name, how, tmp_path):
    """With the kernel and without it the same comes of a capture without page contents."""
    path = tmp_path / "slim.pcapng"
    slim_tools.slimmed(tools.paths(name), path, how)
    reader = Reader([path])
    fast = list(reader.events())
    reader.close()
    engine = Engine()
    engine.capture_slim()
    slow = []
    for number, packet in enumerate(slim_tools.captured(path), 1):
        for mark in packet.left_out:
            engine.left_out(mark.key, mark.seq, mark.length, mark.ack, number - 1, mark.time)
        engine.snapped = packet.snapped
        slow += engine.packet(number, packet.time, packet.linktype, packet.data, packet.wire_length)
    for mark in reader._files[0].format.left_out:
        engine.left_out(mark.key, mark.seq, mark.length, mark.ack, engine.frames, mark.time)
    compare(fast, slow + engine.finish())
