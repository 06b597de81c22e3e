# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields of broken records, flags and byte orders."""

from __future__ import annotations

from dissector import layers
from dissector.layers import Cut, big_endian
from tests.layers.tools import rebuilt


def test_odd_padding_and_surplus_are_kept_and_shown():
    data = bytes.fromhex("0800000003000000 616263 0102030405")
    packet = layers.XenLibxcX86TscInfo(data)
    assert packet.padding == bytes([1, 2, 3, 4, 5])
    assert isinstance(packet.mode, Cut)
    assert bytes(packet.mode) == b"abc"
    assert not packet.nsec
    assert rebuilt(packet) == data
    assert "<cut 61 62 63>" in packet.show(dump=True)
    data = bytes.fromhex("0e00000003000000 616263 0000000000")
    packet = layers.XenLibxcCheckpoint(data)
    assert packet.surplus == b"abc"
    assert packet.padding is None
    assert rebuilt(packet) == data


def test_flags_and_orders():
    header = layers.XenLibxcImageHeader(version=3, options="BIG_ENDIAN")
    assert bytes(header) == bytes.fromhex("ffffffffffffffff 58454e46 00000003 0001 0000 00000000")
    assert layers.XenLibxcImageHeader(bytes(header)).options == "BIG_ENDIAN"
    xl = layers.XenXlSaveFileHeader(mandatory_flags=["JSON", "STREAMv2"], optional_data_len=5)
    assert bytes(xl)[32:] == bytes.fromhex("04030201 03000000 00000000 05000000")
    big = layers.XenLibxcX86TscInfoBE(khz=1)
    assert bytes(big) == bytes.fromhex("00000008 00000018 00000000 00000001") + bytes(16)
    assert big_endian(type(big)) is type(big)
