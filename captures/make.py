# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the synthetic captures and their ground truth: ``python captures/make.py [--check] [NAME...]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captures import cases_damage, cases_modes, cases_wire, files, truth
from captures.table import CASES, Case

HERE = Path(__file__).resolve().parent
MODULES = (cases_modes, cases_wire, cases_damage)


def produce(case: Case) -> tuple[dict[str, bytes], str]:
    """Return file name -> content before compression, and the text of the truth file."""
    made = case.make()
    contents = {case.name + suffix: data for suffix, data in made.files.items()}
    facts: dict[str, Any] = {"name": case.name, "what": case.what, "files": list(contents), "frames": made.frames}
    return contents, truth.text({**facts, **made.notes, "flows": made.flows}) + "\n"


def write(case: Case, folder: Path = HERE) -> None:
    """Write the files of one case; those whose content is already right stay untouched."""
    contents, facts = produce(case)
    for name, data in contents.items():
        if not same(folder / name, data):
            (folder / name).write_bytes(files.compress(name, data))
    (folder / f"{case.name}.truth.json").write_text(facts)


def same(path: Path, data: bytes) -> bool:
    """Whether the file exists and expands to this content."""
    return path.exists() and files.expand(path.name, path.read_bytes()) == data


def differences(case: Case, folder: Path = HERE) -> list[str]:
    """Name the files of one case that do not match what is made now."""
    contents, facts = produce(case)
    wrong = [name for name, data in contents.items() if not same(folder / name, data)]
    path = folder / f"{case.name}.truth.json"
    if not path.exists() or path.read_text() != facts:
        wrong.append(path.name)
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files, write nothing")
    parser.add_argument("--list", action="store_true", help="print the table")
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases; all if none is given")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(CASES)
    if unknown:
        parser.error("no such case: " + ", ".join(sorted(unknown)))
    chosen = [CASES[name] for name in options.names or CASES]
    if options.list:
        print("\n".join(f"| {case.name} | {case.what} |" for case in chosen))
        return 0
    if options.check:
        wrong = [name for case in chosen for name in differences(case)]
        print("\n".join(f"differs: {name}" for name in wrong) or f"{len(chosen)} cases are as made")
        return 1 if wrong else 0
    for case in chosen:
        write(case)
    print(f"{len(chosen)} cases written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
