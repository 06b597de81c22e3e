# SPDX-License-Identifier: GPL-2.0-or-later
"""Byte streams as lists of records, and scapy's TCPSession on small captures."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.packet import Padding, Raw, split_bottom_up, split_top_down
from scapy.sendrecv import sniff
from scapy.sessions import TCPSession

from dissector import layers
from dissector.layers import State, XenMigration, bind_port, dissect_stream
from tests.layers.tools import DIRECTIONS, is_whole, paths, readable, streams, truth

WHOLE = [name for name in readable() if is_whole(name) and streams(name) is not None]
"""Captures that the simple reassembly of the tests can put together."""


@pytest.fixture
def port():
    bound = []

    def bind(number):
        bound.append(number)
        bind_port(number)

    yield bind
    for number in bound:
        split_bottom_up(TCP, XenMigration, {"dport": number})
        split_bottom_up(TCP, XenMigration, {"sport": number})
        split_top_down(TCP, XenMigration, {"dport": number})


def expected(name: str, direction: str) -> list[tuple[str, str, int]]:
    records = truth(name)["flows"][0][direction]["records"]
    return [(one["layer"], one["type"], one["size"]) for one in records if one["type"] != "CUT" and not one.get("cut")]


@pytest.mark.parametrize("name", WHOLE)
def test_streams_of_captures(name):
    for direction in DIRECTIONS:
        data = streams(name)[direction]
        packets = dissect_stream(data)
        assert b"".join(map(bytes, packets)) == data
        wanted = expected(name, direction)
        if "legacy" not in name:
            found = [(one.layer, one.definition.name, len(one)) for one in packets if not isinstance(one, Raw)]
            assert found[: len(wanted)] == wanted
            assert len(packets) - len(wanted) <= 1


def test_from_the_middle_and_of_something_else():
    end = layers.XenLibxcVerify() / layers.XenLibxcEnd()
    found = dissect_stream(bytes(end), State.LIBXC)
    assert [type(one).__name__ for one in found] == ["XenLibxcVerify", "XenLibxcEnd"]
    assert dissect_stream(b"GET / HTTP/1.1\r\n") == [Raw(b"GET / HTTP/1.1\r\n")]
    assert dissect_stream(b"") == []


@given(st.binary(max_size=300), st.sampled_from(list(State)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_come_back(data, state):
    assert b"".join(map(bytes, dissect_stream(data, state))) == data


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_streams_come_back(data):
    whole = streams(data.draw(st.sampled_from(["xl-hvm-v3", "colo-header-16", "big-endian", "xl-pv64-v3"])))
    piece = bytearray(whole[data.draw(st.sampled_from(DIRECTIONS))][:6000])
    if piece:
        for _ in range(data.draw(st.integers(0, 3))):
            piece[data.draw(st.integers(0, len(piece) - 1))] = data.draw(st.integers(0, 255))
    assert b"".join(map(bytes, dissect_stream(bytes(piece)))) == bytes(piece)


def test_a_list_of_records_builds_and_dissects():
    data = streams("xl-hvm-v3")["forward"][:1200]
    packet = XenMigration(data)
    assert bytes(packet) == data
    assert packet.haslayer(layers.XenLibxcX86CpuidPolicy)
    assert packet.summary().startswith("Xen migration 10 records: xl SAVE_FILE_HEADER, xl CONFIG, libxl STREAM_HEADER")
    assert bytes(XenMigration(records=[layers.XenLibxcEnd(), layers.XenXlGo()])) == bytes(8) + bytes(layers.XenXlGo())
    assert isinstance(XenMigration(b"something else"), Raw)
    assert "libxc X86_CPUID_POLICY" in packet.show(dump=True)


def tcp_session(name: str, port) -> dict[str, list]:
    flow = truth(name)["flows"][0]
    port(flow["receiver_port"])
    found: dict[str, list] = {"forward": [], "reverse": []}
    for packet in sniff(offline=paths(name)[0], session=TCPSession):
        layer = packet.getlayer(XenMigration)
        if layer is not None:
            found["reverse" if packet[TCP].sport == flow["receiver_port"] else "forward"] += layer.records
    return found


@pytest.mark.parametrize(
    "name",
    ["xl-hvm-v3", "xl-pv64-v3", "colo-header-8", "colo-header-16", "remus-hvm-xl", "libxc-bare", "big-endian", "qinq"],
)
def test_tcp_session(name, port):
    found = tcp_session(name, port)
    for direction in DIRECTIONS:
        wanted = expected(name, direction)
        sizes = [(one.layer, one.definition.name, len(one)) for one in found[direction]]
        assert sizes[: len(wanted)] == wanted
        assert len(sizes) - len(wanted) <= 1  # a record that is cut
        data = streams(name)
        if data is not None:
            assert data[direction].startswith(b"".join(map(bytes, found[direction])))


def test_tcp_session_on_a_real_capture(port):
    name = "xl-migrate-hvm"
    found = tcp_session(name, port)
    for direction in DIRECTIONS:
        assert [(one.layer, one.definition.name, len(one)) for one in found[direction]] == expected(name, direction)


def test_tcp_session_with_segments_out_of_order(port):
    """What scapy fills with zeros is framed again when the late segment is there."""
    port(8002)
    data = streams("xl-hvm-v3")["forward"][:1300]
    pieces = [(at, data[at : at + 100]) for at in range(0, len(data), 100)]
    pieces[4], pieces[5] = pieces[5], pieces[4]
    packets = [IP(bytes(IP() / TCP(sport=4, dport=8002, seq=1000 + at) / Raw(one))) for at, one in pieces]
    found = [
        r for p in sniff(offline=packets, session=TCPSession) if XenMigration in p for r in p[XenMigration].records
    ]
    assert b"".join(map(bytes, found)) == data[:1098]


def test_tcp_session_on_something_else_and_at_the_end(port):
    port(8002)

    def sent(*pieces, flags="A"):
        at = 1000
        for piece in pieces:
            last = piece is pieces[-1]
            yield IP(bytes(IP() / TCP(sport=4, dport=8002, seq=at, flags="FA" if last else flags) / Raw(piece)))
            at += len(piece)

    other = sniff(offline=list(sent(b"GET / HTTP/1.1\r\n", b"more", b"end")), session=TCPSession)
    assert not any(XenMigration in packet for packet in other)
    assert b"".join(packet[Raw].load for packet in other) == b"GET / HTTP/1.1\r\nmoreend"
    data = streams("xl-hvm-v3")["forward"]
    cut = sniff(offline=list(sent(data[:1000], data[1000:1100], data[1100:1500])), session=TCPSession)
    records = [record for packet in cut for record in packet[XenMigration].records]
    assert b"".join(map(bytes, records)) == data[:1500]
    assert type(records[-1]) is layers.XenLibxcPageData
    assert not any(Padding in packet for packet in cut[-1:])


def test_import_is_light():
    code = "import sys; import dissector{}; print('scapy{}' in sys.modules)"
    code = f"{code.format('', '')}; {code.format('.layers', '.all')}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
