# SPDX-License-Identifier: GPL-2.0-or-later
"""What a terminal gets: SGR colours when it wants them, and never a control character out of a capture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TextIO, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

When: TypeAlias = Literal["auto", "always", "never"]

STYLES: Final[Mapping[str, str]] = {
    "dim": "2",
    "strong": "1",
    "xl": "36",
    "libxl": "35",
    "libxc": "32",
    "pages": "",
    "checkpoint": "1;33",
    "forward": "32",
    "reverse": "1;34",
    "error": "1;31",
    "warn": "33",
    "note": "36",
    "lost": "1;31",
    "flow": "1",
    "name": "36",
    "meaning": "2",
}
"""Style name -> SGR parameters; only the 8 basic colours, so that they follow the user's terminal theme."""


def wants_colour(when: When, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Decide whether to colour what is written to `stream`.

    An explicit choice wins. Otherwise only a terminal gets colours, unless NO_COLOR (https://no-color.org) is set to
    anything, or TERM says the terminal has none.
    """
    if when != "auto":
        return when == "always"
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


class Palette:
    """Wraps text in SGR codes, or leaves it alone."""

    __slots__ = ("_codes", "enabled")

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._codes = {name: f"\x1b[{code}m" for name, code in STYLES.items() if code} if enabled else {}

    def paint(self, style: str, text: str) -> str:
        """Return `text` in `style`."""
        code = self._codes.get(style)
        return f"{code}{text}\x1b[0m" if code and text else text


def printable(text: str) -> str:
    r"""Replace what is not printable by ``\xNN`` or ``\uNNNN``.

    Texts in a capture are under the control of whoever wrote it: an escape sequence in a guest's name must not reach
    the terminal, nor a line feed break the grid.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"
        for char in text
    )
