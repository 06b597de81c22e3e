# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters: the one used without being asked loses no TCP, user's filters lose no fragments, mistakes are told."""

from __future__ import annotations

import struct
from itertools import product

import pytest

from captures.guests import hvm, plain
from captures.network import Host, Link, converse
from captures.packets import Style, travel
from dissector.live import bpf
from dissector.live.source import LiveError

LINK4 = Link()
LINK6 = Link(
    Host("2001:db8::1", 41234, b"\x00\x16\x3e\x00\x00\x0a"), Host("2001:db8::2", 8002, b"\x00\x16\x3e\x00\x00\x0b")
)
VLANS = ((), ((0x8100, 42),), ((0x88A8, 7), (0x8100, 42)))
EXTENSIONS = ((), ("hop-by-hop",), ("routing", "destination"), ("destination",))


def run(program, frame):
    """Run a filter as the kernel does: bytes to keep of the frame."""
    a = x = at = 0
    memory = [0] * 16
    sizes = {0x00: ">I", 0x08: ">H", 0x10: ">B"}
    while True:
        code, jt, jf, k = program[at]
        at += 1
        kind, mode = code & 7, code & 0xE0
        if kind == 6:
            return k if code == 6 else a
        if kind == 0 and mode in (0x20, 0x40):
            place = k + (x if mode == 0x40 else 0)
            form = sizes[code & 0x18]
            if place + struct.calcsize(form) > len(frame):
                return 0
            (a,) = struct.unpack_from(form, frame, place)
        elif kind == 1 and mode == 0xA0:
            if k >= len(frame):
                return 0
            x = 4 * (frame[k] & 15)
        elif kind in (0, 1):
            value = {0x00: k, 0x60: memory[k & 15], 0x80: len(frame)}[mode]
            a, x = (value, x) if kind == 0 else (a, value)
        elif kind in (2, 3):
            memory[k] = a if kind == 2 else x
        elif kind == 7:
            a, x = (x, x) if code & 0x80 else (a, a)
        else:
            other = x if code & 8 else k
            operation = code & 0xF0
            if kind == 4:
                a = {
                    0x00: a + other, 0x10: a - other, 0x20: a * other, 0x40: a | other, 0x50: a & other,
                    0x60: a << (other & 31), 0x70: a >> (other & 31),
                }[operation] & 0xFFFFFFFF  # fmt: skip
            elif operation == 0:
                at += k
            else:
                true = {0x10: a == other, 0x20: a > other, 0x30: a >= other, 0x40: a & other}[operation]
                at += jt if true else jf


def frames(link, style):
    return [packet.data for packet in travel(converse(plain(hvm(pages=8), passes=()), link), link, style)]


def kept(expression, link, found):
    program = bpf.compile_filter(expression, link)
    return sum(run(program, frame) > 0 for frame in found)


@pytest.mark.parametrize("vlans", VLANS)
@pytest.mark.parametrize("fragment", [0, 560])
def test_no_tcp_over_ipv4_is_lost(vlans, fragment):
    for options in (b"", b"\x07\x0b\x04" + bytes(8) + b"\0"):
        found = frames(LINK4, Style(vlans=vlans, ip_options=options, fragment=fragment))
        assert kept(bpf.tcp_only(bpf.ETHERNET), bpf.ETHERNET, found) == len(found)
        bare = [frame[14 + 4 * len(vlans) :] for frame in found]
        assert kept(bpf.tcp_only(bpf.BARE_IP), bpf.BARE_IP, bare) == len(found)


@pytest.mark.parametrize("vlans", VLANS)
@pytest.mark.parametrize(("extensions", "fragment"), list(product(EXTENSIONS, (0, 560))))
def test_no_tcp_over_ipv6_is_lost(vlans, extensions, fragment):
    found = frames(LINK6, Style(vlans=vlans, extensions=extensions, fragment=fragment))
    assert kept(bpf.tcp_only(bpf.ETHERNET), bpf.ETHERNET, found) == len(found)
    bare = [frame[14 + 4 * len(vlans) :] for frame in found]
    assert kept(bpf.tcp_only(bpf.BARE_IP), bpf.BARE_IP, bare) == len(found)


