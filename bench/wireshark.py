# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Wireshark plugin costs: ``python bench/wireshark.py``.

Method
    tshark reads a capture in three ways, in one run and in turn (see ``bench/measure.py``): without the plugin and with
    the TCP payload left as data; with the plugin loaded but the payload still left as data; and with the plugin at
    work. ``-z io,stat,0`` makes it dissect every frame, as Wireshark does when it opens a file: ``tshark -q`` alone
    dissects nothing. Times are of user CPU and memory is the largest resident set, as the kernel tells them of that
    process. Ratios are to the first way: of the medians, and of the least times, as other work on the machine only ever
    adds to them. "Bytes a frame" is what more memory than the first way was needed, over the frames that carry data.

    Before that, the records that the plugin finds (layer, type, offset) are compared with what the generator wrote.

    As root, tshark runs as nobody (4.4 and newer ignore plugins when root runs them) and reads a link of the capture in
    a temporary folder; set TMPDIR to one on the same file system, or large captures are copied.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generate import PORT, Expected, size
from bench.kinds import variant
from bench.measure import Command, Row, interleave, markdown
from tests.wireshark.tshark import PLUGIN, Tshark

AS_DATA: Final = ("-d", f"tcp.port=={PORT},data")
LOAD: Final = ("-q", "-z", "io,stat,0")
TWO_PASSES: Final = ("-2", "-Y", "frame", "-T", "fields", "-e")
NODE: Final = ("xenmig.direction", "xenmig.layer", "xenmig.type", "xenmig.offset")
HEAD: Final = (
    "",
    "user s",
    "least",
    "wall s",
    "peak MiB",
    "user ratio",
    "of the least",
    "memory ratio",
    "bytes a frame",
)
SEGMENTS: Final = {"MTU 1500": ("mtu", 1448), "MTU 9000": ("jumbo", 8948), "GRO": ("gro", 65160)}


@dataclass(frozen=True)
class Capture:
    """A generated capture."""

    title: str
    path: Path
    expected: Expected
    segment: int

    @property
    def data_frames(self) -> int:
        """Frames that carry data."""
        return -(-self.expected.stream_bytes // self.segment)


@dataclass(frozen=True)
class Bench:
    """What is measured with what."""

    tshark: Tshark
    plugin: Path
    repeat: int
    checks: bool

    def command(self, name: str, capture: Capture, *arguments: str, plugin: bool) -> Command:
        """Make the command that reads a capture."""
        words = self.tshark.arguments(capture.path, *arguments, plugin=self.plugin if plugin else None)
        argv = self.tshark.argv("tshark", *words)
        return Command(name, argv, capture.path, capture.expected.frames, environment=self.tshark.environment)

    def check(self, capture: Capture) -> None:
        """Compare the records that the plugin finds with those that were written.

        Raises:
            SystemExit: they differ.
        """
        if not self.checks:
            return
        rows = self.tshark.rows(capture.path, NODE, "-Y", "xenmig.type", plugin=self.plugin, timeout=1800)
        nodes = {node for cells in rows for node in zip(*cells, strict=True)}
        found = Counter(f"{layer} {type_}" for _, layer, type_, _ in nodes)
        if found != capture.expected.records:
            raise SystemExit(f"{capture.path}: expected {capture.expected.records}, found {dict(found)}")

    def load(self, capture: Capture) -> str:
        """Measure what it takes to open a capture."""
        self.check(capture)
        commands = [
            self.command("payload as data", capture, *LOAD, *AS_DATA, plugin=False),
            self.command("plugin loaded, payload as data", capture, *LOAD, *AS_DATA, plugin=True),
            self.command("plugin", capture, *LOAD, plugin=True),
        ]
        return self._table(capture, commands)

    def fields(self, capture: Capture) -> str:
        """Measure two passes with a tree for each frame."""
        commands = [
            self.command("-2 -T fields, payload as data", capture, *TWO_PASSES, "tcp.len", *AS_DATA, plugin=False),
            self.command("-2 -T fields, plugin", capture, *TWO_PASSES, "xenmig.type", plugin=True),
        ]
        return self._table(capture, commands)

    def _table(self, capture: Capture, commands: list[Command]) -> str:
        rows = interleave(commands, self.repeat)
        table = markdown(HEAD, [cells(row, rows[0], capture.data_frames) for row in rows])
        facts = f"{capture.data_frames:,} frames with data, {capture.path.stat().st_size / 1e6:,.0f} MB"
        return f"### {capture.title}: {facts}\n\n{table}"


def cells(row: Row, base: Row, data_frames: int) -> list[str]:
    """Lay out one row of a table with the columns of `HEAD`."""
    if row.failed:
        return [row.command.name, row.failed, *[""] * (len(HEAD) - 2)]
    figures = [f"{row.user:.2f}", f"{row.user_least:.2f}", f"{row.wall:.2f}", f"{row.peak:.0f}"]
    if row is base or base.failed:
        return [row.command.name, *figures, *[""] * 4]
    ratios = (row.user / base.user, row.user_least / base.user_least, row.peak / base.peak)
    more = (row.peak - base.peak) * 2**20 / data_frames
    return [row.command.name, *figures, *(f"{ratio:.2f}" for ratio in ratios), f"{more:,.0f}"]


def segments(kind: str, total: int) -> Capture:
    """Return the capture of a stream in segments of one size."""
    label, segment = SEGMENTS[kind]
    path, expected = variant(label, size=total, segment=segment)
    return Capture(f"{kind}, {total >> 20} MiB", path, expected, segment)


def one_record() -> Capture:
    """Return the capture with a PAGE_DATA record of 128 MiB, the most there can be, in small segments."""
    path, expected = variant("128M-record", size=(128 << 20) + (64 << 10), records="128M")
    return Capture("one record of 128 MiB, MTU 1500", path, expected, 1448)


SECTIONS: Final = ("load", "fields", "record", "4G")


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none is given"
    )
    parser.add_argument(
        "--size", type=size, nargs="+", default=[200 << 20, 800 << 20], help="of each stream (200M 800M)"
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="of another Wireshark, see tests/wireshark/roots.sh"
    )
    parser.add_argument("--plugin", type=Path, default=PLUGIN)
    parser.add_argument("--no-check", action="store_true", help="do not compare the records with those written")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    bench = Bench(Tshark(options.root.resolve()), options.plugin, options.repeat, not options.no_check)
    sections = options.sections or SECTIONS

    def show(text: str) -> None:
        sys.stdout.write(text + "\n\n")
        sys.stdout.flush()

    show(f"## tshark {'.'.join(map(str, bench.tshark.version))}, {bench.repeat} runs of each")
    if "load" in sections:
        for total in options.size:
            show(bench.load(segments("MTU 1500", total)))
        for kind in ("MTU 9000", "GRO"):
            show(bench.load(segments(kind, max(options.size))))
    if "fields" in sections:
        for kind in ("MTU 1500", "GRO"):
            show(bench.fields(segments(kind, min(options.size))))
    if "record" in sections:
        show(bench.load(one_record()))
    if "4G" in sections:
        show(bench.load(segments("GRO", 4608 << 20)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
