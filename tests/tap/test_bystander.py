# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING

from dissector.tap import bystander
from dissector.tap.bystander import Bystander, Crowd, Ended, GiveUp, Passed, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dissector.tap.bystander import Step


class Witness(Bystander):
    """Remembers; `gate` holds it up, `fault` happens at the first step."""

    def __init__(
        self, *, fault: Callable[[], None] = lambda: None, held: bool = False, queue_bytes: int = 10_000
    ) -> None:
        super().__init__("witness", queue_bytes)
        self.seen: list[Step] = []
        self.finished = 0
        self.gate = threading.Event()
        if not held:
            self.gate.set()
        self._fault = fault

    def begin(self) -> None:
        self.gate.wait(30)

    def take(self, steps: Sequence[Step]) -> None:
        self._fault()
        self.seen += steps

    def finish(self) -> None:
        self.finished += 1


def raising(error: Exception) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


def test_everyone_sees_the_same_in_time_order(monkeypatch):
    first, second = Witness(), Witness()
    crowd = Crowd([first, second])
    clock = iter([first.since + 50, first.since + 20, first.since + 90])  # set back once
    monkeypatch.setattr(bystander.clock, "time_ns", lambda: next(clock))
    for one in (first, second):
        one.start()
    crowd.passed(0, b"abc")
    crowd.taken(0, 3)
    crowd.ended(1, broken=True)
    assert crowd.watching
    assert first.close()
    assert second.close()
    assert first.seen == second.seen
    assert [type(step) for step in first.seen] == [Passed, Taken, Ended]
    assert all(a.time <= b.time for a, b in pairwise(first.seen))
    assert (first.finished, crowd.counts) == (1, [3, 0])


def test_a_full_queue_is_left_and_what_was_queued_is_still_taken():
    slow, fine = Witness(held=True), Witness(queue_bytes=1 << 20)
    crowd = Crowd([slow, fine])
    for one in (slow, fine):
        one.start()
    for _ in range(20):
        crowd.passed(0, bytes(1000))
    assert slow.gave_up == Witness.too_slow
    assert crowd.watching
    slow.gate.set()
    assert slow.close()
    assert fine.close()
    assert 0 < len(slow.seen) < 10
    assert (len(fine.seen), fine.gave_up, slow.finished) == (20, None, 1)


def test_faults_are_not_passed_on():
    for error, why in (
        (GiveUp("no more"), "no more"),
        (KeyError("bug"), "KeyError: 'bug'"),
        (MemoryError(), "MemoryError: "),
    ):
        one = Witness(fault=raising(error))
        crowd = Crowd([one])
        one.start()
        crowd.passed(0, b"x")
        assert one.close()
        crowd.passed(0, b"y")
        assert (one.gave_up, one.finished, one.seen) == (why, 1, [])
        assert not crowd.watching


def test_nobody_watches():
    assert not Crowd([]).watching


def test_one_that_hangs_is_left_alone():
    one = Witness(held=True)
    one.start()
    assert not one.close(0.01)
    one.gate.set()
    assert one.close()


def test_no_thread_to_be_had(monkeypatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    one = Witness()
    one.start()
    assert one.close()
    assert (one.gave_up, one.finished) == ("can't start new thread", 1)
