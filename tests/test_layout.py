# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of the project: a test file for each source file, a licence line in each, no imports that cost start-up."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "dissector").rglob("*.py"))
TRACKED = [
    path
    for folder in ("dissector", "tests", "captures", "bench", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def twin(source: Path) -> Path:
    """Return where the tests of a source file are."""
    inside = source.relative_to(ROOT / "dissector")
    return ROOT / "tests" / inside.parent / f"test_{inside.stem.strip('_')}.py"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_source_file_has_a_test_file(source):
    if source.name == "__init__.py" and source.parent != ROOT / "dissector":
        return  # the names of a package, tested with its modules
    assert twin(source).exists(), f"{twin(source).relative_to(ROOT)} is missing"


@pytest.mark.parametrize("path", TRACKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_licence_line(path):
    assert path.read_text().startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n")


def test_licence_line_of_the_c_sources():
    sources = list((ROOT / "dissector").rglob("*.c"))
    assert len(sources) == 2
    for source in sources:
        assert source.read_text().startswith("/* SPDX-License-Identifier: GPL-2.0-or-later */\n")


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--version"], {"typer", "rich", "numpy", "scapy", "msgspec", "zstandard"}),
        (["--help"], {"rich", "numpy", "scapy", "msgspec", "zstandard", "dissector.wire.events", "dissector.spec"}),
        (["read", "-q", "captures/hvm-colo-xl.pcap.gz"], {"rich", "numpy", "scapy", "msgspec", "zstandard", "asyncio"}),
        (["check", "captures/hvm-colo-xl.pcap.gz"], {"rich", "numpy", "scapy", "msgspec", "zstandard", "asyncio"}),
        (["read", "--json", "captures/hvm-colo-xl.pcap.gz"], {"rich", "numpy", "scapy", "zstandard", "asyncio"}),
    ],
)
def test_start_up_imports_nothing_heavy(arguments, heavy):
    assert imported(arguments) & heavy == set()


def test_where_an_index_answers_nothing_is_imported_that_reads_captures(tmp_path):
    shutil.copy(ROOT / "captures/hvm-colo-xl.pcap.gz", tmp_path)
    arguments = ["read", "--index", f"{tmp_path}/hvm-colo-xl.pcap.gz"]
    reading = {"dissector.reader", "dissector.sources.capture", "dissector.sources.formats", "dissector.wire.engine"}
    assert imported(arguments) >= reading
    assert imported(arguments) & {*reading, "dissector.wire.framer", "dissector.display_filter", "socket"} == set()


def imported(arguments):
    """Run the command; return the names of the modules that are loaded at its end."""
    code = (
        "import sys\n"
        f"sys.argv = ['xendissect', *{arguments!r}]\n"
        "from dissector.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stderr.split())
