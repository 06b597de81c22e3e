# SPDX-License-Identifier: GPL-2.0-or-later
"""Which first bytes are a stream of Xen 4.5 or older (stream.md section 6), and which are not."""

from __future__ import annotations

import gzip
import random
import struct

import pytest

from dissector.wire.legacy import identify
from tests.cross import tools


def hvm64(chunk: int, pfn: int = 0, p2m: int = 0x40000) -> bytes:
    return struct.pack("<QiQ", p2m, chunk, pfn) + bytes(16)


PV64 = struct.pack("<QQI", 0x40000, 0xFFFF_FFFF_FFFF_FFFF, 5200) + b"vcpu" + struct.pack("<I", 0x1430) + bytes(16)
PV32 = struct.pack("<III", 0x40000, 0xFFFF_FFFF, 2820) + b"vcpu" + struct.pack("<I", 0xAF0) + bytes(16)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"LinuxGuestRecord" + bytes(16), "LinuxGuestRecord"),
        (b"LinuxGuestRecord", "LinuxGuestRecord"),
        (PV64, "64-bit toolstack, PV"),
        (PV32, "32-bit toolstack, PV"),
        (hvm64(1024), "64-bit toolstack, HVM"),
        (hvm64(1), "64-bit toolstack, HVM"),
        (hvm64(1024, 0xF000_0000_0000_0005), "64-bit toolstack, HVM"),
        (hvm64(-1), "64-bit toolstack, HVM"),
        (hvm64(-20), "64-bit toolstack, HVM"),
    ],
)
def test_legacy(data, words):
    assert words in identify(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(64),
        b"\xff" * 64,
        b"\xff" * 8 + b"XENF" + bytes(20),
        b"LibxlFmt" + bytes(24),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(40)),
        b"xl migration receiver ready, send binary domain data.\n",
        hvm64(1025),
        hvm64(0),
        hvm64(-21),
        hvm64(1024, 0x40000),
        hvm64(1024, p2m=0),
        hvm64(1024, p2m=1 << 40),
        PV64[:20],
        PV32.replace(b"vcpu", b"\0\0\0\0"),
        hvm64(4)[:23],
    ],
)
def test_not_legacy(data):
    assert identify(data) == ""


def test_the_marker_is_only_looked_for_at_offset_0():
    """A 64-bit legacy PV stream has eight 0xff at offset 8 (stream.md 6, caution)."""
    assert identify(PV64)
    assert identify(b"\xff" * 8 + PV64) == ""


@pytest.mark.parametrize("name", ["legacy-libxc-hvm64", "legacy-linux-guest-record"])
def test_captures(name):
    assert identify(gzip.decompress(tools.paths(name)[0].read_bytes())[:64])


def test_random_bytes_are_hardly_ever_legacy():
    rng = random.Random(1)
    assert sum(bool(identify(rng.randbytes(32))) for _ in range(20_000)) == 0
