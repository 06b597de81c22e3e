# SPDX-License-Identifier: GPL-2.0-or-later
"""How a verb ends when it cannot do what it was asked to do."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from dissector.cli import PROGRAM


def tell(message: str) -> None:
    """Say something in one line on standard error, and go on."""
    sys.stderr.write(f"{PROGRAM}: {message}\n")


def fail(message: str) -> NoReturn:
    """End with one line on standard error, status 2."""
    sys.stderr.write(f"{PROGRAM}: {message}\n")
    raise typer.Exit(2)
