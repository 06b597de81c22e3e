# SPDX-License-Identifier: GPL-2.0-or-later
"""The targets by name: `check` of a module takes choices, `seeds` gives what to begin with."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.fuzz.draw import Draw

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that found bugs: one folder for each target."""

TARGETS = ("frame", "halfflow", "framer", "codec", "files", "reader", "kernels", "filters")
LONGEST = {
    "frame": 4000,
    "halfflow": 2000,
    "framer": 12_000,
    "codec": 2000,
    "files": 6000,
    "reader": 12_000,
    "filters": 8000,
}
"""Bytes of an input; it grows slowly to that."""


def load(name):
    """Give the check and the seeds of a target: bytes are enough for either."""
    module = import_module(f"tests.fuzz.{name}")
    return lambda data: module.check(Draw(bytes(data))), module.seeds
