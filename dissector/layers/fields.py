# SPDX-License-Identifier: GPL-2.0-or-later
"""Scapy fields for the elements of a definition.

Plain integers, enumerations, flags and byte runs are scapy's own classes, made tolerant: a field whose bytes end early
holds a :class:`Cut`, which prints as such and builds to exactly the bytes that were there. Lists of pfns, lists of
structures, page contents and string pairs need classes of their own, because scapy's stop at 4096 items and raise on
a wrong count; these take what is there and leave the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, TypeAlias

from scapy import fields as scapy_fields
from scapy.fields import FieldListField, PacketListField, RawVal
from scapy.volatile import RandNum

from dissector.spec.libxc import DATA_PAGE_TYPES, PAGE_SIZE, PAGE_TYPE, PFN_MASK, PFN_TYPE_SHIFT
from dissector.spec.model import Bytes, Enum, Field, Flags, PfnList
from dissector.wire.codec import ByteOrder, field_order

MAX_ITEMS = 1 << 16
"""Most structures of one list that become packets; what is beyond stays bytes (``surplus``)."""

BYTES_SHOWN = 32
"""Longer runs of bytes are shortened by show() and repr()."""

FieldKind: TypeAlias = Literal["int", "hex", "enum", "length", "count"]

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
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
        if isinstance(value, RawVal):
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
    return ("<" if order == "little" else ">") + _CODES[size]


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


def byte_run(element: Bytes) -> Any:
    """Make the field of a run of bytes: of fixed length, of a length that another field holds, or the rest."""
    shown = "" if element.text or element.const is not None else "X"
    length = element.length
    if isinstance(length, int):
        cls = tolerant(getattr(scapy_fields, f"{shown}StrFixedLenField"))
        return cls(element.name, element.const or bytes(length), length=length)
    if isinstance(length, str):
        cls = tolerant(getattr(scapy_fields, f"{shown}StrLenField"))
        return cls(element.name, b"", length_from=lambda packet: number(packet, length))
    return tolerant(getattr(scapy_fields, f"{shown}StrField"))(element.name, b"")


class PfnField(scapy_fields.LELongField):  # type: ignore[misc]
    """One entry of a pfn list: u64, with the page type in bits 63-60 when the list is typed.

    A pair ``(pfn, page type)`` is taken as well, the type as a number or by its name: ``(0x3ff, "XTAB")``.
    """

    __slots__ = ["typed"]

    def __init__(self, name: str, default: int, *, typed: bool, order: ByteOrder) -> None:
        scapy_fields.Field.__init__(self, name, default, struct_format(8, order))
        self.typed = typed

    def any2i(self, packet: Any, value: Any) -> Any:
        """Take a number or a pair of pfn and page type."""
        if isinstance(value, tuple):
            pfn, kind = value
            return entry(pfn, kind)
        return value

    def i2repr(self, packet: Any, value: int) -> str:
        """Show the pfn in hex, and the name of its page type unless that is the normal one."""
        if not self.typed:
            return f"{value:#x}"
        kind = page_type(value)
        return f"{pfn(value):#x}" if kind == "NOTAB" else f"{pfn(value):#x} {kind}"


def entry(pfn: int, kind: int | str = 0) -> int:
    """Make an entry of a typed pfn list from a pfn and a page type (number or name)."""
    if isinstance(kind, str):
        kind = next(value for value, text in PAGE_TYPE.values.items() if text == kind)
    return pfn | kind << PFN_TYPE_SHIFT


def pfn(entry: int) -> int:
    """Return the page frame number of an entry of a typed pfn list."""
    return entry & PFN_MASK


def page_type(entry: int) -> str:
    """Return the name of the page type of an entry of a typed pfn list."""
    value = entry >> PFN_TYPE_SHIFT
    return PAGE_TYPE.values.get(value, f"{value:#x}")


def has_contents(entry: int) -> bool:
    """Tell whether 4096 bytes of contents belong to this entry of a typed pfn list."""
    return entry >> PFN_TYPE_SHIFT in DATA_PAGE_TYPES


class PfnListField(FieldListField):  # type: ignore[misc]
    """A list of u64 page frame numbers."""

    __slots__ = ["code"]

    def __init__(self, element: PfnList, order: ByteOrder) -> None:
        item = PfnField(element.name, 0, typed=element.typed, order=order)
        name = element.count
        count_from = None if name is None else lambda packet: number(packet, name)
        super().__init__(element.name, [], item, count_from=count_from)
        self.code = "<" if order == "little" else ">"

    def any2i(self, packet: Any, value: Any) -> Any:
        """Take any sequence of entries (a numpy array too), or one entry."""
        if isinstance(value, int | tuple | RawVal):
            return super().any2i(packet, value)
        return [entry if type(entry) is int else self.field.any2i(packet, _plain(entry)) for entry in value]

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, list[int]]:
        """Take as many whole entries as the count asks for and the body holds."""
        count = len(data) // 8
        if self.count_from is not None:
            count = min(count, self.count_from(packet))
        values = struct.unpack_from(f"{self.code}{count}Q", data)
        return data[8 * count :], list(values)

    def addfield(self, packet: Any, data: bytes, value: Any) -> bytes:
        """Append the entries."""
        return data + struct.pack(f"{self.code}{len(value)}Q", *value)

    def i2repr(self, packet: Any, value: Any) -> str:
        """Show the first and last entries of a long list."""
        shown = [self.field.i2repr(packet, one) for one in (value if len(value) <= 16 else value[:8])]
        if len(value) > 16:
            shown += ["…", *(self.field.i2repr(packet, one) for one in value[-2:])]
        count = f" ({len(value)} pfns)" if len(value) > 16 else ""
        return f"[{', '.join(shown)}]{count}{not_kept(packet, self.name)}"

    def randval(self) -> Any:
        """Return a random entry."""
        return RandNum(0, (1 << 64) - 1)


def _plain(entry: Any) -> Any:
    return entry if isinstance(entry, tuple) else int(entry)


class PagesField(scapy_fields.StrField):  # type: ignore[misc]
    """Contents of the pages of a pfn list, one after the other; never shown in full."""

    __slots__ = ["pfns"]

    def __init__(self, name: str, pfns: str) -> None:
        super().__init__(name, b"")
        self.pfns = pfns

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, bytes]:
        """Take 4096 bytes for each entry that carries contents, as far as they are there."""
        size = PAGE_SIZE * sum(map(has_contents, packet.getfieldval(self.pfns)))
        return data[size:], data[:size]

    def i2repr(self, packet: Any, value: Any) -> str:
        """Show how much there is, not what."""
        omitted = getattr(packet, "omitted", 0)
        if omitted:
            return f"<{len(value)} bytes, {omitted} not kept>"
        return f"<{len(value)} bytes, {len(value) // PAGE_SIZE} pages>"


class ItemsField(PacketListField):  # type: ignore[misc]
    """A list of structures, each a packet of one generated class."""

    __slots__ = ["counted"]

    def __init__(self, name: str, cls: type, counted: str | None) -> None:
        super().__init__(name, [], cls)
        self.counted = counted

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, list[Any]]:
        """Take whole structures up to the count; what is too short for one is left."""
        limit = MAX_ITEMS if self.counted is None else min(MAX_ITEMS, number(packet, self.counted))
        items: list[Any] = []
        at = 0
        while len(items) < limit and len(data) - at >= self.cls.minimum:
            size = self.cls.size_at(data, at)
            items.append(self.cls(data[at : at + size], _internal=1, _parent=packet))
            at += size
        return data[at:], items


class PairsField(scapy_fields.StrField):  # type: ignore[misc]
    """``key NUL value NUL`` pairs, as a list of pairs of bytes; a dict and text are taken as well."""

    __slots__: list[str] = []
    islist = 1

    def __init__(self, name: str) -> None:
        super().__init__(name, [])

    def any2i(self, packet: Any, value: Any) -> Any:
        """Take a dict or a sequence of pairs, of bytes or text."""
        if value is None or isinstance(value, RawVal):
            return value
        pairs = value.items() if isinstance(value, dict) else value
        return [(_encoded(key), _encoded(text)) for key, text in pairs]

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Take the whole pairs; bytes without their NUL are left."""
        texts = data.split(b"\0")
        whole = (len(texts) - 1) // 2 * 2
        pairs = list(zip(texts[:whole:2], texts[1:whole:2], strict=True))
        return b"\0".join(texts[whole:]), pairs

    def addfield(self, packet: Any, data: bytes, value: Any) -> bytes:
        """Append the pairs."""
        return data + b"".join(part + b"\0" for pair in value for part in pair)

    def i2len(self, packet: Any, value: Any) -> int:
        """Return the bytes of all pairs."""
        return len(self.addfield(packet, b"", value))

    def i2repr(self, packet: Any, value: Any) -> str:
        """Show ``key=value``."""
        texts = (f"{key.decode('utf-8', 'replace')}={text.decode('utf-8', 'replace')}" for key, text in value)
        return f"[{', '.join(texts)}]{not_kept(packet, self.name)}"

    def randval(self) -> Any:
        """Leave the pairs alone when fuzzing."""
        return None


def _encoded(text: Any) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def hidden_unless_set(field: Any) -> Any:
    """Wrap a field that show() leaves out while it is None or empty."""

    def is_set(packet: Any) -> bool:
        return packet.fields.get(field.name) is not None

    return scapy_fields.ConditionalField(field, is_set)


SizeOf: TypeAlias = Callable[[bytes, int], int]


def measurer(items: Sequence[Field | Bytes], order: ByteOrder) -> tuple[int, SizeOf]:
    """Return the smallest size of a structure, and a function (data, position) -> its whole size there."""
    fixed = 0
    places: dict[str, tuple[int, int, ByteOrder]] = {}
    variable: list[tuple[int, int, ByteOrder]] = []
    for item in items:
        if isinstance(item, Field):
            places[item.name] = (fixed, item.size, field_order(item, order))
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
