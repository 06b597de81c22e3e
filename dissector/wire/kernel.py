# SPDX-License-Identifier: GPL-2.0-or-later
"""Which fast-forward kernel runs: the one in C if it was built, else the one in Python. Both do the same.

XENDISSECT_KERNEL=c or python forces either. Importing this module costs next to nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Literal

VARIABLE = "XENDISSECT_KERNEL"


class Kernel(Protocol):
    """Passes packets that cannot matter; see :class:`dissector.wire.forward.PythonKernel`, which is the reference."""

    latest: bytes | None
    latest_at: int
    latest_number: int
    slim: bool

    def forward(
        self, buffer: memoryview, position: int, end: int, shape: str, linktype: int, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        """See :meth:`dissector.wire.forward.PythonKernel.forward`."""


class CKernel:
    """The kernel in C.

    It learns nothing, so it also passes packets that the one in Python leaves to the engine for want of a template.

    Raises:
        ImportError: it was not built.
    """

    def __init__(self) -> None:
        from dissector.wire import _forward

        self.latest: bytes | None = None
        self.latest_at = 0
        self.latest_number = 0
        self.slim = False
        self._forward = _forward.forward

    def forward(
        self, buffer: memoryview, position: int, end: int, shape: str, linktype: int, fast: dict[bytes, list[int]]
    ) -> tuple[int, int]:
        """See :meth:`dissector.wire.forward.PythonKernel.forward`."""
        position, passed, self.latest, self.latest_at, self.latest_number = self._forward(
            buffer, position, end, shape, linktype, fast, self.slim
        )
        return position, passed


def kernel_name() -> Literal["c", "python"]:
    """Say which kernel runs.

    Raises:
        ImportError: XENDISSECT_KERNEL asks for one that is not there; the message is for users.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "c", "python"):
        raise ImportError(f"{VARIABLE}={wanted}: there is no such kernel, only c and python")
    if wanted == "python":
        return "python"
    try:
        from dissector.wire import _forward  # noqa: F401
    except ImportError as error:
        if wanted == "c":
            text = f"{VARIABLE}=c: the C kernel was not built; install gcc and python3-dev, then xendissect again"
            raise ImportError(text) from error
        return "python"
    return "c"


def make_kernel() -> Kernel:
    """Make the kernel that `kernel_name` names.

    Raises:
        ImportError: likewise.
    """
    if kernel_name() == "c":
        return CKernel()
    from dissector.wire.forward import PythonKernel

    return PythonKernel()
