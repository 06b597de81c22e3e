# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast captures are read, next to other tools: ``make bench``, or ``python bench/read.py``.

Method
    Every figure is the median of several runs of a whole process, from start to exit, on a capture that lies in the
    page cache (each is read once before). All tools read the same capture in turn - one run of each, then the next of
    each - so that other work on the machine slows all of them alike: compare the ratios, not the seconds. A tool whose
    runs would take more than ``--budget`` seconds gets fewer of them; "runs" says how many. CPU is user plus system
    time and peak the largest resident set, both as the kernel tells them of that process and of those it waited for
    (``wait4``), 8 MiB at least. MB are 10^6 bytes of the capture file.

    Start-up is the time of the same command for a capture of 64 KiB. "CPU to cat" is CPU time beyond start-up, next to
    that of ``cat``, the floor; "wall to cat" takes nothing off.

    The captures come from ``bench/generate.py``, stay in ``bench/data`` and are used again. What our reader finds in
    each is compared with what the generator says it wrote: frames, and records per type.

    Slow tools read a shorter capture of the same kind; seconds and rates with a ≈ are then scaled to the whole one,
    without their start-up. Their memory is that of the shorter one.

    tshark dissects every frame and prints nothing (``-q -z io,stat,0``), and has the payload left as data (``-d``):
    with its default heuristics it may never end on random page contents. What the others do is in ``bench/peers.py``.

Results
    The tables go to standard output, all figures to bench/data/results.json. ``--docs`` also puts tables and picture
    into docs/performance.md; ``--draw`` does so with the figures of the last run, and measures nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import kinds, ours, peers, tables
from bench.generate import Options, size
from bench.kinds import MIB, ROOT, SEGMENTS
from bench.measure import Command, interleave
from bench.results import START, Figures, Results, load, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.kinds import Capture
    from bench.tools import Tool

SMALL: Final = ROOT / "captures" / "pv-live-libxl.pcap.gz"
DOCS: Final = ROOT / "docs" / "performance.md"
PICTURE: Final = ROOT / "docs" / "images" / "performance.png"
BEGIN: Final = "<!-- begin of what make bench writes -->"
END: Final = "<!-- end of what make bench writes -->"
ALL_TOOLS: Final = (ours.CAT, *ours.FOUR, ours.EVENTS_C, ours.EVENTS_PYTHON, *peers.ALL)
SOME_TOOLS: Final = (ours.CAT, *ours.FOUR, *peers.QUICK)
RECORD_TOOLS: Final = (
    ours.CAT, ours.C, ours.PYTHON, ours.JSON, ours.INDEX, ours.EVENTS_C, peers.TSHARK_RECORDS, peers.TSHARK_LUA,
    peers.VERIFIER,
)  # fmt: skip
SECTIONS: Final = ("tools", "kinds", "growth", "records", "startup")


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: Of the streams, in order: kinds of captures are compared at the first, tools at the second or the last.
        repeat: Runs of each command, if they fit into the budget.
        budget: Seconds for all runs of a command on a capture.
        records: Count of small records.
        forms: pcap and pcapng.
        tools: Compared on three sizes of packets.
    """

    sizes: Sequence[int]
    repeat: int
    budget: float
    records: int
    forms: Sequence[str] = ("pcap", "pcapng")
    tools: Sequence[Tool] = ALL_TOOLS

    @property
    def main(self) -> int:
        """Size at which all tools are compared."""
        return self.sizes[min(1, len(self.sizes) - 1)]


class Bench:
    """Runs the sections and collects figures."""

    def __init__(self, plan: Plan) -> None:
        self.results = Results()
        self._plan = plan
        self._starts: dict[str, Figures] = {}

    def start(self) -> None:
        """Take the start-up of all tools: what a capture of 64 KiB costs."""
        capture = kinds.made(START, Options(size=64 << 10))
        tools = tuple(dict.fromkeys((*self._plan.tools, *RECORD_TOOLS)))
        found = measure(capture, tools, 2 * self._plan.repeat, self._plan.budget, {})
        self.results.add(found)
        self._starts = {one.tool: one for one in found if not one.failed}

    def tools(self) -> None:
        """Compare all tools on the three sizes of packets."""
        for segment in SEGMENTS:
            self._add(kinds.kind(segment, self._plan.main), self._plan.tools)

    def kinds(self) -> None:
        """Compare kinds of captures of the same stream."""
        for segment in SEGMENTS:
            for form in self._plan.forms:
                for disorder in kinds.DISORDERS:
                    self._add(kinds.kind(segment, self._plan.sizes[0], disorder, form), SOME_TOOLS, 0.4)

    def growth(self) -> None:
        """Add sizes of MTU-1500 captures; the other sections have measured some."""
        for total in (self._plan.sizes[0] // 4, *self._plan.sizes):
            if self.results.get("cat", "mtu", total) is None:
                self._add(kinds.kind("mtu", total), SOME_TOOLS)

    def records(self) -> None:
        """Compare what finds records on captures of nothing but small ones."""
        count = self._plan.records
        self._add(kinds.made("many", Options(size=(count + 1000) * 32, records="tiny")), RECORD_TOOLS)
        remus = tuple(tool for tool in RECORD_TOOLS if tool is not peers.VERIFIER)  # it knows no checkpoints
        self._add(kinds.made("remus", Options(size=count * 64, records="checkpoints")), remus)

    def startup(self) -> None:
        """Take the time of commands that do little."""
        commands = [
            Command("`python -c pass`", [sys.executable, "-c", "pass"]),
            Command("`import dissector`", [sys.executable, "-c", "import dissector"]),
            Command("`xendissect --version` (target 120)", [*ours.CLI, "--version"]),
            Command("`xendissect --help`", [*ours.CLI, "--help"]),
            Command(f"`xendissect read {SMALL.name}` (target 400)", [*ours.CLI, "read", str(SMALL)]),
            Command(f"`xendissect read --json {SMALL.name}`", [*ours.CLI, "read", "--json", str(SMALL)]),
        ]
        rows = interleave(commands, self._plan.repeat * 2)
        self.results.add(
            Figures(row.command.name, row.command.name, "none", "", 0, "", 0, 0, 0.0, row.wall, row.cpu, row.peak,
                    row.runs, row.spread, 1.0, row.failed)
            for row in rows
        )  # fmt: skip

    def _add(self, capture: Capture, tools: Sequence[Tool], share: float = 1.0) -> None:
        begin, budget = time.monotonic(), self._plan.budget * share
        ours.check(capture)
        self.results.add(measure(capture, tools, self._plan.repeat, budget, self._starts))
        sys.stderr.write(f"{capture.path.name}: {time.monotonic() - begin:.0f} s\n")


def processor() -> str:
    """Name the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else platform.machine()


