# SPDX-License-Identifier: GPL-2.0-or-later
"""Some hundred events to the three parts of a block of an index, and back; pure.

Heads have one fixed structure per record. Bodies follow each other without anything between. What is rare - events
that are no records, lost ranges, extra facts - is JSON. Heads and bodies are written column by column: the first bytes
of all heads, then the second ones; bodies in columns of eight, the size of a pfn. That is what makes pfn lists small.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dissector import spec
from dissector.spec import findings
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total
from dissector.wire.unit import unknown_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dissector.spec import model
    from dissector.wire.events import ContentsSource, Event

_HEAD: Final = struct.Struct("<BHIQQqqqqQQBI")
"""Flags, definition, flow, offset, size, type number, body length, time, end time, first and last frame, header size,
kept bytes of the body. The middle four are -1 (times: `_NO_TIME`) for None."""
_REVERSE, _COMPLETE, _BIG, _RARE = 1, 2, 4, 8
_NO_TIME: Final = -(1 << 63)
_UNKNOWN: Final = {"libxc": 0xFFFF, "libxl": 0xFFFE}
_BODY_COLUMNS: Final = 8
_LEVEL: Final = 1

_NUMBERS: Final = {(record.layer, record.name): number for number, record in enumerate(spec.ALL_RECORDS)}
_RULES: Final = {rule.id: rule for rule in findings.RULES}
_KINDS: Final[dict[str, Any]] = {
    "flow": Flow,
    "gap": Gap,
    "resync": Resync,
    "finding": Finding,
    "summary": Summary,
    "total": Total,
}
_KIND_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_ATTRIBUTES: Final = {name: tuple(field.name for field in fields(kind)) for name, kind in _KINDS.items()}


class NotIndexableError(Exception):
    """An event holds something that an index has no room for."""


class Packed(NamedTuple):
    """A block as it is written."""

    records: int
    heads: bytes
    """Compressed."""
    body_bytes: int
    bodies: bytes
    """Compressed."""
    rare: bytes
    """Compressed."""


def columns(raw: bytes, width: int) -> bytes:
    """Return every `width`-th byte, beginning with the first, then beginning with the second, and so on."""
    return b"".join([raw[start::width] for start in range(width)])


def rows(raw: bytes, width: int) -> bytes:
    """Undo :func:`columns`."""
    result, position = bytearray(len(raw)), 0
    for start in range(min(width, len(raw))):
        count = (len(raw) - start + width - 1) // width
        result[start::width] = raw[position : position + count]
        position += count
    return bytes(result)


def pack(events: Sequence[Event], name: str) -> Packed:
    """Pack events.

    Args:
        events: In their order.
        name: How messages name the capture.

    Raises:
        NotIndexableError: see there.
    """
    heads: list[bytes] = []
    bodies: list[bytes] = []
    others: list[list[Any]] = []
    facts: list[list[Any]] = []
    try:
        for event in events:
            if isinstance(event, Record):
                if event.lost or event.extra:
                    facts.append([len(heads), event.lost, event.extra])
                heads.append(_head(event))
                bodies.append(event.body)
            else:
                others.append([len(heads), *_other(event, name)])
        rare = json.dumps([others, facts], separators=(",", ":")).encode() if others or facts else b""
    except (struct.error, OverflowError, TypeError, ValueError, KeyError) as error:
        raise NotIndexableError(str(error)) from error
    body = b"".join(bodies)
    return Packed(
        len(heads),
        zlib.compress(columns(b"".join(heads), _HEAD.size), _LEVEL),
        len(body),
        zlib.compress(columns(body, _BODY_COLUMNS), _LEVEL),
        zlib.compress(rare, _LEVEL) if rare else b"",
    )


def unpack(packed: Packed, name: str, source: ContentsSource | None) -> Iterator[Event]:
    """Yield the events of a block.

    Args:
        packed: What `pack` made.
        name: As messages are to name the capture now.
        source: Where records read their contents again.

    Raises:
        ValueError, KeyError, IndexError, TypeError, struct.error, zlib.error: this was not made by `pack`.
    """
    heads = rows(_inflate(packed.heads, packed.records * _HEAD.size), _HEAD.size)
    body = rows(_inflate(packed.bodies, packed.body_bytes), _BODY_COLUMNS)
    others, facts = json.loads(zlib.decompress(packed.rare)) if packed.rare else ([], [])
    rare = {number: (tuple(map(tuple, lost)), extra) for number, lost, extra in facts}
    waiting = iter(others)
    other = next(waiting, None)
    position = 0
    for number, head in enumerate(_HEAD.iter_unpack(heads)):
        while other is not None and other[0] <= number:
            yield _event(other, name)
            other = next(waiting, None)
        (flags, kind, flow, offset, size, type_id, length, time, time_end, first, last, header, kept) = head
        definition = _definition(kind, type_id)
        lost, extra = rare[number] if flags & _RARE else ((), {})
        yield Record(
            flow,
            "reverse" if flags & _REVERSE else "forward",
            definition.layer,
            definition.name,
            None if type_id < 0 else type_id,
            offset,
            size,
            None if length < 0 else length,
            None if time == _NO_TIME else time,
            None if time_end == _NO_TIME else time_end,
            first,
            last,
            bool(flags & _COMPLETE),
            lost,
            definition,
            "big" if flags & _BIG else "little",
            body[position : position + kept],
            header,
            extra,
            source,
        )
        position += kept
    while other is not None:
        yield _event(other, name)
        other = next(waiting, None)


def _head(record: Record) -> bytes:
    definition = record.definition
    if record.type != definition.name or record.layer != definition.layer:
        raise NotIndexableError(f"{record.layer} {record.type} is not named as in its definition")
    if record.unseen or record.complete is None:
        raise NotIndexableError("not all of the capture was looked at")
    number = _NUMBERS.get((record.layer, record.type))
    if number is None:
        number = _UNKNOWN[record.layer]
    if _definition(number, -1 if record.type_id is None else record.type_id) is not definition:
        raise NotIndexableError(f"{record.layer} {record.type} has a definition of its own")
    flags = (
        (_REVERSE if record.direction == "reverse" else 0)
        | (_COMPLETE if record.complete else 0)
        | (_BIG if record.order == "big" else 0)
        | (_RARE if record.lost or record.extra else 0)
    )
    return _HEAD.pack(
        flags,
        number,
        record.flow,
        record.offset,
        record.size,
        -1 if record.type_id is None else record.type_id,
        -1 if record.body_length is None else record.body_length,
        _NO_TIME if record.time is None else record.time,
        _NO_TIME if record.time_end is None else record.time_end,
        record.first_frame,
        record.last_frame,
        record.header_size,
        len(record.body),
    )


def _definition(number: int, type_id: int) -> model.Record:
    if number < len(spec.ALL_RECORDS):
        return spec.ALL_RECORDS[number]
    for layer, unknown in _UNKNOWN.items():
        if number == unknown:
            return unknown_record(layer, type_id)
    raise KeyError(number)


def _other(event: Event, name: str) -> list[Any]:
    """Return kind and values of an event that is no record; a leading file name in a text as a number of times."""
    kind = _KIND_NAMES[type(event)]
    values = [getattr(event, attribute) for attribute in _ATTRIBUTES[kind]]
    if isinstance(event, Finding):
        if _RULES.get(event.rule.id) is not event.rule:
            raise NotIndexableError(f"{event.rule.id} is not in the list of rules")
        text, times = event.text, 0
        if event.rule is findings.CAPTURE_CUT:
            while text.startswith(f"{name}: "):
                text, times = text[len(name) + 2 :], times + 1
        values[:2] = [event.rule.id, [times, text]]
    return [kind, *[dict(value) if hasattr(value, "items") else value for value in values]]


def _event(packed: list[Any], name: str) -> Event:
    _, kind, *values = packed
    make: Callable[..., Event] = _KINDS[kind]
    if kind == "flow":
        values = [tuple(value) if isinstance(value, list) else value for value in values]
    elif kind == "finding":
        times, text = values[1]
        values[:2] = [_RULES[values[0]], f"{name}: " * times + text]
    return make(*values)


def _inflate(packed: bytes, length: int) -> bytes:
    """Decompress what must have this length.

    Raises:
        ValueError: it has not.
    """
    raw = zlib.decompressobj().decompress(packed, length + 1)
    if len(raw) != length:
        raise ValueError("a block of another length")
    return raw