def test_tcp_behind_an_authentication_header_is_not_lost():
    frame = bytearray(frames(LINK4, Style())[0])
    frame[23] = 51
    assert kept(bpf.tcp_only(bpf.ETHERNET), bpf.ETHERNET, [bytes(frame)]) == 1


@pytest.mark.parametrize("vlans", VLANS)
def test_the_rest_is_left_out(vlans):
    udp, udp6, arp = bytearray(frames(LINK4, Style())[0]), bytearray(frames(LINK6, Style())[0]), bytes(12) + b"\x08\x06"
    udp[23] = udp6[20] = 17
    tags = b"".join(struct.pack(">HH", *vlan) for vlan in vlans)
    rest = [bytes(frame[:12]) + tags + bytes(frame[12:]) for frame in (udp, udp6, arp + bytes(40))]
    assert kept(bpf.tcp_only(bpf.ETHERNET), bpf.ETHERNET, rest) == 0
    assert kept(bpf.tcp_only(bpf.BARE_IP), bpf.BARE_IP, [bytes(udp[14:]), bytes(udp6[14:])]) == 0


@pytest.mark.parametrize(("link", "style"), [(LINK4, Style(fragment=560)), (LINK6, Style(fragment=560))])
def test_a_port_keeps_its_fragments(link, style):
    found = frames(link, style)
    assert kept("port 8002", bpf.ETHERNET, found) < len(found)
    for expression in ("port 8002", "tcp port 8002 or port 22", f"host {link.sender.address} and port 8002"):
        assert kept(bpf.keep_fragments(expression), bpf.ETHERNET, found) == len(found)


def test_a_port_behind_extension_headers_is_kept():
    found = frames(LINK6, Style(extensions=("hop-by-hop",)))
    assert kept(bpf.keep_fragments("port 8002"), bpf.ETHERNET, found) == len(found)


def test_fragments_inside_a_vlan_are_kept():
    found = frames(LINK4, Style(vlans=((0x8100, 42),), fragment=560))
    assert kept(bpf.keep_fragments("vlan 42 and port 8002"), bpf.ETHERNET, found) == len(found)


def test_another_port_is_left_out():
    assert kept(bpf.keep_fragments("port 9"), bpf.ETHERNET, frames(LINK4, Style())) == 0


def test_nothing_asked_for_is_everything():
    assert bpf.keep_fragments("  ") == "  "
    assert bpf.compile_filter("", bpf.ETHERNET, 96) == (bpf.Instruction(6, 0, 0, 96),)


def test_snap_length_is_in_the_program():
    (frame, *_) = frames(LINK4, Style())
    assert run(bpf.compile_filter("tcp", bpf.ETHERNET, 96), frame) == 96


@pytest.mark.parametrize(
    ("expression", "reason"), [("tcp port nosuch", "unknown port 'nosuch'"), ("tcp and", "syntax")]
)
def test_mistakes_in_the_words_of_libpcap(expression, reason):
    with pytest.raises(LiveError, match=reason) as caught:
        bpf.compile_filter(expression, bpf.ETHERNET)
    assert expression in str(caught.value)
    assert "\n" not in str(caught.value)


def without_libpcap(monkeypatch):
    monkeypatch.setattr(bpf, "_library", lambda: None)


@pytest.mark.parametrize("link", [bpf.ETHERNET, bpf.BARE_IP])
def test_tcpdump_compiles_without_libpcap(link, monkeypatch):
    if not bpf.shutil.which("tcpdump"):
        pytest.skip("NO TCPDUMP: compiling filters with it is not tested")
    expected = bpf.compile_filter(bpf.tcp_only(link), link, 1000)
    without_libpcap(monkeypatch)
    assert bpf.compile_filter(bpf.tcp_only(link), link, 1000) == expected
    with pytest.raises(LiveError, match="unknown port"):
        bpf.compile_filter("port nosuch", link)


def test_nothing_can_compile(monkeypatch):
    without_libpcap(monkeypatch)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not bpf.can_compile()
    assert bpf.compile_filter("", bpf.ETHERNET)
    with pytest.raises(LiveError, match="install libpcap"):
        bpf.compile_filter("tcp", bpf.ETHERNET)
