# SPDX-License-Identifier: GPL-2.0-or-later
"""Up to which bit rate a live capture loses nothing: ``python bench/live.py`` (root; about ten minutes).

Method
    Two network namespaces joined by a veth pair (``tests/live/link.py``). For each packet size and bit rate, one
    capturer after the other listens on the receiving end while a large migration (``bench/stream.py``) is sent over TCP
    at that rate, by a token bucket, for some seconds. So all capturers see the same link in the same run, and a busy
    machine slows all of them alike. Sender, receiver and capturer share the processors of the machine.

    Packets are what the interface counted; lost are those the capturer did not read, whoever dropped them. The records
    that it found are compared with those that the sender wrote. All buffers of the kernel are of the same size, but for
    scapy's, which is left as scapy makes it. After the last byte each capturer has time to read what still waits in its
    buffer: "late" is how long that took. A rate that is only reached by filling the buffer shows there, and would be
    lost in a longer run. With --repeat every step is done several times, the capturers in turn, and that with the least
    loss counts: other work on the machine makes packets get lost, it never saves any.

    CPU is user and system time of the capturer and its children, from when it listens to its end, over the packets that
    it read. What the kernel does for a packet while it interrupts another process is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generate import size
from bench.measure import markdown
from dissector.reader import Reader
from dissector.wire.events import Record, Total
from tests.live.link import INTERFACE, Link, can_make_namespaces
from tests.live.replay import Flood, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.live.replay import Played

HERE: Final = Path(__file__).resolve().parent
BUFFER: Final = 64 << 20
LARGEST: Final = 4 << 30
UNPACED: Final = 0.0
RATES: Final = (100e6, 250e6, 500e6, 1e9, 2e9, 4e9, UNPACED)
QUICK_RATES: Final = (250e6, 1e9, UNPACED)
SIZES: Final = {"mtu": (1500, False), "jumbo": (9000, False), "gso": (1500, True)}
"""Kind of packets -> MTU, and whether offload leaves segments of up to 64 KiB whole."""
TITLES: Final = {"mtu": "MTU 1500", "jumbo": "MTU 9000", "gso": "segments of up to 64 KiB (offload)"}
REACHED: Final = 0.9
"""Part of a wanted bit rate that the sender must reach, or the rate is shown with the step."""
IDLE: Final = 0.05
"""CPU seconds in a quarter of a second that a capturer that waits for packets stays below."""
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Result:
    """What a capturer tells at its end.

    Attributes:
        packets: That it read.
        dropped: That the kernel dropped; None: it does not tell.
        records: Found records of each ``layer TYPE``; None: it does not look for any.
    """

    packets: int
    dropped: int | None
    records: Mapping[str, int] | None


@dataclass(frozen=True)
class Step:
    """One capturer at one bit rate.

    Attributes:
        wanted: Bits per second; 0: as many as there are.
        reached: Stream bits per second.
        packets: On the interface.
        result: What the capturer told.
        records: That the sender wrote.
        cpu: Seconds.
        late: Seconds that the capturer went on reading after the last byte.
        failed: Why there is no result.
    """

    wanted: float
    reached: float = 0.0
    packets: int = 0
    result: Result = field(default_factory=lambda: Result(0, None, None))
    records: Mapping[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    late: float = 0.0
    failed: str = ""

    @property
    def lost(self) -> int:
        """Packets that were not read."""
        return max(self.packets - self.result.packets, self.result.dropped or 0)

    @property
    def missing(self) -> int:
        """Records that were not found, or that nobody wrote."""
        if self.result.records is None:
            return 0
        found, true = Counter(self.result.records), Counter(self.records)
        return (true - found).total() + (found - true).total()

    @property
    def lossless(self) -> bool:
        """Whether nothing is missing."""
        return not self.failed and not self.lost and not self.missing


@dataclass(frozen=True)
class Capturer:
    """A way to capture.

    Attributes:
        name: As shown.
        pipeline: Commands; each reads what the one before writes. FILE stands for a file that is removed afterwards.
        read: Makes the result from the output of the last command, the complaints of all of them, and the file.
    """

    name: str
    pipeline: Sequence[Sequence[str]]
    read: Callable[[str, str, Path], Result]


# -- what capturers tell ---------------------------------------------------------------------------


def of_consumer(output: str, _: str, __: Path) -> Result:
    """Read the line of ``live_consumer.py``."""
    told = json.loads(output)
    return Result(told["packets"], told["dropped"], told["records"])


def of_events(output: str, complaints: str, _: Path) -> Result:
    """Read the events of ``xendissect read --json``."""
    records: Counter[str] = Counter()
    frames = 0
    for line in output.splitlines():
        event = json.loads(line)
        if event["event"] == "record":
            records[f"{event['layer']} {event['type']}"] += 1
        elif event["event"] == "summary" and event["scope"] == "input":
            frames = event["frames"]
    return Result(frames, dropped_by_dumpcap(complaints), records)


def of_file(_: str, complaints: str, path: Path) -> Result:
    """Read the capture file that was written."""
    records: Counter[str] = Counter()
    frames = 0
    reader = Reader([path])
    try:
        for event in reader.events():
            if isinstance(event, Record):
                records[f"{event.layer} {event.type}"] += 1
            elif isinstance(event, Total):
                frames = event.frames
    finally:
        reader.close()
    return Result(frames, dropped_by_dumpcap(complaints), records)


def dropped_by_dumpcap(text: str) -> int | None:
    """Read the last message of dumpcap; what it dropped itself counts too."""
    match = re.search(r"received/dropped on interface .*: \d+/(\d+) \(", text)
    return int(match[1]) if match else None


def capturers(chosen: Sequence[str] = ()) -> list[Capturer]:
    """List those that can run here, or those that are chosen by their first word."""
    python, script = sys.executable, str(HERE / "live_consumer.py")
    program = [python, "-m", "dissector"]
    mebibytes = str(BUFFER >> 20)
    found = [Capturer("ring", [[python, script, "ring", INTERFACE]], of_consumer)]
    if shutil.which("dumpcap"):
        dumpcap = ["dumpcap", "-q", "-i", INTERFACE, "-B", mebibytes, "-w"]
        read = [*program, "read", "-q", "--json", "-"]
        found += [
            Capturer("pipe (dumpcap)", [[python, script, "dumpcap", INTERFACE]], of_consumer),
            Capturer("shell: dumpcap \\| xendissect read", [[*dumpcap, "-"], read], of_events),
            Capturer("dumpcap -w FILE alone", [[*dumpcap, "FILE"]], of_file),
        ]
    if has_sniff(program):
        found.append(
            Capturer("xendissect sniff -w FILE", [[*program, "sniff", "-i", INTERFACE, "-w", "FILE"]], of_file)
        )
    found.append(Capturer("scapy sniff()", [[python, script, "scapy", INTERFACE]], of_consumer))
    return [one for one in found if not chosen or any(word in one.name for word in chosen)]


def has_sniff(program: Sequence[str]) -> bool:
    """Whether the command line has the verb."""
    asked = subprocess.run([*program, "sniff", "--help"], capture_output=True, check=False, cwd=HERE.parent)
    return asked.returncode == 0


# -- one step ---------------------------------------------------------------------------


class Running:
    """A capturer at work on the receiving end of a link; a context manager that ends it in any case."""

    def __init__(self, capturer: Capturer, link: Link, folder: Path) -> None:
        self._capturer = capturer
        self._path = folder / "capture"
        self._complaints = (folder / "complaints").open("w+")
        self._output = (folder / "output").open("w+")
        self._children: list[subprocess.Popen[bytes]] = []
        before: IO[bytes] | None = None
        for number, words in enumerate(capturer.pipeline):
            last = number == len(capturer.pipeline) - 1
            child = link.receiver.start(
                *(str(self._path) if word == "FILE" else word for word in words),
                stdin=before or subprocess.DEVNULL,
                stdout=self._output if last else subprocess.PIPE,
                stderr=self._complaints,
                cwd=HERE.parent,
            )
            if before is not None:
                before.close()
            before = child.stdout
            self._children.append(child)
        deadline = time.monotonic() + 20
        while not link.receiver.captures():
            if time.monotonic() > deadline or self._children[0].poll() is not None:
                raise RuntimeError(f"does not capture: {self._said()[1].strip()[-200:]}")
            time.sleep(0.01)
        self.settle()
        self._before = self.cpu()

    def cpu(self) -> float:
        """Sum the CPU seconds of all processes until now."""
        return sum(cpu_of(child.pid) for child in self._children)

    def settle(self, limit: float = 15.0) -> float:
        """Wait until it only waits; return how long it was busy."""
        begin = latest = time.monotonic()
        used = self.cpu()
        while latest - begin < limit:
            time.sleep(0.25)
            now = self.cpu()
            if now - used < IDLE:
                break
            used, latest = now, time.monotonic()
        return latest - begin

    def stop(self) -> tuple[Result, float]:
        """Interrupt it, let it end by itself, and return what it tells and the CPU seconds since it listened."""
        self._children[0].send_signal(signal.SIGINT)
        used = 0.0
        for child in self._children:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            used += usage.ru_utime + usage.ru_stime
        output, complaints = self._said()
        bad = [child.returncode for child in self._children if child.returncode not in (0, 130, -signal.SIGINT)]
        if bad:
            raise RuntimeError(f"status {bad[0]}: {complaints.strip()[-200:]}")
        return self._capturer.read(output, complaints, self._path), used - self._before

    def close(self) -> None:
        """End what still runs and remove the capture."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
        self._complaints.close()
        self._output.close()
        self._path.unlink(missing_ok=True)

    def _said(self) -> tuple[str, str]:
        for file in (self._output, self._complaints):
            file.seek(0)
        return self._output.read(), self._complaints.read()


