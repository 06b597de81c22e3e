# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes and limits as they are written on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dissector.wire.limits import Limits

UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_size(text: str) -> int:
    """Turn ``64M``, ``512k``, ``4096`` or ``0x1000`` into a number; the units are powers of 1024.

    Raises:
        ValueError: it is none of these.
    """
    word = text.strip().lower()
    if word.startswith("0x"):
        return int(word, 16)
    number = word.removesuffix("ib").removesuffix("b") if not word.isdigit() else word
    digits = number.rstrip("kmgt")
    unit = number[len(digits) :]
    if not digits.isdecimal() or unit not in UNITS:
        raise ValueError(f"{text!r} is no size; write 4096, 512K, 64M or 1G")
    return int(digits) << UNITS[unit]


def parse_limits(assignments: Sequence[str], max_body: str | None = None) -> Limits:
    """Make the engine's limits from ``NAME=SIZE`` texts.

    Raises:
        ValueError: there is no such limit, or the size is none.
    """
    from dataclasses import fields

    from dissector.wire.limits import Limits

    names = [field.name for field in fields(Limits)]
    chosen: dict[str, int] = {}
    for assignment in assignments:
        name, equals, size = assignment.partition("=")
        name = name.strip().lower().replace("-", "_")
        if not equals or name not in names:
            raise ValueError(f"no limit {assignment!r}; write NAME=SIZE with one of {', '.join(names)}")
        chosen[name] = parse_size(size)
    if max_body is not None:
        chosen["max_body"] = parse_size(max_body)
    return Limits(**chosen)
