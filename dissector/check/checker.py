# SPDX-License-Identifier: GPL-2.0-or-later
"""Events in, findings out: runs the checks of each record type over the records of both directions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from dissector.check import colo, framing, hvm, libxc, libxl, pages, pv, xl
from dissector.check.ending import ending, permission_missing
from dissector.check.framing import judge
from dissector.check.model import checks_in
from dissector.check.session import Session
from dissector.spec import findings, rules
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dissector.check.model import Check
    from dissector.spec import model
    from dissector.spec.findings import Rule
    from dissector.wire.events import Event

CHECKS: tuple[Check, ...] = tuple(
    one for module in (xl, libxl, libxc, pages, pv, hvm, colo, framing) for one in checks_in(module)
)
"""Every check of a record."""


@cache
def checks_on(definition: model.Record) -> tuple[Check, ...]:
    """Return the checks that look at records of one kind."""
    return tuple(one for one in CHECKS if not one.on or definition in one.on)


class Checker:
    """Checks any number of migrations at once.

    Takes all events in order, those of the engine that are findings too; what `feed` gives back stands in for them.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._damaged = False

    def feed(self, event: Event) -> list[Finding]:
        """Take an event; return what is found with it."""
        if isinstance(event, Record):
            session = self._sessions.get(event.flow)
            return self._record(event, session) if session is not None else []
        if isinstance(event, Finding):
            return self._judged(event)
        if isinstance(event, Flow):
            if event.phase == "begin":
                self._sessions[event.flow] = Session(event)
                return []
            return self._end(event)
        if isinstance(event, Gap | Resync):
            self._missing(event)
        return []

    def _missing(self, event: Gap | Resync) -> None:
        session = self._sessions.get(event.flow)
        if session is None:
            return
        if isinstance(event, Gap):
            session.not_seen(event.direction, event.offset + event.length)
        elif event.offset == session.broken.get(event.direction):
            if event.found:
                del session.broken[event.direction]
        elif not event.found:
            session.not_seen(event.direction, event.offset + event.skipped)

    def _record(self, record: Record, session: Session) -> list[Finding]:
        session.meet(record)
        found = []
        for one in checks_on(record.definition):
            for hit in one.test(record, session):
                found.append(_finding(one.rule, hit.record or record, hit.at, hit.values))
        session.take(record)
        return found

    def _judged(self, finding: Finding) -> list[Finding]:
        if finding.rule is findings.CAPTURE_CUT:
            self._damaged = True
        session = self._sessions.get(-1 if finding.flow is None else finding.flow)
        if session is None:
            return [finding]
        judged = judge(finding, session)
        if judged is None:
            return []
        rule, values = judged
        if rule is finding.rule and not values:
            return [finding]
        return [replace(finding, rule=rule, text=rule.text.format(**values))]

    def _end(self, flow: Flow) -> list[Finding]:
        session = self._sessions.pop(flow.flow, None)
        if session is None:
            return []
        found = []
        for direction in flow.short:
            session.not_seen(direction, 1 << 64)
        if permission_missing(session, flow):
            problem = "the target failed, and hands back no permission to resume"
            found.append(self._at_end(rules.XL_PERMISSION, flow, session.reverse.last, "reverse", problem=problem))
        end = ending(session, flow, damaged=self._damaged)
        found.append(self._at_end(end.rule, flow, end.record or session.forward.last, "forward", text=end.text))
        return found

    @staticmethod
    def _at_end(rule: Rule, flow: Flow, record: Record | None, direction: Any, **values: object) -> Finding:
        offset = record.offset if record is not None else None
        text = rule.text.format(**values)
        return Finding(rule, text, flow.flow, direction, offset, flow.time, flow.frame, record)


def _finding(rule: Rule, record: Record, at: int, values: dict[str, object]) -> Finding:
    text = rule.text.format(**values)
    return Finding(
        rule, text, record.flow, record.direction, record.offset + at, record.time, record.first_frame, record
    )


def checked(batches: Iterable[list[Event]], checker: Checker | None = None) -> Iterator[list[Event]]:
    """Give the same events with the findings of a checker in place of those of the engine, also in what they add up to."""
    checker = checker or Checker()
    flows: dict[int | None, Counter[str]] = {}
    total: Counter[str] = Counter()
    for batch in batches:
        events: list[Event] = []
        for event in batch:
            found = checker.feed(event)
            for finding in found:
                flows.setdefault(finding.flow, Counter())[finding.severity] += 1
                total[finding.severity] += 1
            if isinstance(event, Flow) and event.phase == "end":
                events += found
                events.append(event)
            elif isinstance(event, Summary):
                events.append(replace(event, findings=dict(flows.pop(event.flow, Counter()))))
            elif isinstance(event, Total):
                events.append(replace(event, findings=dict(total)))
            elif isinstance(event, Finding):
                events += found
            else:
                events.append(event)
                events += found
        yield events
