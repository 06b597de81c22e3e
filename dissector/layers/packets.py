# SPDX-License-Identifier: GPL-2.0-or-later
"""One scapy Packet class per header, message and record, made from :mod:`dissector.spec` at import.

There is no code per record: a new definition in the spec gives a new class. A class is called ``Xen``, the layer, and
the words of the record's name, as in ``XenLibxcPageData`` for libxc PAGE_DATA; the structures of a list add the name
of the list (``XenLibxcHvmParamsParam``). Field names are those of the spec, which JSON and display filters use too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from scapy.fields import RawVal
from scapy.packet import Packet

from dissector.layers import fields as layer_fields
from dissector.layers.fields import Cut, has_contents, hidden_unless_set, page_type, pfn, tolerant
from dissector.spec import ALL_RECORDS, BY_TYPE, libxc
from dissector.spec.model import (
    OPTIONAL_RECORD,
    RECORD_ALIGNMENT,
    RECORD_HEADER,
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
from dissector.wire import events
from dissector.wire.codec import ByteOrder
from dissector.wire.framer import unknown_record

FACTS = frozenset(
    ("flow", "offset", "size", "body_length", "header_size", "first_frame", "last_frame", "complete", "lost", "time_end")
)
"""What a packet of MigrationSession knows besides its fields; a field of the same name wins (see ``event``)."""

STRAY_HEADERS = (libxc.CHECKPOINT_DIRTY_PFN_LIST,)
"""Records that Xen 4.18+ writes with stray bytes behind the record header (stream.md 4.6)."""

SUMMARY_FACTS = 3
"""Scalar fields in a one-line summary."""


class _Structure(Packet):  # type: ignore[misc]
    """A run of fields that dissects whatever bytes it is given, and builds them again."""

    __slots__: list[str] = []
    definition: ClassVar[Record]
    order: ClassVar[ByteOrder]
    last_field: ClassVar[str] = ""
    sizes: ClassVar[dict[str, int]] = {}
    """Bytes of the fields whose size is fixed."""
    minimum: ClassVar[int] = 1
    size_at: ClassVar[layer_fields.SizeOf]

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
        self.raw_packet_cache_fields = {}
        rest = self.take(s, self.fields_desc)
        self.raw_packet_cache = s[: len(s) - len(rest)]
        self.explicit = 1
        return rest

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Hand back what is behind this structure: it is not ours."""
        return b"", s


class XenRecord(_Structure):
    """What all headers, messages and records have in common.

    Packets of :class:`~dissector.layers.MigrationSession` have ``event``, the engine's record event, and give its
    facts as attributes: flow, offset, size, first_frame, last_frame, complete, lost, time_end, header_size (and
    ``direction``, ``time``, ``wirelen`` in scapy's own slots). ``omitted`` counts the bytes of the record that the
    session did not keep (page contents, lost bytes): such a packet has all its facts, but it can not be built.
    """

    __slots__ = ["event", "omitted"]
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
            return packet_of, (self.event, self.sniffed_on)
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


class _FramedRecord(XenRecord):
    """A record: type and body length in front, body, padding to a multiple of 8 behind."""

    __slots__: list[str] = []
    header_fields: ClassVar[tuple[Any, ...]] = ()
    body_fields: ClassVar[tuple[Any, ...]] = ()
    length_code: ClassVar[str] = "<I"

    def do_dissect(self, s: bytes) -> bytes:
        """Dissect header, body and padding; nothing is raised, however wrong or short they are."""
        self.raw_packet_cache_fields = {}
        rest = self.take(s, self.header_fields)
        length = layer_fields.number(self, "body_length")
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
    feeds = _feeds(packet.definition.body)
    for element in packet.definition.body:
        value = packet.getfieldval(_field_name(element.name))
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
                yield f"{sum(map(has_contents, packet.getfieldval(element.pfns)))} pages"
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


def _feeds(body: Sequence[Element]) -> dict[str, tuple[str | None, str | None]]:
    """Map the fields that hold a length or a count to the element they are the (length, count) of."""
    found: dict[str, tuple[str | None, str | None]] = {}
    for element in body:
        if isinstance(element, Bytes) and isinstance(element.length, str):
            found[element.length] = (element.name, None)
        elif isinstance(element, PfnList | Array) and element.count is not None:
            found[element.count] = (None, element.name)
    return found


