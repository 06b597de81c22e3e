# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking packets from live sources until something is true, with a deadline instead of sleeping."""

from __future__ import annotations

import select
import time

PATIENCE = 15.0


def take(source, until=lambda found: False):
    """Give the packets as (bytes, wire length), until the condition on them holds or the source has ended."""
    found, deadline = [], time.monotonic() + PATIENCE
    while source.ended is None and not until(found):
        assert time.monotonic() < deadline, f"{len(found)} packets, and no more came"
        select.select([source], [], [], 0.02)
        found += ready(source)
    return found


def ready(source):
    """Give the packets that are there now."""
    found = []
    for chunk in source.take():
        position = chunk.start
        while True:
            behind, packet = chunk.format.packet(chunk.buffer, position, chunk.end)
            if behind == position:
                break
            if packet is not None:
                found.append((bytes(packet.data), packet.wire_length))
            position = behind
        chunk.consumed = position
    return found


def wait(condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)