def cpu_of(pid: int) -> float:
    """CPU seconds of a process, its living children and those it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS + sum(cpu_of(int(child)) for child in children)


def amount(rate: float, seconds: float, limit: int) -> int:
    """Bytes to send in a step."""
    return min(int(rate * seconds / 8), limit) if rate else limit


def measure(capturer: Capturer, link: Link, rate: float, total: int) -> Step:
    """Capture one migration with one capturer."""
    with tempfile.TemporaryDirectory(prefix="xendissect-bench-") as folder:
        running = None
        try:
            running = Running(capturer, link, Path(folder))
            before = link.receiver.packets()
            played = play(link, Flood(total, port=0), rate=rate, timeout=120.0)
            packets = link.receiver.packets() - before
            late = running.settle()
            result, cpu = running.stop()
        except (RuntimeError, AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
            return Step(rate, failed=str(error) or type(error).__name__)
        finally:
            if running is not None:
                running.close()
    return Step(rate, rate_of(played), packets, result, played.records, cpu, late)


def rate_of(played: Played) -> float:
    """Bits per second of the stream."""
    return played.forward * 8 / played.seconds if played.seconds else 0.0


# -- tables ---------------------------------------------------------------------------


def highest(steps: Iterable[Step]) -> float:
    """Bits per second up to which no step lost anything."""
    best = 0.0
    for step in sorted(steps, key=lambda one: one.reached):
        if not step.lossless:
            break
        best = step.reached
    return best


def bits(rate: float) -> str:
    """Write a bit rate."""
    return f"{rate / 1e9:.1f}G" if rate >= 1e9 else f"{rate / 1e6:.0f}M"


def cell(step: Step) -> str:
    """Write what a step lost: packets, records if they are not all there, and what else is remarkable."""
    if step.failed:
        return "failed"
    words = ["0" if not step.lost else f"{step.lost / step.packets:.2%}" if step.packets else "?"]
    if step.missing:
        words.append(f"records {step.missing}/{sum(step.records.values())}")
    if step.wanted == UNPACED or step.reached < REACHED * step.wanted:
        words.append(f"at {bits(step.reached)}")
    if step.late >= 0.5:
        words.append(f"late {step.late:.1f} s")
    return ", ".join(words)


def per_million(steps: Iterable[Step]) -> str:
    """CPU seconds per million packets, of all steps that read some."""
    good = [step for step in steps if step.result.packets and not step.failed]
    packets = sum(step.result.packets for step in good)
    return f"{sum(step.cpu for step in good) / packets * 1e6:.1f}" if packets else "-"


def table(results: Mapping[str, Sequence[Step]], rates: Sequence[float]) -> str:
    """Lay out the results of one packet size: capturer -> its steps in the order of the rates."""
    head = ["lost at", "no loss up to", "CPU s per 10^6 packets", *(bits(rate) if rate else "all" for rate in rates)]
    rows = [[name, bits(highest(s)), per_million(s), *map(cell, s)] for name, s in results.items()]
    return markdown(head, rows)


def machine() -> str:
    """Say where and when this was measured."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    name = cpu[1] if cpu else platform.machine()
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{name}, {os.cpu_count()} processors, Linux {platform.release()}, Python {platform.python_version()}, {when}"
    )


