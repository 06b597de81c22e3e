# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways in which we read a capture, and whether what we find is what was written."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Command, run
from bench.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.kinds import Capture

SCRIPT: Final = Path(sys.executable).with_name("xendissect")
CLI: Final = (str(SCRIPT),) if SCRIPT.exists() else (sys.executable, "-c", "from dissector.cli import main; main()")
API: Final = """
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
INDEXED: Final = "indexed"
"""Folder beside a capture with a link to it and its index: beside the capture itself every command would use it."""


def kernel_missing() -> str:
    """Say whether the kernel in C was not built."""
    return "" if importlib.util.find_spec("dissector.wire._forward") else "not built"


def reading(kernel: str, *options: str) -> Callable[[Path], Command]:
    """Make ``xendissect read`` with one of the two kernels."""

    def command(path: Path) -> Command:
        argv = [*CLI, "read", "--no-index", *options, str(path)]
        return Command(path.name, argv, path, environment={"XENDISSECT_KERNEL": kernel})

    return command


def events(kernel: str) -> Callable[[Path], Command]:
    """Make the command that takes all events and shows none."""

    def command(path: Path) -> Command:
        return Command(
            path.name, [sys.executable, "-c", API, str(path)], path, environment={"XENDISSECT_KERNEL": kernel}
        )

    return command


def make_index(path: Path) -> None:
    """Make the index of a capture, in a folder of its own."""
    link = path.parent / INDEXED / path.name
    link.parent.mkdir(exist_ok=True)
    if not (link.exists() and link.samefile(path)):
        link.unlink(missing_ok=True)
        link.hardlink_to(path)
    subprocess.run([*CLI, "read", "--index", "-q", str(link)], check=True, stdout=subprocess.DEVNULL)


def indexed(path: Path) -> Command:
    """Make ``xendissect read`` that finds an index."""
    return Command(path.name, [*CLI, "read", str(path.parent / INDEXED / path.name)], path)


def cat(path: Path) -> Command:
    """Make the command that only reads the file: nothing is faster."""
    return Command(path.name, ["cat", str(path)], path)


CAT: Final = Tool("cat", "`cat`", cat)
C: Final = Tool("c", "`xendissect read`, kernel in C", reading("c"), kernel_missing)
PYTHON: Final = Tool("python", "`xendissect read`, kernel in Python", reading("python"))
JSON: Final = Tool("json", "`xendissect read --json`, kernel in C", reading("c", "--json"), kernel_missing)
INDEX: Final = Tool("index", "`xendissect read`, second command after `--index`", indexed, prepare=make_index)
SKIM: Final = Tool("skim", "`xendissect read --skim`", reading("c", "--skim"), kernel_missing)
EVENTS_C: Final = Tool("events-c", "`dissector.events()`, kernel in C", events("c"), kernel_missing)
EVENTS_PYTHON: Final = Tool("events-python", "`dissector.events()`, kernel in Python", events("python"))
FOUR: Final = (C, PYTHON, INDEX, SKIM)


def check(capture: Capture) -> None:
    """Compare what we find with what was written; read the file into the page cache on the way.

    Raises:
        SystemExit: they differ.
    """
    path, expected = capture.path, capture.expected
    sample = run(Command("check", [sys.executable, "-c", API, str(path)], path, reports=True))
    found: dict[str, Any] = json.loads(sample.output) if not sample.failed else {"failed": sample.failed}
    wanted = {"records": expected.records, "frames": expected.frames}
    if expected.missing and not sample.failed:  # records whose heads are lost cannot be found, but none may be added
        found["records"] = {name: max(found["records"].get(name, 0), count) for name, count in expected.records.items()}
    if found != wanted:
        raise SystemExit(f"{path}: expected {wanted}, found {found}")