def _field_name(name: str) -> str:
    """Return the name of a scapy field: the spec's, with a ``_`` behind where scapy's Packet has that attribute."""
    return f"{name}_" if hasattr(XenRecord, name) or name in XenRecord.__all_slots__ else name


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _make_fields(owner: str, record: Record, body: Sequence[Element], order: ByteOrder) -> list[Any]:
    feeds = _feeds(body)
    made = []
    for element in body:
        match element:
            case Field():
                if element.name in feeds:
                    length_of, count_of = feeds[element.name]
                    field = layer_fields.counter(element, order, length_of=length_of, count_of=count_of)
                else:
                    field = layer_fields.integer(element, order)
            case Bytes():
                field = layer_fields.byte_run(element)
            case PfnList():
                field = layer_fields.PfnListField(element, order)
            case Pages():
                field = layer_fields.PagesField(element.name, element.pfns)
            case StringPairs():
                field = layer_fields.PairsField(element.name)
            case Array():
                item = _make_item(owner, record, element, order)
                field = layer_fields.ItemsField(element.name, item, element.count)
        field.name = _field_name(field.name)
        made.append(field)
    return made


def _sizes(body: Sequence[Element]) -> dict[str, int]:
    found = {}
    for element in body:
        if isinstance(element, Field):
            found[_field_name(element.name)] = element.size
        elif isinstance(element, Bytes) and isinstance(element.length, int):
            found[_field_name(element.name)] = element.length
    return found


def _make_item(owner: str, record: Record, array: Array, order: ByteOrder) -> Any:
    name = f"{owner}{_camel(array.name)}"
    suffix = "BE" if order == "big" else ""
    minimum, size_at = layer_fields.measurer(array.items, order)
    namespace = {
        "name": f"{record.layer} {record.name} {array.name}",
        "__doc__": _document(f"One of the {array.meaning} of {record.layer} {record.name}.", array.items),
        "__module__": "dissector.layers",
        "__slots__": [],
        "fields_desc": _make_fields(name, record, array.items, order),
        "sizes": _sizes(array.items),
        "definition": record,
        "order": order,
        "minimum": minimum,
        "size_at": staticmethod(size_at),
    }
    ITEMS[f"{name}{suffix}"] = made = type(_Structure)(f"{name}{suffix}", (_Structure,), namespace)
    return made


def _document(text: str, body: Sequence[Element]) -> str:
    lines = [f"{text[:1].upper()}{text[1:]}", ""]
    lines += [f"    {_field_name(element.name)}: {element.meaning}" for element in body]
    return "\n".join(lines).rstrip()


def _make_class(record: Record, order: ByteOrder) -> Any:
    """Make the class of one definition for streams of one byte order."""
    name = f"Xen{record.layer.capitalize()}{_camel(record.name)}"
    body = _make_fields(name, record, record.body, order)
    namespace: dict[str, Any] = {
        "name": f"{record.layer} {record.name}",
        "__doc__": _document(f"{record.meaning} (stream.md {record.section}).", record.body),
        "__module__": "dissector.layers",
        "__slots__": [],
        "sizes": _sizes(record.body),
        "definition": record,
        "order": order,
        "layer": record.layer,
        "last_field": body[-1].name if body else "",
    }
    base = XenRecord
    if record.type_id is not None:
        base = _FramedRecord
        header = _record_header(record, order)
        tail = [hidden_unless_set(tolerant(layer_fields.scapy_fields.XStrField)(n, None)) for n in ("surplus", "padding")]
        stray = [hidden_unless_set(tolerant(layer_fields.scapy_fields.XStrField)("stray", None))]
        namespace |= {
            "header_fields": tuple(header),
            "body_fields": tuple(body),
            "length_code": layer_fields.struct_format(4, order),
            "sizes": _sizes((*RECORD_HEADER, *record.body)),
        }
        body = [*header, *(stray if record in STRAY_HEADERS else ()), *body, *tail]
    namespace["fields_desc"] = body
    return type(base)(f"{name}BE" if order == "big" else name, (base,), namespace)


