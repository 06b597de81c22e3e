# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture files and streams, damaged in every way: whole, in small pieces and compressed they give the same."""

from __future__ import annotations

import gzip
import os

import zstandard

from dissector.sources import CaptureError, CaptureFile, open_capture
from dissector.wire import legacy
from tests.cross import tools
from tests.fuzz.seeds import captures, contents

BOUND = 64 << 20
"""Decompressed bytes that a test reads at most."""


def check(draw):
    """Read the rest of the bytes as a file; the first ones say how."""
    how, piece = draw.below(4), 1 + draw.number(2)
    data = draw.rest()
    found = read(data)
    if how == 1:
        assert read(data, piece) == found
    elif how == 2 and data[:3] != b"\x1f\x8b\x08" and not zstd(data[:4]):
        assert read(gzip.compress(data, 1)) == found
    elif how == 3 and data[:3] != b"\x1f\x8b\x08" and not zstd(data[:4]):
        assert read(zstandard.ZstdCompressor(1).compress(data)) == found


def zstd(head):
    return head == b"\x28\xb5\x2f\xfd" or (head[1:] == b"\x2a\x4d\x18" and head[0] >> 4 == 5)


def read(data, piece=0):
    """Give all that a file holds and says; its name is the same for every one."""
    descriptor = os.memfd_create("capture")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        path = f"/proc/self/fd/{descriptor}"
        try:
            opened = open_capture(path, recognise=legacy.identify)
        except CaptureError as error:
            return said(str(error))
        with opened:
            return packets(opened, piece) if isinstance(opened, CaptureFile) else stream(opened)
    finally:
        os.close(descriptor)


def said(text):
    """One line, without the name, which differs from one file descriptor to the next."""
    assert "\n" not in text
    return text.partition(": ")[2]


def packets(file, piece):
    """Give the packets of a capture, and look at the other ways to read them."""
    found = []
    if piece:
        file.piece = piece
    try:
        for chunk in file.chunks():
            position, first, latest = chunk.start, len(found), 0
            while True:
                if position == chunk.start:  # it looks ahead over all the rest
                    latest = chunk.format.latest(chunk.buffer, position, chunk.end)
                behind, packet = chunk.format.packet(chunk.buffer, position, chunk.end)
                if behind == position:
                    assert packet is None
                    break
                assert position < behind <= chunk.end
                if packet is not None:
                    assert packet.data.obj is chunk.buffer.obj
                    assert len(packet.data) <= behind - position
                    assert chunk.format.time_at(chunk.buffer, position) == packet.time
                    assert latest >= packet.time
                    found.append((packet.time, packet.linktype, packet.data.tobytes(), *packet[3:]))
                position = behind
            chunk.consumed, chunk.packets = position, len(found) - first
            if len(found) > 20_000:
                break
    except CaptureError as error:
        return found, said(str(error))
    return found, file.truncated, file.format.shape, file.format.slim


def stream(file):
    """Give the bytes of a stream, no more than a bound."""
    total, first = 0, b""
    for view in file.chunks():
        first = first or view[:64].tobytes()
        total += len(view)
        if total > BOUND:
            break
    return file.entry, first[:8], total, file.truncated


def seeds():
    """Give the captures, and some of them compressed."""
    for number, data in enumerate(captures()):
        yield bytes([number, 255, number]) + data[:6000]
        if number % 4 == 0:
            yield b"\0\0\0" + gzip.compress(data[:3000])
            yield b"\0\0\0" + zstandard.ZstdCompressor(1).compress(data[:3000])
    for name, data in contents().items():
        if not tools.is_capture(name):
            yield bytes([2, 9, 0]) + data[:2000]
    for name in tools.NAMES:
        yield b"\0\0\0" + tools.paths(name)[0].read_bytes()[:4000]
