# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames built by scapy (and all captures of the project) must decode to what tshark says of them."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
import scapy.layers.inet6  # noqa: F401 - registers the ether type
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert, fragment
from scapy.layers.inet6 import (
    HBHOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Jumbo,
    RouterAlert,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Raw, raw

from dissector.wire.frame import (
    LINKTYPES,
    FrameDecoder,
    Segment,
    UnknownLinkType,
    endpoints,
    reverse_key,
    supported_linktype,
)

CAPTURES = Path(__file__).parents[2] / "captures"
FIELDS = [
    "frame.number",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.len",
    "tcp.payload",
]
Frame = tuple[bytes, int]
"""Captured bytes and length on the wire."""


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, but CI must run this test")
        pytest.skip(f"{name} is not installed")
    return path


def pcap(linktype: int, frames: list[Frame]) -> bytes:
    records = [struct.pack("<IIII", number, 0, len(data), wire) + data for number, (data, wire) in enumerate(frames)]
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, linktype) + b"".join(records)


def tshark(path: Path) -> dict[int, tuple[Any, ...]]:
    """Give what tshark says: frame number -> the fields of `described` and the payload."""
    command = [
        tool("tshark"),
        "-r",
        str(path),
        "-n",
        "-Y",
        "tcp",
        "-T",
        "fields",
        "-E",
        "separator=|",
        "-E",
        "occurrence=l",
    ]
    # Without the last option heuristic dissectors of other protocols would search the payload, for minutes at worst.
    command += ["-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ipv6.tso_support:TRUE", "-d", "tcp.port==1-65535,data"]
    for field in FIELDS:
        command += ["-e", field]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 2), ran.stderr  # 2: the file is cut
    found = {}
    for line in ran.stdout.splitlines():
        number, v4, v6, sport, dst4, dst6, dport, seq, ack, flags, window, length, payload = line.split("|")
        if seq == "" or window == "":  # TCP inside ICMP, or a header that is cut
            continue
        described = (v4 or v6, int(sport), dst4 or dst6, int(dport), int(seq), int(ack), int(flags, 16) & 0x1FF)
        found[int(number)] = (*described, int(window), int(length), payload.replace(":", ""))
    return found


def described(segment: Segment) -> tuple[Any, ...]:
    source, sport, destination, dport = endpoints(segment.key)
    tcp = (segment.seq, segment.ack, segment.flags, segment.window, segment.length)
    return (source, sport, destination, dport, *tcp, bytes(segment.payload).hex())


def decode_all(linktype: int, frames: list[Frame], decoder: FrameDecoder | None = None) -> dict[int, tuple[Any, ...]]:
    decoder = decoder or FrameDecoder()
    segments = [decoder.decode(linktype, memoryview(data), wire) for data, wire in frames]
    return {number: described(segment) for number, segment in enumerate(segments, 1) if segment is not None}


CONTENTS = bytes(random.Random(1).randbytes(1000))
V4 = IP(src="192.0.2.1", dst="198.51.100.7", id=77)
V6 = IPv6(src="2001:db8::1", dst="2001:db8:ffff::7")
HEAD = TCP(sport=40000, dport=8002, seq=0xFFFFFF00, ack=0x80000001, flags="PA", window=501)
LONG_HEAD = TCP(
    sport=40001,
    dport=49152,
    seq=5,
    ack=6,
    flags="A",
    window=7,
    options=[("NOP", None), ("NOP", None), ("Timestamp", (1, 2))],
)
PLAIN4, PLAIN6 = V4 / HEAD / CONTENTS, V6 / HEAD / CONTENTS


def whole(*packets: Any) -> list[Frame]:
    return [(raw(packet), len(raw(packet))) for packet in packets]


def snapped(length: int, *packets: Any) -> list[Frame]:
    return [(raw(packet)[:length], len(raw(packet))) for packet in packets]


def zero_length(packet: Any, at: int) -> list[Frame]:
    data = bytearray(raw(packet))
    data[at : at + 2] = b"\0\0"
    return [(bytes(data), len(data))]


