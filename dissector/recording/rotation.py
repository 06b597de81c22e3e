# SPDX-License-Identifier: GPL-2.0-or-later
"""When to go on to the next file and when to stop: dumpcap's options ``-b`` and ``-a``."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

KILOBYTE: Final = 1000
"""dumpcap's kB."""
MAX_FILES: Final = 100_000

_WORDS: Final = ("duration", "filesize", "files", "packets")


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be reached; None: no limit. The same for a file of a ring (``-b``) and for the whole (``-a``)."""

    seconds: float | None = None
    size: int | None = None
    """Bytes of one file."""
    packets: int | None = None
    files: int | None = None
    """``-b``: files that are kept; ``-a``: files that are written."""


def parse_ring(values: Sequence[str]) -> Limits | None:
    """Read the values of ``-b``: ``duration:SECONDS``, ``filesize:KB``, ``packets:N``, ``files:N``.

    Returns:
        None when there are no values.

    Raises:
        ValueError: one of them is none of these, or nothing says when to go on to the next file.
    """
    limits = _parse("-b", values)
    if limits is not None and limits.seconds is None and limits.size is None and limits.packets is None:
        raise ValueError("-b files:N needs a duration, filesize or packets that says when to begin the next file")
    return limits


def parse_autostop(values: Sequence[str]) -> Limits | None:
    """Read the values of ``-a``, the same words as for ``-b``; see `parse_ring` for the rest."""
    return _parse("-a", values)


def _parse(option: str, values: Sequence[str]) -> Limits | None:
    found: dict[str, float] = {}
    for value in values:
        word, colon, text = value.partition(":")
        if word not in _WORDS or not colon:
            raise ValueError(f"{option} {value}: write {', '.join(_WORDS[:-1])} or {_WORDS[-1]}, a colon and a number")
        found[word] = _number(option, value, text, whole=word != "duration")
    if found.get("files", 0) >= MAX_FILES:
        raise ValueError(f"{option} files: at most {MAX_FILES - 1}")
    if not found:
        return None
    size, packets, files = (int(found[word]) if word in found else None for word in ("filesize", "packets", "files"))
    return Limits(found.get("duration"), None if size is None else size * KILOBYTE, packets, files)


def _number(option: str, value: str, text: str, *, whole: bool) -> float:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        raise ValueError(f"{option} {value}: {text!r} is no {'whole ' if whole else ''}number") from None
    if not 0 < number < math.inf:
        raise ValueError(f"{option} {value}: the number has to be above 0")
    return number


def ring_name(path: str, number: int, at: time.struct_time) -> str:
    """Name a file of a ring as dumpcap does: ``NAME.pcapng`` gives ``NAME_00001_20261122213510.pcapng``."""
    whole = Path(path)
    return str(
        whole.with_name(f"{whole.stem}_{number % MAX_FILES:05d}_{time.strftime('%Y%m%d%H%M%S', at)}{whole.suffix}")
    )
