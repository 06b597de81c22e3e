# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether two trees write the same: ``python bench/same_output.py OTHER-TREE [CAPTURE ...]``.

A change that makes reading faster must not change a byte of what is written. Each tree reads every capture (those in
``captures`` if none is given) in a process of its own, once for each form of output; what they write is compared by
its hash, and the exit status and the complaints with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMS = (
    ("--json",),
    ("--json", "--pfns"),
    (),
    ("-v",),
    ("-v", "--pfns"),
    ("--pfns", "--time", "delta", "--color", "always"),
    ("-Y", "libxc.page_data.count > 1 or libxl and not size == 8"),
    ("--json", "--max-body", "64"),
)
READ = """
import contextlib, hashlib, io, json, sys
from dissector.cli import main

def output(arguments):
    raw = io.BytesIO()
    stdout, stderr = io.TextIOWrapper(raw, encoding="utf-8"), io.StringIO()
    sys.argv = ["xendissect", *arguments]
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code
        stdout.flush()
    return [status, len(raw.getvalue()), hashlib.sha256(raw.getvalue()).hexdigest(), stderr.getvalue()]

for form, path in json.load(sys.stdin):
    print(json.dumps(output(["read", *form, path])))
"""


def outputs(tree: Path, jobs: str) -> list[str]:
    """Return one line per job: status, length, hash and complaints."""
    command = [sys.executable, "-c", READ]
    done = subprocess.run(command, cwd=tree, input=jobs, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    import json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another clone")
    parser.add_argument("captures", type=Path, nargs="*")
    options = parser.parse_args(arguments)
    named = options.captures or [
        path
        for path in sorted((ROOT / "captures").iterdir())
        if path.suffix not in (".py", ".md", ".json", ".jsonl", ".pyc") and path.is_file()
    ]
    jobs = [(form, str(path.resolve())) for path in named for form in FORMS]
    text = json.dumps(jobs)
    ours, theirs = outputs(ROOT, text), outputs(options.other.resolve(), text)
    differ = [job for job, one, two in zip(jobs, ours, theirs, strict=True) if one != two]
    for form, path in differ:
        sys.stdout.write(f"differs: xendissect read {' '.join(form)} {path}\n")
    length = sum(json.loads(line)[1] for line in ours)
    sys.stdout.write(f"{len(named)} captures, {len(jobs)} outputs, {length:,} bytes: {len(differ)} differ\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
