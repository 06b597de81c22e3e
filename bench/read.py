# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast captures are read, next to other tools: ``python bench/read.py``.

Method
    Every figure is the median of several runs of a whole process, from start to exit, on a capture that lies in the
    page cache (each is read once before). The runs are interleaved - one of every command, then the next of every
    command - so that other work on the machine slows all of them alike; compare the ratios, not the seconds. CPU is
    user plus system time and peak the largest resident set, both as the kernel tells them of that process (``wait4``);
    a child never shows less than the 20 MiB or so that this script itself has. MB are 10^6 bytes of the capture file.

    The captures come from ``bench/generate.py``, stay in ``bench/data`` and are used again. Before its time counts,
    every run of our reader is compared with what the generator says it wrote: frames, and records per type.

    ``kernels`` compares the two fast-forward kernels (XENDISSECT_KERNEL). There the time of the same command for a
    capture of 64 KiB, which is start-up, is taken off before anything is compared with ``cat``.

    ``cat`` is the floor: nothing reads faster. ``tshark -r`` runs with the payload left as data (``-d``): with its
    default heuristics it may never end on random page contents. scapy reads a slice of the same kind of capture, and
    neither its import nor Python's start counts: only its packets per second can be compared. ``RawPcapReader``
    dissects nothing at all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generate import PORT, Expected, Options, size
from bench.measure import Command, Row, interleave, markdown, run

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "bench" / "data"
SMALL = ROOT / "captures" / "pv-live-libxl.pcap.gz"
HEAD = ("", "wall s", "CPU s", "packets/s", "MB/s", "peak MiB", "packets/s to tshark")

SCRIPT = Path(sys.executable).with_name("xendissect")
CLI = (str(SCRIPT),) if SCRIPT.exists() else (sys.executable, "-c", "from dissector.cli import main; main()")
API = """
import json, sys
from dissector.reader import read_events
from dissector.wire.events import Summary, Total
for event in read_events(sys.argv[1]):
    if isinstance(event, Summary):
        records = event.records
    elif isinstance(event, Total):
        frames = event.frames
print(json.dumps({"records": dict(records), "frames": frames}))
"""
SCAPY = """
import sys, time
from scapy.layers.l2 import Ether
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapReader, RawPcapReader
begin = time.perf_counter()
packets = 0
for packet in (PcapReader if sys.argv[2] == "full" else RawPcapReader)(sys.argv[1]):
    packets += 1
print(time.perf_counter() - begin, packets)
"""


def ensure(name: str, options: Options) -> tuple[Path, Expected]:
    """Return the path of a capture and what is in it; make it unless it is there."""
    DATA.mkdir(exist_ok=True)
    path = DATA / name
    facts = path.with_name(name + ".json")
    if path.exists() and facts.exists():
        known: dict[str, Any] = json.loads(facts.read_text())
        if Options(**known["options"]) == options:
            return path, Expected(**known["expected"])
    sys.stderr.write(f"writing {path.relative_to(ROOT)}\n")
    words = [word for name, value in asdict(options).items() for word in (f"--{name}", str(value))]
    # In a process of its own: children of this one show at least the memory that this one has.
    subprocess.run(
        [sys.executable, str(ROOT / "bench" / "generate.py"), str(path), *words], check=True, stdout=subprocess.DEVNULL
    )
    return ensure(name, options)


def variant(label: str, **changes: Any) -> tuple[Path, Expected]:
    """Return the capture of a kind."""
    options = Options(**changes)
    return ensure(f"{label}-{options.size >> 20}M.{options.format}", options)


def cat(path: Path, packets: int = 0) -> Command:
    """Make the command that only reads the file."""
    return Command(f"cat {path.name}", ["cat", str(path)], path, packets)


def read(path: Path, packets: int, *options: str, name: str = "") -> Command:
    """Make the command for ``xendissect read``."""
    return Command(name or " ".join(["xendissect read", *options]), [*CLI, "read", *options, str(path)], path, packets)


