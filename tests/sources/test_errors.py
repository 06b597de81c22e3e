# SPDX-License-Identifier: GPL-2.0-or-later
"""The error of an input is one line that names the file."""

from __future__ import annotations

import subprocess
import sys

import dissector
from dissector import sources
from dissector.sources.errors import CaptureError


def test_it_names_the_file():
    error = CaptureError("x.pcap", "empty file")
    assert (str(error), error.path) == ("x.pcap: empty file", "x.pcap")


def test_bytes_that_came_from_no_file():
    error = CaptureError("", "no input")
    assert (str(error), error.path) == ("no input", "")


def test_it_is_the_same_under_all_its_names():
    assert dissector.CaptureError is sources.CaptureError is CaptureError


def test_catching_it_imports_nothing_that_reads():
    code = "import sys, dissector.sources; print([name for name in sys.modules if 'dissector.sources.' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['dissector.sources.errors']\n"


def test_every_name_of_the_package_is_there():
    for name in sources.__all__:
        assert getattr(sources, name).__name__ == name
