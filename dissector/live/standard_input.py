# SPDX-License-Identifier: GPL-2.0-or-later
"""Capturing by whoever writes into our standard input, such as ``ssh host tcpdump -w - |``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.live.pipe import Pipe, PipeSource
from dissector.live.source import Counters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.sources import Chunk


class StandardInput(PipeSource):
    """A pcap or pcapng stream on standard input; a `LiveSource`. Nobody tells what its writer has lost.

    Args:
        descriptor: Another one to read.

    Attributes:
        name: See `LiveSource`.
        method: See `LiveSource`.
        ended: See `LiveSource`.
    """

    name = "standard input"
    method = "stdin"

    def __init__(self, descriptor: int = 0) -> None:
        self.ended: str | None = None
        self._pipe = Pipe(descriptor, "-")

    def take(self) -> Iterator[Chunk]:
        """See `LiveSource.take`."""
        if self.ended is not None:
            return
        try:
            yield from self._pipe.take()
        finally:
            self.ended = self._pipe.ended

    def counters(self) -> Counters:
        """See `LiveSource.counters`."""
        return Counters(None, None)

    def stop(self) -> None:
        """See `LiveSource.stop`; what is in the pipe is left there."""
        self.ended = self.ended or "stopped"

    def close(self) -> None:
        """See `LiveSource.close`; standard input stays open."""
        self._pipe.close()
