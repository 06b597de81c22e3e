# SPDX-License-Identifier: GPL-2.0-or-later
"""Live packets in, events out: waits for the sources, tells the engine what they lost, and knows when to end."""

from __future__ import annotations

import contextlib
import os
import select
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from dissector.live.source import Counters, LiveError
from dissector.walk import Walk
from dissector.wire.engine import Engine
from dissector.wire.events import Total

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from dissector.live.source import LiveSource
    from dissector.recording.recording import Recording
    from dissector.sources import Chunk
    from dissector.wire.events import Event
    from dissector.wire.limits import Limits

TICK: Final = 0.2
"""Seconds between two looks at the clock, the counters and the state of files."""
TURN: Final = 0.02
"""Seconds after which the next source has its turn, if several have packets."""
QUIET: Final = 1.0
"""Seconds without a packet of a migration after which the engine is asked what it still waits for."""
PATIENCE: Final = 5.0
"""Seconds that sources have to end after they were told to."""
_MUCH, _LITTLE = 0.5, 0.1
"""Shares of the kernel's buffer: with more than the first waiting the engine is told to hurry, until the second."""
_SLOW_COUNTERS: Final = 6_000_000_000
"""Nanoseconds by which the counters of a child process are old, at most."""
_NOTHING: Final = Counters(None, None)


