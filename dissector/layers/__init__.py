# SPDX-License-Identifier: GPL-2.0-or-later
"""Xen live migration in scapy: a Packet class for every record, and a session for ``sniff()``.

>>> from dissector.layers import MigrationSession, XenLibxcPageData
>>> from scapy.sendrecv import sniff
>>> records = sniff(offline="x.pcap", session=MigrationSession)  # doctest: +SKIP

The only part of the package that imports scapy. docs/scapy.md shows how to use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.layers import notes
from dissector.layers.base import XenRecord
from dissector.layers.fields import Cut
from dissector.layers.lists import entry, page_type, pfn
from dissector.layers.packets import CLASSES, ITEMS, big_endian, by_name, packet_of, record_class
from dissector.layers.session import MigrationSession
from dissector.layers.socket import MigrationSocket
from dissector.layers.stream import XenMigration, bind_port, dissect_stream
from dissector.wire.machine import State

if TYPE_CHECKING:
    from scapy.packet import Packet

_GENERATED = {
    **{cls.__name__: cls for cls in CLASSES.values()},
    **ITEMS,
    **{cls.__name__: cls for cls in notes.CLASSES.values()},
}
globals().update(_GENERATED)

__all__ = [
    "CLASSES",
    "Cut",
    "MigrationSession",
    "MigrationSocket",
    "State",
    "XenMigration",
    "XenRecord",
    "big_endian",
    "bind_port",
    "dissect_stream",
    "entry",
    "packet_of",
    "page_type",
    "pfn",
    "record_class",
]
__all__ += sorted(_GENERATED)


def __getattr__(name: str) -> type[Packet]:
    """Make the big-endian twin of a class when it is asked for (``XenLibxcPageDataBE``)."""
    try:
        return by_name(name)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
