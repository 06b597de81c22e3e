# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture times as text: RFC 3339 with nanoseconds for JSON, short forms for lines."""

from __future__ import annotations

import time
from typing import Final, Literal, TypeAlias

TimeStyle: TypeAlias = Literal["utc", "relative", "delta", "none"]

SECOND: Final = 1_000_000_000
_FIRST_YEAR: Final = -62_135_596_800 * SECOND
_YEAR_10000: Final = 253_402_300_800 * SECOND

_days: dict[int, str] = {}


def _date(day: int) -> str:
    """Return YYYY-MM-DD of a day number; captures span few days, so almost every call finds its answer."""
    text = _days.get(day)
    if text is None:
        if len(_days) > 64:
            _days.clear()
        parts = time.gmtime(day * 86400)
        text = _days[day] = f"{parts.tm_year:04d}-{parts.tm_mon:02d}-{parts.tm_mday:02d}"
    return text


def rfc3339(nanoseconds: int | None) -> str | None:
    """Write a time as RFC 3339 in UTC with nine digits; None for no time or one that RFC 3339 can not express."""
    if nanoseconds is None or not _FIRST_YEAR <= nanoseconds < _YEAR_10000:
        return None
    seconds, fraction = divmod(nanoseconds, SECOND)
    day, second = divmod(seconds, 86400)
    return f"{_date(day)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{fraction:09d}Z"


class LineClock:
    """Times in the first column of a line, all of the same width."""

    __slots__ = ("_first", "_last", "_text", "style", "width")

    def __init__(self, style: TimeStyle) -> None:
        self.style = style
        self.width = {"utc": 15, "relative": 13, "delta": 13, "none": 0}[style]
        self._first: int | None = None
        self._last: int | None = None
        self._text = ""

    def __call__(self, nanoseconds: int | None) -> str:
        """Return the text for the next line's time; ``-`` when it has none."""
        if not self.width:
            return ""
        if nanoseconds is None:
            return "-".rjust(self.width)
        if self.style == "utc":
            if nanoseconds != self._last:  # records of one packet have one time
                self._last = nanoseconds
                second, micro = divmod(nanoseconds // 1000, 1_000_000)
                second %= 86400
                self._text = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{micro:06d}"
            return self._text
        if self._first is None:
            self._first = self._last = nanoseconds
        origin = self._first if self.style == "relative" else self._last
        self._last = nanoseconds
        micro = (nanoseconds - (origin or 0)) // 1000
        sign = "-" if micro < 0 else ""
        return f"{sign}{abs(micro) // 1_000_000}.{abs(micro) % 1_000_000:06d}".rjust(self.width)
