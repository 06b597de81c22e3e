# SPDX-License-Identifier: GPL-2.0-or-later
"""Bodies by their definitions: decode to values, measure what to collect, and judge whether a head is plausible.

The only interpreter of :mod:`dissector.spec` in the core. Works on the bytes that are there: fields beyond the end of
a cut body are left out, never invented.
"""

from __future__ import annotations

import itertools
import struct
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from dissector.spec.libxc import (
    DATA_PAGE_TYPES,
    PAGE_SIZE,
    PAGE_TYPE,
    PFN_MASK,
    PFN_RESERVED_MASK,
    PFN_TYPE_SHIFT,
)
from dissector.spec.model import (
    Array,
    Bytes,
    Enum,
    Field,
    Numbers,
    Pages,
    PfnList,
    Record,
    StringPairs,
)
from dissector.wire.leading import ORDERS, leading
from dissector.wire.leading import ByteOrder as ByteOrder
from dissector.wire.leading import field_order as field_order
from dissector.wire.members import members_of
from dissector.wire.nodes import MOST_ITEMS, read, walk_from, within
from dissector.wire.nodes import Node as Node
from dissector.wire.nodes import inside as inside
from dissector.wire.nodes import name_of as name_of
from dissector.wire.nodes import names_among as names_among
from dissector.wire.nodes import walk as walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    import numpy.typing as npt

    from dissector.wire.leading import Leading

BLOB_SHOWN = 64
"""Longest run of bytes that appears in JSON as hex; longer ones only as a length."""


def number(record: Record, body: bytes, order: ByteOrder, name: str) -> int | None:
    """Return the integer called `name`; None where the body ends before it."""
    start = leading(record, order)
    if name in start.names and len(body) >= start.size:
        value: int = start.unpack(body, 0)[start.names.index(name)]
        return value
    for node in walk(record, body, order):
        if node.element.name == name:
            return int(node.value)
    return None


def entries(raw: bytes | bytearray, order: ByteOrder) -> tuple[int, ...]:
    """Unpack a pfn list into integers, type bits included."""
    return struct.unpack(f"{ORDERS[order]}{len(raw) // 8}Q", raw)


_LOW_HALF = bytes(value & 0x0F for value in range(256))


