# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of pfns, pages, structures and string pairs."""

from __future__ import annotations

from dissector import layers


def test_page_contents():
    data = bytes([1]) * 4096 + bytes([2]) * 4096
    packet = layers.XenLibxcPageData(pfn=[3, (4, "XTAB"), (5, "L1TAB")], page_data=data)
    packet = layers.XenLibxcPageData(bytes(packet))
    assert packet.count == 3
    assert packet.pfns == [3, 4, 5]
    assert packet.page_types == ["NOTAB", "XTAB", "L1TAB"]
    assert packet.page(5) == bytes([2]) * 4096
    assert packet.page(4) is None
    assert packet.summary() == "libxc PAGE_DATA 3 pfns 0x3-0x5, 2 pages"
    assert "[0x3, 0x4 XTAB, 0x5 L1TAB]" in packet.show(dump=True)
    assert layers.XenLibxcEnd().page(1) is None
    assert layers.XenLibxcEnd().pfns == []


def test_string_pairs():
    packet = layers.XenLibxlEmulatorXenstoreData(xenstore_data={"physmap/1/size": "10", b"physmap/1/name": b""})
    again = layers.XenLibxlEmulatorXenstoreData(bytes(packet))
    assert again.xenstore_data == [(b"physmap/1/size", b"10"), (b"physmap/1/name", b"")]
    assert "physmap/1/size=10" in again.show(dump=True)
    assert again.summary() == "libxl EMULATOR_XENSTORE_DATA emulator_id=unknown, 2 pairs"


def test_long_lists_have_no_limit_of_scapy():
    packet = layers.XenLibxcCheckpointDirtyPfnList(pfn=range(100_000))
    assert layers.XenLibxcCheckpointDirtyPfnList(bytes(packet)).pfn == list(range(100_000))
    assert "(100000 pfns)" in packet.show(dump=True)
    leaves = layers.XenLibxcX86CpuidPolicy(leaf=[layers.XenLibxcX86CpuidPolicyLeaf(leaf=n) for n in range(5000)])
    assert len(layers.XenLibxcX86CpuidPolicy(bytes(leaves)).leaf) == 5000
