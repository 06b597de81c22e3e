# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture files written by editcap, or by hand and judged by tshark, must give the same packets here."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissector.recording.pcapng import enhanced_packet, interface_description, interface_statistics, section_header
from dissector.sources.formats import (
    MAX_LEFT_OUT,
    MAX_RECORD,
    CaptureError,
    CaptureFormat,
    Packet,
    PcapFormat,
    PcapngFormat,
    resumed,
)
from dissector.sources.slim import SECTION_COMMENTS, SNAPPED

START = 1_800_000_000_123_456_789
PACKETS = [
    (START + 1_000_000_007 * number, bytes([number]) * size, size + number % 2 * 100)
    for number, size in enumerate([60, 1514, 61, 62, 63, 9000, 0, 1])
]
"""Time in nanoseconds, captured bytes, length on the wire."""


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, but CI must run this test")
        pytest.skip(f"{name} is not installed")
    return path


def tshark(path: Path) -> list[tuple[int, int, int]]:
    """Give what tshark says: time in nanoseconds (0: none), captured length, length on the wire."""
    command = [tool("tshark"), "-r", str(path), "-n", "--disable-protocol", "eth", "-T", "fields"]
    for field in ("frame.time_epoch", "frame.cap_len", "frame.len"):
        command += ["-e", field]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    return [(int(time.replace(".", "") or "0"), int(captured), int(wire)) for time, captured, wire in rows]


def read(contents: bytes, form: CaptureFormat) -> list[Packet]:
    """Read a whole file; the packets with copied data."""
    buffer, end = memoryview(contents), len(contents)
    position = form.header(buffer)
    assert position is not None
    found: list[Packet] = []
    while True:
        behind, packet = form.packet(buffer, position, end)
        if behind == position:
            assert position == end, form.cut(buffer, position, end)
            return found
        if packet is not None:
            assert form.time_at(buffer, position) == packet.time
            found.append(packet._replace(data=memoryview(bytes(packet.data))))
        position = behind


def rows(packets: list[Packet]) -> list[tuple[int, int, int]]:
    return [(packet.time, len(packet.data), packet.wire_length) for packet in packets]


def pcap(order: str = "<", magic: int = 0xA1B23C4D, linktype: int = 1, scale: int = 1) -> bytes:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, linktype)
    records = [
        struct.pack(order + "IIII", time // 10**9, time % 10**9 // scale, len(data), wire) + data
        for time, data, wire in PACKETS
    ]
    return head + b"".join(records)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order: str = "<", length: int = -1) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, length), order)


