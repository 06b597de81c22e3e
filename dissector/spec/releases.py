# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between Xen releases, as data (stream.md sections 8 and 9.5, payloads.md 1.3)."""

from __future__ import annotations

from typing import TypeAlias

Release: TypeAlias = tuple[int, int]
"""Major and minor number."""

FIRST: Release = (4, 6)
"""The first release with this stream format."""
LATEST: Release = (4, 22)
"""The latest release that is known here."""

HVM_PARAMS_SENT: dict[int, tuple[Release, Release | None]] = {
    **dict.fromkeys((1, 5, 6, 9, 12, 17, 19, 27, 28, 29, 32, 33, 34), (FIRST, None)),
    4: (FIRST, (4, 13)),
    15: (FIRST, (4, 8)),
    36: ((4, 7), None),
    37: ((4, 9), None),
    38: ((4, 10), None),
}
"""Index of an HVM parameter -> the first and last release that sends it; None: still."""
