# SPDX-License-Identifier: GPL-2.0-or-later
"""The public API: its names, what they yield, and that nothing heavy is imported for it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dissector

ROOT = Path(__file__).parent.parent
CAPTURE = ROOT / "captures" / "hvm-colo-xl.pcap.gz"


def test_at_most_a_dozen_names():
    assert len(dissector.__all__) <= 12
    for name in dissector.__all__:
        assert getattr(dissector, name) is not None


def test_version_is_the_distribution_s():
    assert dissector.__version__ == version("xendissect")


def test_unknown_name():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = dissector.nonsense


def test_nothing_heavy_is_imported():
    code = (
        "import sys, dissector\n"
        f"records = list(dissector.read({str(CAPTURE)!r}))\n"
        "heavy = {'numpy', 'scapy', 'rich', 'typer', 'msgspec', 'polars', 'pyshark'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "records[-1].pfns\n"
        "assert 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_filter_and_events_agree():
    records = [event for event in dissector.events(CAPTURE) if isinstance(event, dissector.Record)]
    chosen = list(dissector.read(CAPTURE, display_filter="direction == reverse"))
    assert chosen == [record for record in records if record.direction == "reverse"]
    assert {record.layer for record in chosen} == {"xl", "libxl", "libxc"}


def test_bad_filter_is_a_value_error():
    with pytest.raises(ValueError, match="libxc"):
        dissector.read(CAPTURE, display_filter="libxc.page_dta.count > 1")


def test_missing_file(tmp_path):
    with pytest.raises(dissector.CaptureError, match="absent"):
        list(dissector.read(tmp_path / "absent.pcap"))


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        (
            "dirty_rate.py",
            ["pv-live-libxl.pcap.gz"],
            r"pass +pfns +pages +MiB +seconds\n +1 +700 +684 +2\.7 .*\n( +\d.*\n){3}$",
        ),
        ("colo_pages.py", ["hvm-colo-xl.pcap.gz"], r"checkpoint 2: 87 pages dirtied .*, 87 of them sent again"),
        ("colo_pages.py", ["hvm-colo-xl-420.pcap.gz"], r"87 pages .*, 86 .*\n  never sent: 0x3f8 .*16 bytes"),
        (
            "extract_page.py",
            ["hvm-colo-xl.pcap.gz", "0x3c5"],
            r"page 0x3c5 from PAGE_DATA at offset 7572722(.|\n)*0030  ",
        ),
        (
            "several_files.py",
            ["pv-live-libxl.pcap.gz", "captures/hvm-colo-xl.pcap.gz"],
            r"flow 0: 831 pages, 0 checkpoints, stream complete\n.* flow 0: 2018 pages, 5 checkpoints, connection lost",
        ),
    ],
)
def test_example_scripts(script, arguments, expected):
    arguments = [str(ROOT / "captures" / arguments[0]), *arguments[1:]]
    result = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "examples" / script), *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert re.search(expected, result.stdout), result.stdout
    assert result.stderr == ""
