# SPDX-License-Identifier: GPL-2.0-or-later
"""pyshark with our Wireshark dissector: the records of a capture as tshark finds them (docs/pyshark.md).

::

    from dissector import pyshark_tools

    for record in pyshark_tools.read("migration.pcap.gz"):
        print(record.direction, record.layer, record.type, record.fields, record.packet.ip.src)

Records, gaps, resyncs and findings are those of :func:`dissector.events`, so what was written for them works here
too, and each knows the pyshark packet it was found in. Works while an event loop runs (Jupyter), or in it.
"""

from __future__ import annotations

from dissector.pyshark_tools.capture import AsyncReading, Capture, Reading, event_object, events, read
from dissector.pyshark_tools.found import (
    WiresharkEvent,
    WiresharkFinding,
    WiresharkGap,
    WiresharkRecord,
    WiresharkResync,
)
from dissector.pyshark_tools.tree import packet_events
from dissector.pyshark_tools.tshark import PluginError, TsharkError, pyshark_options

__all__ = [
    "AsyncReading",
    "Capture",
    "PluginError",
    "Reading",
    "TsharkError",
    "WiresharkEvent",
    "WiresharkFinding",
    "WiresharkGap",
    "WiresharkRecord",
    "WiresharkResync",
    "event_object",
    "events",
    "packet_events",
    "pyshark_options",
    "read",
]