def pfn_numbers(raw: bytes, order: ByteOrder) -> tuple[int, ...]:
    """Unpack a typed pfn list into pfns: page-type and reserved bits, the 12 uppermost, removed."""
    numbers = bytearray(raw[: len(raw) & ~7])
    top, second = (7, 6) if order == "little" else (0, 1)
    numbers[top::8] = bytes(len(numbers) // 8)
    numbers[second::8] = numbers[second::8].translate(_LOW_HALF)
    return entries(numbers, order)


def type_bytes(raw: bytes, order: ByteOrder) -> bytes:
    """Return the most significant byte of each entry of a pfn list (page type in its upper half)."""
    return raw[7::8] if order == "little" else raw[0::8]


_WITHOUT_DATA = bytes(value for value in range(256) if value >> 4 not in DATA_PAGE_TYPES)


def data_pages(raw: bytes, order: ByteOrder, start: int = 0) -> int:
    """Count the entries of a typed pfn list that carry 4096 bytes of contents; the list begins at `start`."""
    tops = raw[start + 7 :: 8] if order == "little" else raw[start::8]
    return len(tops.translate(None, _WITHOUT_DATA))


LIST: Final = 8
"""Where in the body of a PAGE_DATA the pfn list begins."""


@lru_cache(maxsize=2048)
def list_ends(size: int, order: ByteOrder) -> Callable[[bytes], tuple[Any, ...]] | None:
    """Return what reads count, reserved, first and last entry of a PAGE_DATA body of `size` bytes.

    None: these are not at least two entries, all of them whole.
    """
    if size < LIST + 16 or size % 8:
        return None
    return struct.Struct(f"{ORDERS[order]}IIQ{size - LIST - 16}xQ").unpack


_TYPE_NAMES = [PAGE_TYPE.values.get(kind, f"{kind:#x}") for kind in range(16)]
_ENTRY = {"little": struct.Struct("<Q").unpack_from, "big": struct.Struct(">Q").unpack_from}
_ALL = (1 << 64) - 1


def type_counts(raw: bytes, order: ByteOrder) -> dict[str, int]:
    """Count the entries of a typed pfn list per page-type name, in order of the type number."""
    return _type_counts(type_bytes(raw, order))


def _type_counts(tops: bytes) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in sorted(set(tops)):
        name = _TYPE_NAMES[value >> 4]
        counts[name] = counts.get(name, 0) + tops.count(value)
    return counts


def pages_and_types(tops: bytes) -> tuple[int, dict[str, int]]:
    """Return `data_pages` and `type_counts` of a list that has entries, from their most significant bytes."""
    number = len(tops)
    if tops.count(tops[0]) == number:  # the usual case; a set of 1024 bytes is ten times slower
        kind = tops[0] >> 4
        return number if kind in DATA_PAGE_TYPES else 0, {_TYPE_NAMES[kind]: number}
    return len(tops.translate(None, _WITHOUT_DATA)), _type_counts(tops)


def _pfn_summary(element: PfnList, raw: bytes, order: ByteOrder, *, whole: bool, pfns: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if element.count is None:
        values["count"] = len(raw) // 8
    if raw:
        typed = element.typed
        mask = PFN_MASK if typed else _ALL
        entry = _ENTRY[order]
        values["first_pfn"] = entry(raw, 0)[0] & mask
        if whole:
            values["last_pfn"] = entry(raw, len(raw) - 8)[0] & mask
            if typed:
                values["data_pages"], values["types"] = pages_and_types(type_bytes(raw, order))
        if pfns:
            values[element.name] = list((pfn_numbers if typed else entries)(raw, order))
    return values


def _plain(
    node: Node, order: ByteOrder, *, pfns: bool, whole: bool = True, deep: bool = False, blobs: bool = True
) -> dict[str, Any]:
    """Return what a node says; `deep` and `blobs`: see `_structure`; `whole`: nothing is missing of its list."""
    element = node.element
    match element:
        case Field():
            values: dict[str, Any] = {element.name: node.value}
            if element.names is not None:
                values[f"{element.name}_name"] = name_of(element.names, node.value)
            return values
        case Bytes():
            if element.text:
                return {element.name: node.value.rstrip(b"\0").decode("utf-8", "replace")}
            if not node.size:
                return {}
            values = {f"{element.name}_length": node.size}
            if node.size <= BLOB_SHOWN and blobs:
                values[element.name] = node.value.hex()
            if node.layout is not None and (deep or node.layout.brief):
                values[node.layout.key] = _structure(within(node, order), order, deep=deep, blobs=deep)
            return values
        case PfnList():
            return _pfn_summary(element, node.value, order, whole=whole, pfns=pfns)
        case Array():
            return {element.name: [_structure(item, order, deep=deep, blobs=blobs) for item in node.value]}
        case Numbers():
            return {element.name: list(node.value)}
        case StringPairs():
            return {element.name: {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in node.value}}
    return {}


def _structure(nodes: Iterable[Node], order: ByteOrder, *, deep: bool, blobs: bool) -> dict[str, Any]:
    """Return what the nodes of one structure say.

    Args:
        nodes: its elements.
        order: byte order of the stream.
        deep: also what is inside of runs of bytes, and names that depend on other fields.
        blobs: short runs of bytes too, not only their lengths.
    """
    values: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for node in nodes:
        element = node.element
        if not isinstance(element, Field):
            values.update(_plain(node, order, pfns=False, deep=deep, blobs=blobs))
            continue
        name, value = element.name, node.value
        names = element.names if element.names_by is None or not deep else names_among(element, seen)
        values[name] = seen[name] = value
        if names is not None:
            values[f"{name}_name"] = name_of(names, value)
    return values


def decode(
    record: Record,
    body: bytes,
    order: ByteOrder,
    body_length: int | None,
    *,
    pfns: bool = False,
    deep: bool = False,
    brief: bool = True,
) -> dict[str, Any]:
    """Decode `body` into the ``fields`` of the JSON contract (design.md section 4).

    Integers stay integers, with ``NAME_name`` beside an enumerated or flag field; text is text; other bytes appear as
    ``NAME_length`` and, up to 64 bytes, as hex; lists of structures as lists of objects; pfn lists as ``count``,
    ``first_pfn``, ``last_pfn`` (typed ones also ``data_pages`` and ``types``), and whole when `pfns` is set. Of a list
    that is cut, only what the bytes at hand tell: neither ``last_pfn`` nor ``data_pages`` nor ``types``.

    What is inside a run of bytes stands beside it, under the name of its layout: always where that is brief, all of it
    when `deep` is set, together with names that depend on other fields (CPUID feature bits). Without `brief`, what is
    inside of the body's own blobs is not looked for: for those who show a line.
    """
    start = leading(record, order)
    if deep or len(body) < start.size:
        return _decoded(walk(record, body, order), {}, order, body_length, len(body), pfns=pfns, deep=deep)
    values = _numbers(start, body, 0)
    if not start.rest:
        return values
    element = start.rest[0]
    if isinstance(element, PfnList) and element.count is not None:  # nothing but page contents ever follows
        counted = values[element.count]
        raw = body[start.size : start.size + 8 * min(counted, (len(body) - start.size) // 8)]
        values.update(_pfn_summary(element, raw, order, whole=len(raw) == 8 * counted, pfns=pfns))
        return values
    if isinstance(element, Array) and len(start.rest) == 1:
        wanted = values.get(element.count, 0) if isinstance(element.count, str) else element.count
        values[element.name], end = _rows(element, body, start.size, wanted, order)
        if element.last is not None and end < len(body) and (body_length is None or len(body) >= body_length):
            values[f"{element.name}_rest"] = len(body) - end
        return values
    rest = walk_from(start.rest, memoryview(body), start.size, dict(values), order)
    return _decoded(rest, values, order, body_length, len(body), pfns=pfns, deep=False, brief=brief)


def _numbers(start: Leading, body: bytes | memoryview, at: int) -> dict[str, Any]:
    """Decode leading integers, which are all there, and the names of their values."""
    if not start.named:
        return dict(zip(start.names, start.unpack(body, at)))  # noqa: B905  `strict` costs as much as all the rest
    values: dict[str, Any] = {}
    for (name, label, names), number in zip(start.named, start.unpack(body, at), strict=True):
        values[name] = number
        if names is not None:
            values[label] = name_of(names, number)
    return values


def _rows(
    array: Array, body: bytes, position: int, wanted: int | None, order: ByteOrder
) -> tuple[list[dict[str, Any]], int]:
    """Decode the items of an array that are whole; return them and where they end."""
    start = leading(array, order)
    rows: list[dict[str, Any]] = []
    view = memoryview(body)
    end = len(body)
    last = array.last
    if last is not None:
        wanted = MOST_ITEMS
    while position < end and (wanted is None or len(rows) < wanted):
        behind = position + start.size
        if behind > end:
            break
        row = _numbers(start, body, position)
        if start.rest:
            seen: dict[str, int] = dict(row)
            for element in start.rest:
                node = read(element, view, behind, seen, order)
                if node is None:
                    return rows, position
                row.update(_plain(node, order, pfns=False))
                behind += node.size
                if isinstance(element, Field):
                    seen[element.name] = node.value
        rows.append(row)
        position = behind
        if last is not None and row[last[0]] == last[1]:
            break
    return rows, position


def _decoded(
    nodes: Iterable[Node],
    values: dict[str, Any],
    order: ByteOrder,
    body_length: int | None,
    there: int,
    *,
    pfns: bool,
    deep: bool,
    brief: bool = True,
) -> dict[str, Any]:
    """Add what `nodes` hold to `values`; `there` bytes of the body are at hand."""
    cut = body_length is not None and there < body_length
    for node in nodes:
        element = node.element
        match element:
            case PfnList():
                length = node.size + node.offset if body_length is None else body_length
                counted = (length - node.offset) // 8 if element.count is None else values[element.count]
                values.update(_plain(node, order, pfns=pfns, whole=node.size == 8 * counted))
                if element.count is None:
                    values["count"] = counted
            case Bytes(text=True, members=tuple() as members, length=str() as length) if members:
                values.update(_plain(node, order, pfns=pfns))
                if node.size == values[length]:
                    values.update(members_of(members, element.name, node.value))
            case Bytes(length=None) if cut or not brief:  # of a cut one it is not known what is inside
                values.update(_plain(node._replace(layout=None), order, pfns=pfns))
            case _:
                values.update(_plain(node, order, pfns=pfns, deep=deep))
                left = 0 if cut else _left(node, there)
                if left:
                    values[f"{element.name}_rest"] = left
    return values


def _left(node: Node, there: int) -> int:
    """Count the bytes behind a chain or pairs that belong to none of them, in a body of `there` bytes."""
    match node.element:
        case Array(last=tuple()):
            return there - node.offset - node.size
        case StringPairs():
            return node.size - sum(len(key) + len(value) + 2 for key, value in node.value)
    return 0


def pfn_list(record: Record, body: bytes, order: ByteOrder) -> tuple[PfnList, bytes] | None:
    """Return the pfn list of a record, and its entries that are there; None when it has no list."""
    start = leading(record, order)
    element = start.rest[0] if start.rest else None
    if isinstance(element, PfnList) and len(body) >= start.size:
        number = (len(body) - start.size) // 8
        if element.count is not None:
            number = min(number, start.unpack(body, 0)[start.names.index(element.count)])
        return element, body[start.size : start.size + 8 * number]
    for node in walk(record, body, order):
        if isinstance(node.element, PfnList):
            return node.element, node.value
    return None


def pfn_array(record: Record, body: bytes, order: ByteOrder) -> npt.NDArray[np.uint64]:
    """Return the pfns of a record as numpy uint64 (page-type bits removed); empty when it has no pfn list."""
    import numpy as np

    found = pfn_list(record, body, order)
    if found is None:
        return np.empty(0, np.uint64)
    element, raw = found
    array = np.frombuffer(raw, "<u8" if order == "little" else ">u8").astype(np.uint64)
    return array & np.uint64(PFN_MASK) if element.typed else array


def page_type_array(record: Record, body: bytes, order: ByteOrder) -> npt.NDArray[np.uint8]:
    """Return the page types (0 to 15) of a PAGE_DATA's entries as numpy uint8; empty for other records."""
    import numpy as np

    found = pfn_list(record, body, order)
    if found is None or not found[0].typed:
        return np.empty(0, np.uint8)
    return np.right_shift(np.frombuffer(type_bytes(found[1], order), np.uint8), np.uint8(4))


def page_place(record: Record, body: bytes, order: ByteOrder, pfn: int) -> int | None:
    """Return where in the body the contents of page `pfn` begin; None when its type has none.

    Raises:
        KeyError: the record has no entry for `pfn`.
    """
    place = 0
    for node in walk(record, body, order):
        place += node.size
        if isinstance(node.element, PfnList) and node.element.typed:
            for entry in entries(node.value, order):
                carries = entry >> PFN_TYPE_SHIFT in DATA_PAGE_TYPES
                if entry & PFN_MASK == pfn:
                    return place if carries else None
                place += PAGE_SIZE if carries else 0
    raise KeyError(pfn)


@lru_cache(maxsize=256)
def contents_element(record: Record) -> Pages | None:
    """Return the page-contents element at the end of the body, or None."""
    last = record.body[-1] if record.body else None
    return last if isinstance(last, Pages) else None


@lru_cache(maxsize=256)
def list_plan(record: Record) -> tuple[int, int, int] | None:
    """Return (bytes before the pfn list, offset and size of its count) of a record that ends in page contents."""
    if contents_element(record) is None:
        return None
    position = 0
    places: dict[str, tuple[int, int]] = {}
    for element in record.body:
        if isinstance(element, PfnList) and element.count is not None:
            return (position, *places[element.count])
        if isinstance(element, Field):
            places[element.name] = (position, element.size)
            position += element.size
    return None


@lru_cache(maxsize=256)
def array_plan(record: Record) -> tuple[int, int, int, int] | None:
    """Return (bytes before a counted array, offset and size of its count, bytes of an item) where it ends the body."""
    start = leading(record, "little")
    if len(start.rest) != 1 or not isinstance(array := start.rest[0], Array) or array.count is None:
        return None
    position = 0
    for element in record.body:
        if isinstance(element, Field) and element.name == array.count:
            item = sum(inner.size for inner in array.items if isinstance(inner, Field))
            return start.size, position, element.size, item
        position += element.size if isinstance(element, Field) else 0
    return None


@cache
def _has_count(record: Record) -> bool:
    return any(isinstance(element, PfnList | Array) and element.count is not None for element in record.body)


def expected_length(record: Record, body: bytes, order: ByteOrder) -> int | None:
    """Return the body length that the counts in the body ask for; None when there is no count or it is cut off."""
    if (plan := list_plan(record)) is not None:
        before, at, size = plan
        total = before + 8 * int.from_bytes(body[at : at + size], order)
        return total + PAGE_SIZE * data_pages(body, order, before) if len(body) == total else None
    if (rows := array_plan(record)) is not None:
        before, at, size, item = rows
        return before + item * int.from_bytes(body[at : at + size], order) if len(body) >= before else None
    if not _has_count(record):
        return None
    total = 0
    seen: dict[str, int] = {}
    counted = False
    for node in walk(record, body, order):
        element = node.element
        if isinstance(element, Field):
            seen[element.name] = node.value
            total += element.size
        elif isinstance(element, PfnList) and element.count is not None:
            if node.size != 8 * seen[element.count]:
                return None
            counted = True
            total += node.size
            if contents_element(record) is not None:
                total += PAGE_SIZE * data_pages(node.value, order)
        elif isinstance(element, Array) and element.count is not None:
            item = sum(inner.size for inner in element.items if isinstance(inner, Field))
            counted = True
            total += item * (element.count if isinstance(element.count, int) else seen[element.count])
        else:
            return None
    return total if counted else None


def _nonzero(value: int) -> int:
    return sum(1 for byte in value.to_bytes(8, "little") if byte)


def _field_evidence(field: Field, value: int) -> int:
    if field.const is not None:
        return _nonzero(value) if value == field.const else -1
    if field.reserved:
        return 0 if value == 0 else -1
    if isinstance(field.names, Enum) and field.maximum is not None and value not in field.names.values:
        return -1
    if field.maximum is not None:
        if value > field.maximum:
            return -1
        return 1 if value else 0
    return 0


def _pfn_evidence(element: PfnList, raw: bytes, order: ByteOrder) -> int:
    values = entries(raw, order)
    if element.typed:
        legal = PAGE_TYPE.values
        if any(value & PFN_RESERVED_MASK or value >> PFN_TYPE_SHIFT not in legal for value in values):
            return -1
        values = tuple(value & PFN_MASK for value in values)
    elif values and values[0] == 0:
        values = values[1:]  # the stray word of a 4.18+ list, perhaps
    if any(a >= b for a, b in itertools.pairwise(values)) and record_is_sorted(element):
        return -1
    return min(len(values) - 1, 16) if len(values) > 1 else 0


def record_is_sorted(element: PfnList) -> bool:
    """Tell whether Xen writes this list in ascending order (PAGE_DATA and the dirty list; not the p2m frames)."""
    return element.name == "pfn"


def evidence(record: Record, body: bytes, order: ByteOrder, body_length: int | None) -> int:
    """Weigh how sure it is that these bytes are a record of this type.

    Counts the bytes that are fixed by the definition and not zero (zeros are everywhere in guest memory).

    Args:
        record: the definition to compare with.
        body: the body, or what is there of it (for PAGE_DATA count and pfn list).
        order: byte order of the stream.
        body_length: from the record header; None for headers and messages.

    Returns:
        -1 when the bytes can not be such a record, else the weight (0: nothing speaks against it).
    """
    weight = 0
    if record.type_id is not None:
        assert body_length is not None
        if not record.length.allows(body_length):
            return -1
        weight = _nonzero(record.type_id)
        if record.length.exact:
            weight += _nonzero(body_length)
    for node in walk(record, body, order):
        element = node.element
        gain = 0
        if isinstance(element, Field):
            gain = _field_evidence(element, node.value)
        elif isinstance(element, Bytes) and element.const is not None:
            whole = node.size == element.length
            if whole and node.value != element.const:
                return -1
            gain = len(element.const.strip(b"\0")) if whole else 0
        elif isinstance(element, PfnList):
            gain = _pfn_evidence(element, node.value, order)
        elif isinstance(element, Array):
            for item in node.value:
                for inner in item:
                    if isinstance(inner.element, Field) and gain >= 0:
                        step = _field_evidence(inner.element, inner.value)
                        gain = -1 if step < 0 else gain + step
        elif isinstance(element, StringPairs) and not bytes(body[node.offset :]).endswith(b"\0"):
            gain = -1 if body_length == len(body) else 0
        if gain < 0:
            return -1
        weight += gain
    wanted = expected_length(record, body, order)
    if wanted is not None and body_length is not None:
        if wanted != body_length and body_length not in record.length.tolerated:
            return -1
        weight += 2
    if record.signature is not None:
        at, text = record.signature
        if body[at : at + len(text)] == text:
            weight += len(text.strip(b"\0"))
    return weight
