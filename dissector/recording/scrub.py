# SPDX-License-Identifier: GPL-2.0-or-later
"""What may stay of a record when a capture is given away, and what stands in for the rest.

Which elements are the guest's own data is said in :mod:`dissector.spec` (``secret``). Fillers have the same length and
keep the form: a configuration stays valid JSON with its keys, xenstore data keep their keys, everything else becomes
zeros, but for the bytes that record heads are recognised by.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.spec.model import Array, Bytes, Field, PfnList, StringPairs
from dissector.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.spec.model import Element, Record
    from dissector.wire.unit import Unit

_TOKEN: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*(?:"(\s*:)?|\\?\Z)|-?\d[\d.eE+-]*|\b(?:true|false|null)\b|[^"\d\s\0{}\[\],:]', re.DOTALL
)
"""In JSON text: strings (names of members with their colon; the last may be cut), numbers, words, and what does not
belong there."""
_ANYTHING: Final = re.compile(rb"[^\s\0]")


class Span(NamedTuple):
    """A stretch of a stream that may be shown.

    Attributes:
        start: Stream offset.
        end: Stream offset behind it.
        filler: What to show in its place; None: the bytes themselves.
        element: Name of the element that was replaced, such as ``libxl.emulator_context.emulator_ctx``; or empty.
    """

    start: int
    end: int
    filler: bytes | None = None
    element: str = ""


def has_secrets(record: Record) -> bool:
    """Tell whether anything in a record is to be blanked (besides page contents)."""
    return any(_secret(element) for element in record.body)


def harmless(unit: Unit) -> bool:
    """Tell whether all bytes of a unit's body may be shown: nothing is secret, and it is what its definition says."""
    definition, length = unit.definition, unit.body_length
    if has_secrets(definition) or not (length is None or definition.length.allows(length)):
        return False
    return codec.list_plan(definition) is None or codec.evidence(definition, unit.body, unit.order, length) >= 0


def bounded(unit: Unit) -> bool:
    """Tell whether a unit shows by itself that it is as long as it says."""
    definition = unit.definition
    return bool(definition.length.exact) or (codec.list_plan(definition) is not None and harmless(unit))


def spans(unit: Unit) -> Iterator[Span]:
    """Give what may be shown of a unit, in order; what lies in no span has to be blanked (padding, page contents)."""
    at = unit.offset + (unit.header_size if unit.type_id is not None else 0)
    yield Span(unit.offset, at)
    if harmless(unit):
        yield Span(at, at + len(unit.body))
        return
    kept = unit.definition.signature
    for node in codec.walk(unit.definition, unit.body, unit.order):
        if isinstance(node.element, PfnList):
            return  # a damaged one: its entries may be anything
        yield from _spans(node, at, f"{unit.definition.layer}.{unit.name.lower()}", kept)


def _secret(element: Element) -> bool:
    if isinstance(element, Array):
        return any(item.secret for item in element.items)
    return isinstance(element, Field | Bytes | StringPairs) and element.secret


def _spans(node: codec.Node, at: int, name: str, kept: tuple[int, bytes] | None) -> Iterator[Span]:
    element, start = node.element, at + node.offset
    if isinstance(element, Array) and _secret(element):
        for item in node.value:
            for inner in item:
                yield from _spans(inner, at, f"{name}.{element.name}", kept)
    elif not _secret(element):
        yield Span(start, start + node.size)
    else:
        filler = bytearray(_filler(node))
        if kept is not None:  # the part of what a record is recognised by that lies in this element
            low, high = max(node.offset, kept[0]), min(node.offset + node.size, kept[0] + len(kept[1]))
            if low < high:
                filler[low - node.offset : high - node.offset] = kept[1][low - kept[0] : high - kept[0]]
        yield Span(start, start + node.size, bytes(filler), f"{name}.{element.name}")


def _filler(node: codec.Node) -> bytes:
    element = node.element
    if isinstance(element, StringPairs):
        shown = b"".join(key + b"\0" + b"x" * len(value) + b"\0" for key, value in node.value)
        return shown + bytes(node.size - len(shown))
    if isinstance(element, Bytes) and element.text:
        return _text_filler(node.value)
    return bytes(node.size)


def _text_filler(text: bytes) -> bytes:
    """Blank a text; of JSON, the names of members and the form stay."""
    if text.lstrip()[:1] == b"{":
        return _TOKEN.sub(_token, text)
    return _ANYTHING.sub(b"x", text)


def _token(found: re.Match[bytes]) -> bytes:
    token = found[0]
    if found[1] is not None or token in (b"true", b"false", b"null"):
        return token
    if token[:1] == b'"':
        return b'"' + b"x" * (len(token) - 2) + b'"' * (len(token) > 1)
    return (b"1" if token[:1].isdigit() or token[:1] == b"-" else b"x") * len(token)
