# SPDX-License-Identifier: GPL-2.0-or-later
"""Capturing on a link: sources of packets that come as they happen."""

from __future__ import annotations
