# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases about link layers, IP, TCP segmentation and file formats. Nothing is lost in any of them."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from captures.files import Interface, Pcapng, pcap
from captures.guests import Guest, colo, hvm, plain, remus
from captures.network import Host, Link, converse
from captures.packets import SLL2, Packet, Style, travel
from captures.streams import Conversation
from captures.table import Made, case, connection
from captures.truth import flow_truth

if TYPE_CHECKING:
    from collections.abc import Sequence

SENDER6 = Host("2001:db8::1", 41234, b"\x00\x16\x3e\x00\x00\x0a")
RECEIVER6 = Host("2001:db8::2", 8002, b"\x00\x16\x3e\x00\x00\x0b")
LINK6 = Link(sender=SENDER6, receiver=RECEIVER6, segment=1428)


def small() -> Conversation:
    """Migrate a very small guest, with every kind of record."""
    return plain(hvm(pages=44), passes=((3, 5),))


@case
def sequence_wrap() -> Made:
    """Sequence numbers wrap inside PAGE_DATA contents (forward) and inside a dirty list (reverse)."""
    conversation = colo(hvm(), ((1, 5, 9, 11, 14), (7,)))
    pages, pfns = conversation.find("PAGE_DATA"), conversation.find("CHECKPOINT_DIRTY_PFN_LIST", 0, "reverse")
    isns = [(1 << 32) - 1 - offset for offset in (pages["offset"] + 50_001, pfns["offset"] + 20)]
    return connection(conversation, Link(isn_sender=isns[0], isn_receiver=isns[1], close="rst"))


@case
def one_byte_segments() -> Made:
    """COLO with one byte of payload per segment, no TCP timestamps (short frames carry Ethernet padding)."""
    guest = Guest(pages=4, vcpus=0, types=dict.fromkeys((1, 2, 3), "XTAB"), emulator_bytes=61)
    guest.config = b'{"c_info": {"type": "hvm", "name": "tiny"}}\0'
    link = Link(segment=1, timestamps=False, ack_every=64, close="rst")
    return connection(colo(guest, ((1, 3),), passes=()), link)


@case
def mtu_576() -> Made:
    """MTU 576."""
    return connection(small(), Link(segment=524))


@case
def segments_64k() -> Made:
    """Segments up to 65160 bytes, as a capture on the sending host shows them."""
    return connection(plain(hvm(pages=300)), Link(segment=65160, ack_every=1))


@case
def vlan() -> Made:
    """802.1Q."""
    return connection(small(), style=Style(vlans=((0x8100, 42),)))


@case
def qinq() -> Made:
    """802.1ad and 802.1Q stacked."""
    return connection(small(), style=Style(vlans=((0x88A8, 7), (0x8100, 0x6000 | 42))))


@case
def sll() -> Made:
    """Linux cooked capture v1."""
    return connection(small(), style=Style("sll"))


@case
def sll2() -> Made:
    """Linux cooked capture v2, IPv6."""
    return connection(small(), LINK6, Style("sll2"))


@case
def raw_ip() -> Made:
    """Raw IP, DLT_RAW (101), IPv4."""
    return connection(small(), style=Style("raw"))


@case
def raw_ipv4() -> Made:
    """LINKTYPE_IPV4 (228)."""
    return connection(small(), style=Style("ipv4"))


@case
def raw_ipv6() -> Made:
    """LINKTYPE_IPV6 (229)."""
    return connection(small(), LINK6, Style("ipv6"))


@case
def null_le() -> Made:
    """BSD loopback (NULL), little-endian family, IPv6."""
    return connection(small(), LINK6, Style("null"))


@case
def null_be() -> Made:
    """BSD loopback (NULL), big-endian family in a big-endian file."""
    return connection(small(), style=Style("null-be"), write=partial(pcap, order=">"))


@case
def loop() -> Made:
    """OpenBSD loopback (LOOP)."""
    return connection(small(), style=Style("loop"))