def fragments4(size: int = 256) -> list[Any]:
    pieces: list[Any] = fragment(
        IP(src="192.0.2.9", dst="198.51.100.7", id=99, proto=6) / LONG_HEAD / CONTENTS, fragsize=size
    )
    return pieces


def fragments6(identification: int, first: int = 6, layer: Any = None) -> list[Any]:
    inner = raw(LONG_HEAD / CONTENTS if layer is None else layer / LONG_HEAD / CONTENTS)
    return [
        V6 / IPv6ExtHdrFragment(nh=first, id=identification, offset=start // 8, m=int(start + 256 < len(inner))) / piece
        for start in range(0, len(inner), 256)
        for piece in [inner[start : start + 256]]
    ]


def jumbo() -> list[Frame]:
    contents = bytes(70_000)
    packet = V6.copy() / IPv6ExtHdrHopByHop(options=[RouterAlert(), Jumbo(jumboplen=8 + 8 + 20 + len(contents))])
    packet.plen = 0
    built = raw(packet / HEAD)
    data = bytes(12) + b"\x86\xdd" + built + contents
    return [(data, len(data))]


E = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
CASES: dict[str, tuple[int, list[Frame]]] = {
    "ethernet-ipv4": (1, whole(E / PLAIN4)),
    "tcp-options": (1, whole(E / V4 / LONG_HEAD / CONTENTS)),
    "flags": (1, whole(*(E / V4 / TCP(flags=1 << bit) for bit in range(9)))),
    "all-flags": (1, whole(E / V4 / TCP(flags=0x1FF, sport=1, dport=2))),
    "padding": (1, [(raw(E / V4 / HEAD) + bytes(6), 60), (raw(E / V4 / HEAD / b"xyz") + bytes(3), 60)]),
    "trailer": (1, [(raw(E / PLAIN4) + b"trailer!", len(raw(E / PLAIN4)) + 8)]),
    "vlan": (1, whole(E / Dot1Q(vlan=5) / PLAIN4, E / Dot1Q(vlan=5) / PLAIN6)),
    "qinq": (1, whole(E / Dot1AD(vlan=5) / Dot1Q(vlan=6) / PLAIN4)),
    "old-qinq": (
        1,
        whole(Ether(src=E.src, dst=E.dst, type=0x9100) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / Dot1Q(vlan=7) / PLAIN6),
    ),
    "ipv4-options": (
        1,
        whole(E / IP(src="192.0.2.1", dst="192.0.2.2", options=[IPOption_Router_Alert()]) / HEAD / b"a"),
    ),
    "ipv4-ah": (1, whole(E / V4 / AH(nh=6, spi=1, icv=b"\1" * 12) / raw(HEAD / b"abc"))),
    "ipv4-length-0": (1, zero_length(E / PLAIN4, 16)),
    "ipv4-fragments": (1, whole(*(E / piece for piece in fragments4()))),
    "ipv4-fragments-reversed": (1, whole(*(E / piece for piece in reversed(fragments4())))),
    "ipv4-fragments-twice": (
        1,
        whole(*(E / piece for piece in sorted(fragments4() + fragments4(), key=lambda p: p.frag))),
    ),
    "ethernet-ipv6": (1, whole(E / PLAIN6)),
    "ipv6-padding": (1, [(raw(E / V6 / HEAD / b"q") + bytes(9), 84)]),
    "ipv6-length-0": (1, zero_length(E / PLAIN6, 18)),
    "ipv6-hop-by-hop": (1, whole(E / V6 / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / HEAD / CONTENTS)),
    "ipv6-routing": (
        1,
        whole(E / V6 / IPv6ExtHdrRouting(type=2, segleft=0, addresses=["2001:db8::9"]) / HEAD / b"abc"),
    ),
    "ipv6-destination": (
        1,
        whole(E / V6 / IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1E, optdata=b"x" * 20)]) / HEAD),
    ),
    "ipv6-several": (
        1,
        whole(E / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / AH(nh=6, icv=b"\2" * 12) / raw(HEAD / b"ab")),
    ),
    "ipv6-atomic": (1, whole(E / V6 / IPv6ExtHdrFragment(id=3, nh=6) / HEAD / CONTENTS)),
    "ipv6-fragments": (1, whole(*(E / piece for piece in fragments6(11)))),
    "ipv6-fragments-mixed": (1, whole(*(E / piece for piece in random.Random(3).sample(fragments6(12), 4)))),
    "ipv6-fragments-extension": (1, whole(*(E / piece for piece in fragments6(13, 60, IPv6ExtHdrDestOpt(nh=6))))),
    "ipv6-jumbo": (1, jumbo()),
    "snap-96": (1, snapped(96, E / PLAIN4, E / PLAIN6, E / V4 / LONG_HEAD / CONTENTS)),
    "snap-in-tcp-options": (1, snapped(60, E / V4 / LONG_HEAD / CONTENTS)),
    "snap-in-tcp": (1, snapped(46, E / PLAIN4)),
    "not-tcp": (
        1,
        whole(E / ARP(), E / V4 / UDP() / b"abc", E / V6 / UDP(), Dot3(dst=E.dst, src=E.src) / LLC() / Raw(bytes(60))),
    ),
    "sll": (113, whole(CookedLinux() / PLAIN4, CookedLinux() / PLAIN6, CookedLinux(proto=0x8100) / Dot1Q() / PLAIN4)),
    "sll2": (276, whole(CookedLinuxV2() / PLAIN4, CookedLinuxV2() / PLAIN6)),
    "raw-101": (101, whole(PLAIN4, PLAIN6, *fragments4(), *fragments6(15))),
    "raw-12": (12, whole(PLAIN4, PLAIN6)),
    "raw-14": (14, whole(PLAIN4, PLAIN6)),
    "raw-ipv4": (228, whole(PLAIN4)),
    "raw-ipv6": (229, whole(PLAIN6)),
    "null": (
        0,
        [
            (struct.pack(order + "I", family) + raw(packet), 4 + len(raw(packet)))
            for order in "<>"
            for family, packet in ((2, PLAIN4), (24, PLAIN6), (28, PLAIN6), (30, PLAIN6), (7, PLAIN4))
        ],
    ),
    "loop": (
        108,
        [(b"\0\0\0\2" + raw(PLAIN4), 4 + len(raw(PLAIN4))), (b"\0\0\0\x1c" + raw(PLAIN6), 4 + len(raw(PLAIN6)))],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_tshark(name: str, tmp_path: Path) -> None:
    linktype, frames = CASES[name]
    path = tmp_path / "frames.pcap"
    path.write_bytes(pcap(linktype, frames))
    assert decode_all(linktype, frames) == tshark(path)


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcap.gz")), ids=lambda path: path.name)
def test_equals_tshark_on_captures(path: Path) -> None:
    contents = gzip.decompress(path.read_bytes())
    order = "<" if contents[0] in (0xD4, 0x4D) else ">"
    frames, position = [], 24
    while position + 16 <= len(contents):
        _, _, captured, wire = struct.unpack_from(order + "IIII", contents, position)
        if position + 16 + captured > len(contents):
            break
        frames.append((contents[position + 16 : position + 16 + captured], wire))
        position += 16 + captured
    assert decode_all(struct.unpack_from(order + "I", contents, 20)[0], frames) == tshark(path)


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        (raw(E / PLAIN4)[:53], 1054),  # cut inside the TCP header
        (raw(E / PLAIN4)[:20], 1054),
        (raw(E / PLAIN4)[:13], 1054),
        (raw(E / Dot1Q() / PLAIN4)[:16], 1058),
        (raw(E / IP(len=39) / HEAD), 54),  # shorter than its headers
        (raw(E / IP(len=10) / HEAD), 54),
        (raw(E / IP(ihl=4) / HEAD), 54),
        (raw(E / IP(version=5) / HEAD), 54),
        (raw(E / V4 / TCP(dataofs=4)), 54),
        (raw(E / V4 / TCP(dataofs=6)), 54),
        (raw(E / IPv6(version=4) / HEAD), 74),
        (raw(E / IPv6(plen=19) / HEAD), 74),
        (raw(E / IPv6(nh=60) / bytes(4)), 58),
        (raw(E / IP(frag=1, flags="MF", proto=6) / bytes(7)), 41),  # not a multiple of 8
        (raw(E / IP(frag=8191, proto=6) / bytes(16)), 50),  # beyond 64 KiB
    ],
)
def test_counts_malformed(data: bytes, wire: int) -> None:
    decoder = FrameDecoder()
    assert decoder.decode(1, memoryview(data), wire) is None
    assert decoder.malformed == 1


