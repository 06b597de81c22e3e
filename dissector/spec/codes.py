# SPDX-License-Identifier: GPL-2.0-or-later
"""Codes in words."""

from __future__ import annotations

from dissector.spec.xl import LIBXL_ERROR


def describe_status(status: int) -> str:
    """Say what a REPORT_STATUS byte other than 0 means (stream.md 2.1, 9.8)."""
    name = LIBXL_ERROR.values.get(status)
    if name is None:
        return f"status {status}"
    return f"ERROR_{name}" if 1 <= status <= 32 else name
