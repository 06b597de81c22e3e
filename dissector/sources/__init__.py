# SPDX-License-Identifier: GPL-2.0-or-later
"""Where packets and stream bytes come from: capture files, save images, pipes.

What reads captures is imported when it is first used: an index may answer in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.sources.errors import CaptureError

if TYPE_CHECKING:
    from dissector.sources.capture import CaptureFile, Chunk, StreamFile, is_capture, open_capture
    from dissector.sources.compression import decompressor
    from dissector.sources.formats import CaptureFormat, Packet, PcapFormat, PcapngFormat, resumed
    from dissector.sources.merge import runs
    from dissector.sources.reentry import Reentry

_HOME = {
    "CaptureFile": "capture",
    "CaptureFormat": "formats",
    "Chunk": "capture",
    "Packet": "formats",
    "PcapFormat": "formats",
    "PcapngFormat": "formats",
    "StreamFile": "capture",
    "Reentry": "reentry",
    "decompressor": "compression",
    "is_capture": "capture",
    "open_capture": "capture",
    "resumed": "formats",
    "runs": "merge",
}

__all__ = [
    "CaptureError",
    "CaptureFile",
    "CaptureFormat",
    "Chunk",
    "Packet",
    "PcapFormat",
    "PcapngFormat",
    "Reentry",
    "StreamFile",
    "decompressor",
    "is_capture",
    "open_capture",
    "resumed",
    "runs",
]


def __getattr__(name: str) -> object:
    """Import a name when it is first used."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'dissector.sources' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"dissector.sources.{home}"), name)
