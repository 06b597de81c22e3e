# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures -> tables in Markdown."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.kinds import MIB, SEGMENTS, TITLES
from bench.measure import markdown
from bench.results import START

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.results import Figures, Results

ABOUT: Final = "≈ "
KIND_COLUMNS: Final = {
    "cat": "`cat`",
    "c": "C",
    "python": "Python",
    "index": "index",
    "skim": "skim",
    "tcpdump": "tcpdump",
    "capinfos": "capinfos",
    "tshark": "tshark",
    "lua": "tshark, plugin",
}
TO_CAT: Final = (
    ("mtu", "events-c", 1.3),
    ("mtu", "events-python", 6.0),
    ("gro", "events-c", 1.2),
    ("gro", "events-python", 1.4),
)
"""Kind of packets, tool, and how many times the CPU time of `cat` it may take."""
GROWING: Final = ("cat", "c", "python", "index", "skim", "tcpdump", "tshark", "lua")


def amount(size: int) -> str:
    """Show a stream size."""
    return f"{size >> 30} GiB" if size >= 1 << 30 and size % (1 << 30) == 0 else f"{size // MIB} MiB"


def guessed(one: Figures, text: str) -> str:
    """Mark what is an estimate."""
    return ABOUT + text if one.part < 1 else text


def beyond(one: Figures, results: Results) -> float:
    """CPU seconds of a tool beyond its start-up, which may be as small as what the two differ by in turn."""
    start = results.start(one.tool)
    return max(one.cpu - (start.cpu if start and not start.failed else 0.0), 0.0)


def over(one: Figures, cat: Figures, results: Results) -> str:
    """How many times the CPU time of `cat` a tool takes, both beyond start-up."""
    floor = beyond(cat, results)
    return ratio(beyond(one, results) / floor) if floor else ""


def ratio(value: float) -> str:
    """Show how many times one is the other."""
    return f"{value:.2f}" if value < 9.995 else f"{value:,.0f}"


def tools(results: Results, label: str, size: int) -> str:
    """One row for each tool on one capture."""
    rows = results.on(label, size)
    cat = results.get("cat", label, size)
    head = ("", "wall s", "CPU s", "packets/s", "MB/s", "peak MiB", "start-up ms", "wall to `cat`", "CPU to `cat`")
    lines = [_tool(one, cat, results) for one in rows]
    first = rows[0]
    title = f"{first.title}, {amount(size)} of stream, {first.packets:,} packets, {first.megabytes:,.0f} MB"
    return f"### {title}\n\n{markdown((*head, 'runs'), lines)}"


def _tool(one: Figures, cat: Figures | None, results: Results) -> list[str]:
    if one.failed:
        return [one.name, one.failed, *[""] * 8]
    start = results.start(one.tool)
    ratios = ["", ""]
    if cat:
        ratios = [ratio(one.wall / cat.wall), over(one, cat, results)]
    return [
        one.name,
        guessed(one, f"{one.wall:.3f}"),
        guessed(one, f"{one.cpu:.3f}"),
        guessed(one, f"{one.packets_per_second:,.0f}"),
        guessed(one, f"{one.megabytes / one.wall:,.0f}"),
        f"{one.peak:.0f}",
        f"{start.wall * 1000:.0f}" if start and not start.failed else "",
        *ratios,
        str(one.runs),
    ]


def kinds(results: Results, size: int) -> str:
    """One row for each kind of capture: wall seconds of the tools, ratios and memory."""
    titles = {(one.label, one.form): one for one in results if one.size == size and one.label.split("-")[0] in SEGMENTS}
    lines = []
    for (label, form), first in titles.items():
        found = {tool: results.get(tool, label, size, form) for tool in KIND_COLUMNS}
        cat = found["cat"]
        if cat is None:
            continue
        walls = [f"{one.wall:.3f}" if one else "" for one in found.values()]
        ratios = [over(one, cat, results) if (one := found[tool]) else "" for tool in ("c", "python")]
        peaks = [f"{one.peak:.0f}" if (one := found[tool]) else "" for tool in ("c", "tshark")]
        lines.append([first.title, f"{first.packets:,}", *walls, *ratios, *peaks])
    head = ("wall s", "packets", *KIND_COLUMNS.values(), "C to `cat`", "Python to `cat`", "MiB, C", "MiB, tshark")
    return f"### Kinds of captures, {amount(size)} of stream each\n\n{markdown(head, lines)}"


def growth(results: Results, label: str) -> str:
    """One row for each size of a capture: seconds and memory of the tools."""
    sizes = sorted({one.size for one in results if one.label == label and one.form == "pcap"})
    lines = []
    for size in sizes:
        found = [results.get(tool, label, size) for tool in GROWING]
        cells = [f"{one.wall:.2f} / {one.peak:.0f}" if one else "" for one in found]
        packets = next(one.packets for one in results if (one.label, one.size) == (label, size))
        lines.append([amount(size), f"{packets:,}", *cells])
    head = ("wall s / peak MiB", "packets", *(KIND_COLUMNS[tool] for tool in GROWING))
    return f"### Growth with size, {TITLES[label]}\n\n{markdown(head, lines)}"


