# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live capture is to whoever takes packets from it, whichever way they are captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.sources import Chunk


class LiveError(Exception):
    """A live capture cannot begin or go on; one line that says why, and what to do about it."""


class Counters(NamedTuple):
    """What a capture counted since it began.

    Attributes:
        received: Packets that passed its filter; None: nobody tells.
        dropped: Of these, packets that it lost because they came faster than they were taken; None: nobody tells (yet).
        dropped_by_interface: Packets the network card dropped; None: nobody tells.
    """

    received: int | None
    dropped: int | None
    dropped_by_interface: int | None = None


class LiveSource(Protocol):
    """A running capture: a ring of the kernel, a child process, or standard input.

    A source is waited for with ``select`` on `fileno`, then `take` gives what has come, without waiting any more.
    """

    name: str
    """Of the interface, as the user knows it: ``eth0``, ``host:eth0``, ``standard input``."""
    method: str
    """How it captures: ``ring``, ``dumpcap``, ``tcpdump``, ``ssh``, ``stdin``."""
    ended: str | None
    """None while it runs; then why it ended, in words."""

    @property
    def linktype(self) -> int | None:
        """LINKTYPE_ number of its packets; None: each packet tells, or none has come yet."""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""

    def take(self) -> Iterator[Chunk]:
        """Give what has been captured since the last call, as `Chunk` says; end as soon as waiting would begin.

        What the consumer leaves over in a chunk (an incomplete packet of a pipe) comes again.

        Raises:
            LiveError: The capture broke down; everything before was given.
        """

    def counters(self) -> Counters:
        """Ask for the counters; cheap enough to be called for every chunk."""

    def fills(self, share: float) -> bool:
        """Tell whether more than this share of the kernel's buffer is waiting to be taken; False if nobody knows."""

    def stop(self) -> None:
        """Capture no more; what was captured until now can still be taken, and final counters be asked for."""

    def close(self) -> None:
        """Give everything back."""