def api(path: Path, packets: int, name: str = "dissector, read_events()") -> Command:
    """Make the command that takes all events and shows none."""
    return Command(name, [sys.executable, "-c", API, str(path)], path, packets)


def with_kernel(kernel: str, command: Command) -> Command:
    """Let a command of ours run with one of the two fast-forward kernels: c or python."""
    return replace(command, environment={"XENDISSECT_KERNEL": kernel})


def check(path: Path, expected: Expected) -> None:
    """Compare what our reader finds with what was written; read the file into the page cache on the way.

    Raises:
        SystemExit: they differ.
    """
    sample = run(Command("check", [sys.executable, "-c", API, str(path)], path, reports=True))
    found: dict[str, Any] = json.loads(sample.output) if not sample.failed else {"failed": sample.failed}
    wanted = {"records": expected.records, "frames": expected.frames}
    if expected.missing and not sample.failed:  # records whose heads are lost cannot be found, but none may be added
        found["records"] = {name: max(found["records"].get(name, 0), count) for name, count in expected.records.items()}
    if found != wanted:
        raise SystemExit(f"{path}: expected {wanted}, found {found}")


def cells(row: Row, tshark: Row | None) -> list[str]:
    """Lay out one row of a table with the columns of `HEAD`."""
    if row.failed:
        return [row.command.name, row.failed, "", "", "", "", ""]
    ratio = f"{row.packets_per_second / tshark.packets_per_second:.2f}" if tshark and not tshark.failed else ""
    return [
        row.command.name,
        f"{row.wall:.3f}",
        f"{row.cpu:.3f}",
        f"{row.packets_per_second:,.0f}",
        f"{row.megabytes_per_second:,.0f}",
        f"{row.peak:.0f}",
        ratio,
    ]


def peers(total: int, repeat: int) -> str:
    """Compare tools on one MTU-1500 capture."""
    path, expected = variant("mtu", size=total)
    slice_path, slice_expected = variant("mtu", size=min(total, 16 << 20))
    check(path, expected)
    check(slice_path, slice_expected)
    packets = expected.frames
    as_data = ["-d", f"tcp.port=={PORT},data"]
    commands = [
        cat(path, packets),
        api(path, packets),
        read(path, packets),
        read(path, packets, "--json"),
        Command("tcpdump -r -w /dev/null", ["tcpdump", "-r", str(path), "-w", "/dev/null"], path, packets),
        Command(f"tshark -r {' '.join(as_data)}", ["tshark", "-r", str(path), *as_data], path, packets, timeout=300),
        Command(
            "scapy PcapReader (on a slice)", [sys.executable, "-c", SCAPY, str(slice_path), "full"], slice_path, 0, True
        ),
        Command(
            "scapy RawPcapReader (on a slice)",
            [sys.executable, "-c", SCAPY, str(slice_path), "raw"],
            slice_path,
            0,
            True,
        ),
    ]
    rows = interleave(commands, repeat)
    tshark = rows[5]
    table = markdown(HEAD, [cells(row, tshark) for row in rows])
    ours, scapy = rows[2].packets_per_second, rows[6].packets_per_second
    return (
        f"## {path.name}: {packets:,} packets, {path.stat().st_size / 1e6:,.0f} MB\n\n{table}\n\n"
        f"xendissect read: {ours / tshark.packets_per_second:.1f} times the packets/s of tshark (target 5; by CPU time "
        f"{tshark.cpu / rows[2].cpu:.1f} times), {ours / scapy:.0f} times those of scapy's PcapReader (target 50), "
        f"{rows[2].wall / rows[0].wall:.1f} times the wall time of cat."
    )


