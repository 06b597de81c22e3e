# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from dissector.tap import memory

FAULTS = """
import resource, sys
from dissector.tap.memory import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    pieces = [b"x" * (1 << 18) for _ in range(160)]
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc only")
def test_freed_memory_is_not_mapped_anew():
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("kept") < faults("default") / 3


def test_another_c_library(monkeypatch):
    def none(_name: str | None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert not memory.keep_memory()
