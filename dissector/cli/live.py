# SPDX-License-Identifier: GPL-2.0-or-later
"""From live sources into sinks, a file and the status; and what the process ends with."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from dissector.cli import PROGRAM
from dissector.cli.fail import fail
from dissector.cli.pump import ERRORS_FOUND, OK, TROUBLE, die_of_broken_pipe
from dissector.cli.recording import removal_lines
from dissector.cli.status import DrawnStatus, status_for
from dissector.live import privileges
from dissector.sinks.progress import ProgressSink
from dissector.watch import Watch
from dissector.wire.events import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from dissector.cli.pump import Plan
    from dissector.cli.recording import Wanted
    from dissector.cli.status import PlainStatus
    from dissector.live.source import LiveSource
    from dissector.recording.recording import Recording
    from dissector.sinks import Output, Sink
    from dissector.wire.events import Event
    from dissector.wire.limits import Limits

NEEDED_LATER: Final = ("ipaddress", "json", "dissector.recording.files", "dissector.recording.recording")
"""Modules that are otherwise imported when they are first needed: they may be out of reach without privileges."""
PATIENCE: Final = 10.0
"""Seconds without progress after which the end of a file is given up."""
_NO_READER: Final = -1


def run(
    sources: Sequence[LiveSource],
    plan: Plan,
    stdout: TextIO,
    *,
    limits: Limits,
    record: Wanted,
    duration: float | None,
    status: str,
) -> int:
    """Capture, show and write until the end; return the exit status."""
    autostop = record.autostop
    seconds = duration
    if record.path is None and autostop is not None and autostop.seconds is not None:
        seconds = autostop.seconds if seconds is None else min(seconds, autostop.seconds)
    packets = autostop.packets if autostop is not None and record.path is None else None
    watch = Watch(sources, limits=limits, duration=seconds, packets=packets)
    result = OK
    try:
        with _signals(watch):
            session = _Session(watch, plan, stdout, status)
            for name in NEEDED_LATER:
                importlib.import_module(name)
            with privileges.dropped_for(record.path):
                if record.path is not None:
                    watch.recording = _file(record, watch)
            result = session.run()
    except BrokenPipeError:
        result = _NO_READER
    finally:
        if watch.recording is not None:  # what was captured belongs into the file, whatever happened
            watch.recording.finish(PATIENCE)
        watch.close()
    if result == _NO_READER:
        die_of_broken_pipe()
    return result


def _file(record: Wanted, watch: Watch) -> Recording:
    try:
        return record.open(watch.engine, "sniff", "drop")
    except OSError as error:
        fail(f"{record.path}: {error.strerror}")


@contextlib.contextmanager
def _signals(watch: Watch) -> Iterator[None]:
    """Let Ctrl-C and friends end the capture, with everything that belongs to the end; a second one is final."""

    def handle(number: int, frame: object) -> None:
        watch.stop("interrupted" if number == signal.SIGINT else signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _file_name(recording: Recording) -> str:
    path = recording.writer.path
    return "standard output" if path == "-" else path


class _Session:
    """One capture and what is shown of it."""

    def __init__(self, watch: Watch, plan: Plan, stdout: TextIO, status: str) -> None:
        self._watch = watch
        self._plan = plan
        self._stdout = stdout
        self._progress = ProgressSink()
        self._status: DrawnStatus | PlainStatus | None = status_for(watch, self._progress, sys.stderr, status)
        output: Output = stdout
        if isinstance(self._status, DrawnStatus) and stdout.isatty():
            output = self._status.share(stdout)
        self._shared = output is not stdout
        self._sinks: Sequence[Sink] = plan.sinks(output)
        self._left = plan.count
        self._result = OK
        self._told: str | None = None

    def run(self) -> int:
        watch, status = self._watch, self._status
        self._begin()
        begun = False
        for events in self._plan.through(watch.events()):
            begun = begun or watch.frames > 0 or watch.trouble is None
            if events and begun:  # of what could not be read at all there is nothing to sum up
                self._show(events)
            if watch.trouble != self._told and not watch.ending:
                self._told = watch.trouble
                if status is not None:
                    status.clear()
                self._say(f"{watch.trouble}; the other captures go on")
            if status is not None and not watch.ending:
                status.tick()
        for sink in self._sinks:
            sink.close()
        if status is not None:
            status.clear()
        self._stdout.flush()
        if watch.recording is not None:
            self._finish(watch.recording)
        self._end()
        return TROUBLE if watch.trouble is not None else self._result

    def _show(self, events: Sequence[Event]) -> None:
        shown = False
        if self._plan.judges(events):
            self._result = ERRORS_FOUND
        for event in events:
            self._progress.write(event)
            if self._left == 0 and isinstance(event, Record):
                continue
            if self._plan.selection is not None and not self._plan.selection(event):
                continue
            shown = True
            for sink in self._sinks:
                sink.write(event)
            if self._left is not None and isinstance(event, Record):
                self._left -= 1
                if not self._left:
                    self._watch.stop(f"{self._plan.count} records are shown")
        if shown and not self._shared:
            self._stdout.flush()

    # -- what is said on standard error ------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._status is None:
            return
        names = ", ".join(f"{source.name} ({source.method})" for source in self._watch.sources)
        target = f", packets to {_file_name(self._watch.recording)}" if self._watch.recording is not None else ""
        self._say(f"capturing on {names}{target}")

    def _finish(self, recording: Recording) -> None:
        recording.finish(PATIENCE)
        writer = recording.writer
        if writer.failed is not None:
            if writer.path == "-" and writer.failed.endswith(os.strerror(errno.EPIPE)):
                raise BrokenPipeError
            self._watch.trouble = writer.failed
        elif writer.dropped and writer.stopped is None:
            self._say(f"{writer.dropped:,} packets are not in the file: it is written too slowly")
        if self._status is not None and writer.failed is None:
            files = f" and {writer.files - 1} files before it" if writer.files > 1 else ""
            self._say(f"{writer.packets:,} packets in {_file_name(recording)}{files}")
        for line in removal_lines(recording):
            self._say(line)

    def _end(self) -> None:
        watch = self._watch
        if watch.trouble is not None and watch.trouble != self._told:
            self._say(watch.trouble)
            return
        if self._status is None:
            return
        received, dropped = watch.received, watch.dropped
        said = f"ended: {watch.ending}; {watch.frames:,} packets dissected"
        if received is not None:
            said += f", {received:,} received"
        said += f", {dropped:,} dropped by the kernel" if dropped is not None else ", nobody tells what was dropped"
        self._say(said)

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{PROGRAM}: {line}\n")
        sys.stderr.flush()
