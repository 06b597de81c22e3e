# SPDX-License-Identifier: GPL-2.0-or-later
"""One JSON object per event and line: the published contract, docs/json.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec.json

from dissector.sinks.clock import rfc3339
from dissector.sinks.json_pages import page_data_fields
from dissector.sinks.loss import lost_pfns
from dissector.wire import codec
from dissector.wire.events import Event, Finding, Flow, Gap, Record, Resync, Summary, Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dissector.sinks import Output

_REMEMBERED: Final = 4096
"""Kinds of records of which parts of lines are remembered."""
SCHEMA: Final = 1
"""Raised when a consumer of the old form would misread the new one; new keys alone do not raise it."""


def fields_object(record: Record, *, pfns: bool = False, deep: bool = False) -> dict[str, Any]:
    """Return the decoded body of a record; `pfns`: whole pfn lists, `deep`: all that is inside of blobs."""
    if not deep:
        return record.decode(pfns=pfns)
    length = record.body_length
    values = codec.decode(record.definition, record.body, record.order, length, pfns=pfns, deep=True)
    return {**values, **record.extra}


def record_object(record: Record, *, pfns: bool = False, deep: bool = False) -> dict[str, Any]:
    """Return the JSON object of a record."""
    shown: dict[str, Any] = {
        "event": "record",
        "flow": record.flow,
        "direction": record.direction,
        "layer": record.layer,
        "type": record.type,
    }
    if record.type_id is not None:
        shown["type_id"] = record.type_id
    shown["offset"] = record.offset
    shown["size"] = record.size
    if record.type_id is not None:
        shown["body_length"] = record.body_length
    shown["time"] = rfc3339(record.time)
    shown["time_end"] = rfc3339(record.time_end)
    shown["first_frame"] = record.first_frame or None
    shown["last_frame"] = record.last_frame or None
    shown["complete"] = record.complete
    if record.unseen:
        shown["unseen"] = record.unseen
    if record.complete is False:
        shown["lost"] = record.lost
        pages = lost_pfns(record)
        if pages:
            shown["lost_pfns"] = pages
    shown["fields"] = fields_object(record, pfns=pfns, deep=deep)
    return shown


def _endpoint(end: tuple[str, int]) -> dict[str, Any] | None:
    return {"address": end[0], "port": end[1]} if end[0] else None


def _flow(flow: Flow) -> dict[str, Any]:
    return {
        "event": "flow",
        "flow": flow.flow,
        "phase": flow.phase,
        "sender": _endpoint(flow.sender),
        "receiver": _endpoint(flow.receiver),
        "start": flow.start,
        "entry": flow.entry,
        "mode": flow.mode,
        "time": rfc3339(flow.time),
        "frame": flow.frame or None,
        "end": flow.end,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    shown = {
        "event": "gap",
        "flow": gap.flow,
        "direction": gap.direction,
        "offset": gap.offset,
        "length": gap.length,
        "reason": gap.reason,
        "time": rfc3339(gap.time),
        "frame": gap.frame or None,
    }
    if gap.cause is not None:
        shown["cause"] = gap.cause
    return shown


def _resync(resync: Resync) -> dict[str, Any]:
    return {
        "event": "resync",
        "flow": resync.flow,
        "direction": resync.direction,
        "offset": resync.offset,
        "skipped": resync.skipped,
        "found": resync.found or None,
        "time": rfc3339(resync.time),
        "frame": resync.frame or None,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": "finding",
        "id": finding.id,
        "rule": finding.rule.number,
        "severity": finding.severity,
        "text": finding.text,
        "section": finding.rule.section or None,
        "flow": finding.flow,
        "direction": finding.direction,
        "offset": finding.offset,
        "time": rfc3339(finding.time),
        "frames": [finding.frame] if finding.frame else [],
    }
    record = finding.record
    if record is not None:
        last = record.last_frame
        if finding.frame and last > record.first_frame == finding.frame:
            shown["frames"] = [finding.frame, last]
        shown["record"] = {"layer": record.layer, "type": record.type, "offset": record.offset, "size": record.size}
    return shown


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "event": "summary",
        "scope": "flow",
        "flow": summary.flow,
        "mode": summary.mode,
        "entry": summary.entry,
        "guest": summary.guest or None,
        "xen": summary.xen or None,
        "version": summary.version,
        "bytes": dict(summary.bytes),
        "records": dict(summary.records),
        "incomplete": summary.incomplete,
        "passes": summary.passes,
        "checkpoints": summary.checkpoints,
        "pages": summary.pages,
        "lost": dict(summary.lost),
        "skipped": dict(summary.skipped),
        "seconds": summary.seconds,
        "findings": _counts(summary.findings),
        "outcome": summary.outcome or None,
    }


def _total(total: Total) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": "summary",
        "scope": "input",
        "frames": total.frames,
        "flows": total.flows,
        "other_connections": total.other_connections,
        "findings": _counts(total.findings),
    }
    if total.received is not None or total.dropped is not None:
        shown["capture"] = {"received": total.received, "dropped": total.dropped}
    return shown


def _counts(findings: Mapping[str, int]) -> dict[str, int]:
    return {severity: findings.get(severity, 0) for severity in ("error", "warn", "note")}


def event_object(event: Event, *, pfns: bool = False, deep: bool = False) -> dict[str, Any]:
    """Return the JSON object of an event, as plain Python values."""
    match event:
        case Record():
            return record_object(event, pfns=pfns, deep=deep)
        case Flow():
            return _flow(event)
        case Gap():
            return _gap(event)
        case Resync():
            return _resync(event)
        case Finding():
            return _finding(event)
        case Summary():
            return _summary(event)
        case Total():
            return _total(event)


def _quoted(time: int | None) -> str:
    text = rfc3339(time)
    return "null" if text is None else f'"{text}"'


class JsonSink:
    """Writes JSON lines; the stream has to be UTF-8.

    Of a complete record most of the line was written before, for another record: what its type, its size and its packet
    tell is kept as text, and put together with the offset and the fields.
    """

    def __init__(self, stream: Output, *, pfns: bool = False, deep: bool = False) -> None:
        self._out = stream.write
        self._encode = msgspec.json.Encoder().encode
        self._pfns = pfns
        self._deep = deep
        self._first = True
        self._around: dict[tuple[object, ...], tuple[str, str]] = {}
        self._when: tuple[object, ...] = ()
        self._when_text = ""

    def write(self, event: Event) -> None:
        """Write one line."""
        self._out(self._line(event))

    def write_all(self, events: Iterable[Event]) -> None:
        """Write a line for each event."""
        self._out("".join([self._line(event) for event in events]))

    def _line(self, event: Event) -> str:
        if self._first or not isinstance(event, Record) or not event.complete:
            return self._encoded(event)
        record = event
        what = (
            record.flow,
            record.direction,
            record.layer,
            record.type,
            record.type_id,
            record.size,
            record.body_length,
        )
        before, behind = self._around.get(what) or self._learn(what, record)
        when = (record.time, record.time_end, record.first_frame, record.last_frame)
        if when != self._when:
            self._when, self._when_text = when, self._times(record)
        fields = page_data_fields(record, pfns=self._pfns)
        if fields is None:
            fields = self._encode(fields_object(record, pfns=self._pfns, deep=self._deep)).decode()
        return f"{before}{record.offset}{behind}{self._when_text}{fields}}}\n"

    def _encoded(self, event: Event) -> str:
        shown = event_object(event, pfns=self._pfns, deep=self._deep)
        if self._first:
            self._first = False
            shown = {"schema": SCHEMA, **shown}
        return self._encode(shown).decode() + "\n"

    def _learn(self, what: tuple[object, ...], record: Record) -> tuple[str, str]:
        """Return what stands before and behind the value of ``offset``, up to that of ``time``."""
        if len(self._around) >= _REMEMBERED:
            self._around.clear()
        shown = record_object(record)
        keys = list(shown)
        offset, time = keys.index("offset"), keys.index("time")
        before = self._encode({key: shown[key] for key in keys[:offset]}).decode()[:-1] + ',"offset":'
        behind = "," + self._encode({key: shown[key] for key in keys[offset + 1 : time]}).decode()[1:-1] + ',"time":'
        self._around[what] = before, behind
        return before, behind

    def _times(self, record: Record) -> str:
        """Return what stands between the keys ``time`` and ``fields``: the same for all records inside one packet."""
        time = _quoted(record.time)
        end = time if record.time_end == record.time else _quoted(record.time_end)
        return (
            f'{time},"time_end":{end},"first_frame":{record.first_frame or "null"},'
            f'"last_frame":{record.last_frame or "null"},"complete":true,"fields":'
        )

    def close(self) -> None:
        """Nothing is held back."""