def _record_header(record: Record, order: ByteOrder) -> list[Any]:
    """Make the two fields in front of a record, with the type's name and the length computed when it is None."""
    type_field, length_field = RECORD_HEADER
    names = {type_id: known.name for (layer, type_id), known in BY_TYPE.items() if layer == record.layer}
    enumeration = layer_fields.integer_class(type_field.size, order, kind="EnumField")
    return [
        enumeration(type_field.name, record.type_id, names),
        tolerant(layer_fields.scapy_fields.LenField)(
            length_field.name, None, fmt=layer_fields.struct_format(length_field.size, order)
        ),
    ]


ITEMS: dict[str, type[Packet]] = {}
"""Class name -> class of the structures of lists."""

_DEFINITIONS = (*ALL_RECORDS, *(unknown_record(layer, OPTIONAL_RECORD) for layer in ("libxl", "libxc")))

CLASSES: dict[tuple[str, str], type[XenRecord]] = {
    (record.layer, record.name): _make_class(record, "little") for record in _DEFINITIONS
}
"""(layer, record name) -> class; ``UNKNOWN`` is the class of record types without a definition."""

_BIG_ENDIAN: dict[type[XenRecord], type[XenRecord]] = {}


def big_endian(cls: type[XenRecord]) -> type[XenRecord]:
    """Return the twin of a class for streams whose header says big endian (``XenLibxcPageDataBE``)."""
    if cls.order == "big":
        return cls
    if cls not in _BIG_ENDIAN:
        _BIG_ENDIAN[cls] = _make_class(cls.definition, "big")
    return _BIG_ENDIAN[cls]


def record_class(layer: str, type_id: int, order: ByteOrder = "little") -> type[XenRecord]:
    """Return the class of a record by its layer (``libxl`` or ``libxc``) and type number."""
    record = BY_TYPE.get((layer, type_id))
    cls = CLASSES[layer, "UNKNOWN" if record is None else record.name]
    return cls if order == "little" else big_endian(cls)


def class_of(definition: Record, order: ByteOrder) -> type[XenRecord]:
    """Return the class of a definition for streams of one byte order."""
    cls = CLASSES[definition.layer, definition.name]
    return cls if order == "little" else big_endian(cls)


def by_name(name: str) -> type[Packet]:
    """Return a generated class by its name, big-endian twins included.

    Raises:
        KeyError: there is no such class.
    """
    for cls in CLASSES.values():
        if name == cls.__name__:
            return cls
        if name == f"{cls.__name__}BE":
            return big_endian(cls)
    if name.endswith("BE") and name not in ITEMS:
        for cls in CLASSES.values():
            if name.startswith(cls.__name__):
                big_endian(cls)
    return ITEMS[name]


def packet_of(event: events.Record, sniffed_on: Any = None) -> XenRecord:
    """Make the packet of a record event: its fields from the bytes that were kept, its facts from the event."""
    from scapy.utils import EDecimal

    packet = class_of(event.definition, event.order)()
    packet.event = event
    packet.direction = event.direction
    packet.sniffed_on = sniffed_on
    packet.wirelen = event.size
    if event.time is not None:
        packet.time = EDecimal(event.time) / 1_000_000_000
    if isinstance(packet, _FramedRecord):
        packet.fields["type"] = event.type_id
        packet.fields["body_length"] = event.body_length
        if event.extra.get("stray"):
            packet.fields["stray"] = bytes.fromhex(event.extra["stray"])
        packet.omitted = (event.body_length or 0) - len(event.body)
        packet.take_body(event.body)
    else:
        packet.omitted = event.size - len(event.body)
        packet.take(event.body, packet.fields_desc)
    if event.lost and not packet.omitted:
        packet.omitted = sum(length for _, length in event.lost)
    packet.explicit = 1
    return packet


def packet_from(definition: Record, order: ByteOrder, data: bytes, header_size: int = RECORD_HEADER_SIZE) -> XenRecord:
    """Dissect the bytes of one whole record, which may have a header with stray bytes (stream.md 4.6)."""
    cls = class_of(definition, order)
    if header_size <= RECORD_HEADER_SIZE:
        return cls(data)
    packet = cls(data[:RECORD_HEADER_SIZE] + data[header_size:])
    packet.stray = data[RECORD_HEADER_SIZE:header_size]
    packet.explicit = 1
    return packet
