# SPDX-License-Identifier: GPL-2.0-or-later
"""What one flow adds up to: counts, passes, checkpoints, loss, and how it ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dissector.spec import libxc, libxl, xl
from dissector.spec.codes import describe_status
from dissector.wire import codec
from dissector.wire.events import Finding, Gap, Mode, Record, Resync, Summary
from dissector.wire.passes import Passes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dissector.wire.events import Event


class Statistics:
    """Counts over the events of one flow."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        """Layer and type -> records, in the order of their first."""
        self.lost: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.incomplete = 0
        self.passes = Passes()
        self.checkpoints = 0
        self.pages = 0
        self.guest = ""
        self.xen = ""
        self.version: int | None = None
        self.first_time: int | None = None
        self.last_time: int | None = None
        self._last_forward: Record | None = None
        self._reverse: set[str] = set()
        self._status: int | None = None
        self._checkpoint_ends = 0

    @property
    def records(self) -> dict[str, int]:
        """Records per ``layer TYPE``."""
        return {f"{layer} {name}": count for (layer, name), count in self._counts.items()}

    def add_records(self, records: Iterable[Record]) -> None:
        """Count records of the flow."""
        for record in records:
            self._record(record)

    def add(self, event: Event) -> None:
        """Count one event of the flow."""
        if isinstance(event, Record):
            self._record(event)
        elif isinstance(event, Gap):
            self.lost[event.direction] += event.length
        elif isinstance(event, Resync):
            self.skipped[event.direction] += event.skipped
        elif isinstance(event, Finding):
            self.findings[event.severity] += 1

    def seen(self, direction: str, end: int, time: int | None) -> None:
        """Note that payload up to stream offset `end` was seen at `time`."""
        self.bytes[direction] = max(self.bytes[direction], end)
        if time is not None:
            if self.first_time is None:
                self.first_time = time
            self.last_time = time

    def _record(self, record: Record) -> None:
        name = (record.layer, record.type)
        counts = self._counts
        counts[name] = counts.get(name, 0) + 1
        if record.complete is False:
            self.incomplete += 1
        if record.direction == "reverse":
            self._reverse.add(record.type)
            if record.definition is xl.REPORT_STATUS and record.body:
                self._status = record.body[0]
            return
        self._last_forward = record
        definition = record.definition
        if definition is libxc.PAGE_DATA:
            self._page_data(record)
        elif definition is libxc.CHECKPOINT:
            self.checkpoints += 1
        elif definition is libxl.CHECKPOINT_END:
            self._checkpoint_ends += 1
        elif definition is libxc.DOMAIN_HEADER and record.complete:
            values = record.fields
            self.guest = values.get("type_name") or f"type {values['type']}"
            self.xen = f"{values['xen_major']}.{values['xen_minor']}"
        elif definition is libxc.IMAGE_HEADER and record.complete:
            self.version = record.fields["version"]

    def _page_data(self, record: Record) -> None:
        if self.checkpoints:
            self.pages += codec.data_pages(record.body, record.order, 8)
        else:
            self.pages += self.passes.add(record)

    def summary(self, flow: int, mode: Mode, entry: str, end: str | None) -> Summary:
        """Make the summary event."""
        seconds = None
        if self.first_time is not None and self.last_time is not None:
            seconds = (self.last_time - self.first_time) / 1e9
        return Summary(
            flow=flow,
            mode=mode,
            entry=entry,
            guest=self.guest,
            xen=self.xen,
            version=self.version,
            bytes={name: self.bytes[name] for name in ("forward", "reverse")},
            records=self.records,
            incomplete=self.incomplete,
            passes=self.passes.number,
            checkpoints=self.checkpoints,
            pages=self.pages,
            lost={name: self.lost[name] for name in ("forward", "reverse")},
            skipped={name: self.skipped[name] for name in ("forward", "reverse")},
            seconds=seconds,
            findings=dict(self.findings),
            outcome=self._outcome(mode, entry, end),
        )

    def _outcome(self, mode: Mode, entry: str, end: str | None) -> str:
        """Say how the migration ended; inferred from the records and from what is missing."""
        last = self._last_forward
        if entry == "legacy":
            return "legacy stream, not decoded"
        if self._status is not None:
            if self._status == 0:
                return "completed: the guest runs at the receiver"
            allowed = ", the sender may resume its copy" if "GO" in self._reverse else ""
            return f"failed at the target: {describe_status(self._status)}{allowed}"
        if last is None:
            if "BANNER" not in self._reverse:
                return "no record seen"
            return f"{'no header' if self.bytes['forward'] else 'nothing'} sent after the banner"
        if (
            last.complete is False
            and end != "capture end"
            and last.lost
            and last.lost[-1][0] + last.lost[-1][1] >= (last.offset + last.size)
        ):
            return f"the stream ends inside {last.layer} {last.type} at offset {last.offset}"
        if mode in ("remus", "colo"):
            if end == "capture end":
                return f"capture ends after {self._checkpoint_ends} checkpoints"
            return f"connection lost after {self._checkpoint_ends} checkpoints: failover or end of protection"
        if last.layer == "xl" and last.type == "GO":
            return "sender gave the guest away; no report seen"
        if last.layer == "libxl" and last.type == "END":
            return "stream complete"
        if last.layer == "libxc" and last.type == "END" and entry == "libxc":
            return "stream complete"
        return "capture ends in the middle" if end == "capture end" else f"ended after {last.layer} {last.type}"