def best(steps: Sequence[Step]) -> Step:
    """Choose the step with the least loss, of the same ones."""
    return min(steps, key=lambda one: (bool(one.failed), one.lost / max(one.packets, 1), -one.reached))


def run(kind: str, chosen: list[Capturer], rates: Sequence[float], seconds: float, limit: int, repeat: int) -> str:
    """Measure one packet size; return its table."""
    results: dict[str, list[Step]] = {one.name: [] for one in chosen}
    mtu, offload = SIZES[kind]
    with Link(mtu, offload=offload) as link:
        for rate in rates:
            total = amount(rate, seconds, limit)
            steps: dict[str, list[Step]] = {one.name: [] for one in chosen}
            for one in chosen * repeat:
                progress(f"{kind} {bits(rate) if rate else 'all'} {one.name}")
                step = measure(one, link, rate, total)
                if step.failed:
                    progress(f"{one.name}: {step.failed}\n")
                steps[one.name].append(step)
            for name, found in steps.items():
                results[name].append(best(found))
    progress("")
    lines = ["### " + TITLES[kind], "", table(results, rates)]
    return "\n".join(lines)


def progress(text: str) -> None:
    """Show on a terminal what is going on; failures are shown in any case."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
    elif text.endswith("\n"):
        sys.stderr.write(text)
    sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capturers", nargs="*", metavar="CAPTURER", help="part of a name in the table; all if none")
    parser.add_argument("--quick", action="store_true", help="three rates, a second each")
    parser.add_argument("--seconds", type=float, help="of each step (3; 1 with --quick)")
    parser.add_argument("--repeat", type=int, default=1, help="do every step so often (1)")
    parser.add_argument("--limit", type=size, help="most bytes of a step, and those of the unpaced one (2G; 256M)")
    parser.add_argument(
        "--sizes", nargs="+", choices=sorted(SIZES), default=["mtu", "gso"], help="of packets (mtu gso)"
    )
    parser.add_argument("--rates", type=bits_per_second, nargs="+", help="such as 250M 1G; all: unpaced")
    options = parser.parse_args(arguments)
    if reason := can_make_namespaces():
        parser.exit(1, f"{parser.prog}: {reason}\n")
    rates = options.rates or (QUICK_RATES if options.quick else RATES)
    seconds = options.seconds or (1.0 if options.quick else 3.0)
    limit: int = options.limit or (256 << 20 if options.quick else 2 << 30)
    chosen = capturers(options.capturers)
    if not chosen:
        parser.error("no such capturer")
    show(f"## Live capture: {machine()}; buffers of {BUFFER >> 20} MiB, {seconds:g} s a step, best of {options.repeat}")
    for kind in options.sizes:
        show(run(kind, chosen, rates, seconds, min(limit, LARGEST), options.repeat))
    return 0


def bits_per_second(text: str) -> float:
    """Read a bit rate: ``250M``, ``1G``, ``all``."""
    if text == "all":
        return UNPACED
    factors: dict[str, Any] = {"k": 1e3, "M": 1e6, "G": 1e9}
    return float(text[:-1]) * factors[text[-1]] if text[-1:] in factors else float(text)


def show(text: str) -> None:
    """Print a part of the report."""
    sys.stdout.write(text + "\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
