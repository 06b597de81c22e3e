# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures on an interface until it is interrupted, reads what comes as ``xendissect`` does, and tells what it got.

``python bench/live_consumer.py METHOD INTERFACE`` with METHOD ring, dumpcap, tcpdump or scapy, started by
``bench/live.py``. One line of JSON at the end: packets, records by ``layer TYPE``, what the kernel says it received and
dropped (null: unknown), gaps, and why it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dissector.walk import Walk
from dissector.wire.engine import Engine
from dissector.wire.events import Gap, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dissector.live.source import LiveSource
    from dissector.wire.events import Event

METHODS: Final = ("ring", "dumpcap", "tcpdump", "scapy")
SOL_PACKET, PACKET_STATISTICS = 263, 6


class Counts:
    """What was found."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self.gaps = 0

    def add(self, found: Iterable[Event]) -> None:
        """Count some events."""
        for event in found:
            if isinstance(event, Record):
                self.records[f"{event.layer} {event.type}"] += 1
            elif isinstance(event, Gap):
                self.gaps += 1

    def facts(self, **more: Any) -> dict[str, Any]:
        """Return the line to print."""
        return {"records": dict(self.records), "gaps": self.gaps, **more}


def consume(source: LiveSource) -> dict[str, Any]:
    """Read a live source until SIGINT, and then what it still has."""
    asked, asking = os.pipe()
    signal.signal(signal.SIGINT, lambda *_: os.write(asking, b"x"))
    counts, engine = Counts(), Engine()
    walk = Walk(engine)
    while source.ended is None:
        readable, _, _ = select.select([source.fileno(), asked], [], [])
        if asked in readable:
            os.read(asked, 16)
            source.stop()
        for chunk in source.take():
            for events in walk.chunk(chunk):
                counts.add(events)
    told = source.counters()
    source.close()
    counts.add(engine.finish())
    return counts.facts(packets=walk.number, received=told.received, dropped=told.dropped, ended=source.ended)


def open_source(method: str, interface: str, buffer_bytes: int) -> LiveSource:
    """Start a capture."""
    if method == "ring":
        from dissector.live.ring import Ring

        return Ring(interface, buffer_bytes=buffer_bytes)
    from dissector.live.child import Wanted, local

    return local(Wanted(interface, buffer_bytes=buffer_bytes), "dumpcap" if method == "dumpcap" else "tcpdump")


def scapy(interface: str) -> dict[str, Any]:
    """Let scapy's ``sniff()`` capture and our session read, as its users do; the socket is scapy's own."""
    from scapy.config import conf
    from scapy.sendrecv import sniff

    from dissector.layers.session import MigrationSession

    session, counts = MigrationSession(gaps=True), Counts()

    def count(packet: Any) -> None:
        if type(packet).__name__ == "XenMigrationGap":
            counts.gaps += 1
        else:
            counts.add([packet.event])

    ear = conf.L2listen(iface=interface)
    sniff(opened_socket=ear, session=session, store=False, prn=count)
    received, dropped = struct.unpack_from("=II", ear.ins.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
    seen = sum(capture.frames for capture in session._captures.values())
    for packet in session.finish():
        count(packet)
    ear.close()
    return counts.facts(packets=seen, received=received, dropped=dropped, ended="interrupted")


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("interface")
    parser.add_argument("--buffer", type=int, default=64 << 20, help="bytes of the kernel's buffer (64 MiB)")
    options = parser.parse_args(arguments)
    if options.method == "scapy":
        facts = scapy(options.interface)
    else:
        facts = consume(open_source(options.method, options.interface, options.buffer))
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
