# SPDX-License-Identifier: GPL-2.0-or-later
"""Scapy fields for the elements of a definition.

Plain integers, enumerations, flags and byte runs are scapy's own classes, made tolerant: a field whose bytes end early
holds a :class:`Cut`, which prints as such and builds to exactly the bytes that were there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

from scapy import fields as scapy_fields
from scapy.fields import RawVal
from scapy.packet import Packet

from dissector.spec.model import Bytes, Choice, Enum, Field, Flags, Layout, Numbers, Skip
from dissector.wire.codec import ByteOrder, field_order
from dissector.wire.leading import CODES, ORDERS
from dissector.wire.nodes import chosen

BYTES_SHOWN = 32
"""Longer runs of bytes are shortened by show() and repr()."""

_NAMES = {1: "Byte", 2: "Short", 4: "Int", 8: "Long"}


class Cut(RawVal):  # type: ignore[misc]
    """What is there of a field whose bytes end early; false when nothing is."""

    def __repr__(self) -> str:
        return f"<cut {bytes(self).hex(' ')}>" if len(self) else "<cut>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawVal) and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))


@cache
def tolerant(base: type) -> type:
    """Return `base` with a repr that knows :class:`Cut` and shortens long bytes; ls() shows the name of `base`."""

    def i2repr(self: Any, packet: Any, value: Any) -> str:
        if isinstance(value, RawVal | Packet):
            return repr(value)
        if value is None:
            return "None"
        if isinstance(value, bytes) and len(value) > BYTES_SHOWN and issubclass(base, scapy_fields._XStrField):
            return f"{value[:BYTES_SHOWN].hex()}… ({len(value)} bytes){not_kept(packet, self.name)}"
        text = base.i2repr(self, packet, value)  # type: ignore[attr-defined]
        return f"{text}{not_kept(packet, self.name)}"

    return type(base.__name__, (base,), {"__slots__": [], "i2repr": i2repr})


def not_kept(packet: Any, name: str) -> str:
    """Say how many bytes of a record's last field are missing, empty when none are."""
    if packet is None or not getattr(packet, "omitted", 0) or packet.last_field != name:
        return ""
    return f" + {packet.omitted} bytes not kept"


def number(packet: Any, name: str) -> int:
    """Return the value of an integer field, 0 when it is computed at build time or cut."""
    value = packet.getfieldval(name)
    return 0 if value is None or isinstance(value, RawVal) else int(value)


def integer_class(size: int, order: ByteOrder, prefix: str = "", kind: str = "Field") -> type:
    """Find scapy's class for an integer, such as LEIntField, XLEIntField, ShortEnumField."""
    little = "LE" if order == "little" and size > 1 else ""
    name = f"{prefix}{little}{_NAMES[size]}{kind}"
    return tolerant(getattr(scapy_fields, name))


def struct_format(size: int, order: ByteOrder) -> str:
    """Return the format code of an integer for struct."""
    return ORDERS[order] + CODES[size]


def default_of(field: Field) -> int:
    """Return what a field holds when nobody sets it: its constant, the smallest value with a name, or zero."""
    if field.const is not None:
        return field.const
    if isinstance(field.names, Enum):
        return min(field.names.values)
    return 0


def integer(field: Field, stream_order: ByteOrder) -> Any:
    """Make the scapy field of an integer."""
    order = field_order(field, stream_order)
    default = default_of(field)
    if isinstance(field.names, Enum):
        return integer_class(field.size, order, kind="EnumField")(field.name, default, dict(field.names.values))
    if isinstance(field.names, Flags):
        bits = -8 * field.size if order == "little" else 8 * field.size
        names = {1 << bit: text for bit, text in field.names.bits.items()}
        return tolerant(scapy_fields.FlagsField)(field.name, default, bits, names)
    return integer_class(field.size, order, "X" if field.hexadecimal else "")(field.name, default)


def counter(field: Field, stream_order: ByteOrder, *, length_of: str | None, count_of: str | None) -> Any:
    """Make the field of an integer that holds the length or count of a later element: computed when it is None."""
    order = field_order(field, stream_order)
    base = "LEFieldLenField" if order == "little" else "FieldLenField"
    fmt = struct_format(field.size, order)
    return tolerant(getattr(scapy_fields, base))(field.name, None, length_of=length_of, count_of=count_of, fmt=fmt)


def byte_run(element: Bytes, longest: int | None = None) -> Any:
    """Make the field of a run of bytes: of fixed length, of a length that another field holds, or the rest.

    `longest` is the greatest length that the other field can hold, for fuzz(), if that is little.
    """
    shown = "" if element.text or element.const is not None else "X"
    length = element.length
    if isinstance(length, int):
        cls = tolerant(getattr(scapy_fields, f"{shown}StrFixedLenField"))
        return cls(element.name, element.const or bytes(length), length=length)
    if isinstance(length, str):
        cls = tolerant(getattr(scapy_fields, f"{shown}StrLenField"))
        return cls(element.name, b"", length_from=lambda packet: number(packet, length), max_length=longest)
    return tolerant(getattr(scapy_fields, f"{shown}StrField"))(element.name, b"")


