# SPDX-License-Identifier: GPL-2.0-or-later
"""What a row of the speed table is: a program that reads a capture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.measure import Command


def nothing(path: Path) -> None:
    """Do nothing before a capture is read."""


def present() -> str:
    """Name nothing that is missing."""
    return ""


@dataclass(frozen=True)
class Tool:
    """A program that reads a capture.

    Attributes:
        key: Names it in results.
        name: As shown.
        command: Makes what is run from the path of the capture.
        missing: Says why it can not run here; "" if it can.
        prepare: Called once for each capture before anything is measured.
        packets: The most that it is given; for larger captures its time is estimated. 0: any number.
    """

    key: str
    name: str
    command: Callable[[Path], Command]
    missing: Callable[[], str] = present
    prepare: Callable[[Path], None] = nothing
    packets: int = 0
