# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in C, next to its twin in Python, with memory that nobody may touch right behind the buffers."""

from __future__ import annotations

import copy
import ctypes
import mmap
import struct

from dissector.live.ring_format import ORDER, RingFormat
from dissector.recording import _blocks
from dissector.recording.pcapng import enhanced_packet
from dissector.sources import CaptureError
from dissector.sources.formats import PcapFormat
from tests.fuzz.seeds import captures
from tests.wire.kernels import ComparedKernel
from tests.wire.strange import LINKTYPES, SHAPES, Traffic, buffer_of

ROOM = 1 << 18


def guarded():
    """Make memory of ROOM bytes with a page behind it that cannot be read."""
    memory = mmap.mmap(-1, ROOM + mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(address + ROOM), mmap.PAGESIZE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    return memoryview(memory)


INPUT, OUTPUT = guarded(), guarded()


def at_edge(memory, data):
    """Put bytes right before the page that cannot be read."""
    view = memory[ROOM - len(data) : ROOM]
    view[:] = data
    return view


def check(draw):
    """Lay out strange packets, damage them, and let both kernels pass them; or make blocks of them."""
    shape, linktype, slim = draw.pick(SHAPES), draw.pick(LINKTYPES), draw.below(4) == 3
    ring = shape.startswith("ring")
    raw, blocks = draw.below(4) == 3, draw.below(3) == 2
    traffic = Traffic(draw.number(3), 1 if ring and linktype in (113, 0, 108) else linktype, ring)
    form, content, position = buffer_of(shape, traffic, traffic.frames(1 + draw.below(31)))
    content = bytearray(content)
    fast = traffic.fast()
    step, cut = draw.number(1), draw.number(2)
    if raw:
        content[position:] = draw.rest()[: ROOM // 2]
    while draw and len(content) > position:
        at, value = draw.number(3), draw.take(1 + draw.below(4))
        at = position + at % (len(content) - position)
        content[at : at + len(value)] = value
    end = len(content) if step & 1 else position + cut % (len(content) - position + 1)
    buffer = at_edge(INPUT, content)
    if blocks:
        check_blocks(draw, form, traffic.linktype, buffer, position, end, step)
    else:
        check_forward(shape, traffic.linktype, buffer, position, end, fast, slim, form)


def check_forward(shape, linktype, buffer, position, end, fast, slim, form):
    """Both kernels pass the same; what is stopped at goes the way of the format."""
    both = ComparedKernel()
    both.slim = slim
    readable = not shape.startswith("ring") or shape[-1] == ORDER
    while position < end:
        before = copy.deepcopy(fast)
        stop, passed = both.forward(buffer, position, end, shape, linktype, fast)
        assert position <= stop <= end
        assert (stop > position) == (passed > 0)
        assert fast.keys() == before.keys()
        for key, (following, limit, ack) in fast.items():
            was = before[key]
            assert limit == was[1]
            assert was[0] <= following < max(limit, was[0] + 1)
            assert ack == was[2] or 0 <= ack < 1 << 32
        if not readable:
            break
        try:
            behind, _ = form.packet(buffer, stop, end)
        except (CaptureError, struct.error):
            break
        if behind == stop:
            break
        assert stop < behind <= end
        position = behind


def check_blocks(draw, form, linktype, buffer, position, end, step):
    """Blocks in C are those of the format and enhanced_packet, as far as they fit."""
    if isinstance(form, RingFormat) and form.shape[-1] != ORDER:
        form = RingFormat("eth0", linktype)
    if not isinstance(form, RingFormat | PcapFormat) or form.shape.startswith("kuznetzov"):
        shape = form.shape
        assert _blocks.blocks(buffer, position, end, shape, linktype, 1, 0, OUTPUT[:100], 9) == (position, 0, 0, 0)
        return
    room = at_edge(OUTPUT, b"\xff" * (step << 6))
    most = 1 + step % 9
    found = _blocks.blocks(buffer, position, end, form.shape, linktype, form.tick, 7, room, most)
    expected, where, count, last = b"", position, 0, 0
    try:
        while where < end and count < most:
            behind, packet = form.packet(buffer, where, end)
            if packet is None:
                break
            block = b"".join(enhanced_packet(7, packet.time, packet.data, packet.wire_length & 0xFFFFFFFF))
            if len(expected) + len(block) > len(room):
                break
            expected, where, count, last = expected + block, behind, count + 1, packet.time
    except (CaptureError, struct.error):
        pass
    assert found == (where, len(expected), count, last)
    assert room[: len(expected)] == expected


def seeds():
    """Give every shape and link type once, with many connections and few, and captures laid out as they are."""
    for shape in range(len(SHAPES)):
        for link in range(len(LINKTYPES)):
            yield bytes([shape, link, 0, 0, (shape + link) % 3, link, shape, 0, 30, 255, 0, 0])
    for number, data in enumerate(captures()[::3]):
        yield bytes([number % 2, 0, 0, 3, number % 3, 0, 0, 0, 3, 1, 0, 0]) + data[24:3000]