def described(element: Bytes, classes: Callable[[Layout], type[Packet]], before: int | None) -> Any:
    """Make the field of a run of bytes with a known layout: a packet of the layout's class, or the bytes themselves.

    They stay bytes when there is no layout for them, when they are cut, or when building the packet would not give the
    same bytes.

    Args:
        element: The run of bytes.
        classes: From a layout to its class.
        before: Bytes of body before it, if that is always the same.
    """
    plain = byte_run(element)
    choice = element.inside
    assert choice is not None

    def getfield(self: Any, packet: Any, data: bytes) -> tuple[bytes, Any]:
        rest, raw = base.getfield(self, packet, data)
        said = _said(element, packet, before, len(raw))
        return rest, _packet_of(choice, classes, packet, raw) if said == len(raw) else raw

    def addfield(self: Any, packet: Any, data: bytes, value: Any) -> Any:
        return base.addfield(self, packet, data, bytes(value) if isinstance(value, Packet) else value)

    def i2len(self: Any, packet: Any, value: Any) -> int:
        return len(bytes(value)) if isinstance(value, Packet) else int(base.i2len(self, packet, value))

    def any2i(self: Any, packet: Any, value: Any) -> Any:
        return value if isinstance(value, Packet) else base.any2i(self, packet, value)

    base: Any = type(plain)
    methods = {"getfield": getfield, "addfield": addfield, "i2len": i2len, "any2i": any2i}
    plain.__class__ = type(base.__name__, (base,), {"__slots__": [], "ismutable": True, **methods})
    return plain


def _said(element: Bytes, packet: Any, before: int | None, there: int) -> int | None:
    """Return how long a run of bytes is said to be; None when it is not whole, or nobody knows."""
    if isinstance(element.length, str):
        return number(packet, element.length)
    if isinstance(element.length, int):
        return element.length
    if getattr(packet, "omitted", 0) or before is None or "body_length" not in packet.fields:
        return None
    return number(packet, "body_length") - before if there else None


def _packet_of(choice: Choice, classes: Callable[[Layout], type[Packet]], packet: Any, raw: bytes) -> Any:
    seen = {choice.field: number(packet, choice.field)} if choice.field else {}
    layout = chosen(choice, seen, len(raw), raw)
    if layout is None:
        return raw
    made = classes(layout)(raw, _internal=1, _parent=packet)
    return made if bytes(made) == raw else raw


class Quiet(scapy_fields.ConditionalField):  # type: ignore[misc]
    """A field that show() leaves out while it is zero; it is dissected and built all the same."""

    __slots__: list[str] = []

    def __init__(self, field: Any) -> None:
        super().__init__(field, lambda packet: any(bytes(packet.fields.get(field.name) or b"")))

    def getfield(self, packet: Any, data: bytes) -> Any:
        """Dissect it."""
        return self.fld.getfield(packet, data)

    def addfield(self, packet: Any, data: bytes, value: Any) -> Any:
        """Build it."""
        return self.fld.addfield(packet, data, value)


def skipped(skip: Skip, place: int) -> Any:
    """Make the field of bytes without a name, at offset `place` of their structure."""
    cls = tolerant(scapy_fields.XStrFixedLenField)
    return Quiet(cls(f"skipped_{place}", bytes(skip.size), length=skip.size))


def hidden_unless_set(field: Any) -> Any:
    """Wrap a field that show() leaves out while it is None or empty."""

    def is_set(packet: Any) -> bool:
        return packet.fields.get(field.name) is not None

    return scapy_fields.ConditionalField(field, is_set)


SizeOf: TypeAlias = Callable[[bytes, int], int]


def measurer(items: Sequence[Field | Bytes | Numbers | Skip], order: ByteOrder) -> tuple[int, SizeOf]:
    """Return the smallest size of a structure, and a function (data, position) -> its whole size there."""
    fixed = 0
    places: dict[str, tuple[int, int, ByteOrder]] = {}
    variable: list[tuple[int, int, ByteOrder]] = []
    for item in items:
        if isinstance(item, Field):
            places[item.name] = (fixed, item.size, field_order(item, order))
            fixed += item.size
        elif isinstance(item, Numbers):
            fixed += item.size * item.count
        elif isinstance(item, Skip):
            fixed += item.size
        elif isinstance(item.length, int):
            fixed += item.length
        elif isinstance(item.length, str):
            variable.append(places[item.length])

    def size_at(data: bytes, position: int) -> int:
        size = fixed
        for at, width, byteorder in variable:
            size += int.from_bytes(data[position + at : position + at + width], byteorder)
        return size

    return fixed, size_at