def records(results: Results, label: str, text: str) -> str:
    """One row for each tool on a capture of many small records."""
    rows = [one for one in results if one.label == label]
    first = rows[0]
    cat = next((one for one in rows if one.tool == "cat" and not one.failed), None)
    shown = next((one for one in rows if one.tool == "lua-records" and not one.failed), None)
    lines = [_records(one, cat, shown) for one in rows]
    head = ("", "wall s", "CPU s", "records/s", "peak MiB", "to `cat`", "records/s to tshark with our plugin", "runs")
    return f"### {text}: {first.records:,} in {first.megabytes:,.0f} MB\n\n{markdown(head, lines)}"


def _records(one: Figures, cat: Figures | None, shown: Figures | None) -> list[str]:
    if one.failed:
        return [one.name, one.failed, *[""] * 6]
    return [
        one.name,
        guessed(one, f"{one.wall:.2f}"),
        guessed(one, f"{one.cpu:.2f}"),
        guessed(one, f"{one.records_per_second:,.0f}") if one.tool != "cat" else "",
        f"{one.peak:.0f}",
        ratio(one.wall / cat.wall) if cat else "",
        ratio(one.records_per_second / shown.records_per_second) if shown and one.tool != "cat" else "",
        str(one.runs),
    ]


def startup(commands: Sequence[Figures]) -> str:
    """One row for each command that does little."""
    lines = [
        [one.name, one.failed or f"{one.wall * 1000:.0f}", f"{one.cpu * 1000:.0f}", f"{one.peak:.0f}"]
        for one in commands
    ]
    return f"### Start-up\n\n{markdown(('', 'wall ms', 'CPU ms', 'peak MiB'), lines)}"


def start_up_commands(results: Results) -> list[Figures]:
    """Return the figures of the commands that do little."""
    return [one for one in results if one.label == "none"]


def targets(results: Results, size: int) -> str:
    """Compare with what was asked for."""
    lines = []

    def compare(text: str, value: float, wanted: float, *, least: bool) -> None:
        reached = value >= wanted if least else value <= wanted
        limit = "at least" if least else "at most"
        lines.append([text, ratio(value), f"{limit} {wanted:g}", "yes" if reached else "no"])

    ours, python = results.get("c", "mtu", size), results.get("python", "mtu", size)
    for key, wanted in (("tshark", 5.0), ("scapy", 50.0)):
        peer = results.get(key, "mtu", size)
        for name, one in (("C", ours), ("Python", python)):
            if peer and one:
                text = f"packets/s, kernel in {name}, to {peer.name}, MTU 1500"
                compare(text, one.packets_per_second / peer.packets_per_second, wanted, least=True)
    for label, key, limit in TO_CAT:
        cat, one = results.get("cat", label, size), results.get(key, label, size)
        if one and cat and beyond(cat, results):
            text = f"CPU beyond start-up, {one.name}, to `cat`, {TITLES[label]}"
            compare(text, beyond(one, results) / beyond(cat, results), limit, least=False)
    for label in ("many", "remus"):
        found = {one.tool: one for one in results if one.label == label and not one.failed}
        if "lua-records" in found:
            for key in ("c", "json"):
                if key in found:
                    text = f"records/s, {found[key].name}, to tshark with our plugin, records shown, {found[key].title}"
                    rates = found[key].records_per_second, found["lua-records"].records_per_second
                    compare(text, rates[0] / rates[1], 10, least=True)
    return f"### Targets\n\n{markdown(('', 'measured', 'wanted', 'reached'), lines)}"


def noise(results: Results) -> float:
    """Median of how far the runs of one command are apart, of all commands with at least three runs."""
    spreads = [one.spread for one in results if one.runs >= 3 and one.label != START]
    return statistics.median(spreads) if spreads else 0.0


def everything(results: Results, facts: Mapping[str, str]) -> str:
    """Lay out all tables for which there are figures."""
    labels = {one.label for one in results}
    peer_sizes = {one.size for one in results if one.tool == "events-c" and one.label in SEGMENTS}
    kind_sizes = {one.size for one in results if one.label == "mtu-reorder"}
    parts = [", ".join(f"{name} {value}".strip() for name, value in facts.items()) + "."]
    for size in sorted(peer_sizes):
        parts.append(targets(results, size))
        parts += [tools(results, label, size) for label in SEGMENTS if results.on(label, size)]
    parts += [kinds(results, size) for size in sorted(kind_sizes)]
    parts += [growth(results, label) for label in SEGMENTS if len({o.size for o in results if o.label == label}) > 2]
    if "many" in labels:
        parts.append(records(results, "many", "Small records, PAGE_DATA of two pfns without contents"))
    if "remus" in labels:
        parts.append(records(results, "remus", "Small records, Remus with thousands of checkpoints"))
    if "none" in labels:
        parts.append(startup(start_up_commands(results)))
    return "\n\n".join(parts)
