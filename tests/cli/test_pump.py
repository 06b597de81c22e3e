# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from dissector.cli.pump import ERRORS, ERRORS_FOUND, INTERRUPTED, OK, TROUBLE, Plan, pump
from dissector.sinks import OneByOne
from dissector.sources import CaptureError
from tests.sample_events import FINDING, TOTAL, checkpoint_state, page_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.wire.events import Event


class Script:
    """A reader that yields events and then, perhaps, breaks."""

    bytes_read = 0
    bytes_total = None

    def __init__(self, *events: Event | BaseException) -> None:
        self.script = events
        self.closed = False

    def batches(self) -> Iterator[list[Event]]:
        for event in self.script:
            if isinstance(event, BaseException):
                raise event
            yield [event]

    def close(self) -> None:
        self.closed = True


class Names(OneByOne):
    """A sink that writes the names of events."""

    def __init__(self, output) -> None:
        self.output = output

    def write(self, event: Event) -> None:
        self.output.write(f"{getattr(event, 'type', event.event)} ")

    def close(self) -> None:
        self.output.write("closed")


def pumped(*events, **options) -> tuple[int, str]:
    stdout, reader = io.StringIO(), Script(*events)
    plan = Plan(options.pop("selection", lambda _: True), lambda output: [Names(output)], **options)
    status = pump(reader, plan, stdout)  # type: ignore[arg-type]
    assert reader.closed
    return status, stdout.getvalue()


def test_all_is_shown():
    assert pumped(page_data([1]), TOTAL) == (OK, "PAGE_DATA summary closed")


def test_selection_and_count():
    assert pumped(FINDING, page_data([1]), page_data([2]), TOTAL, count=1) == (OK, "finding PAGE_DATA closed")
    assert pumped(FINDING, page_data([1]), selection=lambda event: event is FINDING) == (OK, "finding closed")
    counted = {"count": 1, "selection": lambda event: event.event != "record" or event.type == "CHECKPOINT_STATE"}
    assert pumped(page_data([1]), checkpoint_state(1), page_data([2]), **counted) == (OK, "CHECKPOINT_STATE closed")


def test_strict():
    assert pumped(FINDING, judged=ERRORS)[0] == ERRORS_FOUND
    assert pumped(FINDING)[0] == OK
    # What is not shown counts all the same.
    assert pumped(FINDING, judged=ERRORS, selection=lambda _: False) == (ERRORS_FOUND, "closed")


def test_an_input_that_breaks_is_shown_up_to_there(capsys):
    status, shown = pumped(page_data([1]), CaptureError("x.pcap", "damaged at byte 99"))
    assert (status, shown) == (TROUBLE, "PAGE_DATA closed")
    assert capsys.readouterr().err == "xendissect: x.pcap: damaged at byte 99\n"


def test_interrupted():
    assert pumped(page_data([1]), KeyboardInterrupt()) == (INTERRUPTED, "PAGE_DATA ")


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        pumped(ZeroDivisionError())