def kinds(total: int, repeat: int) -> str:
    """Compare kinds of captures of the same stream size, each with `cat`."""
    variants = {
        "MTU 1500": variant("mtu", size=total),
        "0.1 % reordered": variant("reorder", size=total, reorder=0.001),
        "0.1 % not captured": variant("loss", size=total, loss=0.001),
        "pcapng": variant("mtu", size=total, format="pcapng"),
        "MTU 9000": variant("jumbo", size=total, segment=8948),
        "64 KiB segments": variant("gro", size=total, segment=65160),
        "Remus, 50 checkpoints": variant("remus", size=total, remus=50),
        "records of one page": variant("small", size=total, records="small"),
        "records without pages": variant("xtab", size=total, records="xtab-only"),
    }
    commands: list[Command] = []
    for name, (path, expected) in variants.items():
        check(path, expected)
        commands += [cat(path), api(path, expected.frames, name), read(path, expected.frames)]
    rows = interleave(commands, repeat)
    lines = []
    for number, (_, expected) in enumerate(variants.values()):
        floor, events, text = rows[3 * number : 3 * number + 3]
        lines.append(
            [
                events.command.name,
                f"{expected.frames:,}",
                f"{sum(expected.records.values()):,}",
                f"{floor.wall:.3f}",
                events.failed or f"{events.wall:.3f}",
                text.failed or f"{text.wall:.3f}",
                f"{text.packets_per_second:,.0f}",
                f"{text.megabytes_per_second:,.0f}",
                f"{text.peak:.0f}",
                f"{text.wall / floor.wall:.1f}",
            ]
        )
    head = ("", "packets", "records", "cat s", "events s", "read s", "packets/s", "MB/s", "peak MiB", "read to cat")
    return f"## Kinds of captures, {total >> 20} MiB of stream each\n\n{markdown(head, lines)}"


def kernels(total: int, repeat: int) -> str:
    """Compare the two fast-forward kernels with `cat`, beyond what each command takes for a capture of 64 KiB."""
    variants = {
        "MTU 1500": variant("mtu", size=total),
        "0.1 % reordered": variant("reorder", size=total, reorder=0.001),
        "0.1 % not captured": variant("loss", size=total, loss=0.001),
        "MTU 1500, pcapng": variant("mtu", size=total, format="pcapng"),
        "MTU 9000": variant("jumbo", size=total, segment=8948),
        "64 KiB segments": variant("gro", size=total, segment=65160),
        "64 KiB, pcapng": variant("gro", size=total, segment=65160, format="pcapng"),
    }

    def commands(path: Path, packets: int) -> list[Command]:
        ours = [api(path, packets), read(path, packets, "-q")]
        return [cat(path, packets), *(with_kernel(kernel, one) for kernel in ("c", "python") for one in ours)]

    captures = [variant("tiny", size=1 << 16), *variants.values()]
    for path, expected in captures[1:]:
        check(path, expected)
    rows = interleave([one for path, expected in captures for one in commands(path, expected.frames)], repeat)
    start = rows[:5]
    lines = []
    for number, (name, (_, expected)) in enumerate(variants.items(), 1):
        found = rows[5 * number : 5 * number + 5]
        net = [row.wall - least.wall for row, least in zip(found, start, strict=True)]
        cpu = [row.cpu - least.cpu for row, least in zip(found, start, strict=True)]
        figures = [f"{row.wall:.3f}" for row in found]
        ratios = [f"{one / net[0]:.2f}" for one in net[1:]]
        by_cpu = [f"{one / cpu[0]:.2f}" for one in (cpu[1], cpu[3])]
        lines.append([name, f"{expected.frames:,}", *figures, *ratios, *by_cpu])
    beyond = ["start-up", "", *(f"{row.wall:.3f}" for row in start), "", "", "", "", "", ""]
    head = ("", "packets", "cat s", "events C s", "read -q C s", "events Python s", "read -q Python s")
    to_cat = ("events C to cat", "read -q C", "events Python", "read -q Python", "CPU, events C", "CPU, events Python")
    table = markdown((*head, *to_cat), [*lines, beyond])
    return f"## Kernels, {total >> 20} MiB of stream each; ratios to cat are beyond start-up\n\n{table}"


