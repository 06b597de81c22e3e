# SPDX-License-Identifier: GPL-2.0-or-later
"""What each migration added up to: a short block per flow behind everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.sinks import OneByOne
from dissector.sinks.clock import rfc3339
from dissector.sinks.colour import Palette, printable
from dissector.sinks.facts import counted
from dissector.sinks.pfns import wrapped
from dissector.sinks.text import ENTRY_TEXTS, endpoint, utf8_stream
from dissector.spec.libxc import PAGE_SIZE
from dissector.wire.events import Flow, Summary, Total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dissector.sinks import Output
    from dissector.wire.events import Event

LABEL_WIDTH: Final = 10
TEXT_WIDTH: Final = 88

MODE_TEXTS: Final[Mapping[str, str]] = {
    "plain": "plain migration",
    "remus": "Remus",
    "colo": "COLO",
    "unknown": "unknown mode",
}


def size_text(count: float) -> str:
    """Write a number of bytes with a binary unit: ``8.0 MiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def rate_text(count: int, seconds: float) -> str:
    """Write bytes per time as bits per second, as network people do."""
    rate = 8 * count / seconds
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if rate < 1000:
            return f"{rate:.1f} {unit}"
        rate /= 1000
    return f"{rate:,.1f} Gbit/s"


def duration_text(seconds: float) -> str:
    """Write a duration: ``0.482 s``, ``4 min 05 s``, ``2 h 11 min``."""
    if seconds < 60:
        return f"{seconds:.3f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class SummarySink(OneByOne):
    """Remembers the summaries and writes them at the end, where they are not lost between lines."""

    def __init__(self, stream: Output, palette: Palette) -> None:
        self._stream = stream
        self._paint = palette.paint
        self._arrow = "→" if utf8_stream(stream) else ">"
        self._ascii = not utf8_stream(stream)
        self._flows: dict[int, Flow] = {}
        self._summaries: list[Summary] = []
        self._total: Total | None = None

    def write(self, event: Event) -> None:
        """Remember what belongs into the summary."""
        if isinstance(event, Flow):
            if event.phase == "begin":
                self._flows[event.flow] = event
        elif isinstance(event, Summary):
            self._summaries.append(event)
        elif isinstance(event, Total):
            self._total = event

    def close(self) -> None:
        """Write the block of each flow and one line for the whole input."""
        for summary in self._summaries:
            self._stream.write("\n")
            title, *rows = self._block(summary)
            self._stream.write(self._paint("strong", title[1]) + "\n")
            for label, text in rows:
                self._row(label, text)
        if self._total is not None:
            self._stream.write("\n" + self._total_line(self._total) + "\n")

    def _row(self, label: str, text: str) -> None:
        style = {"loss": "lost", "findings": "warn"}.get(label, "")
        for number, line in enumerate(wrapped(text.split(" "), TEXT_WIDTH, " ")):
            shown = line.encode("ascii", "replace").decode() if self._ascii else line
            left = (label if number == 0 else "").ljust(LABEL_WIDTH)
            self._stream.write(f"  {self._paint('dim', left)} {self._paint(style, shown)}\n")

    def _block(self, summary: Summary) -> Iterator[tuple[str, str]]:
        flow = self._flows.get(summary.flow)
        yield "", self._title(summary, flow)
        timing = self._timing(summary, flow)
        if timing:
            yield "time", timing
        one_way = flow is not None and flow.start == "file"
        for direction, count in summary.bytes.items():
            if one_way and not count:
                continue
            yield direction, f"{count:,} bytes ({size_text(count)})" if count >= 1024 else f"{count} bytes"
        if summary.pages or summary.checkpoints:
            yield "memory", self._memory(summary)
        yield from self._records(summary)
        loss = loss_text(summary)
        if loss:
            yield "loss", loss
        if any(summary.findings.values()):
            yield "findings", _findings(summary.findings)
        if summary.outcome:
            yield "outcome", printable(summary.outcome)

    def _title(self, summary: Summary, flow: Flow | None) -> str:
        what = [MODE_TEXTS[summary.mode], ENTRY_TEXTS.get(summary.entry, summary.entry)]
        if summary.guest:
            what.append(f"{summary.guest} guest")
        if summary.xen:
            what.append(f"from Xen {summary.xen}")
        if summary.version is not None:
            what.append(f"libxc v{summary.version}")
        ends = ""
        if flow is not None and flow.sender[0]:
            ends = f" {endpoint(*flow.sender)} {self._arrow} {endpoint(*flow.receiver)}"
        return f"flow {summary.flow}{ends}: {', '.join(what)}"

    def _timing(self, summary: Summary, flow: Flow | None) -> str:
        said = []
        begin = rfc3339(flow.time) if flow is not None else None
        if begin:
            said.append(f"{begin[:10]} {begin[11:26]} UTC")
        if summary.seconds is not None:
            said.append(duration_text(summary.seconds))
            total = sum(summary.bytes.values())
            if summary.seconds > 0:
                said.append(rate_text(total, summary.seconds))
        return ", ".join(said)

    def _memory(self, summary: Summary) -> str:
        said = f"{summary.pages:,} page{'' if summary.pages == 1 else 's'} ({size_text(PAGE_SIZE * summary.pages)})"
        if summary.passes:
            until = " up to the first checkpoint" if summary.checkpoints else ""
            said += f", {summary.passes} pass{'' if summary.passes == 1 else 'es'}{until}"
        if summary.checkpoints:
            said += f", {counted(summary.checkpoints, 'checkpoint')}"
        return said

    def _records(self, summary: Summary) -> Iterator[tuple[str, str]]:
        layers: dict[str, list[str]] = {}
        for name, count in summary.records.items():
            layer, _, kind = name.partition(" ")
            layers.setdefault(layer, []).append(f"{kind} {count:,}" if count > 1 else kind)
        for layer, kinds in layers.items():
            yield layer, ", ".join(kinds)

    def _total_line(self, total: Total) -> str:
        seen = []
        if total.frames:
            seen.append(f"{total.frames:,} frame{'' if total.frames == 1 else 's'}")
        seen.append(counted(total.flows, "migration") if total.flows else "no Xen migration found")
        if total.other_connections:
            seen.append(f"{counted(total.other_connections, 'other TCP connection')}")
        if any(total.findings.values()):
            seen.append(_findings(total.findings))
        if total.dropped is not None:
            of = "" if total.received is None else f" of {total.received:,}"
            seen.append(f"{total.dropped:,}{of} packets dropped by the capture")
        return ", ".join(seen)


def loss_text(summary: Summary) -> str:
    """Say what of a migration is missing; empty when nothing is."""
    said = [f"{count:,} bytes lost {direction}" for direction, count in summary.lost.items() if count]
    said += [
        f"{count:,} bytes {direction} passed over without framing"
        for direction, count in summary.skipped.items()
        if count
    ]
    if summary.incomplete:
        said.append(f"{counted(summary.incomplete, 'record')} incomplete")
    return ", ".join(said)


def _findings(findings: Mapping[str, int]) -> str:
    nouns = {"error": "error", "warn": "warning", "note": "note"}
    return ", ".join(counted(findings[severity], noun) for severity, noun in nouns.items() if findings.get(severity))
