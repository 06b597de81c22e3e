# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing captures: pcapng blocks, rotating files, what is left out and what is blanked."""

from __future__ import annotations
