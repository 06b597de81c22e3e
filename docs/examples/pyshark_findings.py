# SPDX-License-Identifier: GPL-2.0-or-later
"""Say what is wrong with a capture, and which records lack bytes: python pyshark_findings.py CAPTURE."""

from __future__ import annotations

import sys

from dissector import pyshark_tools


def main(path: str) -> None:
    with pyshark_tools.Capture(path, layers=("ip", "ipv6")) as capture:
        for event in capture:
            match event.event:
                case "finding":
                    where = f"frame {event.frame}" if event.frame else "capture"
                    print(f"{where}: {event.severity}: {event.text} ({event.id})")
                case "gap":
                    source = event.packet.ip.src if "ip" in event.packet else event.packet.ipv6.src
                    print(f"frame {event.frame}: {event.length} bytes from {source} never came ({event.reason})")
                case "resync":
                    print(f"frame {event.frame}: {event.skipped} bytes skipped, then {event.found or 'nothing'}")
                case "record" if not event.complete:
                    lost = sum(length for _, length in event.lost)
                    pages = f", pages {' '.join(f'{pfn:#x}' for pfn in event.lost_pfns[:8])}" if event.lost_pfns else ""
                    print(f"frame {event.first_frame}: {event.type} lacks {lost} of {event.size} bytes{pages}")


main(sys.argv[1])
