# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line library can not do: an option whose value may be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONAL: Final = {"--slim": ("cut", ("cut", "heads", "none"))}
"""Option -> the value it has without one, and the values it may have."""


def with_values(arguments: Sequence[str]) -> list[str]:
    """Give an option of `OPTIONAL` that stands alone its value; a value may also follow as a word of its own."""
    done: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*done, word, *rest]
        if word in OPTIONAL:
            default, values = OPTIONAL[word]
            value = rest.pop(0) if rest and rest[0] in values else default
            word = f"{word}={value}"
        done.append(word)
    return done
