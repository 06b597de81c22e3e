# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws the figures of a run: ``python bench/plot.py bench/data/results.json OUT.png`` (needs matplotlib)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.kinds import SEGMENTS, TITLES
from bench.results import Results, load
from bench.tables import amount

if TYPE_CHECKING:
    from bench.results import Figures

OURS: Final = "#b3361b"
PEERS: Final = "#5c6670"
FLOOR: Final = "#1f1f1f"
COLOURS: Final = {
    "cat": FLOOR,
    "c": OURS,
    "python": "#e07b39",
    "index": "#8e2f6b",
    "skim": "#c98a00",
    "json": "#b3361b",
    "events-c": OURS,
    "tcpdump": "#2f6f9f",
    "tshark": "#3f8f5f",
    "lua": "#1d5a3a",
}
NAMES: Final = {
    "cat": "cat",
    "c": "xendissect read, in C",
    "python": "xendissect read, in Python",
    "index": "xendissect read, with index",
    "skim": "xendissect read --skim",
    "tcpdump": "tcpdump -r -w /dev/null",
    "capinfos": "capinfos -c -u",
    "tshark": "tshark, payload as data",
    "lua": "tshark with our plugin",
    "verify": "tcpflow + verify-stream-v2",
    "dpkt": "dpkt",
    "scapy-raw": "scapy RawPcapReader",
    "scapy": "scapy PcapReader",
    "pyshark": "pyshark",
}
RECORD_NAMES: Final = {
    "c": "read, kernel in C",
    "python": "read, kernel in Python",
    "json": "read --json",
    "index": "read, with index",
    "events-c": "dissector.events()",
    "lua": "tshark + plugin, silent",
    "lua-records": "tshark + plugin, shown",
    "verify": "tcpflow + Xen's verifier",
}
SHORT: Final = {
    "cat": "cat",
    "c": "ours, C",
    "python": "ours, Python",
    "index": "ours, index",
    "skim": "ours, --skim",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
    "lua": "tshark + plugin",
}
RECORDS: Final = ("verify", "events-c", "json", "index", "c", "python", "lua", "lua-records")
MARKERS: Final = {"mtu": "o", "jumbo": "s", "gro": "^"}
APART: Final = 0.047
"""Least distance of labels beside lines, of the height of a panel."""


def colour(key: str) -> str:
    """Return the colour of a tool: ours are warm."""
    return COLOURS.get(key, PEERS)


def short(value: float) -> str:
    """Show a rate in few characters."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def times(value: float) -> str:
    """Show a ratio."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def compare(axes: Any, results: Results, size: int) -> None:
    """Draw the time of all tools next to cat, one row for each, one mark for each size of packets."""
    floor = {label: results.get("cat", label, size) for label in SEGMENTS}

    def to_cat(key: str, label: str) -> float | None:
        one, cat = results.get(key, label, size), floor[label]
        return one.wall / cat.wall if one and cat else None

    keys = sorted((key for key in NAMES if to_cat(key, "mtu")), key=lambda key: to_cat(key, "mtu") or 0, reverse=True)
    for row, key in enumerate(keys):
        points = {label: found for label in SEGMENTS if (found := to_cat(key, label)) is not None}
        axes.plot([min(points.values()), max(points.values())], [row, row], color=colour(key), alpha=0.35, lw=2)
        for label, value in points.items():
            face = colour(key) if label == "mtu" else "white"
            axes.plot(value, row, MARKERS[label], ms=7, color=colour(key), mfc=face)
        one = results.get(key, "mtu", size)
        assert one is not None
        mark = "≈ " if one.part < 1 else ""
        text = f"{mark}{times(points['mtu'])} × cat, {mark}{short(one.packets_per_second)} packets/s"
        axes.annotate(text, (max(points.values()), row), (9, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(range(len(keys)), [NAMES[key] for key in keys])
    for tick, key in zip(axes.get_yticklabels(), keys, strict=True):
        tick.set_color(colour(key))
    axes.set_xscale("log")
    axes.set_xlim(0.8, axes.get_xlim()[1] * 12)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylim(-0.7, len(keys) - 0.3)
    axes.axvline(1, color=FLOOR, lw=0.8)
    axes.grid(axis="x", alpha=0.25)
    for label, marker in MARKERS.items():
        axes.plot([], [], marker, color=PEERS, mfc=PEERS if label == "mtu" else "white", label=TITLES[label])
    axes.legend(loc="upper right", frameon=False, title="packets")
    axes.set_title(f"Wall time as a multiple of cat's, {amount(size)} of stream (figures: MTU 1500)", loc="left")
    axes.set_xlabel("times the wall time of cat, whole process with its start-up (log)")


def grow(axes: Any, results: Results, quantity: str, title: str) -> None:
    """Draw seconds or memory over the size of an MTU-1500 capture."""
    ends: list[tuple[float, str]] = []
    sizes = sorted({one.size for one in results if one.label == "mtu" and one.form == "pcap"})
    for key in SHORT:
        points = [(size, one) for size in sizes if (one := results.get(key, "mtu", size)) and one.part == 1]
        if not points:
            continue
        values = [getattr(one, quantity) for _, one in points]
        axes.plot([size for size, _ in points], values, "o-", ms=4, lw=1.6, color=colour(key))
        ends.append((values[-1], key))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [amount(size) for size in sizes])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.15, sizes[-1] * 1.15)
    axes.grid(alpha=0.25)
    axes.set_title(title, loc="left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 1.1)
    labels(axes, ends)


def labels(axes: Any, ends: list[tuple[float, str]]) -> None:
    """Write the names of lines at their right ends, one below the other where they would overlap."""
    transform = axes.transScale + axes.transLimits
    places = sorted((transform.transform((axes.get_xlim()[1], value))[1], key) for value, key in ends)
    shown = [(place, place, key) for place, key in places]
    for _ in range(100):  # push neighbours apart until none overlap
        for lower in range(len(shown) - 1):
            near = APART - (shown[lower + 1][0] - shown[lower][0])
            if near > 0:
                shown[lower] = (shown[lower][0] - near / 2, *shown[lower][1:])
                shown[lower + 1] = (shown[lower + 1][0] + near / 2, *shown[lower + 1][1:])
    for at, place, key in shown:
        axes.annotate(
            SHORT[key],
            (1.0, place),
            (1.06, at),
            xycoords="axes fraction",
            color=colour(key),
            va="center",
            fontsize=8.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour(key), "lw": 0.6, "shrinkA": 1, "shrinkB": 1},
        )