def test_snapped_fragments_give_what_was_captured_at_the_front() -> None:
    [uncut] = decode_all(1, whole(*(E / piece for piece in fragments4()))).values()
    [cut] = decode_all(1, snapped(120, *(E / piece for piece in fragments4()))).values()
    assert cut == (*uncut[:-1], CONTENTS[: 120 - 14 - 20 - 32].hex())


def test_null_with_the_address_family_of_linux() -> None:
    for order in "<>":
        frame = struct.pack(order + "I", 10) + raw(PLAIN6)
        assert decode_all(0, [(frame, len(frame))]) == decode_all(101, whole(PLAIN6))


def test_payload_is_a_view() -> None:
    data = bytearray(raw(E / PLAIN4))
    segment = FrameDecoder().decode(1, memoryview(data), len(data))
    assert segment is not None
    data[-1] ^= 0xFF
    assert segment.payload[-1] == data[-1]


def test_link_types() -> None:
    with pytest.raises(UnknownLinkType) as caught:
        FrameDecoder().decode(105, memoryview(bytes(100)), 100)
    assert caught.value.linktype == 105
    assert not supported_linktype(105)
    assert all(supported_linktype(linktype) for linktype in LINKTYPES)


def test_keys() -> None:
    for packet in (PLAIN4, PLAIN6):
        segment = FrameDecoder().decode(101, memoryview(raw(packet)), len(packet))
        assert segment is not None
        assert endpoints(segment.key) == (packet.src, 40000, packet.dst, 8002)
        assert endpoints(reverse_key(segment.key)) == (packet.dst, 8002, packet.src, 40000)
        assert reverse_key(reverse_key(segment.key)) == segment.key


