# SPDX-License-Identifier: GPL-2.0-or-later
"""A scapy socket that keeps up with a migration link: the packet ring of :mod:`dissector.live` below ``sniff()``.

scapy's own sockets take one frame per system call, and lose frames of a migration from some 100 Mbit/s on. Here the
session is given blocks of frames, and the fast-forward kernel passes page contents in them.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any, Final

from scapy.supersocket import SuperSocket

from dissector.live.choose import open_live

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.live.choose import Method
    from dissector.live.source import Counters
    from dissector.sources import Chunk

PATIENCE: Final = 5.0
"""Seconds that a capture has to end."""
POLL: Final = 0.01


class MigrationSocket(SuperSocket):  # type: ignore[misc]
    """For ``sniff(opened_socket=MigrationSocket("eth0"), session=MigrationSession())``, and with that session only.

    Args:
        iface: where to capture; None: the first interface that is up.
        filter: capture filter as tcpdump's; None: TCP.
        buffer_bytes: size of the kernel's buffer.
        method: see :func:`dissector.live.choose.open_live`.

    Raises:
        dissector.live.source.LiveError: no capture; one line that says why and what to do.
    """

    desc = "packet ring for Xen migrations"
    closed = True
    """Until it is open: scapy closes what could not be made, too."""
    known = False
    """A session has asked for chunks, and so will ask for the rest when the capture ends."""

    def __init__(
        self,
        iface: str | None = None,
        *,
        filter: str | None = None,
        buffer_bytes: int = 64 << 20,
        method: Method = "auto",
    ) -> None:
        names = [str(iface)] if iface is not None else []
        (self.source,) = open_live(names, filter=filter, buffer_bytes=buffer_bytes, method=method)
        self.iface = self.source.name
        self.ins = self.outs = None
        self.closed = False

    @staticmethod
    def select(sockets: list[Any], remain: float | None = None) -> list[Any]:
        """Wait until sockets are ready, as ``sniff()`` does; one that no session knows is ready at once.

        Else a capture that is stopped before the kernel has handed over its first block would be nobody's.
        """
        unknown = [sock for sock in sockets if isinstance(sock, MigrationSocket) and not sock.known]
        ready: list[Any] = unknown or SuperSocket.select(sockets, remain)
        return ready

    def fileno(self) -> int:
        """Return the descriptor that ``sniff()`` waits for."""
        return self.source.fileno()

    def chunks(self) -> Iterator[Chunk]:
        """Give what has been captured; EOFError when the capture has ended and everything was given."""
        self.known = True
        yield from self.source.take()
        if self.source.ended is not None:
            raise EOFError(self.source.ended)

    def rest(self) -> Iterator[Chunk]:
        """End the capture, and give what the kernel still holds of it."""
        if self.closed:
            return
        self.source.stop()
        deadline = time.monotonic() + PATIENCE
        while self.source.ended is None and time.monotonic() < deadline:
            yield from self.source.take()
            select.select([self.source] if self.source.ended is None else [], [], [], POLL)

    def counters(self) -> Counters:
        """Return how many packets were received, and how many of them dropped by the kernel."""
        return self.source.counters()

    def recv(self, x: int = 0, **kwargs: Any) -> None:
        """Give no single frame: this socket is for MigrationSession."""
        raise TypeError("a MigrationSocket needs session=MigrationSession()")

    def send(self, x: Any) -> int:
        """Send nothing: this socket only listens."""
        raise OSError("a MigrationSocket only captures")

    def close(self) -> None:
        """End the capture."""
        if not self.closed:
            self.closed = True
            self.source.close()
