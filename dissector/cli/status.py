# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live capture is doing, on standard error: a table below the records, or a plain line now and then."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final, TextIO

from dissector.sinks.colour import Palette, printable, wants_colour
from dissector.sinks.progress import MODES, ProgressSink
from dissector.sinks.summary import duration_text, size_text
from dissector.sinks.text import utf8_stream

if TYPE_CHECKING:
    from dissector.sinks.progress import FlowProgress
    from dissector.watch import Watch

REDRAW: Final = 0.25
"""Seconds between two pictures."""
SCROLL: Final = 0.05
"""Seconds between two times that lines scroll above it."""
PLAIN: Final = 10.0
"""Seconds between two plain lines."""
MOST_FLOWS: Final = 8
"""Migrations in the table."""
WIDE: Final = 140
"""Columns from which a migration has one line, and not two."""


def capture_line(watch: Watch, seconds: float) -> str:
    """Say what was captured so far."""
    said = [duration_text(seconds).split(".")[0] + " s" if seconds < 60 else duration_text(seconds)]
    said.append(f"{watch.frames:,} packets")
    dropped = watch.dropped
    said.append("drops not known" if dropped is None else f"{dropped:,} dropped")
    if watch.recording is not None:
        writer = watch.recording.writer
        said.append(f"{writer.packets:,} in {'standard output' if writer.path == '-' else writer.path}")
        if writer.dropped:
            said.append(f"{writer.dropped:,} not written: the disk is slow")
    return ", ".join(said)


def flow_line(flow: FlowProgress) -> str:
    """Say where one migration is, in one plain line."""
    said = [f"#{flow.number} {MODES.get(flow.mode, flow.mode)}", flow.phase()]
    rates = flow.rates()
    if rates is not None and flow.ended is None:
        said.append(rates[0])
    loss = flow.loss()
    if loss:
        said.append(loss)
    return printable(", ".join(said))


class PlainStatus:
    """A line every `PLAIN` seconds."""

    def __init__(self, watch: Watch, progress: ProgressSink, stderr: TextIO) -> None:
        self._watch, self._progress, self._stderr = watch, progress, stderr
        self._began = self._last = time.monotonic()

    def tick(self) -> None:
        """Write if it is time."""
        now = time.monotonic()
        if now - self._last < PLAIN:
            return
        self._last = now
        self._progress.positions(now, self._watch.engine.progress())
        lines = [capture_line(self._watch, now - self._began), *map(flow_line, self._progress.running())]
        self._stderr.write("; ".join(lines) + "\n")
        self._stderr.flush()

    def clear(self) -> None:
        """Nothing is drawn that could be in the way."""


