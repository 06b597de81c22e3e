# SPDX-License-Identifier: GPL-2.0-or-later
"""What the generated packet classes have in common: dissection that never raises, facts of the stream, summaries."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar

from scapy.fields import RawVal
from scapy.packet import Packet

from dissector.layers.fields import Cut, number
from dissector.layers.lists import contents_count, has_contents, page_type, pfn
from dissector.spec import libxc
from dissector.spec.model import (
    RECORD_ALIGNMENT,
    RECORD_HEADER_SIZE,
    Array,
    Bytes,
    Element,
    Enum,
    Field,
    Pages,
    PfnList,
    Record,
    StringPairs,
)
from dissector.wire.members import members_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dissector.layers.fields import SizeOf
    from dissector.wire.codec import ByteOrder

FACTS = frozenset(
    {
        "flow",
        "offset",
        "size",
        "body_length",
        "header_size",
        "first_frame",
        "last_frame",
        "complete",
        "lost",
        "time_end",
    }
)
"""What a packet of MigrationSession knows besides its fields; a field of the same name wins (see ``event``)."""

SUMMARY_FACTS = 3
"""Scalar fields in a one-line summary."""

_SLOTS = ["event", "omitted"]


class XenStructure(Packet):  # type: ignore[misc]
    """A run of fields that dissects whatever bytes it is given, and builds them again."""

    name = "Xen migration structure"
    definition: ClassVar[Record]
    order: ClassVar[ByteOrder]
    last_field: ClassVar[str] = ""
    sizes: ClassVar[dict[str, int]] = {}
    """Bytes of the fields whose size is fixed."""
    minimum: ClassVar[int] = 1
    size_at: ClassVar[SizeOf]

    def take(self, data: bytes, wanted: Sequence[Any]) -> bytes:
        """Dissect the fields of `wanted` from `data` as far as it goes; return the bytes behind them."""
        cache = self.raw_packet_cache_fields
        for field in wanted:
            size = self.sizes.get(field.name)
            if size is not None and len(data) < size:
                data, value = b"", Cut(data)
            else:
                data, value = field.getfield(self, data)
            self.fields[field.name] = value
            if cache is not None and (field.islist or field.holds_packets or field.ismutable):
                copied = None
                if not isinstance(value, RawVal):
                    copied = self._raw_packet_cache_field_value(field, value, copy=True)
                cache[field.name] = copied if copied is not None else value
        return data

    def do_dissect(self, s: bytes) -> bytes:
        """Dissect all fields; nothing is raised, however short the bytes are."""
        self.raw_packet_cache_fields: dict[str, Any] = {}
        rest = self.take(s, self.fields_desc)
        self.raw_packet_cache = s[: len(s) - len(rest)]
        self.explicit = 1
        return rest

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Hand back what is behind this structure: it is not ours."""
        return b"", s


class XenInside(XenStructure):
    """What is inside of a run of bytes; those behind it become ``surplus``, its last field."""

    def do_dissect(self, s: bytes) -> bytes:
        """Dissect all fields; nothing is left."""
        rest = super().do_dissect(s)
        if rest:
            self.fields["surplus"] = rest
        self.raw_packet_cache = s
        return b""

    def __eq__(self, other: object) -> bool:
        """Compare with such a packet, or with the bytes it was made of."""
        return bytes(self) == other if isinstance(other, bytes) else bool(super().__eq__(other))

    __hash__ = None  # type: ignore[assignment]


class XenRecord(XenStructure):
    """What all headers, messages and records have in common.

    Packets of :class:`~dissector.layers.MigrationSession` have ``event``, the engine's record event, and give its
    facts as attributes: flow, offset, size, first_frame, last_frame, complete, lost, time_end, header_size (and
    ``direction``, ``time``, ``wirelen`` in scapy's own slots). ``omitted`` counts the bytes of the record that the
    session did not keep (page contents, lost bytes): such a packet has all its facts, but it can not be built.
    """

    __slots__ = _SLOTS
    name = "Xen migration record"
    layer: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "event", None)
        object.__setattr__(self, "omitted", 0)
        super().__init__(*args, **kwargs)

    def __getattr__(self, attr: str) -> Any:
        if attr in FACTS and attr not in self.default_fields and self.event is not None:
            return getattr(self.event, attr)
        return super().__getattr__(attr)

    def __len__(self) -> int:
        if self.omitted and self.event is not None:
            return int(self.event.size)
        return int(super().__len__())

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(FACTS if self.event is not None else ())})

    def __reduce__(self) -> tuple[Any, ...]:
        if self.omitted and self.event is not None:
            from dissector.layers.packets import restored

            return restored, (self.event, self.sniffed_on)
        reduced: tuple[Any, ...] = super().__reduce__()
        return reduced

    @property
    def pfns(self) -> list[int]:
        """The page frame numbers of the record's pfn list, page types removed."""
        found = self._pfn_list()
        if found is None:
            return []
        element, values = found
        return [pfn(value) for value in values] if element.typed else list(values)

    @property
    def members(self) -> dict[str, Any]:
        """What the record's text in JSON says, by name (``guest_name``), and what is wrong with it."""
        for element in self.definition.body:
            if isinstance(element, Bytes) and element.members:
                return members_of(element.members, element.name, bytes(self.getfieldval(element.name)))
        return {}

    @property
    def page_types(self) -> list[str]:
        """The names of the page types of a PAGE_DATA's pfns."""
        found = self._pfn_list()
        return [page_type(value) for value in found[1]] if found is not None and found[0].typed else []

    def page(self, number: int) -> bytes | None:
        """Return the contents of page frame `number`, or None when this record has none for it.

        Raises:
            LookupError: the record carries contents for it, but they were not kept (a packet of MigrationSession).
        """
        pages = next((element for element in self.definition.body if isinstance(element, Pages)), None)
        found = self._pfn_list()
        if pages is None or found is None:
            return None
        at = 0
        for value in found[1]:
            if pfn(value) == number and has_contents(value):
                contents = bytes(self.getfieldval(pages.name))[at : at + libxc.PAGE_SIZE]
                if self.omitted and len(contents) < libxc.PAGE_SIZE:
                    raise LookupError(f"the contents of page {number:#x} were not kept")
                return contents
            at += libxc.PAGE_SIZE if has_contents(value) else 0
        return None

    def _pfn_list(self) -> tuple[PfnList, list[int]] | None:
        for element in self.definition.body:
            if isinstance(element, PfnList):
                values = self.getfieldval(element.name)
                return element, [] if isinstance(values, RawVal) else values
        return None

    def copy(self) -> Any:
        """Return a deep copy, event included."""
        return self._with_event(super().copy())

    def clone_with(self, payload: Any = None, **kwargs: Any) -> Any:
        """Return a copy with other fields; used by scapy to build."""
        return self._with_event(super().clone_with(payload, **kwargs))

    def _with_event(self, clone: Any) -> Any:
        clone.event = self.event
        clone.omitted = self.omitted
        return clone

    def do_build(self) -> Any:
        """Build, or refuse when bytes of the record are not here.

        Raises:
            ValueError: the packet comes from MigrationSession, which did not keep all bytes of the record. Supply
                them and set ``omitted`` to 0.
        """
        if self.omitted:
            raise ValueError(f"{self.name}: {self.omitted} bytes were not kept, so it can not be built")
        return super().do_build()

    def mysummary(self) -> str:
        """Say it in one line: where it was (if it was), what it is, and what matters in it."""
        words = [self.name, ", ".join(_facts(self))]
        if self.event is not None:
            words = [self.event.direction, str(self.event.offset), *words]
            if not self.event.complete:
                lost = sum(length for _, length in self.event.lost)
                words.append(f"[lost {lost} bytes]" if lost else "[cut]")
        return " ".join(word for word in words if word)


