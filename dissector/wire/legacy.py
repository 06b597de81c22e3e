# SPDX-License-Identifier: GPL-2.0-or-later
"""Recognising streams of Xen 4.5 and older (stream.md section 6). They are named, not decoded."""

from __future__ import annotations

import struct

_MOST_PAGES = 1 << 36
"""Guests above 256 TiB did not exist: a larger p2m_size means that this is something else."""
_BATCH = range(1, 1025)
_CHUNK_IDS = range(-20, 0)


def identify(prefix: bytes) -> str:
    """Name the legacy stream that begins with `prefix` (at least 24 bytes for most); empty when it is none."""
    if prefix.startswith(b"LinuxGuestRecord"):
        return "xend image (LinuxGuestRecord)"
    if len(prefix) < 24 or prefix[:8] == b"\xff" * 8:
        return ""
    (p2m_size,) = struct.unpack_from("<Q", prefix)
    if 0 < p2m_size < _MOST_PAGES:
        if prefix[8:16] == b"\xff" * 8 and prefix[20:24] in (b"vcpu", b"extv", b"xcnt"):
            return "libxc stream of a 64-bit toolstack, PV guest"
        chunk, first = struct.unpack_from("<iQ", prefix, 8)
        if chunk in _BATCH and first & ((1 << 60) - 1) < p2m_size:
            return "libxc stream of a 64-bit toolstack, HVM guest"
        if chunk in _CHUNK_IDS and p2m_size < 1 << 32:
            return "libxc stream of a 64-bit toolstack, HVM guest"
    if prefix[4:8] == b"\xff" * 4 and prefix[12:16] in (b"vcpu", b"extv", b"xcnt"):
        return "libxc stream of a 32-bit toolstack, PV guest"
    return ""
