# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture times of frames: tshark tells that of the frame which shows a record, not of those it begins and ends in."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from dissector.sources import CaptureError, CaptureFile, Chunk, open_capture

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


class FrameTimes:
    """Reads the packet headers of a capture, as far as it is asked; 8 bytes of memory per frame."""

    def __init__(self, path: str) -> None:
        self._times = array("q")
        self._more = _times(path)

    def __call__(self, frame: int) -> int | None:
        """Return the time (ns) of a frame, counted from 1; None for 0, and for what is not there."""
        while len(self._times) < frame:
            time = next(self._more, None)
            if time is None:
                return None
            self._times.append(time)
        return self._times[frame - 1] if frame > 0 else None

    def close(self) -> None:
        """Close the file."""
        self._more.close()


def _times(path: str) -> Generator[int]:
    """Yield the times of all packets; nothing of a format that only Wireshark reads."""
    try:
        file = open_capture(path)
    except CaptureError:
        return
    try:
        if isinstance(file, CaptureFile):
            for chunk in file.chunks():
                yield from _of_chunk(chunk)
    except CaptureError:
        return
    finally:
        file.close()


def _of_chunk(chunk: Chunk) -> Iterator[int]:
    read, buffer, end = chunk.format.packet, chunk.buffer, chunk.end
    while chunk.consumed < end:
        behind, packet = read(buffer, chunk.consumed, end)
        if behind == chunk.consumed:
            return
        chunk.consumed = behind
        if packet is not None:
            yield packet.time