def version(*command: str) -> str:
    """Return the first number with dots that a program says of itself; "" without the program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    match = re.search(r"\d+(?:\.\d+)+", done.stdout or done.stderr)
    return match.group() if match else ""


def machine() -> dict[str, str]:
    """Say on what is measured, before it begins."""
    found = {
        "Measured on": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor:": f"{processor()}, {os.cpu_count()} of its processors visible",
        "Linux": platform.release(),
        "CPython": platform.python_version(),
        "tshark": version("tshark", "--version"),
        "tcpdump": version("tcpdump", "--version"),
        "tcpflow": version("tcpflow", "--version"),
    }
    for name in ("scapy", "dpkt", "pyshark"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    if path := peers.verifier():
        found["Xen"] = path.parts[3].removeprefix("xen-")
    found["load when it began"] = f"{os.getloadavg()[0]:.2f}"
    return {name: value for name, value in found.items() if value}


def insert(text: str, generated: str) -> str:
    """Put the generated part in place of what is between the two marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{DOCS.name} has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


def publish(results: Results, facts: dict[str, str]) -> None:
    """Write the generated part of docs/performance.md, and the picture if there is matplotlib."""
    DOCS.write_text(insert(DOCS.read_text(), tables.everything(results, facts)))
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "plot.py"), str(kept()), str(PICTURE)], check=False
    )  # in a process of its own: matplotlib is optional
    if done.returncode:
        sys.stderr.write(f"{PICTURE.name} is as it was\n")


def kept() -> Path:
    """Return where the figures of the last run lie."""
    return kinds.DATA / "results.json"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none is given"
    )
    parser.add_argument(
        "--size",
        type=size,
        nargs="+",
        default=[256 * MIB, 1 << 30],
        help="of the streams (256M 1G); add 8G if you like",
    )
    parser.add_argument("--repeat", type=int, default=5, help="runs of each command (5)")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds for the runs of a command on a capture (5)")
    parser.add_argument(
        "--quick", action="store_true", help="a minute: small captures, few runs, without the slowest tools"
    )
    parser.add_argument("--docs", action="store_true", help="write tables and picture into docs/")
    parser.add_argument("--draw", action="store_true", help="write them from the last run's figures, measure nothing")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if options.draw:
        results, facts = load(kept())
        publish(results, facts)
        return 0
    plan = Plan(sorted(options.size), options.repeat, options.budget, 1_000_000)
    if options.quick:
        fast = [tool for tool in ALL_TOOLS if tool not in (peers.PYSHARK_FULL, peers.SCAPY_FULL)]
        plan = Plan([16 * MIB, 64 * MIB], 2, 1.0, 50_000, ("pcap",), fast)
    facts, begin = machine(), time.monotonic()
    bench = Bench(plan)
    bench.start()
    for name in options.sections or SECTIONS:
        getattr(bench, name)()
    facts["runs of one command apart by"] = f"{tables.noise(bench.results):.0%} (median)"
    facts["whole run"] = f"{(time.monotonic() - begin) / 60:.1f} minutes"
    bench.results.save(kept(), facts)
    sys.stdout.write(tables.everything(bench.results, facts) + "\n")
    if options.docs:
        publish(bench.results, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
