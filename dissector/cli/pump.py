# SPDX-License-Identifier: GPL-2.0-or-later
"""From a reader through a selection into sinks, and what the process ends with."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dissector.cli import PROGRAM
from dissector.sources import CaptureError
from dissector.wire.events import Finding, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from dissector.indexed import Input
    from dissector.sinks import Output, Sink
    from dissector.spec.findings import Severity
    from dissector.wire.events import Event

OK: Final = 0
ERRORS_FOUND: Final = 1
TROUBLE: Final = 2
INTERRUPTED: Final = 130

NOTHING: Final[frozenset[Severity]] = frozenset()
ERRORS: Final[frozenset[Severity]] = frozenset({"error"})
WARNINGS_TOO: Final[frozenset[Severity]] = frozenset({"error", "warn"})

_AT_ONCE: Final = 4096
"""Most events whose lines are put together before they are written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to show what a reader finds."""

    selection: Callable[[Event], bool] | None
    """Which events are shown; None: all."""
    sinks: Callable[[Output], Sequence[Sink]]
    count: int | None = None
    """Stop after so many records."""
    judged: frozenset[Severity] = NOTHING
    """Findings of these severities make the exit status 1."""
    through: Callable[[Iterator[list[Event]]], Iterator[list[Event]]] = iter
    """What events pass on their way from the reader."""
    at_once: bool = False
    """Show each event as soon as it is known: the input may be a pipe that somebody still writes to."""

    def judges(self, events: Sequence[Event]) -> bool:
        """Tell whether one of the events makes the exit status 1."""
        judged = self.judged
        return bool(judged) and any(isinstance(event, Finding) and event.severity in judged for event in events)


def pump(reader: Input, plan: Plan, stdout: TextIO) -> int:
    """Show everything; return the exit status.

    A reader that goes away (``| head``) ends the process the way it ends tcpdump and grep: quietly, by SIGPIPE.
    """
    try:
        with _output(reader, stdout) as output:
            status = _show(reader, plan, output, stdout)
        stdout.flush()
    except BrokenPipeError:
        die_of_broken_pipe()
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):
            stdout.flush()
        return INTERRUPTED
    except CaptureError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return TROUBLE
    finally:
        reader.close()
    return status


def _show(reader: Input, plan: Plan, output: Output, stdout: TextIO) -> int:
    status = OK
    sinks = plan.sinks(output)
    left = plan.count
    try:
        for batch in plan.through(iter(reader.batches())):
            events: Sequence[Event] = batch
            if left is not None:
                events, left = _until(batch, plan.selection, left)
            if plan.judges(events):
                status = ERRORS_FOUND
            if plan.selection is not None:
                events = list(filter(plan.selection, events))
            if events:
                for start in range(0, len(events), _AT_ONCE):
                    for sink in sinks:
                        sink.write_all(events[start : start + _AT_ONCE])
                if plan.at_once:
                    stdout.flush()
            if left == 0:
                break
    except CaptureError:
        # What was read up to here is shown in full before the complaint.
        _close(sinks, stdout)
        raise
    _close(sinks, stdout)
    return status


def _until(
    events: Sequence[Event], selection: Callable[[Event], bool] | None, left: int
) -> tuple[Sequence[Event], int]:
    """Cut `events` behind the last of `left` records that are shown; return them, and how many are left then."""
    for number, event in enumerate(events, 1):
        if isinstance(event, Record) and (selection is None or selection(event)):
            left -= 1
            if not left:
                return events[:number], 0
    return events, left


def _close(sinks: Sequence[Sink], stdout: TextIO) -> None:
    for sink in sinks:
        sink.close()
    stdout.flush()


@contextlib.contextmanager
def _output(reader: Input, stdout: TextIO) -> Iterator[Output]:
    from dissector.cli.progress import Bar, wants_bar

    if wants_bar(reader, stdout, sys.stderr):
        with Bar(reader, stdout, sys.stderr) as bar:
            yield bar
    else:
        yield stdout


def die_of_broken_pipe() -> None:
    """End the process the way a program ends whose reader went away."""
    # Python would try to flush standard output once more on its way out, and complain.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