class Watch:
    """Dissects what live sources capture until they end or `stop` is called.

    Args:
        sources: running captures; closed by `close`.
        limits: bounds on memory.
        duration: seconds after which the capture ends; None: never.
        packets: packets after which it ends; None: never.

    Attributes:
        engine: Dissects; a `Recording` wants it.
        recording: Where packets are written; set it before `events`.
        ending: Why the capture ends or ended; empty while it goes on.
        trouble: What went wrong with a source or the file, in a line; None: nothing.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        *,
        limits: Limits | None = None,
        duration: float | None = None,
        packets: int | None = None,
    ) -> None:
        self.sources = list(sources)
        self.engine = Engine(limits)
        self.recording: Recording | None = None
        self.ending = ""
        self.trouble: str | None = None
        self.began = time.time_ns()
        self._walk = Walk(self.engine)
        self._duration = duration
        self._packets = packets
        self._counters: dict[str, Counters] = {}
        self._read_at = {source.name: self.began for source in sources}
        self._latest_at = time.monotonic()
        self._seen: object = None
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)

    # -- for whoever looks on ----------------------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        """Packets dissected so far."""
        return self._walk.number

    @property
    def received(self) -> int | None:
        """Packets that passed the filter, those dropped included; None: nobody tells (yet)."""
        return self._sum("received")

    @property
    def dropped(self) -> int | None:
        """Packets that the capture lost, here or in its child; None: nobody tells (yet)."""
        return self._sum("dropped")

    def stop(self, why: str) -> None:
        """End the capture soon; may be called from a signal handler or another thread."""
        self.ending = self.ending or why
        with contextlib.suppress(OSError):
            os.write(self._wake_writer, b"\0")

    def close(self) -> None:
        """Give everything back."""
        for source in self.sources:
            source.close()
        for descriptor in (self._wake_reader, self._wake_writer):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def events(self) -> Iterator[list[Event]]:
        """Yield events as they become known, and at least every `TICK` seconds a list, which may be empty."""
        if self.recording is not None:
            self._walk.recorder = self.recording.recorder
        self.engine.drops.counted = self._counts_at_once
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        waiting = {source.fileno(): source for source in self.sources}
        for descriptor in waiting:
            poll.register(descriptor, select.POLLIN)
        tick = time.monotonic() + TICK
        until = None if self._duration is None else time.monotonic() + self._duration
        while waiting and not self.ending:
            now = time.monotonic()
            ahead = tick if until is None else min(tick, until)
            ready = poll.poll(max(0, (ahead - now) * 1000))
            for descriptor, _ in ready:
                source = waiting.get(descriptor)
                if source is None:
                    continue
                yield from self._take(source, tick if len(ready) == 1 else time.monotonic() + TURN)
                if source.ended is not None:
                    poll.unregister(descriptor)
                    del waiting[descriptor]
                    if not self.ending and not waiting:
                        self.ending = source.ended
            now = time.monotonic()
            if now >= tick:
                tick = now + TICK
                yield self._tick()
            if until is not None and now >= until:
                self.stop(f"{self._duration:g} s have passed")
        yield from self._end(list(waiting.values()))

    def _take(self, source: LiveSource, until: float, *, last: bool = False) -> Iterator[list[Event]]:
        """Take what a source has, but no further chunk after the time `until`, or (unless `last`) when `ending`."""
        chunks, drops = cast("Generator[Chunk]", source.take()), self.engine.drops
        try:
            for chunk in chunks:
                if source.method == "ring":
                    self._count(source)
                drops.behind = source.fills(_MUCH) or (drops.behind and source.fills(_LITTLE))
                yield from self._walk.chunk(chunk)
                if self._packets is not None and self._walk.number >= self._packets:
                    self.stop(f"{self._walk.number} packets are captured")
                if chunk.reason is None and ((self.ending and not last) or time.monotonic() >= until):
                    break
        except LiveError as error:
            source.ended = source.ended or str(error)
            self.trouble = self.trouble or str(error)
        finally:
            chunks.close()  # a ring gives its block back
        if source.ended is not None and not self.ending and source.method != "stdin":
            self.trouble = self.trouble or source.ended

    def _tick(self) -> list[Event]:
        for source in self.sources:
            self._count(source)
        if self.recording is not None:
            self._look_at_file(self.recording)
        now = time.monotonic()
        seen = self.engine.segments, self.engine.progress()
        if seen != self._seen:  # packets of other connections do not count: there may always be some
            self._seen, self._latest_at = seen, now
            return []
        return self.engine.quiet(now - self._latest_at) if now - self._latest_at >= QUIET else []

    def _end(self, running: list[LiveSource]) -> Iterator[list[Event]]:
        """Stop the sources, take what they still have, and say what it all adds up to."""
        for source in running:
            source.stop()
        deadline = time.monotonic() + PATIENCE
        while running and time.monotonic() < deadline:
            for source in running:
                yield from self._take(source, deadline, last=True)
            running = [source for source in running if source.ended is None]
            if running:
                select.select([source.fileno() for source in running], [], [], TICK)
        for source in self.sources:
            self._count(source)
        dropped = self.dropped
        if dropped:
            yield self.engine.capture_dropped(dropped)
        yield [
            replace(event, received=self.received, dropped=dropped) if isinstance(event, Total) else event
            for event in self.engine.finish()
        ]
        if self.recording is not None:
            self._count_in_file(self.recording)

    # -- counters ----------------------------------------------------------------------------------------------------

    def _count(self, source: LiveSource) -> None:
        """Read the counters of a source, and tell the engine when it dropped packets."""
        now, before = time.time_ns(), self._counters.get(source.name, _NOTHING)
        counters = source.counters()
        self._counters[source.name] = counters
        if counters.dropped is None:
            return
        since, self._read_at[source.name] = self._read_at[source.name], now
        if counters.dropped > (before.dropped or 0) and source.method != "ssh":  # another host has another clock
            self.engine.drops.add(since if source.method == "ring" else since - _SLOW_COUNTERS, now)
            self.engine.drops.counted = self._counts_at_once

    @property
    def _counts_at_once(self) -> bool:
        """Whether drops are known before the packets behind them are dissected: else no span proves nothing."""
        return all(source.method == "ring" for source in self.sources)

    def _sum(self, name: str) -> int | None:
        counts = [getattr(self._counters.get(source.name), name, None) for source in self.sources]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def _look_at_file(self, recording: Recording) -> None:
        writer = recording.writer
        recording.batch.flush()
        self._count_in_file(recording)
        writer.write((), 0, time.time_ns())
        if writer.failed is not None:
            self.trouble = writer.failed
            self.stop(writer.failed)
        elif writer.stopped is not None:
            self.stop(writer.stopped)

    def _count_in_file(self, recording: Recording) -> None:
        """Say what was counted until now, for the end of the file."""
        for number, source in self._interfaces(recording):
            recording.writer.statistics(number, **self._counters[source]._asdict())

    def _interfaces(self, recording: Recording) -> Iterator[tuple[int, str]]:
        """Give the numbers of the interfaces in the file, and which source each belongs to."""
        for (form, _, _), number in recording.batch.interfaces.items():
            name = form.path if form is not None else ""
            if name in self._counters:
                yield number, name
