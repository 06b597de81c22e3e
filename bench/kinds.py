# SPDX-License-Identifier: GPL-2.0-or-later
"""The captures that are measured: made by ``bench/generate.py``, kept in ``bench/data`` and used again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generate import Expected, Options

ROOT: Final = Path(__file__).resolve().parent.parent
DATA = ROOT / "bench" / "data"
MIB: Final = 1 << 20

SEGMENTS: Final = {"mtu": 1448, "jumbo": 8948, "gro": 65160}
TITLES: Final = {"mtu": "MTU 1500", "jumbo": "MTU 9000", "gro": "64 KiB segments"}
DISORDERS: Final[dict[str, dict[str, Any]]] = {"": {}, "reorder": {"reorder": 0.001}, "loss": {"loss": 0.001}}


@dataclass(frozen=True)
class Capture:
    """A generated capture.

    Attributes:
        label: First part of its name, such as mtu-reorder.
        options: It was made with.
        path: It lies there.
        expected: What is in it.
    """

    label: str
    options: Options
    path: Path
    expected: Expected

    @property
    def records(self) -> int:
        """Count of all records."""
        return sum(self.expected.records.values())

    @property
    def title(self) -> str:
        """As shown in tables."""
        segment, _, disorder = self.label.partition("-")
        words = {"reorder": ", 0.1 % reordered", "loss": ", 0.1 % lost"}
        form = ", pcapng" if self.options.format == "pcapng" else ""
        return TITLES.get(segment, self.label) + words.get(disorder, "") + form

    def shorter(self, packets: int) -> Capture:
        """Return a capture of the same kind with about so many packets, or this one if it has no more."""
        size = max(packets * 2 // 3 * self.options.segment // MIB, 1) * MIB
        return self if size >= self.options.size else made(self.label, replace(self.options, size=size))


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
    path.unlink(missing_ok=True)  # it may be a link to somebody else's
    facts.unlink(missing_ok=True)
    words = [word for name, value in asdict(options).items() for word in (f"--{name}", str(value))]
    subprocess.run(
        [sys.executable, str(ROOT / "bench" / "generate.py"), str(path), *words], check=True, stdout=subprocess.DEVNULL
    )
    return ensure(name, options)


def made(label: str, options: Options) -> Capture:
    """Return the capture with these options."""
    amount = f"{options.size // MIB}M" if options.size >= MIB else f"{options.size >> 10}K"
    return Capture(label, options, *ensure(f"{label}-{amount}.{options.format}", options))


def variant(label: str, **changes: Any) -> tuple[Path, Expected]:
    """Return the path of a capture of a kind, and what is in it."""
    capture = made(label, Options(**changes))
    return capture.path, capture.expected


def kind(segment: str, size: int, disorder: str = "", form: str = "pcap") -> Capture:
    """Return the capture with one of `SEGMENTS` and one of `DISORDERS`."""
    label = f"{segment}-{disorder}" if disorder else segment
    return made(label, Options(size=size, segment=SEGMENTS[segment], format=form, **DISORDERS[disorder]))
