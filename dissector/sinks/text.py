# SPDX-License-Identifier: GPL-2.0-or-later
"""One line per event in one grid: time, frame, flow, direction, layer, type, offset, size, facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.sinks.clock import LineClock, TimeStyle
from dissector.sinks.colour import Palette, printable
from dissector.sinks.facts import facts
from dissector.sinks.loss import loss_mark
from dissector.sinks.pfns import record_runs, wrapped
from dissector.wire.events import Finding, Flow, Gap, Record, Resync

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dissector.sinks import Output
    from dissector.wire.events import Event

LAYER_WIDTH: Final = 6
PLACE_WIDTH: Final = 36
"""Type and offset share one column: a long type name takes room from the blanks in front of the offset."""
SIZE_WIDTH: Final = 9

ARROWS: Final[Mapping[str, str]] = {"forward": "→", "reverse": "←"}
ASCII_ARROWS: Final[Mapping[str, str]] = {"forward": ">", "reverse": "<"}

GAP_TEXTS: Final[Mapping[str, str]] = {
    "lost": "bytes missing: they are not in the capture",
    "snaplen": "bytes missing: frames were cut by the snap length",
    "limit": "bytes given up: a limit was reached",
    "capture end": "bytes missing when the capture ended",
}
CAUSE_TEXTS: Final[Mapping[str, str]] = {
    "capture": "dropped by the capturing kernel",
    "wire": "the capture dropped nothing there",
}
START_TEXTS: Final[Mapping[str, str]] = {
    "syn": "from the start of the connection",
    "mid-stream": "the capture begins in the middle",
    "file": "a byte stream without packets",
}
ENTRY_TEXTS: Final[Mapping[str, str]] = {
    "xl": "xl stream",
    "libxl": "bare libxl stream",
    "libxc": "bare libxc stream",
    "legacy": "legacy stream",
    "unknown": "unknown entry",
}


def endpoint(address: str, port: int) -> str:
    """Write an address and port; empty for a byte stream that has none."""
    if not address:
        return ""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def utf8_stream(stream: Output) -> bool:
    """Tell whether arrows and other non-ASCII characters can be written to `stream`."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").replace("_", "") == "utf8"


def _same_kind(gap: Gap, event: Event) -> bool:
    return (
        isinstance(event, Gap)
        and event.flow == gap.flow
        and event.direction == gap.direction
        and event.reason == gap.reason
        and event.cause == gap.cause
    )


