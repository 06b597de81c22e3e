# SPDX-License-Identifier: GPL-2.0-or-later
"""The system call tee(2), which Python does not have: what lies in one pipe is put into another one as well."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_NONBLOCK: Final = 2
"""SPLICE_F_NONBLOCK."""


def tee(source: int, sink: int, count: int) -> int:
    """Put what `source` has to read into `sink`, without reading or copying it and without waiting.

    Args:
        source: a pipe that has something to read.
        sink: another pipe.
        count: bytes at most.

    Returns:
        How many of the bytes to be read next from `source` are in `sink` now.

    Raises:
        BlockingIOError: there is no room in `sink`.
        OSError: they are not both pipes (EINVAL), nobody reads from `sink` (EPIPE), or there is no such call (ENOSYS).
    """
    done = _call()(source, sink, count, _NONBLOCK)
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return done


@cache
def _call() -> Callable[[int, int, int, int], int]:
    try:
        function = ctypes.CDLL(None, use_errno=True).tee
    except (AttributeError, OSError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    function.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint
    function.restype = ctypes.c_ssize_t
    return function
