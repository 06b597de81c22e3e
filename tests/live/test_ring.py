# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's ring, on links between namespaces and on the loopback interface of one."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from dissector.live import bpf, ring
from dissector.live.ring import BLOCK_BYTES, NoRightError, Ring
from dissector.live.source import Counters, LiveError
from tests.live.link import INTERFACE, Link, needs_namespaces
from tests.live.waiting import ready, take, wait

PORT = 4791
UDP = bpf.compile_filter(f"udp port {PORT}", bpf.ETHERNET)
BARE_UDP = bpf.compile_filter(f"udp port {PORT}", bpf.BARE_IP)


@pytest.fixture
def link():
    needs_namespaces()
    with Link() as made:
        yield made


def send(end, target, payloads):
    def speak():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            for payload in payloads:
                mouth.sendto(payload, (target, PORT))

    end.call(speak)


def inject(end, frames):
    def speak():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as mouth:
            mouth.bind((INTERFACE, 0))
            for frame in frames:
                mouth.send(frame)

    end.call(speak)


def open_ring(end, interface=INTERFACE, **more):
    return end.call(lambda: Ring(interface, **more))


def payloads(found, at=42):
    return [data[at:] for data, _ in found]


def test_packets_come_in_order(link):
    source = open_ring(link.receiver, program=UDP)
    sent = [b"%d" % n for n in range(100, 400)]
    send(link.sender, link.receiver.ipv4, sent)
    assert payloads(take(source, lambda found: len(found) >= 300)) == [
        data.ljust(18, b"\0")[: len(data)] for data in sent
    ]
    assert (source.name, source.method, source.linktype, source.ended) == (INTERFACE, "ring", 1, None)
    assert source.counters()[:2] == (300, 0)
    assert source.counters()[:2] == (300, 0)
    source.close()


def test_what_came_before_stop_is_not_lost(link):
    source = open_ring(link.receiver, program=UDP)
    send(link.sender, link.receiver.ipv4, [b"before"] * 50)
    wait(lambda: source.counters().received == 50)
    source.stop()
    source.stop()
    send(link.sender, link.receiver.ipv4, [b"after"])
    assert payloads(take(source)) == [b"before"] * 50
    assert source.ended == "stopped"
    assert source.counters()[:2] == (50, 0)
    source.close()
    source.close()
    assert ready(source) == []
    assert source.counters() == Counters(50, 0, None)


def test_loopback_packets_come_once(link):
    for name, program, at in (("lo", UDP, 42), ("any", BARE_UDP, 48)):
        source = open_ring(link.receiver, name, program=program)
        send(link.receiver, "127.0.0.1", [b"one", b"two", b"three"])
        wait(lambda source=source: source.counters().received == 3)
        source.stop()
        assert payloads(take(source), at) == [b"one", b"two", b"three"]
        source.close()


def test_any_interface_gives_cooked_frames_of_both_directions(link):
    source = open_ring(link.receiver, "any", program=BARE_UDP)
    send(link.sender, link.receiver.ipv4, [b"to us"])
    send(link.receiver, link.sender.ipv4, [b"from us"])
    found = take(source, lambda found: len(found) == 2)
    assert source.linktype == 276
    assert [struct.unpack_from(">HxxxxxxHBB", data) for data, _ in found] == [(0x800, 1, 0, 6), (0x800, 1, 4, 6)]
    assert payloads(found, 48) == [b"to us", b"from us"]
    assert [length for _, length in found] == [53, 55]
    source.close()


def test_vlan_tag_that_the_kernel_takes_out_is_there(link):
    tagged = b"\xff" * 6 + bytes.fromhex("00163e00000a 8100 2042 0800") + bytes(60)
    source = open_ring(link.receiver, program=bpf.compile_filter("ether src 00:16:3e:00:00:0a", bpf.ETHERNET))
    inject(link.sender, [tagged])
    take(source, lambda found: (tagged, len(tagged)) in found)  # among what IPv6 has to say
    source.close()


def test_raw_ip_interface(link):
    if not hasattr(socket, "AF_PACKET"):
        pytest.skip("NO PACKET SOCKETS HERE")
    try:
        link.receiver.ip(
            "link", "add", "tunnel0", "type", "ipip", "local", link.receiver.ipv4, "remote", link.sender.ipv4
        )
    except OSError as error:
        pytest.skip(f"THE KERNEL HAS NO IPIP TUNNELS, CAPTURING RAW IP IS NOT TESTED: {error}")
    link.receiver.ip("address", "add", "198.51.100.1/24", "dev", "tunnel0")
    link.receiver.ip("link", "set", "tunnel0", "up")
    source = open_ring(link.receiver, "tunnel0", program=BARE_UDP)
    send(link.receiver, "198.51.100.2", [b"inside"])
    assert payloads(take(source, lambda found: found), 28) == [b"inside"]
    assert source.linktype == 101
    source.close()