def rates(axes: Any, results: Results) -> None:
    """Draw records per second on captures of many small records."""
    groups = ("many", "remus")
    found: dict[str, dict[str, Figures]] = {label: {} for label in groups}
    for one in results:
        if one.label in groups and one.tool in RECORDS and not one.failed:
            found[one.label][one.tool] = one
    keys = [key for key in reversed(RECORDS) if key in found["many"] or key in found["remus"]]
    for row, key in enumerate(keys):
        for label, shift, alpha in (("many", 0.2, 1.0), ("remus", -0.2, 0.5)):
            if (figures := found[label].get(key)) is None:
                continue
            rate = figures.records_per_second
            axes.barh(row + shift, rate, 0.36, color=colour(key), alpha=alpha)
            text = f"{'≈ ' if figures.part < 1 else ''}{short(rate)}{' Remus' if label == 'remus' else ''}"
            axes.annotate(text, (rate, row + shift), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(keys)), [RECORD_NAMES[key] for key in keys])
    axes.set_xscale("log")
    axes.set_xlim(1000, axes.get_xlim()[1] * 12)
    axes.grid(axis="x", alpha=0.25)
    axes.set_title("Small records per second (log)", loc="right")


def draw(results: Results, facts: dict[str, str], out: Path) -> None:
    """Draw the picture.

    Raises:
        ImportError: matplotlib is not there.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9.5})
    figure = pyplot.figure(figsize=(13, 10.5))
    size = max(one.size for one in results if one.tool == "events-c" and one.label == "mtu")
    compare(figure.add_axes((0.18, 0.5, 0.81, 0.445)), results, size)
    grow(figure.add_axes((0.045, 0.05, 0.215, 0.365)), results, "wall", "Seconds, MTU 1500 (log)")
    grow(figure.add_axes((0.395, 0.05, 0.215, 0.365)), results, "peak", "Peak memory in MiB, MTU 1500 (log)")
    rates(figure.add_axes((0.855, 0.05, 0.135, 0.365)), results)
    when = f"{facts.get('Measured on', '')}, {facts.get('processor:', '')}; ≈: estimated from a shorter capture"
    figure.suptitle(when, x=0.99, y=0.985, ha="right", fontsize=8, color=PEERS)
    figure.savefig(out, dpi=110)


def main() -> int:
    """Command line."""
    results, facts = load(Path(sys.argv[1]))
    try:
        draw(results, facts, Path(sys.argv[2]))
    except ImportError:
        sys.stderr.write("no picture: matplotlib is not installed\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
