# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from captures.files import Interface, Pcapng
from captures.packets import Packet
from dissector.sources import Chunk, PcapngFormat, open_capture, runs
from dissector.walk import Walk
from dissector.wire.engine import Engine
from tests.cross.tools import NAMES, is_capture, packets, paths

NAMED = [name for name in NAMES if is_capture(name)]


class Shown:
    """Remembers every packet it was shown; what the kernel passed is read again."""

    def __init__(self):
        self.seen = []
        self.waiting = 0

    def passed(self, form, buffer, position, behind):
        assert position < behind
        while position < behind:
            position, packet = form.packet(buffer, position, behind)
            if packet is not None:
                self.seen.append((packet.time, bytes(packet.data)))
        self.waiting += 1

    def packet(self, packet, form):
        self.seen.append((packet.time, bytes(packet.data)))
        self.waiting += 1

    def flush(self):
        self.waiting = 0


def walked(name, recorder=None):
    engine = Engine()
    walk = Walk(engine, recorder)
    found = []
    for run in runs([open_capture(path) for path in paths(name)]):
        if isinstance(run, Chunk):
            for events in walk.chunk(run):
                found += events
        else:
            found += walk.packet(run)
        assert recorder is None or not recorder.waiting
    assert walk.number == engine.frames
    return found + engine.finish(), walk.number


@pytest.mark.parametrize("name", NAMED)
def test_a_recorder_is_shown_every_packet_in_order(name):
    shown = Shown()
    events, number = walked(name, shown)
    assert shown.seen == [(packet.time, packet.data) for packet in packets(name)]
    assert number == len(shown.seen)
    assert events == walked(name)[0]


def test_a_passed_packet_of_no_known_interface_does_not_end_the_capture():
    """Which of them the kernel passes is its own affair: none of them is an error."""
    out, places = Pcapng(), []
    out.section("<")
    out.interface(Interface(1))
    for packet in packets("xl-hvm-v3"):
        places.append(len(out.out) + 8)
        out.enhanced(Packet(packet.time, packet.data, wire_length=packet.wire_length))
    for place in places[2:]:
        content, form = bytearray(out.out), PcapngFormat()
        content[place] = 5
        walk = Walk(Engine())
        chunk = Chunk(memoryview(content), form.header(memoryview(content)), len(content), form, 0)
        for _ in walk.chunk(chunk):
            pass
        assert chunk.consumed == len(content) or "interface 5" in chunk.reason