class DrawnStatus:
    """A table at the bottom of the terminal, drawn again a few times per second.

    An :class:`~dissector.sinks.Output` too: where records go to the same terminal they are written through it, some at
    a time, so that the table stays below them and does not flicker.
    """

    def __init__(self, watch: Watch, progress: ProgressSink, stderr: TextIO) -> None:
        self._watch, self._progress, self._stderr = watch, progress, stderr
        self._paint = Palette(enabled=wants_colour("auto", stderr, os.environ)).paint
        self._began = time.monotonic()
        self._last = self._shown = 0.0
        self._drawn: list[int] = []
        self._picture: list[str] = []
        self._pending: list[str] = []
        self._stdout: TextIO | None = None
        self.encoding = ""

    def share(self, stdout: TextIO) -> DrawnStatus:
        """Let lines for standard output, which is the same terminal, be written through `write`."""
        self._stdout, self.encoding = stdout, stdout.encoding
        return self

    def write(self, text: str) -> int:
        """Take lines for standard output; they are shown within `SCROLL` seconds, or with the next `tick`."""
        self._pending.append(text)
        return len(text)

    def tick(self) -> None:
        """Show lines and draw if it is time."""
        now = time.monotonic()
        due = now - self._last >= REDRAW
        if not due and not (self._pending and now - self._shown >= SCROLL):
            return
        if due:
            self._last = now
            self._progress.positions(now, self._watch.engine.progress())
            self._picture = self.picture(now - self._began, *self._size())
        self._shown = now
        self.clear()
        self._stderr.write("".join(f"{line}\n" for line in self._picture))
        self._stderr.flush()
        self._drawn = [visible(line) for line in self._picture]

    def clear(self) -> None:
        """Take the table away, and show the lines that wait."""
        if self._drawn:
            width, _ = self._size()
            rows = sum(max(1, -(-length // width)) for length in self._drawn)  # it may be narrower by now
            self._stderr.write(f"\x1b[{rows}F\x1b[J")
            self._stderr.flush()
            self._drawn = []
        if self._pending and self._stdout is not None:
            text, self._pending = "".join(self._pending), []
            self._stdout.write(text)
            self._stdout.flush()

    def picture(self, seconds: float, width: int, height: int) -> list[str]:
        """Lay it out in so many columns and rows; no line is wider than a column less."""
        flows = self._progress.running()
        wide = width >= WIDE
        most = max(0, min(MOST_FLOWS, (height - 4) // (1 if wide else 2)))
        shown = flows[-most:] if most else []
        said = [capture_line(self._watch, seconds)]
        if len(flows) > len(shown):
            said.append(f"{len(flows) - len(shown)} more migrations")
        if not flows:
            said.append("no migration at the moment" if self._progress.flows else "no migration so far")
        said.append("Ctrl-C ends")
        style = "warn" if self._watch.dropped else "dim"
        last = self._paint(style, _fit(", ".join(said), width - 1))
        return [*self._table(shown, width - 1, wide=wide), last]

    def _table(self, flows: list[FlowProgress], width: int, *, wide: bool) -> list[str]:
        if not flows:
            return []
        plain = not utf8_stream(self._stderr)
        there, back = (">", "<") if plain else ("→", "←")
        rows = [("", "", f"sender {there} receiver", "sent", f"rate {there}", f"rate {back}", "loss")]
        for flow in flows:
            forward, reverse = flow.rates() or ("", "")
            ends = f"{flow.sender} {there} {flow.receiver}"
            mode = MODES.get(flow.mode, flow.mode)
            rows.append((f"#{flow.number}", mode, ends, size_text(flow.sent), forward, reverse, flow.loss() or "none"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        widths[6] = min(widths[6], max(8, width // 4))
        phases = [printable(flow.phase()) for flow in flows]
        if wide:
            left = max(24, min(max(map(len, phases)), width // 2))
        else:
            left = -2
        room = width - 2 * 6 - 2 - left
        for place in _DISPENSABLE:
            least = 40 if place == 5 else 15
            if widths[2] > least:
                widths[2] = max(least, min(widths[2], widths[2] + room - sum(widths)))
            if sum(widths) > room:
                widths[place] = -2
        lines = []
        for number, row in enumerate(rows):
            cells = []
            for place, (text, size) in enumerate(zip(row, widths, strict=True)):
                if size < 0:
                    continue
                cell = _fit(text, size)
                cell = cell.rjust(size) if place in _RIGHT else cell.ljust(size)
                cells.append(self._paint(_style(number, place, text), cell))
            line = "  ".join(cells)
            if wide:
                room = width - visible(line) - 2
                line += "  " + (self._paint("dim", "phase") if not number else _fit(phases[number - 1], max(room, 0)))
            lines.append(line.rstrip())
            if number and not wide:
                indent = widths[0] + 2
                lines.append(" " * indent + _fit(phases[number - 1], width - indent))
        return lines

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._stderr.fileno())
        except (OSError, ValueError):
            return 80, 24
        return max(size.columns, 20) if size.columns else 80, size.lines or 24


_DISPENSABLE: Final = (5, 2, 4, 3, 1)
"""Columns in the order in which they go where there is no room."""
_RIGHT: Final = (3, 4, 5)
"""Columns of numbers."""


def _style(number: int, place: int, text: str) -> str:
    if not number:
        return "dim"
    if place == 1:
        return "strong"
    return ("dim" if text == "none" else "lost") if place == 6 else ""


def visible(line: str) -> int:
    """Count the columns of a line with colours."""
    return len(re.sub(r"\x1b\[[\d;]*m", "", line))


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"[:width]


def status_for(watch: Watch, progress: ProgressSink, stderr: TextIO, wanted: str) -> DrawnStatus | PlainStatus | None:
    """Choose how the status is shown; `wanted` is ``auto``, ``plain`` or ``off``."""
    if wanted == "off":
        return None
    if wanted == "auto" and stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return DrawnStatus(watch, progress, stderr)
    return PlainStatus(watch, progress, stderr)
