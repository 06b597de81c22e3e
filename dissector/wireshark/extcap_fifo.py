# SPDX-License-Identifier: GPL-2.0-or-later
"""The FIFO that Wireshark reads a capture from, held open from the first moment on.

It is opened before anything can go wrong: Wireshark's dumpcap waits for somebody to open it, in some versions for ever,
and it ends when it is closed again.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Fifo:
    """A context manager that holds it open; entering waits until somebody reads it.

    Args:
        path: Its name; a plain file will do.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1
        self._poll = select.poll()

    def __enter__(self) -> Self:
        """Open it."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._poll.register(self._descriptor, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        os.close(self._descriptor)

    @property
    def abandoned(self) -> bool:
        """Whether nobody reads it any more."""
        return any(happened & select.POLLERR for _, happened in self._poll.poll(0))
