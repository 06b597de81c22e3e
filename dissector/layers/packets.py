# SPDX-License-Identifier: GPL-2.0-or-later
"""One scapy Packet class per header, message and record, made from :mod:`dissector.spec` at import.

There is no code per record: a new definition in the spec gives a new class. A class is called ``Xen``, the layer, and
the words of the record's name, as in ``XenLibxcPageData`` for libxc PAGE_DATA; the structures of a list add the name
of the list (``XenLibxcHvmParamsParam``). Field names are those of the spec, which JSON and display filters use too.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from scapy import fields as scapy_fields
from scapy.utils import EDecimal

from dissector.layers import fields as layer_fields
from dissector.layers import lists
from dissector.layers.base import XenFramedRecord, XenInside, XenRecord, XenStructure, feeds_of
from dissector.layers.fields import hidden_unless_set, tolerant
from dissector.spec import ALL_RECORDS, BY_NAME, BY_TYPE, libxc
from dissector.spec.model import (
    OPTIONAL_RECORD,
    RECORD_HEADER,
    RECORD_HEADER_SIZE,
    Array,
    Bytes,
    Element,
    Field,
    Layout,
    Numbers,
    Pages,
    PfnList,
    Record,
    Skip,
    StringPairs,
)
from dissector.wire.unit import unknown_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scapy.packet import Packet

    from dissector.wire import events
    from dissector.wire.codec import ByteOrder

STRAY_HEADERS = (libxc.CHECKPOINT_DIRTY_PFN_LIST,)
"""Records that Xen 4.18+ writes with stray bytes behind the record header (stream.md 4.6)."""


_METACLASS: Any = type(XenStructure)


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _check_names(record: Record, body: Sequence[Element]) -> None:
    """Field names are the same everywhere, so a name that scapy's packets use themselves can not be in the spec."""
    for element in body:
        if hasattr(XenRecord, element.name) or element.name in XenRecord.__all_slots__:
            raise ValueError(f"{record.layer} {record.name}: scapy packets have an attribute {element.name!r} already")


def _make_fields(owner: str, record: Record, body: Sequence[Element], order: ByteOrder) -> list[Any]:
    _check_names(record, body)
    feeds = feeds_of(body)
    made = []
    place: int | None = 0
    for element in body:
        match element:
            case Field():
                if element.name in feeds:
                    length_of, count_of = feeds[element.name]
                    field = layer_fields.counter(element, order, length_of=length_of, count_of=count_of)
                else:
                    field = layer_fields.integer(element, order)
            case Bytes(inside=None):
                length = next((one.size for one in body if isinstance(one, Field) and one.name == element.length), 8)
                field = layer_fields.byte_run(element, 255 if length == 1 else None)
            case Bytes():
                field = layer_fields.described(element, _layout_classes(owner, record, element, order), place)
            case Numbers():
                field = lists.NumbersField(element, order)
            case Skip():
                field = layer_fields.skipped(element, place or 0)
            case PfnList():
                field = lists.PfnListField(element, order)
            case Pages():
                field = lists.PagesField(element.name, element.pfns)
            case StringPairs():
                field = lists.PairsField(element.name)
            case Array():
                item = _make_item(owner, record, element, order)
                field = lists.ItemsField(element, item)
        made.append(field)
        size = _size(element)
        place = None if size is None or place is None else place + size
    return made


def _layout_classes(owner: str, record: Record, element: Bytes, order: ByteOrder) -> Callable[[Layout], type[Packet]]:
    """Make a class for each layout a run of bytes may have, and return the way from one to the other."""
    assert element.inside is not None
    found = {
        layout.name: _make_structure(
            f"{owner}{_camel(layout.name)}",
            f"{record.layer} {record.name} {layout.name}",
            f"{layout.meaning} ({layout.section})",
            record,
            layout.body,
            order,
            inside=True,
        )
        for layout in element.inside.layouts.values()
    }
    return lambda layout: found[layout.name]


def _size(element: Element) -> int | None:
    """Return the bytes of an element of fixed size."""
    match element:
        case Field(size=size) | Skip(size=size):
            return size
        case Numbers(size=size, count=count):
            return size * count
        case Bytes(length=int() as size):
            return size
        case Array(count=int() as count, items=items):
            sizes = [_size(item) for item in items]
            return None if None in sizes else count * sum(size or 0 for size in sizes)
    return None


def _sizes(body: Sequence[Element]) -> dict[str, int]:
    found: dict[str, int] = {}
    for element in body:
        if isinstance(element, Field):
            found[element.name] = element.size
        elif isinstance(element, Bytes) and isinstance(element.length, int):
            found[element.name] = element.length
    return found