def interface(order: str = "<", linktype: int = 1, snap_length: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", linktype, 0, snap_length) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(number: int, ticks: int, data: bytes, order: str = "<", options: bytes = b"") -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data + bytes(-len(data) % 4) + options, order)


IGNORED = [
    block(4, b"\1\0\6\0\x7f\0\0\1a\0\0\0\0\0\0\0"),  # names
    block(5, struct.pack("<III", 0, 1, 2)),  # interface statistics
    block(10, struct.pack("<II", 0x544C534B, 4) + b"abcd"),  # decryption secrets
    block(0xBAD, struct.pack("<I", 32473) + b"custom"),
]


@pytest.mark.parametrize(
    ("kind", "shape", "scale"),
    [("pcap", "pcap<", 1000), ("nsecpcap", "pcap<", 1), ("modpcap", "kuznetzov<", 1000), ("pcapng", "pcapng<", 1)],
)
def test_reads_what_editcap_writes(kind: str, shape: str, scale: int, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "converted"
    source.write_bytes(pcap())
    subprocess.run([tool("editcap"), "-F", kind, source, path], check=True, capture_output=True)
    form: CaptureFormat = PcapngFormat() if kind == "pcapng" else PcapFormat()
    packets = read(path.read_bytes(), form)
    assert rows(packets) == tshark(path)
    assert [bytes(packet.data) for packet in packets] == [data for _, data, _ in PACKETS]
    assert [packet.time for packet in packets] == [time // scale * scale for time, _, _ in PACKETS]
    assert (form.shape, form.linktype) == (shape, 1)
    assert all(packet.linktype == 1 and packet.interface == 0 for packet in packets)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "scale"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_pcap_in_both_byte_orders(order: str, magic: int, scale: int, tmp_path: Path) -> None:
    path = tmp_path / "file.pcap"
    path.write_bytes(pcap(order, magic, 1, scale))
    form = PcapFormat()
    assert rows(read(path.read_bytes(), form)) == tshark(path)
    assert form.shape == "pcap" + order


def test_bits_about_the_frame_check_sequence_are_no_link_type() -> None:
    form = PcapFormat()
    read(pcap(linktype=1 | 1 << 26 | 4 << 28), form)
    assert form.linktype == 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "options",
    [
        b"",
        *(bytes([resolution]) for resolution in (0, 3, 6, 7, 9, 0x80, 0x8A, 0x94, 0xA0)),
    ],
)
@pytest.mark.parametrize("offset", [0, 3600, -5])
def test_pcapng_clocks(order: str, options: bytes, offset: int, tmp_path: Path) -> None:
    resolution = options[0] if options else 6
    per_second = 1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    ticks = [START * per_second // 10**9, START * per_second // 10**9 + 12345]
    described = option(2, b"eth0", order) + (option(9, options, order) if options else b"")
    described += option(14, struct.pack(order + "q", offset), order) if offset else b""
    blocks = [section(order), interface(order, options=described + option(0, b"", order))]
    blocks += [enhanced(0, count, b"x" * 61, order, option(1, b"a comment", order)) for count in ticks]
    path = tmp_path / "file.pcapng"
    path.write_bytes(b"".join(blocks))
    form = PcapngFormat()
    packets = read(path.read_bytes(), form)
    assert rows(packets) == tshark(path)
    assert packets[0].time == ticks[0] * 10**9 // per_second + offset * 10**9
    assert form.shape == "pcapng" + order


def test_pcapng_with_several_interfaces_and_sections(tmp_path: Path) -> None:
    ticks = START // 1000
    blocks = [section(), interface(), enhanced(0, ticks, b"a"), interface(linktype=101), *IGNORED]
    blocks += [enhanced(1, ticks + 1, b"bb"), enhanced(0, ticks + 2, b"ccc")]
    big = [section(">"), interface(">", 113), interface(">", 113), enhanced(1, ticks + 3, b"dddd", ">")]
    path = tmp_path / "file.pcapng"
    path.write_bytes(b"".join(blocks + big))
    form = PcapngFormat()
    assert form.header(memoryview(b"".join(blocks))) == 28 + 20  # the interface behind the section header is taken too
    assert form.shape == "pcapng<"
    assert form.header(memoryview(b"".join(blocks[:2] + blocks[3:]))) == 28 + 20 + 20
    assert form.linktype is None
    form = PcapngFormat()
    packets = read(path.read_bytes(), form)
    assert [(packet.linktype, packet.interface, bytes(packet.data)) for packet in packets] == [
        (1, 0, b"a"),
        (101, 1, b"bb"),
        (1, 0, b"ccc"),
        (113, 1, b"dddd"),
    ]
    assert (form.shape, form.linktype) == ("pcapng>", 113)
    # tshark shows a custom block as a frame of its own.
    path.write_bytes(b"".join(blocks + big).replace(IGNORED[-1], b""))
    assert rows(packets) == tshark(path)


def test_simple_and_obsolete_packet_blocks(tmp_path: Path) -> None:
    ticks = START // 1000
    obsolete = struct.pack("<HHIIII", 1, 65535, ticks >> 32, ticks & 0xFFFFFFFF, 5, 99) + b"12345"
    simple = [struct.pack("<I", size) + b"s" * min(size, 96) for size in (7, 96, 1514)]
    blocks = [
        section(),
        interface(snap_length=96),
        interface(),
        block(2, obsolete),
        *(block(3, body) for body in simple),
    ]
    path = tmp_path / "file.pcapng"
    path.write_bytes(b"".join(blocks))
    packets = read(path.read_bytes(), PcapngFormat())
    assert rows(packets) == tshark(path)
    assert [packet.interface for packet in packets] == [1, 0, 0, 0]
    assert [packet.time for packet in packets] == [ticks * 1000, 0, 0, 0]
    assert bytes(packets[1].data) == b"s" * 7


NG = section() + interface()
DAMAGED = [
    (PcapFormat, pcap()[:24], struct.pack("<IIII", 1, 2, MAX_RECORD + 1, 60), "a packet of 268435457 bytes"),
    (PcapngFormat, NG, struct.pack("<III", 6, 8, 0), "a block of 8 bytes"),
    (PcapngFormat, NG, struct.pack("<III", 6, 33, 0), "a block of 33 bytes"),
    (PcapngFormat, NG, struct.pack("<III", 6, 1 << 30, 0), "a block of 1073741824 bytes"),
    (PcapngFormat, NG, block(99, b"abcd")[:-4] + struct.pack("<I", 20), "the two lengths of a block differ"),
    (PcapngFormat, NG, enhanced(1, 0, b"a"), "a packet of interface 1, which was never described"),
    (PcapngFormat, NG, block(6, bytes(16)), "a packet block that is too short"),
    (PcapngFormat, NG, block(6, struct.pack("<IIIII", 0, 0, 0, 9, 9) + b"a"), "a packet of 9 bytes in a block of 36"),
    (PcapngFormat, NG, block(3, b""), "a packet block that is too short"),
    (PcapngFormat, NG, block(1, bytes(4)), "an interface block that is too short"),
    (PcapngFormat, NG, block(0x0A0D0D0A, bytes(16)), "a section without byte-order magic"),
    (PcapngFormat, NG, section()[:12] + b"\2" + section()[13:], "a section header of an unknown version"),
]


@pytest.mark.parametrize(("kind", "before", "record", "text"), DAMAGED, ids=[case[3] for case in DAMAGED])
def test_damage_is_named(kind: type[CaptureFormat], before: bytes, record: bytes, text: str) -> None:
    form = kind("a.cap")  # type: ignore[call-arg]
    used = form.header(memoryview(before))
    form.origin = 1000 - len(before)
    with pytest.raises(CaptureError) as caught:
        form.packet(memoryview(before + record), len(before), len(before) + len(record))
    assert used == len(before)
    assert str(caught.value) == f"a.cap: damaged at byte 1000: {text}"
    assert caught.value.path == "a.cap"


@pytest.mark.parametrize("kind", [PcapFormat, PcapngFormat])
def test_other_files_are_refused(kind: type[CaptureFormat]) -> None:
    with pytest.raises(CaptureError, match="it begins with 7f 45 4c 46"):
        kind("a.out").header(memoryview(b"\x7fELF" + bytes(60)))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("form", "contents"),
    [(PcapFormat(), pcap()), (PcapngFormat(), NG + enhanced(0, START // 1000, b"abc") * 3 + IGNORED[0])],
)
def test_incomplete_records_ask_for_more(form: CaptureFormat, contents: bytes) -> None:
    complete = len(read(contents, form))
    for cut in range(min(len(contents), 1700)):
        buffer = memoryview(contents)[:cut]
        position = form.header(buffer)
        if position is None:
            continue
        taken = 0
        while True:
            behind, packet = form.packet(buffer, position, cut)
            if behind == position:
                break
            taken += packet is not None
            position = behind
        assert position <= cut
        assert taken <= complete
        assert bool(position < cut) <= bool(form.cut(buffer, position, cut))


def test_what_is_cut_off() -> None:
    form, contents = PcapFormat(), pcap()
    assert form.header(memoryview(contents)) == 24
    assert form.cut(memoryview(contents), 24, 24 + 15) == "not even its header"
    assert form.cut(memoryview(contents), 24, 24 + 16 + 37) == "37 of 60 bytes"
    other = PcapngFormat()
    assert other.header(memoryview(NG)) == len(NG)
    assert other.cut(memoryview(NG), 28, 28 + 7) == "not even its header"
    assert other.cut(memoryview(NG), 28, 28 + 9) == "9 of 20 bytes of the block"


def test_latest_looks_ahead_without_changing_anything() -> None:
    ticks = START // 1000
    late = [
        interface(),
        enhanced(1, ticks + 9, b"late"),
        enhanced(0, ticks + 5, b"x"),
        enhanced(7, ticks + 99, b"damage"),
    ]
    contents = NG + enhanced(0, ticks, b"early") + b"".join(late)
    form = PcapngFormat()
    position = form.header(memoryview(contents))
    assert position is not None
    assert form.latest(memoryview(contents), position, len(contents)) == (ticks + 9) * 1000
    assert form.latest(memoryview(contents), position, position + 40) == ticks * 1000
    assert len(form.interfaces) == 1
    plain = PcapFormat()
    assert plain.header(memoryview(pcap())) == 24
    assert plain.latest(memoryview(pcap()), 24, len(pcap())) == PACKETS[-1][0]
    assert plain.latest(memoryview(pcap()), 24, 24 + 16 + 61) == PACKETS[0][0]
    assert plain.latest(memoryview(pcap()), 24, 24) == 0


@given(st.sampled_from([(PcapFormat, pcap()[:24]), (PcapngFormat, NG)]), st.binary(max_size=300), st.data())
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_packets_or_a_capture_error(
    kind: tuple[type[CaptureFormat], bytes], contents: bytes, data: st.DataObject
) -> None:
    form, before = kind[0](), kind[1]
    whole = before + NG + enhanced(0, 5, b"abcde") if data.draw(st.booleans()) else before + contents
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    buffer, end = memoryview(changed), len(changed)
    try:
        position = form.header(buffer)
        while position is not None:
            form.latest(buffer, position, end)
            behind, packet = form.packet(buffer, position, end)
            if behind == position:
                assert form.cut(buffer, position, end)
                break
            assert position < behind <= end
            assert packet is None or len(packet.data) <= behind - position
            position = behind
    except CaptureError:
        pass


# -- slim captures ----------------------------------------------------------------------------------------------------

MARK = "xendissect left out 100 bytes from sequence number 7 of 192.0.2.1:1 > 192.0.2.2:2"


def slim_file(*blocks: bytes, slim: str = "cut") -> tuple[PcapngFormat, list[Packet]]:
    data = section_header(comment=SECTION_COMMENTS[slim] if slim else "a comment") + interface_description(1)
    data += b"".join(blocks)
    form, buffer, found = PcapngFormat(), memoryview(data), []
    position = form.header(buffer) or 0
    while position < len(data):
        behind, packet = form.packet(buffer, position, len(data))
        assert behind > position
        position = behind
        if packet is not None:
            found.append(packet)
    return form, found


def commented(comment: str = "") -> bytes:
    return b"".join(enhanced_packet(0, 5, b"data", 9, comment))


@pytest.mark.parametrize("slim", ["cut", "heads", ""])
def test_how_a_section_is_slim(slim):
    form, found = slim_file(commented(), commented(MARK), commented(f"{MARK}\n{SNAPPED}"), slim=slim)
    assert form.slim == slim
    assert [len(packet.left_out) for packet in found] == ([0, 1, 1] if slim else [0, 0, 0])
    assert [packet.snapped for packet in found] == [False, False, bool(slim)]


def test_marks_of_statistics_belong_to_the_next_packet_or_to_the_end():
    form, found = slim_file(commented(), interface_statistics(0, 5, comment=MARK), commented(), commented())
    assert [len(packet.left_out) for packet in found] == [0, 1, 0]
    assert form.left_out == []
    form, found = slim_file(commented(), interface_statistics(0, 5, comment=MARK))
    assert len(form.left_out) == 1


def test_marks_too_long_for_one_comment():
    _, [found] = slim_file(commented("\n".join([MARK] * 3000)))
    assert len(found.left_out) == 3000


def test_any_number_of_marks_needs_bounded_memory():
    text = "\n".join([MARK] * 700)
    form, _ = slim_file(*[interface_statistics(0, 5, comment=text)] * 200)
    assert MAX_LEFT_OUT <= len(form.left_out) < MAX_LEFT_OUT + 1000


@given(text=st.one_of(st.text(max_size=200), st.binary(max_size=200)))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_any_comment_is_read(text):
    comment = text if isinstance(text, str) else text.decode("latin-1")
    _, found = slim_file(commented(comment), commented())
    assert [packet.left_out for packet in found] == [(), ()]


def test_looking_ahead_takes_no_marks():
    data = section_header(comment=SECTION_COMMENTS["heads"]) + interface_description(1) + commented(MARK)
    form, buffer = PcapngFormat(), memoryview(data)
    position = form.header(buffer) or 0
    assert form.latest(buffer, position, len(data)) == 5
    _, packet = form.packet(buffer, position, len(data))
    assert packet is not None
    assert len(packet.left_out) == 1


@pytest.mark.parametrize("name", ["pcapng-two-interfaces", "pcapng-two-sections", "pcap-be-ns", "raw-ip"])
def test_a_format_reads_on_where_another_one_was(name: str) -> None:
    (path,) = (Path(__file__).parents[2] / "captures").glob(f"{name}.pcap*.gz")
    contents = memoryview(gzip.decompress(path.read_bytes()))
    form = PcapngFormat() if ".pcapng" in path.name else PcapFormat()
    position = form.header(contents) or 0
    states = [(position, form.state(), 0)]
    found = []
    while position < len(contents):
        position, packet = form.packet(contents, position, len(contents))
        if packet is not None:
            found.append(packet)
        states.append((position, form.state(), len(found)))
    for position, state, number in states[:: max(1, len(states) // 20)]:
        again, rest = resumed("", state), []
        assert again.state() == state
        while position < len(contents):
            position, packet = again.packet(contents, position, len(contents))
            if packet is not None:
                rest.append(packet)
        assert rest == found[number:]
