# SPDX-License-Identifier: GPL-2.0-or-later
"""Standing between xl and its transport: both directions pass through, and are recorded."""

from __future__ import annotations
