# SPDX-License-Identifier: GPL-2.0-or-later
"""MigrationSession gives what the engine gives, from every kind of scapy socket."""

from __future__ import annotations

import pickle
import socket
import struct
import time

import pytest
import scapy.layers.inet  # noqa: F401
from scapy.layers.l2 import CookedLinux, Ether
from scapy.sendrecv import AsyncSniffer, sniff
from scapy.supersocket import SuperSocket
from scapy.utils import PcapReader, RawPcapNgReader, RawPcapReader, rdpcap

from dissector import layers
from dissector.layers import MigrationSession
from dissector.layers.session import LARGEST_FRAME
from dissector.wire import events
from dissector.wire.engine import Engine
from tests.layers.tools import DIRECTIONS, is_whole, paths, readable, streams, truth

SMALL = "colo-header-8"
LOSSY = "loss-in-pages"


def where(packet) -> tuple:
    return (packet.flow, packet.direction, packet.layer, packet.definition.name, packet.offset, packet.event.size)


def frames(name: str):
    """Frames of a capture as scapy's raw readers give them, for the engine."""
    with RawPcapReader(paths(name)[0]) as reader:
        while True:
            try:
                data, about = reader._read_packet(1 << 20)
            except EOFError:
                return
            if isinstance(reader, RawPcapNgReader):
                ticks = (about.tshigh or 0) << 32 | (about.tslow or 0)
                yield ticks * 10**9 // about.tsresol, about.linktype, data, about.wirelen
            else:
                unit = 1 if reader.nano else 1000
                yield about.sec * 10**9 + about.usec * unit, reader.linktype, data, about.wirelen


def engine_events(name: str) -> list[events.Event]:
    engine = Engine()
    found = [e for n, frame in enumerate(frames(name), 1) for e in engine.packet(n, *frame)]
    return found + engine.finish()


@pytest.mark.parametrize("name", readable())
def test_records_are_those_of_the_engine(name):
    expected = [event for event in engine_events(name) if isinstance(event, events.Record)]
    packets = sniff(offline=paths(name)[0], session=MigrationSession)
    assert [packet.event for packet in packets] == expected
    for packet, event in zip(packets, expected, strict=True):
        assert int(packet.time * 10**9) == event.time
        assert packet.direction == event.direction
        assert (packet.first_frame, packet.last_frame) == (event.first_frame, event.last_frame)
        assert (packet.complete, packet.lost, packet.flow) == (event.complete, event.lost, event.flow)
        assert packet.wirelen == event.size
        assert packet.sniffed_on == paths(name)[0]
        assert packet.show(dump=True)
        assert packet.summary().startswith(f"{event.direction} {event.offset} {event.layer} {event.type}")


@pytest.mark.parametrize("name", [name for name in readable() if is_whole(name)])
def test_records_are_those_of_the_truth(name):
    packets = sniff(offline=paths(name)[0], session=MigrationSession)
    for direction in DIRECTIONS:
        expected = [
            (record["layer"], record["type"], record["offset"], record["size"])
            for record in truth(name)["flows"][0][direction]["records"]
            if record["type"] != "CUT"
        ]
        found = [where(packet)[2:] for packet in packets if packet.direction == direction]
        assert found[: len(expected)] == expected
        assert len(found) - len(expected) <= 1  # the head of a record that is cut
        assert all(not packet.complete for packet in packets if packet.direction == direction and "cut" in packet.lost)


@pytest.mark.parametrize("name", ["xl-hvm-v3", "xl-pv64-v3", "big-endian", "colo-header-16", "unknown-records"])
def test_small_records_build_to_the_bytes_of_the_wire(name):
    data = streams(name)
    built = 0
    for packet in sniff(offline=paths(name)[0], session=MigrationSession):
        if packet.omitted:
            with pytest.raises(ValueError, match="not kept"):
                bytes(packet)
            assert len(packet) == packet.size
        else:
            assert bytes(packet) == data[packet.direction][packet.offset : packet.offset + packet.event.size]
            built += 1
    assert built > 10


def test_page_contents_are_not_there_and_say_so():
    packets = sniff(offline=paths("xl-hvm-v3")[0], session=MigrationSession)
    packet = next(p for p in packets if isinstance(p, layers.XenLibxcPageData) and p.omitted)
    assert packet.body_length == packet.size - 8
    assert packet.page_data == b""
    assert packet.omitted % 4096 == 0
    assert f"<0 bytes, {packet.omitted} not kept>" in packet.show(dump=True)
    with pytest.raises(LookupError):
        packet.page(packet.pfns[packet.page_types.index("NOTAB")])
    assert packet.copy().event is packet.event
    with pytest.raises(ValueError, match="not kept"):
        bytes(packet.copy())
    clone = pickle.loads(pickle.dumps(packet))
    assert (clone.event, clone.pfn, clone.omitted) == (packet.event, packet.pfn, packet.omitted)
    assert "offset" in dir(packet)
    # Whoever has the contents can put them in.
    packet.page_data = bytes(packet.omitted)
    packet.omitted = 0
    assert len(bytes(packet)) == packet.size


def test_a_field_wins_over_a_fact_of_the_same_name():
    packets = sniff(offline=paths("xl-pv64-v3")[0], session=MigrationSession)
    packet = next(p for p in packets if isinstance(p, layers.XenLibxcX86PvVcpuExtended))
    assert packet.size == 64
    assert packet.event.size == packet.wirelen == 80
    assert sniff(offline=paths("xl-pv64-v3")[0], session=MigrationSession, count=1)[0].body_length is None


