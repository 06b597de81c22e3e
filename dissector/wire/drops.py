# SPDX-License-Identifier: GPL-2.0-or-later
"""When the capture itself lost packets, as its own counters tell: what turns "not captured" into "lost by whom"."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal, TypeAlias

Cause: TypeAlias = Literal["capture", "wire"]

_REMEMBERED: Final = 1024
"""Spans kept; beyond, neighbours are joined, which blames the capture rather too often than too seldom."""
_MARGIN: Final = 5_000_000
"""Nanoseconds between a packet's time and when the kernel counts it as dropped, at most."""


class Drops:
    """Spans of time in which a live capture dropped packets.

    Attributes:
        counted: The capture counts what it drops: without any span, nothing was dropped.
        behind: So much is waiting in the capture that it drops packets soon. Looking for record heads is put off then:
            between drops there are no stretches long enough for a head to be proven, and nothing else takes long.
    """

    __slots__ = ("_spans", "behind", "counted")

    def __init__(self) -> None:
        self.counted = False
        self.behind = False
        self._spans: deque[tuple[int, int]] = deque()

    def add(self, start: int, end: int) -> None:
        """Note that packets were dropped between two readings of the counter (ns since the epoch), in time order."""
        self.counted = True
        spans = self._spans
        start -= _MARGIN
        if spans and start <= spans[-1][1]:
            start = min(start, spans.pop()[0])
        elif len(spans) >= _REMEMBERED:
            first, second = spans.popleft(), spans.popleft()
            spans.appendleft((first[0], second[1]))
        spans.append((start, end))

    def cause(self, start: int | None, end: int | None) -> Cause | None:
        """Say who lost bytes that are missing between two captured packets; None: nobody can tell.

        Args:
            start: capture time of the packet before them, None when there is none.
            end: capture time of the packet behind them.
        """
        if end is None:
            return None
        for low, high in reversed(self._spans):
            if low <= end and (start is None or start <= high):
                return "capture"
        return "wire" if self.counted else None
