# SPDX-License-Identifier: GPL-2.0-or-later
"""A script as a scapy user writes it: sniffs until its standard input ends, then prints what came, as JSON.

Run as ``python live_sniff.py scapy|ring INTERFACE``: with scapy's own socket, or with ours.
"""

from __future__ import annotations

import json
import sys

from scapy.sendrecv import AsyncSniffer

from dissector.layers import MigrationSession, MigrationSocket


def row(packet):
    return [packet.direction, packet.layer, packet.definition.name, packet.event.offset, packet.event.size]


def main():
    kind, interface = sys.argv[1:]
    session = MigrationSession()
    where = {"iface": interface} if kind == "scapy" else {"opened_socket": MigrationSocket(interface)}
    ready = lambda: print("ready", flush=True)  # noqa: E731
    sniffer = AsyncSniffer(**where, session=session, started_callback=ready)
    sniffer.start()
    sys.stdin.read()
    found = [*sniffer.stop(), *session.finish()]
    print(json.dumps([row(packet) for packet in found]))


main()