def test_snap_length(link):
    source = open_ring(link.receiver, snap_length=50)
    send(link.sender, link.receiver.ipv4, [bytes(500)])
    found = take(source, lambda found: any(length == 542 for _, length in found))
    assert (50, 542) in [(len(data), length) for data, length in found]
    source.close()


def test_blocks_go_back_to_the_kernel_when_the_consumer_stops_early(link):
    """Ten times the size of the ring goes through it, though the consumer leaves each `take` after one chunk."""
    source = open_ring(link.receiver, program=UDP, buffer_bytes=0)
    assert source.buffer_bytes == 2 * BLOCK_BYTES
    for count in range(1, 21):
        send(link.sender, link.receiver.ipv4, [bytes(1400)] * 700)
        wait(lambda count=count: source.counters().received == 700 * count)
        taken = 0

        def one_chunk():
            for chunk in source.take():
                position, packets = chunk.start, 0
                while position < chunk.end:
                    position, _ = chunk.format.packet(chunk.buffer, position, chunk.end)
                    packets += 1
                return packets
            return 0

        while taken < 700:
            taken += one_chunk()
            assert source.counters().dropped == 0
    source.close()


def test_how_full_it_is(link):
    source = open_ring(link.receiver, program=UDP, buffer_bytes=4 << 20)
    assert not source.fills(0)
    send(link.sender, link.receiver.ipv4, [bytes(1400)] * 2000)  # 3.2 MB
    wait(lambda: source.fills(0.5))
    assert source.fills(0)
    source.stop()
    take(source)
    assert not source.fills(0)
    source.close()


def test_losses_are_counted(link):
    source = open_ring(link.receiver, program=UDP, buffer_bytes=2 << 20)
    send(link.sender, link.receiver.ipv4, [bytes(1400)] * 3000)
    wait(lambda: source.counters().received == 3000)
    source.stop()
    found, counted = take(source), source.counters()
    assert 0 < len(found) == counted.received - counted.dropped < 3000
    source.close()


def test_interface_that_goes_down_and_up_again(link):
    source = open_ring(link.receiver, program=UDP)
    link.receiver.ip("link", "set", INTERFACE, "down")
    wait(lambda: ready(source) == [] and source.down)
    assert source.ended is None
    link.receiver.ip("link", "set", INTERFACE, "up")
    link.receiver.ip("neighbour", "replace", link.sender.ipv4, "lladdr", link.sender.mac, "dev", INTERFACE)
    deliver = []

    def arrived():
        send(link.sender, link.receiver.ipv4, [b"again"])
        deliver.extend(ready(source))
        return deliver

    wait(arrived)
    assert not source.down
    source.close()


def test_interface_that_disappears(link):
    source = open_ring(link.receiver, program=UDP)
    send(link.sender, link.receiver.ipv4, [b"last"])
    wait(lambda: source.counters().received == 1)
    link.receiver.ip("link", "delete", INTERFACE)
    assert payloads(take(source)) == [b"last"]
    assert source.ended == f"the interface {INTERFACE} disappeared"
    source.close()


def test_consumer_that_gives_up(link):
    source = open_ring(link.receiver, program=UDP)
    send(link.sender, link.receiver.ipv4, [b"x"])
    wait(lambda: source.counters().received == 1)
    source.stop()
    with pytest.raises(LiveError, match="I give up"):
        for chunk in source.take():
            chunk.abandon("I give up")
    source.close()


def test_view_that_outlives_the_ring(link):
    source = open_ring(link.receiver, program=UDP)
    send(link.sender, link.receiver.ipv4, [b"kept"])
    wait(lambda: source.counters().received == 1)
    source.stop()
    (chunk,) = source.take()
    view = chunk.buffer[chunk.start : chunk.end]
    source.close()
    assert b"kept" in bytes(view)


def test_kernel_with_little_memory(monkeypatch):
    asked = []

    class Socket:
        """Refuses rings of more than 4 blocks."""

        def setsockopt(self, level, name, request):
            blocks = struct.unpack("=7I", request)[1]
            asked.append(blocks)
            if blocks > 4:
                raise OSError(errno.ENOMEM, "Cannot allocate memory")

    half = Ring.__new__(Ring)
    half._socket = Socket()
    assert half._allocate(64) == 4 * ring.BLOCK_BYTES
    assert asked == [64, 32, 16, 8, 4]


def test_unknown_interface():
    with pytest.raises(LiveError, match="no interface 'nope'; there are "):
        Ring("nope")


def test_without_the_right_to(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(ring.socket, "AF_PACKET", 17, raising=False)
    real = socket.socket
    monkeypatch.setattr(ring.socket, "socket", lambda *a: refuse() if a and a[0] == 17 else real(*a))
    with pytest.raises(NoRightError, match="sudo"):
        Ring("lo")
