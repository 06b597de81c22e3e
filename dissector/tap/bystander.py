# SPDX-License-Identifier: GPL-2.0-or-later
"""Watching what passes without ever being waited for: bounded queues, a thread behind each, and giving up."""

from __future__ import annotations

import threading
import time as clock
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.tap.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dissector.tap.synthetic import Side

QUEUE_BYTES: Final = 64 << 20
STEP_BYTES: Final = 256
"""What a step costs beside its data."""
ENOUGH_BYTES: Final = 2 << 20
"""So much is looked at at once; less waits for more, but not for longer than `DELAY`: threads that take turns often
are what costs most."""
DELAY: Final = 0.05
"""Seconds."""
LINGER: Final = 10.0
"""Seconds that `Bystander.close` waits at most."""
_BEHIND: Final = 0.5
"""A bystander is behind when its queue is fuller than this."""


class Passed(NamedTuple):
    """`side` sent `data`."""

    time: int
    side: Side
    data: bytes


class Taken(NamedTuple):
    """The other side took `size` bytes of `side`."""

    time: int
    side: Side
    size: int


class Ended(NamedTuple):
    """The direction of `side` is over; `broken`: the other side takes no more, and left `unread` bytes of it."""

    time: int
    side: Side
    broken: bool
    unread: int = 0


Step = Passed | Taken | Ended


class GiveUp(Exception):  # noqa: N818  no error: it is how a bystander leaves
    """A bystander can not go on; why, in words."""


class Bystander(ABC):
    """Takes the steps of a conversation in a thread of its own.

    Args:
        name: of the thread.
        queue_bytes: bound of what waits for it; it gives up when that is reached.
    """

    too_slow = "it can not keep up"
    """Why it gives up when the queue is full."""

    def __init__(self, name: str, queue_bytes: int = QUEUE_BYTES) -> None:
        self.gave_up: str | None = None
        """Why it takes no more steps."""
        self.since = clock.time_ns()
        """Nothing that it is told about is older."""
        self._bound = queue_bytes
        self._queue: deque[Step] = deque()
        self._queued = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to take steps; those put before wait."""
        try:
            self._thread.start()
        except RuntimeError as error:  # no thread to be had: too many processes
            self._give_up(str(error))
            self.finish()

    def put(self, step: Step) -> None:
        """Queue a step, without waiting; nothing after it gave up."""
        size = _cost(step)
        with self._changed:
            if self.gave_up is not None:
                return
            if self._queued + size > self._bound:
                self.gave_up = self.too_slow
            else:
                self._queue.append(step)
                before, self._queued = self._queued, self._queued + size
                if before and not before < ENOUGH_BYTES <= self._queued:
                    return
            self._changed.notify()

    def close(self, linger: float = LINGER) -> bool:
        """Let it take what is queued, and finish; False: it did not in `linger` seconds, and was left alone."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is None:
            return True
        self._thread.join(linger)
        return not self._thread.is_alive()

    @property
    def filled(self) -> float:
        """How full its queue is, from 0 to 1."""
        return self._queued / self._bound

    @abstractmethod
    def begin(self) -> None:
        """Prepare, in the thread. `GiveUp` may be raised here and in `take`."""

    @abstractmethod
    def take(self, steps: Sequence[Step]) -> None:
        """Take what has happened."""

    @abstractmethod
    def finish(self) -> None:
        """End, behind the last step or after giving up (see `gave_up`); called once, even if `begin` gave up."""

    def _run(self) -> None:
        try:
            self.begin()
            while steps := self._next():
                self.take(steps)
                with self._changed:
                    self._queued -= sum(map(_cost, steps))
        except GiveUp as why:
            self._give_up(str(why))
        except Exception as error:  # whatever is wrong with a bystander, the conversation goes on
            self._give_up(f"{type(error).__name__}: {error}")
        with self._changed:
            self._queue.clear()
        try:
            self.finish()
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")

    def _next(self) -> Sequence[Step]:
        with self._changed:
            while not self._queue:
                if self._closing or self.gave_up is not None:
                    return ()
                self._changed.wait()
            if self._queued < ENOUGH_BYTES and not self._closing:
                self._changed.wait(DELAY)
            steps, self._queue = self._queue, deque()
            return steps

    def _give_up(self, why: str) -> None:
        with self._changed:
            self.gave_up = self.gave_up or why


def _cost(step: Step) -> int:
    return STEP_BYTES + (len(step.data) if isinstance(step, Passed) else 0)


def _behind(one: Bystander) -> float:
    """Return how far behind a bystander is, from 0 to 1."""
    return max(0.0, (one.filled - _BEHIND) / (1 - _BEHIND)) if one.gave_up is None else 0.0


class Crowd:
    """Tells several bystanders the same, in the same order; what a relay calls an observer.

    Args:
        bystanders: those that are told.
        pace: holds up who sends while one of them is behind.
    """

    def __init__(self, bystanders: Sequence[Bystander], pace: Pace | None = None) -> None:
        self.watching = bool(bystanders)
        """Whether one of them has not given up."""
        self.counts = [0, 0]
        """Bytes that each side sent while somebody was watching."""
        self._bystanders = bystanders
        self._pace = pace or Pace()
        self._latest = max((one.since for one in bystanders), default=0)
        self.order = threading.RLock()
        """See `dissector.tap.relay.Observer`."""

    def passed(self, side: Side, data: bytes) -> None:
        """See `dissector.tap.relay.Observer`."""
        with self.order:
            self.counts[side] += len(data)
            self._tell(Passed(self._now(), side, data))

    def taken(self, side: Side, count: int) -> None:
        """See `dissector.tap.relay.Observer`."""
        with self.order:
            self._tell(Taken(self._now(), side, count))
        self._pace.passed(side, count, max(map(_behind, self._bystanders), default=0.0))

    def ended(self, side: Side, *, broken: bool, unread: int = 0) -> None:
        """See `dissector.tap.relay.Observer`."""
        with self.order:
            self._tell(Ended(self._now(), side, broken, unread))

    def _now(self) -> int:
        # The clock may be set back; packets in a capture are not.
        self._latest = max(self._latest, clock.time_ns())
        return self._latest

    def _tell(self, step: Step) -> None:
        for one in self._bystanders:
            one.put(step)
        self.watching = any(one.gave_up is None for one in self._bystanders)