def ipv4_pieces(contents: bytes, spans: list[tuple[int, int]], identification: int = 5) -> list[bytes]:
    head = {"src": "10.0.0.1", "dst": "10.0.0.2", "id": identification, "proto": 6}
    return [
        raw(IP(**head, frag=start // 8, flags="MF" * (end < len(contents))) / contents[start:end])
        for start, end in spans
    ]


def ipv6_pieces(contents: bytes, spans: list[tuple[int, int]]) -> list[bytes]:
    return [
        raw(V6 / IPv6ExtHdrFragment(nh=6, id=5, offset=start // 8, m=int(end < len(contents))) / contents[start:end])
        for start, end in spans
    ]


@st.composite
def spans(draw: st.DrawFn, total: int = 220) -> list[tuple[int, int]]:
    """A way to fragment `total` bytes: cuts at multiples of 8, plus overlapping and repeated pieces, in any order."""
    cuts = sorted(draw(st.sets(st.integers(1, (total - 1) // 8), max_size=12)))
    edges = [0, *(8 * cut for cut in cuts), total]
    found = list(itertools.pairwise(edges))
    extra = draw(st.lists(st.tuples(st.sampled_from(edges), st.sampled_from(edges)), max_size=5))
    found += [(min(pair), max(pair)) for pair in extra if pair[0] != pair[1]]
    return draw(st.permutations(found))


@given(spans(), st.sampled_from([ipv4_pieces, ipv6_pieces]))
@settings(max_examples=150, deadline=None)
def test_any_fragmentation_gives_the_same_segment(parts: list[tuple[int, int]], cut: Any) -> None:
    contents = raw(HEAD) + CONTENTS[:200]
    decoder = FrameDecoder()
    segments = [decoder.decode(101, memoryview(piece), len(piece)) for piece in cut(contents, parts)]
    found = [segment for segment in segments if segment is not None]
    assert found
    for segment in found:
        assert (bytes(segment.payload), segment.length, segment.seq) == (CONTENTS[:200], 200, 0xFFFFFF00)
    assert (decoder.malformed, decoder.fragments_dropped) == (0, 0)


def test_first_bytes_win_in_overlaps() -> None:
    first, second = raw(HEAD) + b"a" * 44, raw(HEAD) + b"b" * 44
    pieces = ipv4_pieces(first, [(16, 40)]) + ipv4_pieces(second, [(0, 24), (32, 64)])
    decoder = FrameDecoder()
    assert [decoder.decode(101, memoryview(piece), len(piece)) for piece in pieces[:2]] == [None, None]
    segment = decoder.decode(101, memoryview(pieces[2]), len(pieces[2]))
    assert segment is not None
    assert bytes(segment.payload) == b"a" * 20 + b"b" * 24


def test_fragments_of_other_protocols_are_not_kept() -> None:
    decoder = FrameDecoder(max_fragment_bytes=0)
    udp4 = raw(IP(flags="MF", proto=17, src="10.0.0.1", dst="10.0.0.2") / bytes(64))
    udp6 = raw(V6 / IPv6ExtHdrFragment(nh=17, m=1) / bytes(64))
    assert [decoder.decode(101, memoryview(piece), len(piece)) for piece in (udp4, udp6)] == [None, None]
    assert (decoder.fragments_dropped, decoder.malformed) == (0, 0)


def test_contradicting_ends_drop_the_datagram() -> None:
    long, short = raw(HEAD) + bytes(60), raw(HEAD) + bytes(44)
    pieces = ipv4_pieces(long, [(64, 80)]) + ipv4_pieces(short, [(48, 64), (0, 48)])
    decoder = FrameDecoder()
    assert [decoder.decode(101, memoryview(piece), len(piece)) for piece in pieces] == [None, None, None]
    assert decoder.fragments_dropped == 2


def test_oldest_fragments_make_room() -> None:
    contents = raw(HEAD) + CONTENTS
    decoder = FrameDecoder(max_fragment_bytes=20_000)
    for identification in range(100):
        [piece] = ipv4_pieces(contents, [(0, 1000)], identification)
        assert decoder.decode(101, memoryview(piece), len(piece)) is None
    dropped = decoder.fragments_dropped
    assert 80 < dropped < 90
    rest = [ipv4_pieces(contents, [(1000, 1020)], identification)[0] for identification in (99, 0)]
    young, old = [decoder.decode(101, memoryview(piece), len(piece)) for piece in rest]
    assert young is not None
    assert bytes(young.payload) == CONTENTS
    assert old is None


FRAMES = [(linktype, data) for linktype, frames in CASES.values() for data, _ in frames if len(data) < 2000]


@given(st.data())
@settings(max_examples=1000, deadline=None)
def test_never_raises(data: st.DataObject) -> None:
    linktype = data.draw(st.sampled_from(sorted(LINKTYPES)))
    if data.draw(st.booleans()):
        frame = bytearray(data.draw(st.binary(max_size=200)))
    else:
        linktype, whole_frame = data.draw(st.sampled_from(FRAMES))
        frame = bytearray(whole_frame[: data.draw(st.integers(0, len(whole_frame)))])
        for _ in range(data.draw(st.integers(0, 6)) if frame else 0):
            frame[data.draw(st.integers(0, min(len(frame), 120) - 1))] = data.draw(st.integers(0, 255))
    wire = data.draw(st.sampled_from([len(frame), 0, 1514, 1 << 31]))
    decoder = FrameDecoder()
    for _ in range(2):
        segment = decoder.decode(linktype, memoryview(frame), wire)
        if segment is not None:
            assert len(segment.payload) <= segment.length
            assert len(segment.key) in (12, 36)
