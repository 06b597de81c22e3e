# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a capture file can be entered, and how far each migration was there.

A mark is the beginning of a packet record in the capture file as it is when decompressed, with what the format had
learned up to there and the stream offset that each migration had reached. With it a page is found without reading what
lies before.
Memory is bounded: of too many marks every second one is forgotten, and only so many migrations are followed at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MARKS: Final = 1 << 14
"""Marks kept; one more, and every second one goes."""
MAX_STATES: Final = 256
"""States of a format kept: only a hostile pcapng file describes its interfaces again and again."""
MAX_FOLLOWED: Final = 32
"""Directions of migrations followed at a time."""

Direction: TypeAlias = tuple[int, str]
"""Flow number and direction name."""


class Place(NamedTuple):
    """Where to enter a file.

    Attributes:
        frame: Number of the packet whose record begins there.
        position: Where it begins in the file.
        state: What `dissector.sources.resumed` takes.
        offset: Stream bytes of the direction asked for that were seen or passed before; None: not known.
    """

    frame: int
    position: int
    state: tuple[Any, ...]
    offset: int | None = None


class Marks:
    """The marks of one file, in its order."""

    def __init__(self) -> None:
        self._frames = array("Q")
        self._positions = array("Q")
        self._states = array("L")
        self._known_states: list[tuple[Any, ...]] = []
        self._offsets: dict[Direction, tuple[int, array[int]]] = {}
        """Per direction: number of its first mark, and the offsets at that and each later mark until its end."""
        self._every = 1
        self._passed = 0

    def __len__(self) -> int:
        return len(self._frames)

    def latest(self, direction: Direction) -> int:
        """Return the stream offset of a direction at its latest mark; 0 before the first."""
        _, offsets = self._offsets.get(direction, (0, ()))
        return offsets[-1] if offsets else 0

    def add(self, frame: int, position: int, state: tuple[Any, ...], offsets: Mapping[Direction, int]) -> None:
        """Add a mark behind all others.

        Args:
            frame: Number of the packet whose record begins at `position`.
            position: File offset.
            state: What the format says of itself there.
            offsets: Stream offset of each migration's direction that is under way. One that is left out once is over.
        """
        self._passed += 1
        if self._passed < self._every:
            return
        if not self._known_states or self._known_states[-1] != state:
            if len(self._known_states) >= MAX_STATES:
                return
            self._known_states.append(state)
        self._passed = 0
        number = len(self._frames)
        self._frames.append(frame)
        self._positions.append(position)
        self._states.append(len(self._known_states) - 1)
        for followed, (direction, offset) in enumerate(offsets.items()):
            first, known = self._offsets.get(direction, (number, None))
            if known is None:
                if followed < MAX_FOLLOWED:
                    self._offsets[direction] = (number, array("Q", [offset]))
            elif first + len(known) == number:
                known.append(offset)
        if len(self._frames) > MAX_MARKS:
            self._thin()

    def before(self, frame: int) -> Place | None:
        """Return the last mark at or before a frame; None when there is none."""
        number = bisect_right(self._frames, max(frame, 0)) - 1
        return self._place(number) if number >= 0 else None

    def near(self, direction: Direction, offset: int) -> Place | None:
        """Return a mark before stream byte `offset` and not far from it; None when there is none.

        It is the last but one mark before that byte: segments that ran ahead of it may lie in front of the last one.
        """
        first, offsets = self._offsets.get(direction, (0, None))
        if offsets is None:
            return None
        index = max(0, bisect_right(offsets, offset) - 2)
        if offsets[index] > offset:
            return None
        return self._place(first + index)._replace(offset=offsets[index])

    def dump(self) -> dict[str, Any]:
        """Return everything in lists of numbers and texts, for :meth:`load`."""
        return {
            "frames": self._frames.tolist(),
            "positions": self._positions.tolist(),
            "states": self._states.tolist(),
            "known_states": self._known_states,
            "offsets": [[*direction, first, known.tolist()] for direction, (first, known) in self._offsets.items()],
        }

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> Marks:
        """Make marks again from what :meth:`dump` returned."""
        marks = cls()
        marks._frames = array("Q", dumped["frames"])
        marks._positions = array("Q", dumped["positions"])
        marks._states = array("L", dumped["states"])
        marks._known_states = [_tuples(state) for state in dumped["known_states"]]
        marks._offsets = {(flow, name): (first, array("Q", known)) for flow, name, first, known in dumped["offsets"]}
        return marks

    def _place(self, number: int) -> Place:
        return Place(self._frames[number], self._positions[number], self._known_states[self._states[number]])

    def _thin(self) -> None:
        self._every *= 2
        self._frames, self._positions, self._states = self._frames[::2], self._positions[::2], self._states[::2]
        for direction, (first, known) in list(self._offsets.items()):
            kept = known[first % 2 :: 2]
            if kept:
                self._offsets[direction] = ((first + 1) // 2, kept)
            else:
                del self._offsets[direction]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
