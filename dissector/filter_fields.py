# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of display-filter fields, made from the definitions: what each one is and how to get it out of a record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from dissector import spec
from dissector.spec.libxc import PAGE_TYPE
from dissector.spec.model import Array, Bytes, Element, Enum, Field, Flags, Numbers, PfnList, StringPairs
from dissector.wire import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dissector.spec.model import Layout
    from dissector.spec.model import Record as Definition
    from dissector.wire.events import Record

PREFIX: Final = "xenmig."

Kind: TypeAlias = Literal["number", "text", "bytes", "bool", "time", "presence"]
Values: TypeAlias = "Callable[[Record], Sequence[Any]]"
Nodes: TypeAlias = "Callable[[Record], Sequence[codec.Node]]"

EXTRA_FIELDS: Final[Mapping[tuple[str, str], Mapping[str, Kind]]] = {
    ("libxc", "CHECKPOINT_DIRTY_PFN_LIST"): {"header_size": "number", "stray": "text"},
}
"""What records carry besides their body (``Record.extra``)."""


@dataclass(frozen=True, slots=True)
class FilterField:
    """Something a filter can ask about."""

    name: str
    kind: Kind
    values: Values
    """The values in a record; empty when the record has no such field."""
    names: Mapping[str, int | str] | None = None
    """Words that may stand for a value, in any case."""
    closed: bool = False
    """No other value than `names` makes sense."""


class UnknownFieldError(ValueError):
    """No field has this name."""

    def __init__(self, name: str, suggestions: Sequence[str]) -> None:
        super().__init__(f"unknown field {name!r}")
        self.suggestions = suggestions


def find(name: str) -> FilterField:
    """Return the field called `name`, in any case, with or without ``xenmig.``.

    Raises:
        UnknownFieldError: there is none.
    """
    wanted = name.lower().removeprefix(PREFIX)
    known = fields()
    if wanted in known:
        return known[wanted]
    raise UnknownFieldError(name, _similar(wanted, known))


def _similar(wanted: str, known: Mapping[str, FilterField]) -> list[str]:
    """Guess what was meant: the same field of some record, or a name that differs by a few letters."""
    import difflib

    same = [name for name in known if name.endswith(f".{wanted}") and name.count(".") >= 2]
    return same[:3] or difflib.get_close_matches(wanted, known, n=1)


@cache
def fields() -> Mapping[str, FilterField]:
    """Return all fields by name, without ``xenmig.``.

    A field of a record also goes by a short name without its layer, such as ``page_data.count``; it then stands for
    that field in every layer that has it.
    """
    found = {field.name: field for field in _common()}
    short: dict[str, list[tuple[Definition, FilterField]]] = {}
    for definition in spec.ALL_RECORDS:
        base = definition.name.lower()
        for field in _record_fields(definition):
            full = f"{definition.layer}.{base}.{field.name}".removesuffix(".")
            guarded = FilterField(full, field.kind, _only([(definition, field)]), field.names, field.closed)
            found[full] = guarded
            short.setdefault(f"{base}.{field.name}".removesuffix("."), []).append((definition, field))
    for name, owners in short.items():
        first = owners[0][1]
        if name not in found and all(field.kind == first.kind for _, field in owners):
            words = {word: value for _, field in owners for word, value in (field.names or {}).items()}
            found[name] = FilterField(name, first.kind, _only(owners), words or None, first.closed)
    return found


def _only(owners: Sequence[tuple[Definition, FilterField]]) -> Values:
    """Ask only records of the right type, so that no other body is decoded."""
    getters = {(definition.layer, definition.name): field.values for definition, field in owners}

    def values(record: Record) -> Sequence[Any]:
        get = getters.get((record.layer, record.type))
        return () if get is None else get(record)

    return values


# -- fields that every record has ------------------------------------------------------------------------------------


def _common() -> Iterator[FilterField]:
    def words(*texts: str) -> Mapping[str, str]:
        return {text: text for text in texts}

    def attribute(name: str) -> Values:
        def values(record: Record) -> Sequence[Any]:
            value = getattr(record, name)
            return () if value is None else (value,)

        return values

    yield FilterField("direction", "text", attribute("direction"), words("forward", "reverse"), closed=True)
    yield FilterField("layer", "text", attribute("layer"), words("xl", "libxl", "libxc"), closed=True)
    types = words(*(record.name for record in spec.ALL_RECORDS), "UNKNOWN")
    yield FilterField("type", "text", attribute("type"), types, closed=True)
    for name in ("flow", "type_id", "offset", "size", "body_length"):
        yield FilterField(name, "number", attribute(name))
    for name, source in (("frame", "first_frame"), ("first_frame", "first_frame"), ("last_frame", "last_frame")):
        yield FilterField(name, "number", attribute(source))
    for name in ("time", "time_end"):
        yield FilterField(name, "time", attribute(name))
    yield FilterField("complete", "bool", attribute("complete"))
    yield FilterField(
        "lost", "number", lambda record: (sum(n for _, n in record.lost),) if record.complete is False else ()
    )
    for layer in ("xl", "libxl", "libxc"):
        yield FilterField(layer, "presence", _of_layer(layer))


def _of_layer(layer: str) -> Values:
    return lambda record: (True,) if record.layer == layer else ()


# -- fields of one record type ---------------------------------------------------------------------------------------


def _record_fields(definition: Definition) -> Iterator[FilterField]:
    yield FilterField("", "presence", lambda _: (True,))
    for element in definition.body:
        yield from _element_fields(element)
    for name, kind in EXTRA_FIELDS.get((definition.layer, definition.name), {}).items():
        yield FilterField(name, kind, _extra(name))