def _make_item(owner: str, record: Record, array: Array, order: ByteOrder) -> Any:
    return _make_structure(
        f"{owner}{_camel(array.name)}",
        f"{record.layer} {record.name} {array.name}",
        f"One of the {array.meaning} of {record.layer} {record.name}.",
        record,
        array.items,
        order,
        inside=False,
    )


def _make_structure(
    name: str, title: str, text: str, record: Record, body: Sequence[Element], order: ByteOrder, *, inside: bool
) -> Any:
    """Make the class of a structure in a record: an item of a list, or what is inside of a run of bytes."""
    suffix = "BE" if order == "big" else ""
    fields = _make_fields(name, record, body, order)
    namespace = {
        "name": title,
        "__doc__": _document(text, body),
        "__module__": "dissector.layers",
        "__slots__": [],
        "fields_desc": [*fields, _hidden_bytes("surplus")] if inside else fields,
        "sizes": _sizes(body),
        "definition": record,
        "order": order,
    }
    base = XenInside if inside else XenStructure
    if not inside:
        parts = [one for one in body if isinstance(one, Field | Bytes | Numbers | Skip)]
        minimum, size_at = layer_fields.measurer(parts, order)
        namespace |= {"minimum": minimum, "size_at": staticmethod(size_at)}
    ITEMS[f"{name}{suffix}"] = made = _METACLASS(f"{name}{suffix}", (base,), namespace)
    return made


def _document(text: str, body: Sequence[Element]) -> str:
    lines = [f"{text[:1].upper()}{text[1:]}", ""]
    lines += [f"    {element.name}: {element.meaning}" for element in body if not isinstance(element, Skip)]
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
    base: type[XenRecord] = XenRecord
    if record.type_id is not None:
        base = XenFramedRecord
        header = _record_header(record, order)
        surplus, padding, stray = (_hidden_bytes(name) for name in ("surplus", "padding", "stray"))
        namespace |= {
            "header_fields": tuple(header),
            "body_fields": tuple(body),
            "length_code": layer_fields.struct_format(4, order),
            "sizes": _sizes((*RECORD_HEADER, *record.body)),
        }
        body = [*header, *([stray] if record in STRAY_HEADERS else []), *body, surplus, padding]
    namespace["fields_desc"] = body
    return _METACLASS(f"{name}BE" if order == "big" else name, (base,), namespace)


def _hidden_bytes(name: str) -> Any:
    return hidden_unless_set(tolerant(scapy_fields.XStrField)(name, None))


def _record_header(record: Record, order: ByteOrder) -> list[Any]:
    """Make the two fields in front of a record, with the type's name and the length computed when it is None."""
    type_field, length_field = RECORD_HEADER
    names = {type_id: known.name for (layer, type_id), known in BY_TYPE.items() if layer == record.layer}
    enumeration = layer_fields.integer_class(type_field.size, order, kind="EnumField")
    return [
        enumeration(type_field.name, record.type_id, names),
        tolerant(scapy_fields.LenField)(
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
    packet = class_of(event.definition, event.order)()
    packet.event = event
    packet.direction = event.direction
    packet.sniffed_on = sniffed_on
    packet.wirelen = event.size
    if event.time is not None:
        packet.time = EDecimal(event.time) / 1_000_000_000
    if isinstance(packet, XenFramedRecord):
        packet.fields["type"] = event.type_id
        packet.fields["body_length"] = event.body_length
        if event.extra.get("stray"):
            packet.fields["stray"] = bytes.fromhex(event.extra["stray"])
        packet.omitted = (event.body_length or 0) - len(event.body)
        packet.take_body(event.body)
    else:
        packet.omitted = event.size - len(event.body)
        packet.take(event.body, packet.fields_desc)
    if not event.complete and not packet.omitted:
        packet.omitted = sum(length for _, length in event.lost) or 1
    packet.explicit = 1
    return packet


def restored(event: events.Record, sniffed_on: Any) -> XenRecord:
    """Make the packet of an event that was pickled: definitions are known by identity, so put back the one there is."""
    definition = BY_NAME.get((event.layer, event.type), event.definition)
    return packet_of(dataclasses.replace(event, definition=definition), sniffed_on)


def packet_from(definition: Record, order: ByteOrder, data: bytes, header_size: int = RECORD_HEADER_SIZE) -> XenRecord:
    """Dissect the bytes of one whole record, which may have a header with stray bytes (stream.md 4.6)."""
    cls = class_of(definition, order)
    if header_size <= RECORD_HEADER_SIZE:
        return cls(data)
    packet = cls(data[:RECORD_HEADER_SIZE] + data[header_size:])
    packet.stray = data[RECORD_HEADER_SIZE:header_size]
    packet.explicit = 1
    return packet
