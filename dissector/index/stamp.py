# SPDX-License-Identifier: GPL-2.0-or-later
"""What an index was made of, by what, and with which options: it is fresh as long as that is the same."""

from __future__ import annotations

import json
import os
import stat
import zlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dissector.wire.limits import Limits

HASHED: Final = 1 << 16
"""Bytes of the capture that are hashed at its beginning, and at its end."""
_PACKAGE: Final = Path(__file__).parent.parent
_DECISIVE: Final = ("spec", "wire", "sources", "index", "reader.py", "walk.py")
"""What of this package decides which events a capture has."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """State of a capture file, and how it is read.

    Attributes:
        size: Bytes.
        mtime_ns: Time of the last change, nanoseconds since the epoch.
        owner: User number of the file's owner.
        head: CRC-32 of the first `HASHED` bytes.
        tail: CRC-32 of the last ones.
        as_format: What the input is to be taken for; None: found by content.
        limits: As the engine has them.
    """

    size: int
    mtime_ns: int
    owner: int
    head: int
    tail: int
    as_format: str | None
    limits: Limits

    @classmethod
    def take(cls, path: str, as_format: str | None, limits: Limits) -> Stamp | None:
        """Look at a capture; None if it is no regular file, or cannot be read."""
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  paths are texts here
                return None  # who writes to a named pipe would be ended by opening and closing it
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            head = os.pread(descriptor, HASHED, 0)
            tail = os.pread(descriptor, HASHED, max(0, status.st_size - HASHED))
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return cls(
            status.st_size,
            status.st_mtime_ns,
            status.st_uid,
            zlib.crc32(head),
            zlib.crc32(tail),
            as_format,
            limits,
        )

    def holds(self, path: str) -> bool:
        """Tell by size and time of last change whether the file is still as it was."""
        try:
            status = os.stat(path)  # noqa: PTH116  paths are texts here
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)

    def text(self) -> bytes:
        """Return all of it, and which program this is, as a line that is compared as a whole."""
        facts = asdict(self)
        del facts["owner"]
        return json.dumps({"program": program(), **facts}, sort_keys=True).encode()


@cache
def program() -> int:
    """Return a CRC-32 of the code that finds the events: other code may find others."""
    found = 0
    for name in _DECISIVE:
        place = _PACKAGE / name
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        for file in files:
            if file.suffix in (".py", ".c"):
                found = zlib.crc32(file.read_bytes(), zlib.crc32(file.name.encode(), found))
    return found
