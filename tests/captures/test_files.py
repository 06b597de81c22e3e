# SPDX-License-Identifier: GPL-2.0-or-later
"""File writers, read back by capinfos and tshark."""

from __future__ import annotations

import pytest

from captures.files import Interface, Pcapng, compress, expand, pcap
from captures.packets import Packet
from tests.captures import tools

TIME = 1_795_383_310_123_456_789
PACKETS = [Packet(TIME, bytes(60)), Packet(TIME + 1000, bytes(70), wire_length=99)]
FIELDS = ("-T", "fields", "-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("nanos", "shown"), [(True, "123456789"), (False, "123456000")])
def test_pcap(order, nanos, shown, tmp_path):
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(PACKETS, order, nanos))
    first, second = tools.tshark(path, tmp_path, *FIELDS)
    assert first.split("\t") == [f"1795383310.{shown}", "60", "60"]
    assert second.split("\t")[1:] == ["70", "99"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("interface", "shown"),
    [
        (Interface(), "123456789"),
        (Interface(resolution=None), "123456000"),
        (Interface(resolution=6, offset=1_000_000_000), "123456000"),
        (Interface(resolution=0x80 | 20), "123456"),
    ],
)
def test_pcapng(order, interface, shown, tmp_path):
    out = Pcapng()
    out.section(order, "test")
    out.interface(interface)
    out.unknown()
    for packet in PACKETS:
        out.enhanced(packet)
    path = tmp_path / "x.pcapng"
    path.write_bytes(out.out)
    first, second = tools.tshark(path, tmp_path, *FIELDS)
    assert first.startswith(f"1795383310.{shown}"[:16])
    assert second.split("\t")[1:] == ["70", "99"]


def test_ticks():
    assert Interface(resolution=9).ticks(TIME) == TIME
    assert Interface(resolution=None).ticks(TIME) == TIME // 1000
    assert Interface(resolution=0x81).ticks(1_500_000_000) == 3
    assert Interface(offset=1).ticks(1_500_000_000) == 500_000_000


@pytest.mark.parametrize("name", ["x", "x.gz", "x.zst"])
def test_compression_round_trip(name):
    data = b"migration" * 100
    assert expand(name, compress(name, data)) == data
    assert compress(name, data) == compress(name, data)
