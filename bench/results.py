# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures tools on captures, and keeps the figures."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import NOT_INSTALLED, interleave

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.kinds import Capture
    from bench.measure import Row
    from bench.tools import Tool

START: Final = "start"
"""Label of the capture of 64 KiB whose time is start-up."""


@dataclass(frozen=True)
class Figures:
    """One tool on one capture: medians of whole processes.

    Attributes:
        tool: Key of it.
        name: Of the tool, as shown.
        label: Of the capture.
        title: Of the capture, as shown.
        size: Stream bytes of the capture.
        form: pcap or pcapng.
        packets: In the capture.
        records: In the capture.
        megabytes: 10^6 bytes of the file.
        wall: Seconds.
        cpu: Seconds of user and system time.
        peak: Largest resident set, MiB.
        runs: Number of them.
        spread: Slowest run minus fastest run, over the median.
        part: Share of the packets that were really read; if less than 1, `wall` and `cpu` are estimates.
        failed: Why there are no figures.
    """

    tool: str
    name: str
    label: str
    title: str
    size: int
    form: str
    packets: int
    records: int
    megabytes: float
    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    runs: int = 0
    spread: float = 0.0
    part: float = 1.0
    failed: str = ""

    @property
    def packets_per_second(self) -> float:
        """Over wall time."""
        return self.packets / self.wall

    @property
    def records_per_second(self) -> float:
        """Over wall time."""
        return self.records / self.wall

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Tool and capture."""
        return self.tool, self.label, self.size, self.form


class Results:
    """All figures of a run."""

    def __init__(self, figures: Iterable[Figures] = ()) -> None:
        self._figures = {one.key: one for one in figures}

    def __iter__(self) -> Iterator[Figures]:
        return iter(self._figures.values())

    def add(self, figures: Iterable[Figures]) -> None:
        """Add some, in place of older ones."""
        self._figures.update((one.key, one) for one in figures)

    def get(self, tool: str, label: str, size: int, form: str = "pcap") -> Figures | None:
        """Return figures that there are: measured, and not failed."""
        found = self._figures.get((tool, label, size, form))
        return found if found and not found.failed else None

    def start(self, tool: str) -> Figures | None:
        """Return the start-up of a tool."""
        return next((one for one in self._figures.values() if one.tool == tool and one.label == START), None)

    def on(self, label: str, size: int, form: str = "pcap") -> list[Figures]:
        """Return all figures on a capture, also failed ones."""
        return [one for one in self._figures.values() if (one.label, one.size, one.form) == (label, size, form)]

    def save(self, path: Path, facts: Mapping[str, str]) -> None:
        """Write all figures, and what is known of machine and run, to a JSON file."""
        text = json.dumps({"facts": facts, "figures": [asdict(one) for one in self._figures.values()]}, indent=1)
        path.write_text(text + "\n")


def load(path: Path) -> tuple[Results, dict[str, str]]:
    """Read what `Results.save` wrote."""
    kept = json.loads(path.read_text())
    return Results(Figures(**one) for one in kept["figures"]), kept["facts"]


def measure(
    capture: Capture, tools: Sequence[Tool], repeat: int, budget: float, starts: Mapping[str, Figures]
) -> list[Figures]:
    """Run all tools on a capture in turn; see `bench.measure.interleave`."""
    ready = [tool for tool in tools if not tool.missing()]
    given = {tool.key: capture.shorter(tool.packets) if tool.packets else capture for tool in ready}
    for tool in ready:
        tool.prepare(given[tool.key].path)
    rows = interleave([tool.command(given[tool.key].path) for tool in ready], repeat, budget)
    found = {tool.key: row for tool, row in zip(ready, rows, strict=True)}
    return [
        _figures(tool, capture, found[tool.key], given[tool.key], starts.get(tool.key))
        if tool.key in found
        else _failed(tool, capture, tool.missing())
        for tool in tools
    ]


def _failed(tool: Tool, capture: Capture, why: str) -> Figures:
    return Figures(*_about(tool, capture), failed=why or NOT_INSTALLED)


def _figures(tool: Tool, capture: Capture, row: Row, given: Capture, start: Figures | None) -> Figures:
    if row.failed:
        return _failed(tool, capture, row.failed)
    part = given.expected.frames / capture.expected.frames
    wall, cpu = (start.wall, start.cpu) if start else (0.0, 0.0)
    if given is not capture:
        wall, cpu = wall + (row.wall - wall) / part, cpu + (row.cpu - cpu) / part
    else:
        wall, cpu = row.wall, row.cpu
    return Figures(*_about(tool, capture), wall, cpu, row.peak, row.runs, row.spread, part)


def _about(tool: Tool, capture: Capture) -> tuple[str, str, str, str, int, str, int, int, float]:
    size, form = capture.options.size, capture.options.format
    megabytes = capture.path.stat().st_size / 1e6
    about = (capture.label, capture.title, size, form, capture.expected.frames, capture.records, megabytes)
    return (tool.key, tool.name, *about)
