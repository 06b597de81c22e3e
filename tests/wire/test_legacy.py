# SPDX-License-Identifier: GPL-2.0-or-later
"""Legacy streams are named (stream.md section 6), others are not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.wire.legacy import identify


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        (b"LinuxGuestRecord" + bytes(16), "xend"),
        (
            struct.pack("<Q", 0x100000) + b"\xff" * 8 + struct.pack("<I", 5200) + b"vcpu" + bytes(8),
            "64-bit toolstack, PV",
        ),
        (struct.pack("<Qi", 0x100000, 1024) + struct.pack("<Q", 5) + bytes(12), "64-bit toolstack, HVM"),
        (struct.pack("<Qi", 0x100000, -5) + bytes(20), "64-bit toolstack, HVM"),
        (
            struct.pack("<I", 0x8000) + b"\xff" * 4 + struct.pack("<I", 3000) + b"vcpu" + bytes(16),
            "32-bit toolstack, PV",
        ),
    ],
)
def test_named(prefix, words):
    assert words in identify(prefix)


@pytest.mark.parametrize(
    "prefix",
    [
        b"",
        b"\xff" * 8 + b"XENF" + bytes(20),
        b"LibxlFmt" + bytes(24),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(30)),
        bytes(32),
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        b"NBDMAGICIHAVEOPT" + bytes(16),
    ],
)
def test_not_named(prefix):
    assert identify(prefix) == ""


@given(st.binary(max_size=64))
def test_any_bytes(prefix):
    assert isinstance(identify(prefix), str)