class XenFramedRecord(XenRecord):
    """A record: type and body length in front, body, padding to a multiple of 8 behind."""

    header_fields: ClassVar[tuple[Any, ...]] = ()
    body_fields: ClassVar[tuple[Any, ...]] = ()
    length_code: ClassVar[str] = "<I"

    def do_dissect(self, s: bytes) -> bytes:
        """Dissect header, body and padding; nothing is raised, however wrong or short they are."""
        self.raw_packet_cache_fields = {}
        rest = self.take(s, self.header_fields)
        length = number(self, "body_length")
        body, rest = rest[:length], rest[length:]
        self.take_body(body)
        padding, rest = rest[: -length % RECORD_ALIGNMENT], rest[-length % RECORD_ALIGNMENT :]
        used = len(s) - len(rest)
        if padding != bytes((len(padding) - used) % RECORD_ALIGNMENT):
            self.fields["padding"] = padding
        self.raw_packet_cache = s[:used]
        self.explicit = 1
        return rest

    def take_body(self, body: bytes) -> None:
        """Dissect the body; bytes that belong to no field become ``surplus``."""
        surplus = self.take(body, self.body_fields)
        if surplus:
            self.fields["surplus"] = surplus

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Fill in body length and padding where they are not set."""
        stray = len(bytes(self.fields.get("stray") or b""))
        padding = self.getfieldval("padding")
        length = len(pkt) - RECORD_HEADER_SIZE - stray - len(padding or b"")
        if padding is None:
            pkt += bytes((stray - len(pkt)) % RECORD_ALIGNMENT)
        if self.getfieldval("body_length") is None:
            pkt = pkt[:4] + struct.pack(self.length_code, length) + pkt[RECORD_HEADER_SIZE:]
        return pkt + pay


def _facts(packet: XenRecord) -> Iterator[str]:
    """Yield what a summary says about the fields, by the kind of each element."""
    scalars = 0
    feeds = feeds_of(packet.definition.body)
    for element in packet.definition.body:
        value = packet.getfieldval(element.name)
        if isinstance(value, RawVal):
            continue
        match element:
            case Field():
                dull = element.reserved or element.const is not None or element.name in feeds
                if not dull and scalars < SUMMARY_FACTS:
                    scalars += 1
                    yield f"{element.name}={_scalar(element, value)}"
            case PfnList():
                pfns = packet.pfns
                yield f"{len(pfns)} pfns {pfns[0]:#x}-{pfns[-1]:#x}" if pfns else "0 pfns"
            case Pages():
                yield f"{contents_count(packet.getfieldval(element.pfns))} pages"
            case Array():
                yield f"{len(value)} {element.meaning}"
            case StringPairs():
                yield f"{len(value)} pairs"
            case Bytes(length=str() | None) if value:
                yield f"{element.name} {len(value)} bytes"


def _scalar(field: Field, value: Any) -> str:
    if isinstance(field.names, Enum):
        return field.names.values.get(int(value), str(value))
    if field.names is not None:
        return str(value) or "0"
    return f"{value:#x}" if field.hexadecimal else str(value)


def feeds_of(body: Sequence[Element]) -> dict[str, tuple[str | None, str | None]]:
    """Map the fields that hold a length or a count to the element they are the (length, count) of."""
    found: dict[str, tuple[str | None, str | None]] = {}
    for element in body:
        if isinstance(element, Bytes) and isinstance(element.length, str):
            found[element.length] = (element.name, None)
        elif isinstance(element, PfnList | Array) and isinstance(element.count, str):
            found[element.count] = (None, element.name)
    return found