def test_instance_class_list_reader_and_generator():
    expected = [where(packet) for packet in sniff(offline=paths(SMALL)[0], session=MigrationSession)]
    assert len(expected) == sum(len(truth(SMALL)["flows"][0][d]["records"]) for d in DIRECTIONS)
    session = MigrationSession()
    assert [where(p) for p in sniff(offline=paths(SMALL)[0], session=session)] == expected
    assert session.finish() == []
    plain = rdpcap(paths(SMALL)[0])
    listed = sniff(offline=plain, session=MigrationSession)
    assert [where(p) for p in listed] == expected
    direct = sniff(offline=paths(SMALL)[0], session=MigrationSession)
    assert [p.time for p in listed] == [p.time for p in direct]
    assert [where(p) for p in sniff(offline=list(plain), session=MigrationSession)] == expected
    assert [where(p) for p in sniff(offline=[bytes(p) for p in plain], session=MigrationSession)] == expected
    reader = PcapReader(paths(SMALL)[0])
    assert [where(p) for p in sniff(opened_socket=reader, session=MigrationSession)] == expected
    seen = []
    sniff(offline=paths(SMALL)[0], session=MigrationSession, store=False, count=3, prn=lambda p: seen.append(where(p)))
    assert seen == expected[:3]


def test_several_files_are_captures_of_their_own():
    both = [paths(SMALL)[0], paths(LOSSY)[0]]
    packets = sniff(offline=both, session=MigrationSession)
    for path in both:
        alone = [where(packet) for packet in sniff(offline=path, session=MigrationSession)]
        assert [where(packet) for packet in packets if packet.sniffed_on == path] == alone


def test_frames_longer_than_scapy_reads_by_default(tmp_path):
    """A 64 KiB segment and its Ethernet header are more than scapy's MTU of 65535."""
    name = "segments-64k"
    assert max(len(data) for _, _, data, _ in frames(name)) <= LARGEST_FRAME
    assert all(packet.complete for packet in sniff(offline=paths(name)[0], session=MigrationSession))
    payload = streams("xl-hvm-v3")["forward"][:65400]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, bytes(4), bytes([127, 0, 0, 1]))
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 1, 0, 0x50, 0x10, 9, 0, 0)
    frame = bytes(12) + struct.pack("!H", 0x0800) + ip + tcp + payload
    big = bytes(12) + b"\x81\x00\x00\x05" * 40 + frame[12:]
    assert len(big) > 65535
    path = tmp_path / "big.pcap"
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1)
    path.write_bytes(head + struct.pack("<IIII", 1, 0, len(big), len(big)) + big)
    packets = sniff(offline=str(path), session=MigrationSession)
    assert sum(length for packet in packets for _, length in packet.lost) <= packets[-1].size
    assert packets[-1].lost[-1][0] == 65400


class ReplaySocket(SuperSocket):
    """A packet socket that replays frames: what a live sniff reads from."""

    nonblocking_socket = True

    def __init__(self, name, cls=Ether):
        self.queue = list(frames(name))
        self.cls = cls

    def recv_raw(self, x=0):
        assert x == LARGEST_FRAME
        if not self.queue:
            return None, None, None
        when, _, data, _ = self.queue.pop(0)
        return self.cls, data, when / 10**9

    def recv(self, *args, **kwargs):
        pytest.fail("scapy's dissection must not run")

    @staticmethod
    def select(sockets, remain=None):
        return sockets

    def fileno(self):
        return -1

    def close(self):
        pass


@pytest.mark.parametrize(("name", "cls"), [(SMALL, Ether), ("sll", CookedLinux)])
def test_live_socket(name, cls):
    session = MigrationSession()
    packets = list(sniff(opened_socket=ReplaySocket(name, cls), session=session, timeout=1))
    expected = sniff(offline=paths(name)[0], session=MigrationSession)
    packets += session.finish()
    assert [where(packet) for packet in packets] == [where(packet) for packet in expected]
    assert all(abs(a.time - b.time) < 1e-5 for a, b in zip(packets, expected, strict=True))
    assert packets[0].sniffed_on == "socket0"


class PacketSocket(ReplaySocket):
    """A socket that only knows how to give dissected packets."""

    recv_raw = property()

    def recv(self, *args, **kwargs):
        if not self.queue:
            raise EOFError
        return Ether(self.queue.pop(0)[2])


def test_any_other_socket():
    found = sniff(opened_socket=PacketSocket(SMALL), session=MigrationSession)
    assert len(found) == len(sniff(offline=paths(SMALL)[0], session=MigrationSession))


def test_live_on_the_loopback_interface():
    """A real connection, seen by a real packet socket; needs the right to open one."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except (AttributeError, PermissionError):
        pytest.skip("no packet sockets for this user")
    data = streams("xl-hvm-v3")
    session = MigrationSession()
    sniffer = AsyncSniffer(iface="lo", session=session, started_callback=lambda: ready.append(1))
    ready: list[int] = []
    sniffer.start()
    deadline = time.monotonic() + 10
    while not ready and time.monotonic() < deadline:
        time.sleep(0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        peer.sendall(data["reverse"][:54])
        client.sendall(data["forward"][:2000])
        client.sendall(data["forward"][2000:40000])
        peer.recv(1000)
        peer.close()
        client.close()
    time.sleep(0.5)
    packets = [*sniffer.stop(), *session.finish()]
    expected = [
        ("reverse", "BANNER"),
        *(
            ("forward", record["type"])
            for record in truth("xl-hvm-v3")["flows"][0]["forward"]["records"]
            if record["offset"] < 1500
        ),
    ]
    found = [(packet.direction, packet.definition.name) for packet in packets]
    assert set(expected) <= set(found)
    assert packets[0].sniffed_on == "lo"
