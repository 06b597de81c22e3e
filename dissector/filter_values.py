# SPDX-License-Identifier: GPL-2.0-or-later
"""Values as they are written in a display filter: numbers, names, strings, byte strings, times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from dissector.filter_fields import FilterField

_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}
_BYTES: Final = re.compile(r"[0-9a-fA-F]{2}(?:[:.-][0-9a-fA-F]{2})*")
_SECONDS: Final = re.compile(r"(\d{1,20})(?:\.(\d{1,9}))?")
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?")


class ValueTextError(ValueError):
    """The text is no value that this field can have."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


Use: TypeAlias = Literal["whole", "part", "pattern"]
"""A value to be equal to, a part to look for, or a regular expression."""


def literal(field: FilterField, text: str, use: Use = "whole") -> Any:
    """Turn the text of a value into what `field` yields.

    Args:
        field: what the value is compared with.
        text: the token as written, with its quotes.
        use: what the value is for.

    Raises:
        ValueTextError: it can not be.
    """
    quoted = text.startswith('"')
    plain = _unquoted(text) if quoted else text
    match field.kind:
        case "number":
            return _number(field, plain)
        case "bool":
            return _truth(field, plain)
        case "time":
            return _time(field, plain)
        case "bytes":
            if quoted:
                return _encoded(field, plain)
            if not _BYTES.fullmatch(plain):
                raise ValueTextError(f'{field.name} holds bytes; write them as 0f:a0:… or "text"')
            return bytes.fromhex(re.sub("[:.-]", "", plain))
        case _:
            if use == "whole":
                return _word(field, plain)
            # The backslashes of a pattern are the regular expression's, not ours.
            return text[1:-1] if quoted and use == "pattern" else plain


def _unquoted(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        code = match.group(1)
        if len(code) == 3:
            return chr(int(code[1:], 16))
        return _CONTROLS.get(code, code)

    return _ESCAPE.sub(replace, text[1:-1])


def _encoded(field: FilterField, text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")  # an argument that is no UTF-8 stands for its bytes
    except UnicodeEncodeError as error:
        raise ValueTextError(f"{field.name}: a character that has no bytes ({error.reason})") from None


def _named(field: FilterField, text: str) -> int | str | None:
    wanted = text.lower()
    return next((value for word, value in (field.names or {}).items() if word.lower() == wanted), None)


def _number(field: FilterField, text: str) -> int:
    value = _named(field, text)
    if isinstance(value, int):
        return value
    if text.lower() in ("true", "false"):
        return int(text.lower() == "true")
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        if field.names:
            raise ValueTextError(f"{text!r} is no value of {field.name}", _hint(field, text)) from None
        raise ValueTextError(f"{field.name} is a number, not {text!r}") from None


def _word(field: FilterField, text: str) -> str:
    known = _named(field, text)
    if known is not None:
        return str(known)
    if field.closed:
        raise ValueTextError(f"{text!r} is no {field.name}", _hint(field, text))
    return text


def _hint(field: FilterField, text: str) -> str:
    """Name what would have been right, for a field whose values have names."""
    import difflib

    words = {word.lower(): word for word in field.names or () if " " not in word}
    close = difflib.get_close_matches(text.lower(), words, n=1, cutoff=0.5)
    if close:
        return f"did you mean {words[close[0]]}?"
    return f"it knows {', '.join(words.values())}" if len(words) <= 8 else ""


def _truth(field: FilterField, text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ValueTextError(f"{field.name} is true or false")


def _time(field: FilterField, text: str) -> int:
    if match := _SECONDS.fullmatch(text):
        seconds = int(match.group(1))
    elif match := _INSTANT.fullmatch(text):
        from datetime import datetime

        zone = match.group(3) or "Z"
        try:
            seconds = int(datetime.fromisoformat(match.group(1).upper() + zone.upper()).timestamp())
        except ValueError as error:
            raise ValueTextError(f"{field.name}: {error}") from None
    else:
        raise ValueTextError(f"{field.name} is a time such as 2026-11-22T21:35:10.5Z, or seconds since 1970")
    return seconds * 1_000_000_000 + int((match.group(2) or "").ljust(9, "0"))