class TextSink:
    """Writes events as lines; summaries are left to :class:`~dissector.sinks.summary.SummarySink`."""

    def __init__(
        self,
        stream: Output,
        palette: Palette,
        *,
        time: TimeStyle = "utc",
        pfns: bool = False,
        heading: bool = False,
    ) -> None:
        self._out = stream.write
        self._lines: list[str] = []
        """Lines that `write` and `write_all` write at once."""
        self._write = self._lines.append
        self._paint = palette.paint
        self._clock = LineClock(time)
        self._pfns = pfns
        self._wide = utf8_stream(stream)
        self._arrows = {
            name: palette.paint(name, arrow) for name, arrow in (ARROWS if self._wide else ASCII_ARROWS).items()
        }
        self._no_arrow = "·" if self._wide else "-"
        self._heading = heading
        self._kinds: dict[tuple[str, str], tuple[str, int]] = {}
        self._where: tuple[int | None, int, int | None, str | None] | None = None
        self._left = ""
        """What stands in the lines of `_where` before the layer."""
        self._gaps: list[Gap] = []
        """Gaps of one kind in a row: a capture with a short snap length has one in every frame."""

    def write(self, event: Event) -> None:
        """Write one line, or none for an event that is no line."""
        self._event(event)
        self._write_out()

    def write_all(self, events: Iterable[Event]) -> None:
        """Write the lines of all events."""
        for event in events:
            self._event(event)
        self._write_out()

    def _write_out(self) -> None:
        if self._lines:
            self._out("".join(self._lines))
            self._lines.clear()

    def _event(self, event: Event) -> None:
        if self._heading:
            self._heading = False
            self._write(self._paint("dim", self._heading_line()) + "\n")
        if self._gaps and not _same_kind(self._gaps[0], event):
            self._write_gaps()
        if isinstance(event, Record):
            self._record(event)
        elif isinstance(event, Finding):
            text = self._encodable(printable(event.text))
            marked = self._paint(event.severity, text)
            self._line(event, event.severity, event.severity, "", event.offset, None, f"{marked} [{event.id}]")
        elif isinstance(event, Gap):
            self._gaps.append(event)
        elif isinstance(event, Resync):
            text = f"to reach {event.found}" if event.found else "and no record head found"
            self._line(event, "resync", "warn", "", event.offset, event.skipped, f"bytes skipped {text}")
        elif isinstance(event, Flow):
            self._flow(event)

    def close(self) -> None:
        """Write gaps that were held back."""
        if self._gaps:
            self._write_gaps()
            self._write_out()

    def _write_gaps(self) -> None:
        first, last = self._gaps[0], self._gaps[-1]
        text = GAP_TEXTS[first.reason]
        if first.cause is not None:
            text += f", {CAUSE_TEXTS[first.cause]}"
        if first is not last:
            text += f", in {len(self._gaps)} places up to offset {last.offset + last.length} (frame {last.frame})"
        total = sum(gap.length for gap in self._gaps)
        self._gaps.clear()
        self._line(first, "gap", "lost", first.reason, first.offset, total, text)

    def _record(self, record: Record) -> None:
        what = (record.layer, record.type)
        known = self._kinds.get(what)
        if known is None:
            known = self._kinds[what] = self._kind(*what)
        kind, width = known
        line = (
            f"{self._head(record.time, record.first_frame, record.flow, record.direction)}"
            f"{kind}{record.offset:>{width}} {record.size:>{SIZE_WIDTH}}"
        )
        said = self._encodable(facts(record))
        if said:
            line += f"  {said}"
        if record.complete is False:
            line += f"  {self._paint('lost', loss_mark(record))}"
        self._write(line + "\n")
        if self._pfns:
            for row in wrapped(record_runs(record), 100):
                self._write(f"{'':26}{self._paint('dim', row)}\n")

    def _kind(self, layer: str, name: str) -> tuple[str, int]:
        """Return the text of a kind of record in front of the offset, and the columns of the offset."""
        style = "checkpoint" if "CHECKPOINT" in name else "pages" if name == "PAGE_DATA" else layer
        text = f"{self._paint(layer, f'{layer:<{LAYER_WIDTH}}')} {self._paint(style, name)} "
        return text, max(1, PLACE_WIDTH - 1 - len(name))

    def _head(self, time: int | None, frame: int, flow: int | None, direction: str | None) -> str:
        where = (time, frame, flow, direction)
        if where != self._where or self._clock.style == "delta":  # many small records are of one packet
            clock = self._clock(time)
            left = f"{self._paint('dim', clock)} " if clock else ""
            arrow = self._arrows.get(direction or "", self._no_arrow)
            self._where = where
            self._left = f"{left}{frame or '-':>7} #{'-' if flow is None else flow:<2} {arrow} "
        return self._left

    def _line(
        self,
        event: Finding | Gap | Resync,
        kind: str,
        style: str,
        name: str,
        offset: int | None,
        size: int | None,
        text: str,
    ) -> None:
        place = f"{'' if offset is None else offset:>{PLACE_WIDTH - len(name)}}"
        self._write(
            f"{self._head(event.time, event.frame, event.flow, event.direction)}"
            f"{self._paint(style, f'{kind:<{LAYER_WIDTH}} {name}')}{place} {'' if size is None else size:>{SIZE_WIDTH}}"
            f"  {text}\n"
        )

    def _flow(self, flow: Flow) -> None:
        if flow.phase == "begin":
            sender, receiver = endpoint(*flow.sender), endpoint(*flow.receiver)
            arrow = "→" if self._wide else ">"
            said = [f"{sender} {arrow} {receiver}"] if sender or receiver else []
            said += [ENTRY_TEXTS.get(flow.entry, flow.entry), START_TEXTS[flow.start]]
        else:
            said = [flow.end or "end", f"mode {flow.mode}"]
        line = f"{'flow':<{LAYER_WIDTH}} {flow.phase:<5} {', '.join(said)}"
        self._write(f"{self._head(flow.time, flow.frame, flow.flow, None)}{self._paint('flow', line)}\n")

    def _encodable(self, text: str) -> str:
        return text if self._wide else text.encode("ascii", "backslashreplace").decode("ascii")

    def _heading_line(self) -> str:
        clock = f"{'time':<{self._clock.width}} " if self._clock.width else ""
        place = f"type{'offset':>{PLACE_WIDTH - 4}}"
        return f"{clock}{'frame':>7} flow  {'layer':<{LAYER_WIDTH}} {place} {'size':>{SIZE_WIDTH}}  facts"
