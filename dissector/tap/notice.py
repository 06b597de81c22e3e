# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines on standard error that never hold anything up."""

from __future__ import annotations

import os
import select
from typing import Final

_STDERR: Final = 2
_PATIENCE_MS: Final = 500


def notice(text: str) -> None:
    """Write one line, unless nobody takes it for half a second: who reads standard error may have stopped reading."""
    line = f"xendissect: tap: {text}\n".encode(errors="backslashreplace")[: select.PIPE_BUF]
    room = select.poll()
    room.register(_STDERR, select.POLLOUT)
    try:
        if room.poll(_PATIENCE_MS):
            os.write(_STDERR, line)
    except OSError:
        return  # closed, or its reader is gone
