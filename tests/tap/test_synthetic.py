# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP

from dissector.recording.pcapng import interface_description, packet_of_pieces, section_header
from dissector.tap.synthetic import LINKTYPE, SEGMENT_BYTES, Frame, TcpConnection

if TYPE_CHECKING:
    from pathlib import Path

T = 1_795_383_310_000_000_000


def save(frames: list[Frame], path: Path) -> Path:
    parts = [section_header(), interface_description(LINKTYPE)]
    for time, head, payload in frames:
        parts += packet_of_pieces(0, time, (head, payload))
    path.write_bytes(b"".join(parts))
    return path


def talk() -> list[Frame]:
    one = TcpConnection(40000)
    frames = one.open(T)
    for number in range(1, 6):
        frames += one.data(0, bytes([number]) * 150_001, T + number)
        frames += one.taken(0, 150_001, T + number)
        frames += one.data(1, b"answer", T + number)
        frames += one.taken(1, 6, T + number)
    frames += one.end(0, T + 7)
    frames += one.data(1, b"late", T + 8)
    frames += one.taken(1, 4, T + 8)
    return frames + one.end(1, T + 9)


def tshark(path: Path, *options: str) -> list[str]:
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *options], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_tshark_finds_nothing_odd(tmp_path):
    path = save(talk(), tmp_path / "talk.pcapng")
    assert tshark(path, "-Y", "_ws.expert.severity >= 0x600000 or tcp.analysis.flags") == []  # no warnings, no errors
    checked = ("-o", "ip.check_checksum:TRUE")
    assert tshark(path, *checked, "-Y", "ip.checksum.status != 1") == []


def test_tshark_puts_both_streams_together(tmp_path):
    path = save(talk(), tmp_path / "talk.pcapng")
    text = "\n".join(tshark(path, "-q", "-z", "follow,tcp,raw,0"))
    lines = [line for line in text.splitlines() if line and not line.startswith(("=", "Follow", "Filter", "Node"))]
    forward = bytes.fromhex("".join(line for line in lines if not line.startswith("\t")))
    reverse = bytes.fromhex("".join(line.strip() for line in lines if line.startswith("\t")))
    assert forward == b"".join(bytes([number]) * 150_001 for number in range(1, 6))
    assert reverse == b"answer" * 5 + b"late"


def test_scapy_agrees_on_the_headers():
    for time, head, payload in talk():
        assert time >= T
        made = IP(head + bytes(payload))
        assert made.len == len(head) + len(payload) <= 65535
        sum_ = made.chksum
        del made.chksum
        assert IP(bytes(made)).chksum == sum_
        assert {made.src, made.dst} == {"192.0.2.1", "192.0.2.2"}
        assert {made[TCP].sport, made[TCP].dport} == {40000, 8002}
        assert len(payload) <= SEGMENT_BYTES


def test_the_tcp_checksum_is_that_of_the_pseudo_header():
    frame = TcpConnection().open(T)[0]
    made = IP(frame.head)
    pseudo = bytes([192, 0, 2, 1, 192, 0, 2, 2, 0, 6]) + (made.len - 20).to_bytes(2, "big")
    total = sum(int.from_bytes(pseudo[at : at + 2], "big") for at in range(0, 12, 2))
    assert made[TCP].chksum == (total & 0xFFFF) + (total >> 16)


def test_numbers_go_round():
    one = TcpConnection()
    one.open(T)
    mebibyte = bytes(1 << 20)
    last = None
    for _ in range(4097):
        last = one.data(0, mebibyte, T)[-1]
        one.taken(0, len(mebibyte), T)
    segment = IP(last.head)[TCP]
    assert segment.seq + len(last.payload) == 1 + (1 << 20)
    assert IP(one.data(1, b"x", T)[0].head)[TCP].ack == 1 + (1 << 20)


@pytest.mark.parametrize("side", [0, 1])
def test_reset(side):
    one = TcpConnection()
    one.open(T)
    one.data(1 - side, b"unheard", T)
    (frame,) = one.reset(side, T)
    assert IP(frame.head)[TCP].flags == "RA"
    assert IP(frame.head).src == ("192.0.2.1", "192.0.2.2")[side]
    assert one.end(0, T) == one.end(1, T) == []
