# SPDX-License-Identifier: GPL-2.0-or-later
"""One JSON object per event and line: the published contract, docs/json.md."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec.json

from dissector.sinks.clock import rfc3339
from dissector.sinks.loss import lost_pfns
from dissector.wire import codec
from dissector.wire.events import Event, Finding, Flow, Gap, Record, Resync, Summary, Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dissector.sinks import Output

_BEGINNINGS: Final = 4096
"""Beginnings of lines that are remembered."""
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
    return {
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
    """Writes JSON lines; the stream has to be UTF-8."""

    def __init__(self, stream: Output, *, pfns: bool = False, deep: bool = False) -> None:
        self._out = stream.write
        self._encode = msgspec.json.Encoder().encode
        self._pfns = pfns
        self._deep = deep
        self._first = True
        self._begin: dict[tuple[object, ...], str] = {}
        self._time: int | None = None
        self._time_text = _quoted(None)

    def write(self, event: Event) -> None:
        """Write one line."""
        self._out(self._line(event))

    def write_all(self, events: Iterable[Event]) -> None:
        """Write a line for each event."""
        self._out("".join([self._line(event) for event in events]))

    def _line(self, event: Event) -> str:
        if isinstance(event, Record) and event.complete and not self._first:
            return self._record(event)
        shown = event_object(event, pfns=self._pfns, deep=self._deep)
        if self._first:
            self._first = False
            shown = {"schema": SCHEMA, **shown}
        return self._encode(shown).decode() + "\n"

    def _record(self, record: Record) -> str:
        """Write what `record_object` returns of a complete record; the greater part of the keys never changes."""
        what = (record.flow, record.direction, record.layer, record.type, record.type_id)
        begin = self._begin.get(what)
        if begin is None:
            begin = self._begin[what] = self._beginning(record)
        time, end = record.time, record.time_end
        if time != self._time:
            self._time, self._time_text = time, _quoted(time)
        time_text = self._time_text
        end_text = time_text if end == time else _quoted(end)
        length = "" if record.type_id is None else f',"body_length":{record.body_length}'
        fields = self._encode(fields_object(record, pfns=self._pfns, deep=self._deep)).decode()
        return (
            f'{begin}{record.offset},"size":{record.size}{length},"time":{time_text},"time_end":{end_text},'
            f'"first_frame":{record.first_frame or "null"},"last_frame":{record.last_frame or "null"},'
            f'"complete":true,"fields":{fields}}}\n'
        )

    def _beginning(self, record: Record) -> str:
        """Return the line up to the value of ``offset``."""
        if len(self._begin) >= _BEGINNINGS:
            self._begin.clear()
        shown = record_object(record)
        before = {key: shown[key] for key in itertools.takewhile(lambda key: key != "offset", shown)}
        return self._encode(before).decode()[:-1] + ',"offset":'

    def close(self) -> None:
        """Nothing is held back."""