def outputs(total: int, repeat: int) -> str:
    """Compare forms of output on captures of nothing but small records."""
    kinds = ("small", total), ("tiny", total // 4), ("checkpoints", total // 4)
    return "\n\n".join(output(kind, size, repeat) for kind, size in kinds)


def output(kind: str, total: int, repeat: int) -> str:
    """Compare forms of output on one capture."""
    path, expected = variant(kind, size=total, records=kind)
    check(path, expected)
    forms = [(), ("--json",), ("-v",), ("-q",), ("--pfns",), ("--json", "--pfns"), ("-Y", "libxc.page_data.count > 5")]
    commands = [api(path, expected.frames), *(read(path, expected.frames, *form) for form in forms)]
    records = sum(expected.records.values())
    lines = [
        [
            row.command.name,
            row.failed or f"{row.wall:.3f}",
            f"{row.cpu:.3f}",
            f"{records / row.wall:,.0f}",
            f"{row.peak:.0f}",
        ]
        for row in interleave(commands, repeat)
    ]
    head = ("", "wall s", "CPU s", "records/s", "peak MiB")
    return f"## Output of many records: {path.name}, {records:,} records\n\n{markdown(head, lines)}"


def memory(totals: list[int]) -> str:
    """Show that memory does not grow with the capture."""
    commands = []
    for total in totals:
        path, expected = variant("mtu", size=total)
        check(path, expected)
        commands.append(read(path, expected.frames, name=path.name))
        path, expected = variant("reorder", size=total, reorder=0.001)
        commands.append(read(path, expected.frames, name=path.name))
    lines = [
        [row.command.name, row.failed or f"{row.wall:.2f}", f"{row.megabytes_per_second:,.0f}", f"{row.peak:.1f}"]
        for row in interleave(commands, 1)
    ]
    return f"## Memory\n\n{markdown(('xendissect read', 'wall s', 'MB/s', 'peak MiB'), lines)}"


def startup(repeat: int) -> str:
    """Take the time of commands that do little."""
    small = SMALL if SMALL.exists() else ROOT.parent / "shared" / "captures" / SMALL.name
    commands = [
        Command("python -c pass", [sys.executable, "-c", "pass"]),
        Command("import dissector", [sys.executable, "-c", "import dissector"]),
        Command("xendissect --version (target 120)", [*CLI, "--version"]),
        Command("xendissect --help", [*CLI, "--help"]),
        Command(f"xendissect read {small.name} (target 400)", [*CLI, "read", str(small)]),
        Command(f"xendissect read --json {small.name}", [*CLI, "read", "--json", str(small)]),
    ]
    lines = [
        [row.command.name, row.failed or f"{row.wall * 1000:.0f}", f"{row.cpu * 1000:.0f}", f"{row.peak:.0f}"]
        for row in interleave(commands, max(repeat, 10))
    ]
    return f"## Start-up\n\n{markdown(('', 'wall ms', 'CPU ms', 'peak MiB'), lines)}"


SECTIONS = ("peers", "kinds", "kernels", "outputs", "memory", "startup")


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none is given"
    )
    parser.add_argument("--size", type=size, default=256 << 20, help="bytes of the stream in each capture (256M)")
    parser.add_argument("--memory", type=size, nargs="+", default=[256 << 20, 1 << 30], metavar="SIZE")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    made = {
        "peers": lambda: peers(options.size, options.repeat),
        "kinds": lambda: kinds(options.size, options.repeat),
        "kernels": lambda: kernels(options.size, options.repeat),
        "outputs": lambda: outputs(min(options.size, 64 << 20), min(options.repeat, 3)),
        "memory": lambda: memory(options.memory),
        "startup": lambda: startup(options.repeat),
    }
    for name in options.sections or SECTIONS:
        sys.stdout.write(made[name]() + "\n\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
