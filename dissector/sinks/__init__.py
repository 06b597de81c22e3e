# SPDX-License-Identifier: GPL-2.0-or-later
"""Where events go: lines of text, a tree, JSON lines, a summary.

A sink writes to a text stream that belongs to its caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dissector.wire.events import Event


class Output(Protocol):
    """Where a sink writes: a text stream, or whatever stands in front of one."""

    def write(self, text: str, /) -> int:
        """Write text; whole lines at a time."""


class Sink(Protocol):
    """Takes the events of one input in order; `close` once, after the last."""

    def write(self, event: Event) -> None:
        """Take one event."""

    def write_all(self, events: Iterable[Event]) -> None:
        """Take events that became known together."""

    def close(self) -> None:
        """Write what was held back. The stream stays open: it belongs to the caller."""


class OneByOne:
    """A sink that gains nothing from taking many events at once."""

    def write(self, event: Event) -> None:
        """Take one event."""
        raise NotImplementedError

    def write_all(self, events: Iterable[Event]) -> None:
        """Take events that became known together."""
        for event in events:
            self.write(event)
