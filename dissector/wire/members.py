# SPDX-License-Identifier: GPL-2.0-or-later
"""Members of a JSON text that are worth a name of their own (stream.md 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dissector.spec.model import Member

LONGEST: Final = 1 << 20
"""Bytes of the longest text that is looked into; that of a guest has some thousand."""
LARGEST: Final = (1 << 53) - 1
"""Largest number that every reader of JSON holds exactly."""


def members_of(members: Sequence[Member], name: str, raw: bytes) -> dict[str, Any]:
    """Return the members that are there, and as ``NAME_error`` what is wrong with the text.

    A text that does not begin like a JSON object is none (before Xen 4.5), and nothing is said of it.

    Args:
        members: What to look for.
        name: What the text is called.
        raw: All of it, with the NUL at its end.
    """
    if not raw.lstrip(b" \t\r\n").startswith(b"{") or len(raw) > LONGEST:
        return {}
    found: dict[str, Any] = {}
    text = raw.removesuffix(b"\0")
    whole = object_in(text.decode("utf-8", "replace"))
    if whole is None:
        return {f"{name}_error": "no JSON"}
    if text == raw:
        found[f"{name}_error"] = "no NUL at the end"
    for member in members:
        value = _at(whole, member.path)
        if member.kind == "text" and isinstance(value, str):
            found[member.name] = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        elif member.kind == "number" and type(value) is int and 0 <= value <= LARGEST:
            found[member.name] = value
    return found


def object_in(text: str) -> dict[str, Any] | None:
    """Parse JSON strictly; None if it is no object."""
    import json

    try:
        whole = json.loads(text, parse_constant=_refuse, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) else None


def _whole(digits: str) -> int:
    return int(digits) if len(digits) < 20 else -1  # Python refuses thousands of digits, and takes long for hundreds


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
