# SPDX-License-Identifier: GPL-2.0-or-later
"""Scapy fields for lists: of pfns, of pages, of structures, of string pairs.

Scapy's own list fields stop at 4096 items and raise on a wrong count; these take what is there and leave the rest.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from scapy import fields as scapy_fields
from scapy.fields import FieldListField, PacketListField, RawVal
from scapy.volatile import RandNum

from dissector.layers.fields import not_kept, number, struct_format
from dissector.spec.libxc import DATA_PAGE_TYPES, PAGE_SIZE, PAGE_TYPE, PFN_MASK, PFN_TYPE_SHIFT
from dissector.wire.codec import data_pages
from dissector.wire.leading import ORDERS
from dissector.wire.nodes import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dissector.spec.model import Array, Numbers, PfnList
    from dissector.wire.codec import ByteOrder

MAX_ITEMS = 1 << 16
"""Most structures of one list that become packets; what is beyond stays bytes (``surplus``)."""


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


def contents_count(entries: Sequence[int]) -> int:
    """Count the entries of a typed pfn list that have contents; the C loops of codec are faster than has_contents."""
    return data_pages(struct.pack(f"<{len(entries)}Q", *entries), "little")


class PfnListField(FieldListField):  # type: ignore[misc]
    """A list of u64 page frame numbers."""

    __slots__ = ["code"]

    def __init__(self, element: PfnList, order: ByteOrder) -> None:
        item = PfnField(element.name, 0, typed=element.typed, order=order)
        name = element.count
        count_from = None if name is None else lambda packet: number(packet, name)
        super().__init__(element.name, [], item, count_from=count_from)
        self.code = ORDERS[order]

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
        size = PAGE_SIZE * contents_count(packet.getfieldval(self.pfns)) if data else 0
        return data[size:], data[:size]

    def i2repr(self, packet: Any, value: Any) -> str:
        """Show how much there is, not what."""
        omitted = getattr(packet, "omitted", 0)
        if omitted:
            return f"<{len(value)} bytes, {omitted} not kept>"
        return f"<{len(value)} bytes, {len(value) // PAGE_SIZE} pages>"


class ItemsField(PacketListField):  # type: ignore[misc]
    """A list of structures, each a packet of one generated class."""

    __slots__ = ["array"]

    def __init__(self, array: Array, cls: type) -> None:
        super().__init__(array.name, [], cls)
        self.array = array

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, list[Any]]:
        """Take whole structures up to the count, or the last one of a chain; what is too short for one is left."""
        if self.array.scan is not None:
            return self._found(packet, data)
        count, last = self.array.count, self.array.last
        limit = (
            MAX_ITEMS if count is None else min(MAX_ITEMS, number(packet, count) if isinstance(count, str) else count)
        )
        items: list[Any] = []
        at = 0
        while len(items) < limit and len(data) - at >= self.cls.minimum:
            size = self.cls.size_at(data, at)
            items.append(self.cls(data[at : at + size], _internal=1, _parent=packet))
            at += size
            if last is not None and items[-1].getfieldval(last[0]) == last[1]:
                break
        return data[at:], items

    def addfield(self, packet: Any, data: bytes, value: Any) -> Any:
        """Append the structures; those that are missing of a fixed number are zeros."""
        data = super().addfield(packet, data, value)
        missing = self.array.count - len(value) if isinstance(self.array.count, int) else 0
        return data + bytes(max(0, missing) * self.cls.minimum)

    def _found(self, packet: Any, data: bytes) -> tuple[bytes, list[Any]]:
        """Take structures that are found by what they begin with."""
        node = read(self.array, memoryview(data), 0, {}, self.cls.order)
        assert node is not None
        items = [
            self.cls(data[item[0].offset : item[-1].offset + item[-1].size], _internal=1, _parent=packet)
            for item in node.value
        ]
        return data[node.size :], items


class NumbersField(FieldListField):  # type: ignore[misc]
    """A fixed number of integers of one size."""

    __slots__ = ["code", "hexadecimal", "number"]

    def __init__(self, element: Numbers, order: ByteOrder) -> None:
        item = scapy_fields.Field(element.name, 0, struct_format(element.size, order))
        super().__init__(element.name, [0] * element.count, item)
        self.code, self.hexadecimal, self.number = (
            struct_format(element.size, order),
            element.hexadecimal,
            element.count,
        )

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, list[int]]:
        """Take as many as there are."""
        count = min(self.number, len(data) // self.field.sz)
        values = struct.unpack_from(f"{self.code[0]}{count}{self.code[1]}", data)
        return data[count * self.field.sz :], list(values)

    def i2repr(self, packet: Any, value: Any) -> str:
        """Show them in hex where their definition says so."""
        return f"[{', '.join(f'{one:#x}' if self.hexadecimal else str(one) for one in value)}]"


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
