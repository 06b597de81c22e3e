# SPDX-License-Identifier: GPL-2.0-or-later
"""Lets tshark read a tiny migration, to see whether it has the dissector and whether the dissector works."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dissector.spec import libxc
from dissector.wireshark.program import run

EXPECTED: Final = libxc.DOMAIN_HEADER.name
"""A record of the sample."""

_NO_FIELD: Final = "aren't valid"
_LUA_ERRORS: Final = ("Lua:", "Lua Error", "Lua error")
"""At loading time on standard error, at run time as an expert message."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How it went."""

    known: bool
    """tshark has fields called xenmig."""
    seen: bool
    """It found the record in the sample."""
    error: str
    """First line of a Lua error; empty when there was none."""
    said: str
    """All that it wrote on standard error."""


def probe(tshark: str, *options: str) -> Probe:
    """Let tshark read the sample as this user, with all plugins and preferences of this user."""
    with tempfile.TemporaryDirectory(prefix="xendissect-") as folder:
        path = Path(folder) / "sample.pcap"
        path.write_bytes(sample())
        done = run(
            tshark, *options, "-n", "-r", str(path), "-T", "fields", "-e", "xenmig.type", "-e", "_ws.expert.message"
        )
    return Probe(
        known=done.returncode == 0 and _NO_FIELD not in done.stderr,
        seen=EXPECTED in done.stdout,
        error=lua_error(done.stderr) or lua_error(done.stdout),
        said=done.stderr,
    )


def lua_error(text: str) -> str:
    """Return what a Lua error says, on one line; empty when there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if any(mark in line for mark in _LUA_ERRORS):
            # "tshark: Lua: Error during loading:" comes with the place and the reason on the line below.
            below = lines[number + 1] if line.endswith(":") and number + 1 < len(lines) else ""
            return f"{line} {below}".strip()
    return ""


def sample() -> bytes:
    """Return a capture of one packet: the beginning and the end of a bare libxc stream."""
    image = struct.pack(">QIIHHI", libxc.IMAGE_MARKER, libxc.IMAGE_ID, 3, 0, 0, 0)
    domain = struct.pack("<IHHII", 2, 12, 0, 4, 17)
    return _pcap(image + domain + struct.pack("<II", 0x10, 0) + struct.pack("<II", 0, 0))


def _pcap(payload: bytes) -> bytes:
    source, target = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
    tcp = struct.pack(">HHIIBBHHH", 49152, 49153, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + payload
    pseudo = source + target + struct.pack(">HH", 6, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + target
    ip = ip[:10] + _checksum(ip) + ip[12:]
    frame = bytes(12) + b"\x08\x00" + ip + tcp
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return header + struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)
