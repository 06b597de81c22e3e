# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live capture is doing, on standard error: a table below the records, or a plain line now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TextIO

from dissector.sinks.colour import printable
from dissector.sinks.progress import MODES, ProgressSink
from dissector.sinks.summary import duration_text, size_text

if TYPE_CHECKING:
    from dissector.sinks.progress import FlowProgress
    from dissector.watch import Watch

REDRAW: Final = 0.25
"""Seconds between two pictures."""
PLAIN: Final = 10.0
"""Seconds between two plain lines."""
MOST_FLOWS: Final = 8
"""Migrations in the table."""


def capture_line(watch: Watch, seconds: float) -> str:
    """Say what was captured so far."""
    said = [duration_text(seconds).split(".")[0] + " s" if seconds < 60 else duration_text(seconds)]
    said.append(f"{watch.frames:,} packets")
    dropped = watch.dropped
    said.append("drops not known" if dropped is None else f"{dropped:,} dropped")
    if watch.recording is not None:
        writer = watch.recording.writer
        said.append(f"{writer.packets:,} in {writer.path}")
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
    """A table at the bottom of the terminal, drawn again a few times per second."""

    def __init__(self, watch: Watch, progress: ProgressSink, stderr: TextIO) -> None:
        from rich.console import Console
        from rich.table import Table

        self._watch, self._progress, self._stderr = watch, progress, stderr
        self._console = Console(file=stderr, stderr=True)
        self._began = time.monotonic()
        self._last = 0.0
        self._drawn = 0
        with self._console.capture():  # imports all that drawing needs, which may be out of reach without privileges
            self._console.print(Table("→", "…"), self._picture(0))

    def tick(self) -> None:
        """Draw if it is time."""
        now = time.monotonic()
        if now - self._last < REDRAW:
            return
        self._last = now
        self._progress.positions(now, self._watch.engine.progress())
        with self._console.capture() as capture:
            self._console.print(self._picture(now - self._began))
        picture = capture.get()
        self.clear()
        self._stderr.write(picture)
        self._stderr.flush()
        self._drawn = picture.count("\n")

    def clear(self) -> None:
        """Take the table away, so that lines can be written."""
        if self._drawn:
            self._stderr.write(f"\x1b[{self._drawn}F\x1b[J")
            self._stderr.flush()
            self._drawn = 0

    def _picture(self, seconds: float) -> object:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        watch, flows = self._watch, self._progress.running()
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(flows), header_style="dim")
        for name in ("", "sender → receiver", "", "phase", "sent", "rate →", "rate ←", "loss"):
            right = name in ("sent", "rate →", "rate ←")
            table.add_column(name, no_wrap=True, justify="right" if right else "left", overflow="ellipsis")
        for flow in flows[-MOST_FLOWS:]:
            forward, reverse = flow.rates() or ("", "")
            ends = f"{flow.sender} → {flow.receiver}"
            table.add_row(
                f"#{flow.number}",
                ends,
                Text(MODES.get(flow.mode, flow.mode), style="bold"),
                printable(flow.phase()),
                size_text(flow.sent),
                forward,
                reverse,
                Text(flow.loss() or "none", style="bold red" if flow.loss() else "dim"),
            )
        line = Text(capture_line(watch, seconds), style="red" if watch.dropped else "dim", no_wrap=True)
        if len(flows) > MOST_FLOWS:
            line.append(f", {len(flows) - MOST_FLOWS} more migrations")
        if not flows:
            line.append(", no migration at the moment" if self._progress.flows else ", no migration so far")
        line.append(", Ctrl-C ends")
        line.truncate(self._console.width - 1, overflow="ellipsis")
        return Group(table, line) if flows else line


def status_for(watch: Watch, progress: ProgressSink, stderr: TextIO, wanted: str) -> DrawnStatus | PlainStatus | None:
    """Choose how the status is shown; `wanted` is ``auto``, ``plain`` or ``off``."""
    if wanted == "off":
        return None
    if wanted == "auto" and stderr.isatty():
        return DrawnStatus(watch, progress, stderr)
    return PlainStatus(watch, progress, stderr)