@case
def ipv6_extension_headers() -> Made:
    """IPv6 with hop-by-hop options, destination options and an atomic fragment header."""
    style = Style(extensions=("hop-by-hop", "destination", "fragment"))
    return connection(small(), replace(LINK6, segment=1380), style)


@case
def ipv4_options() -> Made:
    """IPv4 options (record route)."""
    return connection(small(), style=Style(ip_options=b"\x07\x0b\x04" + bytes(8) + b"\0"))


@case
def fragments_ipv4() -> Made:
    """IPv4 fragments: in order, reversed, doubled, overlapping."""
    return connection(small(), style=Style(fragment=552))


@case
def fragments_ipv6() -> Made:
    """IPv6 fragments: in order, reversed, doubled."""
    return connection(small(), LINK6, Style(fragment=1232 // 2))


@case
def gro_ipv4_length_0() -> Made:
    """IPv4 total length 0: frames bigger than 64 KiB from segmentation offload."""
    return connection(plain(hvm(pages=120)), Link(segment=150_000, ack_every=1), Style(zero_length=True))


@case
def gro_ipv6_length_0() -> Made:
    """IPv6 payload length 0: frames bigger than 64 KiB from segmentation offload."""
    return connection(plain(hvm(pages=120)), replace(LINK6, segment=150_000, ack_every=1), Style(zero_length=True))


@case
def syn_by_receiver() -> Made:
    """The SYN comes from the receiver of the migration; port 8002 is on the sending side."""
    link = Link(Host("192.0.2.1", 8002), Host("192.0.2.2", 51515), opener="reverse")
    return connection(small(), link)


@case
def pcap_be_ns() -> Made:
    """Pcap, big-endian, nanoseconds."""
    return connection(small(), write=partial(pcap, order=">", nanos=True))


@case
def pcap_ns_zstd() -> Made:
    """Pcap, little-endian, nanoseconds, zstd."""
    return connection(small(), write=partial(pcap, nanos=True), suffix=".pcap.zst")


@case
def banner_only() -> Made:
    """Pcap without compression; the start of a connection whose migration has not begun (banner only)."""
    conversation = Conversation()
    conversation.reverse.message("BANNER")
    return connection(conversation, Link(close="reverse-fin"), suffix=".pcap", mode="unknown")


@case
def pcapng_two_interfaces() -> Made:
    """Pcapng, two interfaces: forward on Ethernet (ns), reverse on SLL2 (us, if_tsoffset); comments, unknown block."""
    conversation, link = small(), Link()
    segments = converse(conversation, link)
    pairs = zip(travel(segments, link), travel(segments, link, Style("sll2")), strict=True)
    packets = [a if a.direction == "forward" else replace(b, interface=1) for a, b in pairs]
    packets[4] = replace(packets[4], comment="a comment on a packet")
    out = Pcapng()
    out.section(comment="two interfaces")
    out.interface(Interface(name="eth0"))
    out.interface(Interface(SLL2, None, offset=1_000_000_000, name="any"))
    for number, packet in enumerate(packets):
        out.enhanced(packet)
        if number % 10 == 0:
            out.unknown()
    return Made({".pcapng.gz": bytes(out.out)}, [flow_truth(conversation, link, packets)], len(packets))


def two_sections(packets: Sequence[Packet]) -> bytes:
    """Big-endian section with simple packets, then a little-endian one with enhanced packets."""
    out, middle = Pcapng(), len(packets) // 2
    out.section(">", comment="no times here")
    out.interface(Interface(snap_length=262144))
    for packet in packets[:middle]:
        out.simple(packet)
    out.section("<")
    out.interface(Interface(resolution=0x80 | 20))
    for packet in packets[middle:]:
        out.enhanced(packet)
    return bytes(out.out)


@case
def pcapng_two_sections() -> Made:
    """Pcapng: a big-endian section of simple packet blocks, then a little-endian section with times in 2^-20 s."""
    return connection(small(), suffix=".pcapng.gz", write=two_sections)


@case
def ring_buffer() -> Made:
    """One connection over three ring-buffer files."""
    conversation, link = remus(hvm(), ((5, 8), (3, 4), (1, 2))), Link(close="none")
    packets = travel(converse(conversation, link), link)
    third = len(packets) // 3 + 1
    files = {
        f"_{number + 1:05}.pcap.gz": pcap(packets[start : start + third])
        for number, start in enumerate(range(0, len(packets), third))
    }
    return Made(files, [flow_truth(conversation, link, packets)], len(packets))


def foreign(link: Link, *talk: tuple[str, bytes]) -> list[Packet]:
    """Make a TCP connection of something else."""
    conversation = Conversation()
    for direction, data in talk:
        conversation.half(direction).raw(data)
    return travel(converse(conversation, link), link, flow=-1)


def arp_and_udp(start: int) -> list[Packet]:
    """Make an ARP request and a UDP datagram that quotes the banner."""
    from captures.packets import ipv4

    arp = b"\xff" * 6 + b"\x00\x16\x3e\x00\x00\x0a\x08\x06" + struct.pack(">HHBBH", 1, 0x800, 6, 4, 1)
    arp += b"\x00\x16\x3e\x00\x00\x0a" + bytes([192, 0, 2, 1]) + bytes(6) + bytes([192, 0, 2, 2])
    text = b"xl migration receiver ready, send binary domain data.\n"
    udp = struct.pack(">HHHH", 40000, 8002, 8 + len(text), 0) + text
    ethernet = b"\x00\x16\x3e\x00\x00\x0b\x00\x16\x3e\x00\x00\x0a\x08\x00"
    datagram = ethernet + ipv4("192.0.2.1", "192.0.2.2", udp, 77, 17)
    return [Packet(start, arp.ljust(60, b"\0")), Packet(start + 400_000, datagram)]


@case
def two_migrations_and_noise() -> Made:
    """Two migrations interleaved with HTTP-like and TLS-like TCP, UDP and ARP between the same hosts."""
    import random

    links = [Link(), Link(sender=Host("192.0.2.1", 41300), start=Link().start + 350_000, isn_sender=77)]
    talks = [plain(hvm(pages=60)), remus(hvm(), ((5,), (3, 4)), "libxl")]
    packets = []
    for flow, (talk, link) in enumerate(zip(talks, links, strict=True)):
        packets += travel(converse(talk, link), link, flow=flow)
    http = Link(Host("192.0.2.1", 40001), Host("192.0.2.2", 80), start=Link().start + 200_000)
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n<p>Xen saved domain, xl format</p>\n" * 700
    packets += foreign(http, ("forward", b"GET /LibxlFmt HTTP/1.1\r\nHost: xen.example\r\n\r\n"), ("reverse", page))
    tls = Link(Host("192.0.2.1", 40002), Host("192.0.2.2", 443), start=Link().start + 260_000)
    rng = random.Random(443)
    packets += foreign(tls, ("forward", b"\x16\x03\x01\x02\x00" + rng.randbytes(507)), ("reverse", rng.randbytes(9000)))
    packets += arp_and_udp(Link().start + 900_000)
    packets.sort(key=lambda packet: packet.time)
    flows = [flow_truth(talk, link, packets, flow=n) for n, (talk, link) in enumerate(zip(talks, links, strict=True))]
    return Made({".pcap.gz": pcap(packets)}, flows, len(packets))


@case
def port_reuse() -> Made:
    """A second migration on the same 4-tuple: its SYN comes without a FIN of the first, which stopped in PAGE_DATA."""
    first, second = plain(hvm()), plain(hvm(name="second", xen=(4, 18)), passes=((9,),))
    first.forward.cut(first.find("PAGE_DATA")["offset"] + 61_000)
    first.reverse.cut(54)
    links = [Link(close="none"), Link(start=Link().start + 20_000_000_000, isn_sender=5, isn_receiver=0xFFFF_FF00)]
    packets = travel(converse(first, links[0]), links[0]) + travel(converse(second, links[1]), links[1], flow=1)
    flows = [flow_truth(first, links[0], packets, mode="unknown"), flow_truth(second, links[1], packets, flow=1)]
    return Made({".pcap.gz": pcap(packets)}, flows, len(packets))
