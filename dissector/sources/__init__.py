# SPDX-License-Identifier: GPL-2.0-or-later
"""Where packets and stream bytes come from: capture files, save images, pipes."""

from __future__ import annotations

from dissector.sources.capture import CaptureFile, Chunk, StreamFile, is_capture, open_capture
from dissector.sources.compression import decompressor
from dissector.sources.formats import CaptureError, CaptureFormat, Packet, PcapFormat, PcapngFormat, resumed
from dissector.sources.merge import runs
from dissector.sources.reentry import Reentry

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
