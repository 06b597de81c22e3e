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
from dissector.check.model import PADDED, UNKNOWN, checks_in
from dissector.check.releases import Origin, objections
from dissector.check.session import Session
from dissector.spec import findings, rules
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dissector.check.model import Check
    from dissector.check.releases import Target
    from dissector.spec import model
    from dissector.spec.findings import Rule
    from dissector.wire.events import Event

CHECKS: tuple[Check, ...] = tuple(
    one for module in (xl, libxl, libxc, pages, pv, hvm, colo, framing) for one in checks_in(module)
)
"""Every check of a record."""
OBJECTIONS_MAX = 1000
"""Different things that are said against one stream with --for-xen."""


@cache
def checks_on(definition: model.Record) -> tuple[Check, ...]:
    """Return the checks that look at records of one kind."""
    wanted = UNKNOWN if definition.name == UNKNOWN.name else definition
    return tuple(one for one in CHECKS if wanted in one.on)


class _Followed:
    """One migration under way."""

    __slots__ = ("objections", "origin", "rejected", "session")

    def __init__(self, flow: Flow) -> None:
        self.session = Session(flow)
        self.origin = Origin()
        self.objections: set[str] = set()
        """What was said against it with --for-xen."""
        self.rejected = False
        """There is an error in what the sender sent: a receiver of any release rejects it."""


class Checker:
    """Checks any number of migrations at once.

    Takes all events in order, those of the engine that are findings too; what `feed` gives back stands in for them.

    Args:
        target: also say what a receiver of this release would reject.
    """

    def __init__(self, target: Target | None = None) -> None:
        self._followed: dict[int, _Followed] = {}
        self._damaged = False
        self._target = target

    def feed(self, event: Event) -> list[Finding]:
        """Take an event; return what is found with it."""
        found = self._found(event)
        for one in found:
            followed = self._followed.get(-1 if one.flow is None else one.flow)
            if followed is not None and one.severity == "error" and one.direction == "forward":
                followed.rejected = True
        return found

    def _found(self, event: Event) -> list[Finding]:
        if isinstance(event, Record):
            followed = self._followed.get(event.flow)
            return self._record(event, followed) if followed is not None else []
        if isinstance(event, Finding):
            return self._judged(event)
        if isinstance(event, Flow):
            if event.phase == "begin":
                self._followed[event.flow] = _Followed(event)
                return []
            return self._end(event)
        if isinstance(event, Gap | Resync):
            return self._missing(event)
        return []

    def _missing(self, event: Gap | Resync) -> list[Finding]:
        followed = self._followed.get(event.flow)
        if followed is None:
            return []
        session = followed.session
        if isinstance(event, Gap):
            session.not_seen(event.direction, event.offset + event.length)
        elif event.offset == session.broken.get(event.direction):
            if event.found:
                del session.broken[event.direction]
        elif not event.offset and session.flow.start == "file" and session.forward.first is None:
            # A stream that is taken for this because the user says so: nobody looked at its first bytes before.
            rule = findings.FRAMING
            text = rule.text.format(what=f"the stream does not begin with the header of {session.flow.entry}")
            if not event.found:
                session.broken[event.direction] = 0
            return [Finding(rule, text, event.flow, event.direction, 0, event.time, event.frame)]
        elif not event.found:
            session.not_seen(event.direction, event.offset + event.skipped)
        return []

    def _record(self, record: Record, followed: _Followed) -> list[Finding]:
        session = followed.session
        session.meet(record)
        found = []
        checks = checks_on(record.definition)
        if "padding" in record.extra:
            checks += checks_on(PADDED)
        for one in checks:
            for hit in one.test(record, session):
                found.append(_finding(one.rule, hit.record or record, hit.at, hit.values))  # noqa: PERF401
        if record.direction == "forward":
            followed.origin.take(record)
            if self._target is not None:
                found += self._objections(record, followed.objections, self._target)
        session.take(record)
        return found

    @staticmethod
    def _objections(record: Record, said: set[str], target: Target) -> list[Finding]:
        """Say what a receiver objects to, the same thing once."""
        found = []
        for hit, certain in objections(record, target):
            rule = rules.REJECTED if certain else rules.DOUBTFUL
            made = _finding(rule, record, hit.at, {"release": target, **hit.values})
            if made.text not in said and len(said) < OBJECTIONS_MAX:
                said.add(made.text)
                found.append(made)
        return found

    def _judged(self, finding: Finding) -> list[Finding]:
        if finding.rule is findings.CAPTURE_CUT:
            self._damaged = True
        followed = self._followed.get(-1 if finding.flow is None else finding.flow)
        if followed is None:
            return [finding]
        judged = judge(finding, followed.session)
        if judged is None:
            return []
        rule, values = judged
        if rule is finding.rule and not values:
            return [finding]
        return [replace(finding, rule=rule, text=rule.text.format(**values))]

    def _end(self, flow: Flow) -> list[Finding]:
        followed = self._followed.pop(flow.flow, None)
        if followed is None:
            return []
        session = followed.session
        found = []
        for direction in flow.short:
            session.not_seen(direction, 1 << 64)
        if permission_missing(session, flow):
            problem = "the target failed, and hands back no permission to resume"
            found.append(self._at_end(rules.XL_PERMISSION, flow, session.reverse.last, "reverse", problem=problem))
        origin = followed.origin.text()
        if origin:
            found.append(self._at_end(rules.SENDER, flow, None, "forward", text=origin))
        secondary = session.secondary
        if secondary:
            found.append(self._at_end(rules.SECONDARY, flow, None, "reverse", text=secondary))
        objected = followed.objections or followed.rejected
        if self._target is not None and not objected and session.forward.first is not None:
            said = {"release": self._target, "doubt": self._target.doubt}
            found.append(self._at_end(rules.ACCEPTED, flow, None, "forward", **said))
        end = ending(session, flow, damaged=self._damaged)
        where = end.record or session.forward.last
        direction = where.direction if where is not None else "forward"
        found.append(self._at_end(end.rule, flow, where, direction, text=end.text))
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
    """Give the same events with the findings of a checker in place of the engine's, also in what they add up to."""
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