def _element_fields(element: Element) -> Iterator[FilterField]:
    name = element.name
    match element:
        case Field():
            yield from _field(element, name, _integer(name))
        case PfnList():
            yield FilterField(name, "number", _pfns)
            for derived in ("first_pfn", "last_pfn"):
                yield FilterField(derived, "number", _decoded(derived))
            if element.count is None:
                yield FilterField("count", "number", _decoded("count"))
            if element.typed:
                yield from _typed()
        case StringPairs():
            yield FilterField(name, "text", lambda record: _pairs(record, name))
            yield FilterField(f"{name}_rest", "number", _decoded(f"{name}_rest"))
        case _:
            yield from _node_fields(element, "", lambda record: _nodes(record, name))
            if isinstance(element, Bytes) and element.members:
                yield FilterField(f"{name}_error", "text", _decoded(f"{name}_error"))
                for member in element.members:
                    yield FilterField(member.name, "text" if member.kind == "text" else "number", _decoded(member.name))
            if isinstance(element, Array) and element.last is not None:
                yield FilterField(f"{name}_rest", "number", _decoded(f"{name}_rest"))


def _node_fields(element: Element, prefix: str, nodes: Nodes) -> Iterator[FilterField]:
    """Make the fields of an element, and of what is in it, however deep."""
    path = f"{prefix}{element.name}"
    match element:
        case Field():
            yield from _field(element, path, lambda record: [node.value for node in nodes(record)])
        case Bytes():
            yield from _bytes(element, path, nodes)
            for layout in element.inside.layouts.values() if element.inside is not None else ():
                inside = f"{prefix}{layout.key}"
                yield FilterField(inside, "presence", _with_layout(nodes, layout))
                for inner in layout.body:
                    yield from _node_fields(inner, f"{inside}.", _inside(nodes, layout, inner.name))
        case Numbers():
            yield FilterField(
                path, "number", lambda record: [number for node in nodes(record) for number in node.value]
            )
        case Array():
            yield FilterField(path, "presence", nodes)
            for inner in element.items:
                yield from _node_fields(inner, f"{path}.", _inner(nodes, inner.name))


def _with_layout(nodes: Nodes, layout: Layout) -> Nodes:
    return lambda record: [node for node in nodes(record) if node.layout is layout]


def _inside(nodes: Nodes, layout: Layout, name: str) -> Nodes:
    """Go into bytes of this layout, to the element called `name`."""
    return lambda record: [
        inner
        for node in nodes(record)
        if node.layout is layout
        for inner in codec.inside(node, record.order)
        if inner.element.name == name
    ]


def _inner(nodes: Nodes, name: str) -> Nodes:
    """Go into the items of an array, to the element called `name`."""
    return lambda record: [
        inner for node in nodes(record) for item in node.value for inner in item if inner.element.name == name
    ]


def _integer(name: str) -> Values:
    """Get an integer of the body itself."""

    def values(record: Record) -> Sequence[int]:
        value = codec.number(record.definition, record.body, record.order, name)
        return [] if value is None else [value]

    return values


def _field(field: Field, name: str, numbers: Values) -> Iterator[FilterField]:
    yield FilterField(name, "number", numbers, _words(field))
    names = field.names
    if names is not None:
        yield FilterField(
            f"{name}_name", "text", lambda record: [codec.name_of(names, value) for value in numbers(record)]
        )


def _bytes(element: Bytes, name: str, nodes: Nodes) -> Iterator[FilterField]:
    if element.text:
        yield FilterField(
            name, "text", lambda record: [node.value.rstrip(b"\0").decode("utf-8", "replace") for node in nodes(record)]
        )
    else:
        yield FilterField(name, "bytes", lambda record: [node.value for node in nodes(record)])
        yield FilterField(f"{name}_length", "number", lambda record: [node.size for node in nodes(record)])


def _typed() -> Iterator[FilterField]:
    yield FilterField("data_pages", "number", _decoded("data_pages"))
    words = {name: name for name in PAGE_TYPE.values.values()}
    yield FilterField("types", "text", lambda record: list(record.fields.get("types", ())), words, closed=True)
    for name in words:
        yield FilterField(f"types.{name.lower()}", "number", _entries_of_type(name))


def _entries_of_type(name: str) -> Values:
    def values(record: Record) -> Sequence[int]:
        types = record.fields.get("types", {})
        return (types[name],) if name in types else ()

    return values


def _words(field: Field) -> Mapping[str, int] | None:
    """Return the names of a field's values, as written and as one word: ``x86 HVM`` and ``x86_hvm``."""
    match field.names:
        case Enum():
            pairs = [(text, value) for value, text in field.names.values.items()]
        case Flags():
            pairs = [(text, 1 << bit) for bit, text in field.names.bits.items()]
        case None:
            return None
    return dict(pairs) | {text.replace(" ", "_"): value for text, value in pairs}


def _nodes(record: Record, name: str) -> Sequence[codec.Node]:
    for node in codec.walk(record.definition, record.body, record.order):
        if node.element.name == name:
            return (node,)
    return ()


def _pfns(record: Record) -> Sequence[int]:
    found = codec.pfn_list(record.definition, record.body, record.order)
    if found is None:
        return ()
    element, raw = found
    return (codec.pfn_numbers if element.typed else codec.entries)(raw, record.order)


def _pairs(record: Record, name: str) -> Sequence[str]:
    return [text.decode("utf-8", "replace") for node in _nodes(record, name) for pair in node.value for text in pair]


def _decoded(name: str) -> Values:
    def values(record: Record) -> Sequence[Any]:
        fields = record.fields
        return (fields[name],) if name in fields else ()

    return values


def _extra(name: str) -> Values:
    return lambda record: (record.extra[name],) if name in record.extra else ()
