# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the C library keep the memory it has, for the next piece of the same size."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_KEPT: Final = 1 << 30
_LARGEST: Final = 32 << 20
"""What glibc takes at most."""


def keep_memory() -> bool:
    """Have freed memory reused instead of given back; return whether the C library knows how.

    What passes is read into pieces of some hundred KiB. By default glibc returns each to the system when it is freed,
    and for the next one the system clears and maps every page anew: that costs more than copying the data.
    """
    with contextlib.suppress(AttributeError, OSError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
    return False
