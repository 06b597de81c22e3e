# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole captures through the reader with either kernel and with none, into every sink; some built packet by packet."""

from __future__ import annotations

import io
import json
import os
from contextlib import contextmanager
from dataclasses import fields, replace

import dissector.walk
from captures.files import Interface, Pcapng, pcap
from captures.packets import Packet
from dissector.reader import Reader
from dissector.sinks.colour import Palette
from dissector.sinks.jsonl import JsonSink
from dissector.sinks.summary import SummarySink
from dissector.sinks.text import TextSink
from dissector.sinks.tree import TreeSink
from dissector.sources import CaptureError
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total
from dissector.wire.forward import PythonKernel
from dissector.wire.kernel import CKernel
from tests.cross.tools import frame
from tests.fuzz.invariants import SMALL, check_events
from tests.fuzz.seeds import captures, streams

STREAMS = list(streams())
NAMES = {one: {field.name for field in fields(one)} for one in (Record, Flow, Gap, Resync, Finding, Summary, Total)}
LAST = {"time", "time_end", "frame", "last_frame", "seconds"}
FLAGS = (0x10, 0x10, 0x18, 0x11, 0x02, 0x12, 0x14, 0x04)


class NoKernel:
    """Passes nothing: every packet goes the long way."""

    latest, latest_at, latest_number, slim = None, 0, 0, False

    def forward(self, buffer, position, end, shape, linktype, fast):
        return position, 0


def check(draw):
    """Read a capture that the bytes are, or that they say how to make."""
    how = draw.below(8)
    data = draw.rest() if how < 4 else conversation(draw)
    events, error = read(data, CKernel)
    if events and isinstance(events[-1], Total):
        check_events(events)
    show(events)
    if how & 3 == 1:
        assert told(*read(data, PythonKernel)) == told(events, error)
    elif how & 3 == 2:
        slow, damage = read(data, NoKernel)
        cut = any(isinstance(event, Finding) and event.id == "capture.cut" for event in slow)
        assert damage or not error
        if not damage and not cut:
            assert told(slow, damage) == told(events, error)
    elif how & 3 == 3:
        skimmed, _ = read(data, CKernel, skim=True)
        if skimmed and isinstance(skimmed[-1], Total):
            check_events(skimmed)


@contextmanager
def file_of(data):
    """Give a path where some bytes are."""
    descriptor = os.memfd_create("capture")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def read(data, kernel, *, skim=False):
    """Give the events of a capture, and the error that reading ended with."""
    before, dissector.walk.make_kernel = dissector.walk.make_kernel, kernel
    events = []
    try:
        with file_of(data) as path:
            try:
                reader = Reader([path], limits=SMALL, skim=skim)
            except CaptureError as error:
                return events, str(error)
            try:
                events += reader.events()
            except CaptureError as error:
                return events, str(error)
            finally:
                reader.close()
    finally:
        dissector.walk.make_kernel = before
    assert isinstance(events[-1], Total)
    return events, ""


def told(events, error):
    """What was told, without the name of the file: it differs from one file descriptor to the next.

    Of several connections at a time only the one passed last has its last frame told by a kernel: frames and times are
    left out then.
    """
    last = events[-1] if events else None
    if isinstance(last, Total) and last.flows + last.other_connections > 1:
        events = [replace(event, **dict.fromkeys(LAST & NAMES[type(event)])) for event in events]
    return [str(event).partition("/proc/self/fd/")[0] for event in events], error.partition(": ")[2]


def show(events):
    """Through every sink; JSON can be read."""
    out, plain = io.StringIO(), Palette(enabled=False)
    sinks = [
        JsonSink(out, pfns=True),
        TextSink(io.StringIO(), plain, pfns=True),
        TreeSink(io.StringIO(), plain),
        SummarySink(io.StringIO(), plain),
    ]
    for sink in sinks:
        sink.write_all(events)
        sink.close()
    for line in out.getvalue().splitlines():
        json.loads(line)


def conversation(draw):
    """Make a capture file of packets that the bytes tell of, most of them parts of good streams."""
    kind = draw.below(4)
    sides = [bytearray(draw.pick(STREAMS)), bytearray(draw.pick(STREAMS))]
    for _ in range(draw.below(5)):
        side, at, value = sides[draw.below(2)], draw.number(2), draw.take(4)
        side[at : at + len(value)] = value
    bases = [draw.number(4), draw.number(4)]
    reached, packets, time = [0, 0], [], 1_000_000_000
    while draw and len(packets) < 120:
        action, flags, length = draw.below(64), draw.pick(FLAGS), draw.number(2) % 4000
        way, ports = action & 1, b"" if action < 48 else b"\x12\x34\x1f\x42"
        offset = reached[way] + (draw.number(2) - 0x4000 if action & 14 == 14 else 0)
        time += draw.number(1) << 22 if action & 14 == 12 else 1000
        piece = bytes(sides[way][max(offset, 0) : max(offset, 0) + length])
        if flags & 2:
            piece, offset = b"", offset - 1
        else:
            reached[way] = max(reached[way], offset + len(piece))
        seq, ack = bases[way] + offset, bases[1 - way] + reached[1 - way]
        data = frame(("forward", "reverse")[way], seq, ack, flags, piece, ports)
        wire = len(data)
        if action & 14 == 10:
            data = data[: draw.number(2) % (len(data) + 1)]
        packets.append(Packet(time, data, wire_length=wire))
    if kind < 2 or not packets:
        return pcap(packets or [Packet(0, b"")], "<>"[kind & 1])
    out = Pcapng()
    out.section("<>"[kind & 1])
    out.interface(Interface(1, resolution=6))
    for packet in packets:
        out.enhanced(packet)
    return bytes(out.out)


def seeds():
    """Give captures as they are, and what makes conversations in order, with losses, and with strange segments."""
    for number, data in enumerate(captures()):
        yield bytes([number % 4]) + data[:12_000]
    for stream in range(0, len(STREAMS), 2):
        for how in (4, 5, 6, 7):
            head = bytes([how, stream % 4, stream, stream + 1, 0]) + bytes(8)
            syn = bytes([0, 4, 0, 0, 1, 5, 0, 0])
            some = b"".join(
                bytes([(12 if number % 7 == 6 else number % 5 == 4), 0])
                + (1400).to_bytes(2, "little")
                + (b"\3" if number % 7 == 6 else b"")
                for number in range(24)
            )
            yield head + syn + some + bytes([0, 3, 0, 0, 1, 3, 0, 0])
