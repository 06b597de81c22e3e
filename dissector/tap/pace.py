# SPDX-License-Identifier: GPL-2.0-or-later
"""How much a transfer is held up so that its recording can keep up."""

from __future__ import annotations

import time as clock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dissector.tap.synthetic import Side

FLOOR: Final = 512 << 20
"""Bytes per second: 4.3 Gbit/s, about what one ssh encrypts. Who sends no faster is not held up."""
_LEAST: Final = 0.002
"""Seconds; less is saved up, since the system does not wake a sleeper that precisely."""


class Pace:
    """Holds up who sends while somebody who watches is behind.

    Args:
        rate: bytes per second that a side is slowed down to; 0: never held up; None: to `FLOOR`, but never to less
            than half of the speed it has.
    """

    def __init__(self, rate: int | None = None) -> None:
        self._rate = FLOOR if rate is None else rate
        self._halves_at_most = rate is None
        self._since = [clock.monotonic()] * 2
        """When each side was let go last."""
        self._owed = [0.0, 0.0]
        """Seconds that each side has still to wait; below 0: that it waited too long."""

    def passed(self, side: Side, size: int, behind: float) -> None:
        """Wait, if somebody is behind, because `side` has sent `size` bytes.

        Args:
            side: who sent.
            size: bytes.
            behind: how far, from 0 (not at all) to 1 (about to give up): the further, the longer is the wait.
        """
        now = clock.monotonic()
        if behind > 0 and self._rate:
            owed = self._owed[side] + self._pause(size, now - self._since[side], behind)
            if owed >= _LEAST:
                clock.sleep(owed)
                before, now = now, clock.monotonic()
                owed -= now - before
            self._owed[side] = owed
        elif self._owed[side]:
            self._owed[side] = 0.0
        self._since[side] = now

    def _pause(self, size: int, took: float, behind: float) -> float:
        """Return how long to wait for bytes that took `took` seconds to come and to go on."""
        due = max(0.0, size / self._rate - took)
        return min(due, took * min(behind, 1.0)) if self._halves_at_most else due
