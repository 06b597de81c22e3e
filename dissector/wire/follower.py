# SPDX-License-Identifier: GPL-2.0-or-later
"""One direction of a migration: drives the framer or the search, and hands out its events in stream order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, cast

from dissector.spec import findings, libxc
from dissector.wire import legacy
from dissector.wire.events import Finding, Gap, Resync, make_record
from dissector.wire.framer import Framer
from dissector.wire.machine import ENTRY, FORCED, REVERSE_STATES, Role, State
from dissector.wire.resync import GREETING_MAX, Candidate, Search, is_text
from dissector.wire.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from dissector.spec.findings import Rule
    from dissector.wire.events import Record
    from dissector.wire.flow import Flow
    from dissector.wire.limits import Limits


class Follower:
    """Turns one direction's bytes and gaps into events of its flow (a :class:`~dissector.wire.halfflow.Consumer`)."""

    def __init__(self, flow: Flow, limits: Limits, state: State = State.START) -> None:
        self.flow = flow
        self.limits = limits
        self.role: Role | None = None
        self.framer = Framer(state, 0, limits)
        self.search: Search | None = None
        self.position = 0
        """Stream offset of the next byte."""
        self.ignored = False
        """Nothing here is of interest."""
        self.ended = False
        self.concluded = False
        self.misframed = -1
        """Stream offset where bytes that came last were no record head; -1: there was none."""
        self._alignment: int | None = None
        self._pages_seen = False
        self._queue: deque[Unit | Resync | Finding] = deque()
        self._lost: list[tuple[int, int]] = []
        self._unseen: list[tuple[int, int]] = []
        self._told: set[str] = set()
        self.last_frame = 0
        self.last_time: int | None = None
        self.observer: Callable[[Unit], None] | None = None
        """Is shown each unit as soon as it was framed, before it is known what of it is lost."""

    @property
    def skip(self) -> int:
        """Stream bytes from here on that nobody needs."""
        if self.search is not None:
            return 0
        return self.framer.skip

    @property
    def held(self) -> int:
        """Records and other events that wait until no hole before them is open."""
        return len(self._queue)

    # -- what the half flow delivers -------------------------------------------------------------------------------

    def data(self, view: memoryview, frame: int, time: int | None) -> None:
        """Take the next bytes."""
        self.position += len(view)
        self.last_frame, self.last_time = frame, time
        if self.ignored or self.ended:
            return
        self.flow.statistics.seen(self.role or "forward", self.position, time)
        if self.search is not None:
            behind = self.flow.drops.behind
            if behind:
                self._once(findings.LIMIT_BEHIND, self.position - len(view), frame, time)
            self._searched(self.search.data(view, frame, time, scan=not behind))
            return
        if self.framer.entered is None:
            self.framer.whole = self.flow.start != "mid-stream"
        used = self.framer.data(view, frame, time)
        self._collect()
        if self.framer.failed:
            self._framing_lost(bytes(self.framer.want), view[used:], frame, time)

    def advance(self, count: int) -> None:
        """Account for bytes inside `skip` that were passed without being looked at."""
        self.position += count
        self.framer.advance(count, self.last_frame, self.last_time)

    def jump(self, count: int) -> None:
        """Account for bytes inside `skip` that nobody looked for, so that it is not known whether they came."""
        self._unseen.append((self.position, self.position + count))
        self.advance(count)

    def passed(self, frame: int, time: int | None) -> None:
        """Note which frame was the last whose bytes were passed by :meth:`advance`."""
        self.last_frame, self.last_time = frame, time
        if not (self.ignored or self.ended):
            self.flow.statistics.seen(self.role or "forward", self.position, time)

    def gap(self, count: int, frame: int, time: int | None) -> None:
        """Pass over bytes that are not there, now or never."""
        self.position += count
        self.last_frame, self.last_time = frame, time
        if self.ignored or self.ended:
            return
        if self.search is not None:
            self._searched(self.search.gap(count, frame, time))
            return
        begins_with_xl = self.role == "forward" and self.flow.entry == "xl" and self.flow.start == "syn"
        if begins_with_xl and self.framer.entered is None:
            self.framer.expect(State.XL_HEADER)
        self.framer.gap(count, frame, time)
        self._collect()
        if self.framer.failed:
            self._begin_search(self.framer.start).skip_to(self.position)

    def lost(self, start: int, end: int, reason: str, frame: int, time: int | None, since: int | None) -> None:
        """Remember stream bytes that will never come, and report them."""
        if self.ignored or self.ended:
            return
        if self._lost and self._lost[-1][1] == start:
            self._lost[-1] = (self._lost[-1][0], end)
        elif len(self._lost) >= self.limits.max_lost:
            self.limit(findings.LIMIT_LOST, self.limits.max_lost, start, frame, time)
            first, last = self._lost[-1]  # what the snap length cut is lost before an older hole is
            self._lost[-1] = (min(first, start), max(last, end))
        else:
            self._lost.append((start, end))
        why = cast("Literal['lost', 'snaplen', 'limit', 'capture end']", reason)
        if reason == "snaplen":
            self._once(findings.SNAPLEN, start, frame, time)
        cause = self.flow.drops.cause(since, time) if reason == "lost" else None
        self.flow.emit(Gap(self._number, self._direction, start, end - start, why, time, frame, cause))

    def settled(self, until: int) -> None:
        """Hand out everything that ends before offset `until`: no hole before it is open any more."""
        if self._queue and self.role is not None:
            self._release(until)

    def limit(self, rule: Rule, limit: int, offset: int, frame: int, time: int | None) -> None:
        """Report a limit that was hit, once."""
        self._once(rule, offset, frame or self.last_frame, time, limit=limit)

    def conclude(self) -> None:
        """No more bytes will come: finish what is being framed, or take the best that the search has."""
        if self.ignored or self.concluded:
            return
        self.concluded = True
        if self.search is None and self.framer.entered is None and self.framer.want and self.flow.forced in FORCED:
            self._believe(FORCED[self.flow.forced])
        if self.search is not None:
            self._search_ends(self.search)
        else:
            self.framer.end()
            self._collect()

    def _believe(self, state: State) -> None:
        """Take a stream that is too short to tell its header from others for what it was said to be."""
        framer = self.framer
        if framer.fits(state):
            framer.expect(state)
        else:
            self._framing_lost(bytes(framer.want), memoryview(b""), self.last_frame, self.last_time)

    def end(self) -> None:
        """No more bytes will come: hand out everything."""
        if self.ended:
            return
        self.conclude()
        if self.role is not None:
            self._release(None)
        self.ended = True
        self._queue.clear()

    # -- framing ---------------------------------------------------------------------------------------------------

    @property
    def _direction(self) -> Role:
        return self.role or "forward"

    @property
    def _number(self) -> int:
        """The flow's number; before it has one, -1 or -2 for the first or second direction."""
        if self.flow.announced:
            return self.flow.number
        return -1 if self is self.flow.followers[0] else -2

    def _collect(self) -> None:
        """Take units and findings from the framer."""
        framer = self.framer
        if self.role is None and framer.entered is not None:
            reverse = framer.entered in REVERSE_STATES
            self.flow.assign(self, "reverse" if reverse else "forward", ENTRY.get(framer.entered, "libxl"))
        if framer.mode:
            self.flow.note_mode(framer.mode)
        units = framer.units
        if units and (self._alignment is None or not self._pages_seen or self.observer is not None):
            self._look_at(units)
        self._queue.extend(units)
        units.clear()
        if framer.findings:
            self._take_findings(framer)

    def _look_at(self, units: list[Unit]) -> None:
        for unit in units:
            if self._alignment is None and unit.definition.layer != "xl" and self.role == "forward":
                self._alignment = unit.offset % 8
            if unit.definition is libxc.PAGE_DATA:
                self._pages_seen = True
            if self.observer is not None:
                self.observer(unit)

    def _take_findings(self, framer: Framer) -> None:
        for rule, offset, values in framer.findings:
            text = rule.text.format(**values)
            self._queue.append(
                Finding(rule, text, self._number, self._direction, offset, self.last_time, self.last_frame)
            )
        framer.findings.clear()

    def _framing_lost(self, seen: bytes, rest: memoryview, frame: int, time: int | None) -> None:
        """The bytes at hand are no record head: find out what they are, or search for the next one."""
        framer = self.framer
        self.misframed = framer.start
        greeting = False
        if framer.entered is None:
            name = legacy.identify(seen + bytes(rest[:64])) if self.flow.start != "mid-stream" else ""
            if name and self.role != "reverse":
                self._legacy(name)
                return
            if self.flow.forced:
                self.flow.assign(self, "forward", self.flow.forced)
            if self.flow.start != "mid-stream" and not self._lost and self.role is None:
                greeting = self._may_greet(seen + bytes(rest[:64]))
                if not greeting:
                    self.flow.not_a_migration()
                    return
            if self.role == "reverse" and framer.start == 0 and self.flow.start != "mid-stream":
                self._once(findings.REVERSE_UNKNOWN, 0, frame, time)
        else:
            text = seen[:16].hex(" ")
            self._queue.append(
                Finding(
                    findings.FRAMING,
                    findings.FRAMING.text.format(what=text),
                    self._number,
                    self._direction,
                    framer.start,
                    time,
                    frame,
                )
            )
        search = self._begin_search(framer.start)
        if greeting:
            search.greeting, search.role = True, "reverse"
        self._searched(search.data(memoryview(seen + bytes(rest)), frame, time))

    def _legacy(self, name: str) -> None:
        if self.role is None:
            self.flow.assign(self, "forward", "legacy")
        self.flow.entry = "legacy"
        self._once(findings.LEGACY, 0, self.last_frame, self.last_time, what=name)
        self.framer.state = State.LEGACY
        self.framer.failed = False
        self.framer.want.clear()
        self.framer.skip = 1 << 62

    # -- searching -------------------------------------------------------------------------------------------------

    def _begin_search(self, start: int) -> Search:
        framer = self.framer
        self.search = Search(start, self.limits, role=self.role, order=framer.order, alignment=self._alignment)
        self.search.pages_seen = self._pages_seen
        self.search.guest = {"x86 PV": "PV", "x86 HVM": "HVM"}.get(self.flow.statistics.guest, "")
        return self.search

    def _searched(self, candidate: Candidate | None) -> None:
        search = self.search
        assert search is not None
        self._greeted(search)
        if candidate is not None:
            self._adopt(search, candidate)
        elif self.flow.announced:
            return
        elif search.greeting:
            if search.searched > GREETING_MAX:
                self.ignored = True
                self.flow.not_a_migration()
        elif search.searched > self.limits.max_search:
            self.ignored = True
            self.flow.nothing_found(self.last_frame, self.last_time)

    def _may_greet(self, seen: bytes) -> bool:
        """Tell whether a direction begins with text that a banner may follow: the sender says nothing before that."""
        return self.flow.start == "syn" and self.flow.other(self).search is None and is_text(seen)

    def _greeted(self, search: Search) -> None:
        """The other direction may have told meanwhile what one that begins with text is."""
        if search.greeting and self.role is not None:
            search.greeting = False
            if self.role == "reverse":
                self._once(findings.REVERSE_UNKNOWN, 0, self.last_frame, self.last_time)

    def _adopt(self, search: Search, candidate: Candidate) -> None:
        """Go on with a chain of records that is proven."""
        framer = candidate.framer
        self.search = None
        if self.role is None:
            self.flow.assign(self, candidate.role, "xl" if search.greeting else "unknown")
            if search.greeting:
                self._once(findings.MESSAGE, 0, self.last_frame, self.last_time, what="the text before the banner")
        framer.strict = False
        framer.know_list_header(self.framer.list_header)
        framer.entered = self.framer.entered or framer.state
        framer.whole = self.framer.whole
        self.framer = framer
        first = framer.units[0] if framer.units else framer.unit
        if candidate.start > search.start:
            self._tell_resync(search, candidate, first)
        self._collect()
        if framer.failed:
            self._begin_search(framer.start).skip_to(self.position)

    def _tell_resync(self, search: Search, candidate: Candidate, first: Unit | None) -> None:
        self._queue.append(
            Resync(
                self._number,
                self._direction,
                search.start,
                candidate.start - search.start,
                f"{first.definition.layer} {first.name}" if first is not None else candidate.first,
                first.time if first is not None else self.last_time,
                first.first_frame if first is not None else self.last_frame,
            )
        )

    def _search_ends(self, search: Search) -> None:
        self._greeted(search)
        candidate = search.end(self.last_frame, self.last_time)
        if candidate is not None:
            self._adopt(search, candidate)
            if self.search is None:
                self.framer.end()
                self._collect()
                return
            search = self.search
        if self.role is not None and search.position > search.start:
            skipped = search.position - search.start
            self._queue.append(
                Resync(self._number, self._direction, search.start, skipped, "", self.last_time, self.last_frame)
            )

    # -- events ----------------------------------------------------------------------------------------------------

    def _once(self, rule: Rule, offset: int, frame: int, time: int | None, **values: object) -> None:
        if rule.id not in self._told:
            self._told.add(rule.id)
            self.flow.emit(
                Finding(rule, rule.text.format(**values), self._number, self._direction, offset, time, frame)
            )

    def _release(self, until: int | None) -> None:
        """Emit what ends before `until`; None: everything."""
        queue, flow, role = self._queue, self.flow, self.role or "forward"
        records: list[Record] = []
        while queue:
            item = queue[0]
            if isinstance(item, Unit):
                if until is not None and item.offset + item.size > until:
                    break
                lost = tuple(self._missing(item)) if self._lost or item.cut_at is not None else ()
                unseen = self._unseen_in(item) if self._unseen else ()
                time_end = item.time_end if item.time_end is not None else self.last_time
                last_frame = item.last_frame or self.last_frame
                records.append(make_record(item, flow.number, role, time_end, last_frame, lost, unseen, flow.contents))
            elif until is not None and (item.offset or 0) > until:
                break
            else:
                flow.emit_records(records)
                records = []
                flow.emit(item)
            queue.popleft()
        flow.emit_records(records)

    def _missing(self, unit: Unit) -> list[tuple[int, int]]:
        """Return the lost ranges inside a unit, and forget those that no later unit can have."""
        if unit.cut_at is not None and unit.cut_at < unit.end:
            self._lost.append((unit.cut_at, unit.end))
        if not self._lost:
            return []
        self._lost.sort()
        missing: list[tuple[int, int]] = []
        for start, end in self._lost:
            low, high = max(start, unit.offset), min(end, unit.end)
            if low >= high:
                continue
            if missing and sum(missing[-1]) == low:
                low = missing.pop()[0]
            missing.append((low, high - low))
        self._lost = [(start, end) for start, end in self._lost if end > unit.end]
        return missing

    def _unseen_in(self, unit: Unit) -> tuple[tuple[int, int], ...]:
        """Return the ranges inside a unit that nobody looked at, and forget them."""
        unseen = tuple((start, end - start) for start, end in self._unseen if start < unit.end)
        if unseen:
            self._unseen = [(start, end) for start, end in self._unseen if start >= unit.end]
        return unseen
