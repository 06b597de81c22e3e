# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads bodies by their definitions, element by element: what is there of each, and where.

Works on the bytes that are there: fields beyond the end of a cut body are left out, never invented.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dissector.spec.model import Array, Bytes, Element, Enum, Field, Flags, Numbers, Pages, PfnList, Skip, StringPairs
from dissector.wire.leading import CODES, ORDERS, field_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dissector.spec.model import Choice, Layout, Record, Scan
    from dissector.wire.leading import ByteOrder


MOST_ITEMS: Final = 1 << 16
"""Items of a chain that are read, whatever its bytes say; what is behind them is left."""


class Node(NamedTuple):
    """One decoded element of a body."""

    element: Element
    offset: int
    """Offset in the body."""
    size: int
    value: Any
    """int, bytes, str; list of lists of Node for an Array; list of (key, value) for StringPairs; the raw list bytes
    for a PfnList; tuple of int for Numbers."""
    layout: Layout | None = None
    """What is inside, if that is known: see :func:`inside`."""


def name_of(names: Enum | Flags, value: int) -> str:
    """Return the name of an enumerated value, or the names of the set bits; empty when there is none."""
    if isinstance(names, Enum):
        return names.values.get(value, "")
    return ", ".join(text for bit, text in names.bits.items() if value >> bit & 1)


def names_among(field: Field, before: Mapping[str, int]) -> Enum | Flags | None:
    """Return the names of a field's values, which may depend on the integers before it."""
    by = field.names_by
    if by is None:
        return field.names
    return by.names.get(tuple(before.get(name, -1) for name in by.fields))


def walk(record: Record, body: bytes | memoryview, order: ByteOrder) -> Iterator[Node]:
    """Yield a :class:`Node` for each element of `body` that is there, in wire order.

    A body that ends early yields fewer nodes; nothing is raised.
    """
    return walk_from(record.body, memoryview(body), 0, {}, order)


def walk_from(
    elements: tuple[Element, ...], view: memoryview, position: int, seen: dict[str, int], order: ByteOrder
) -> Iterator[Node]:
    """Go on with `elements` at `position`; `seen` are the integers before them, by name."""
    for element in elements:
        node = read(element, view, position, seen, order)
        if node is None:
            return
        if isinstance(element, Field):
            seen[element.name] = node.value
        if node.size or isinstance(element, Field | PfnList | Array):
            yield node
        position += node.size


def inside(node: Node, order: ByteOrder) -> Iterator[Node]:
    """Yield what is inside the bytes of a node that has a layout, as far as it goes; offsets are those in the body."""
    return (_moved(found, node.offset) for found in within(node, order))


def within(node: Node, order: ByteOrder) -> Iterator[Node]:
    """Yield the same as :func:`inside`, in less time, with offsets in the bytes of the node."""
    if node.layout is None:
        return
    view = memoryview(node.value)
    position = 0
    seen: dict[str, int] = {}
    for element in node.layout.body:
        found = None if position > len(view) else read(element, view, position, seen, order)
        if found is None:
            return
        position += found.size
        if isinstance(element, Field):
            seen[element.name] = found.value
        if found.size and not isinstance(element, Skip):
            yield found
        if not _whole(found, seen):
            return


def _whole(node: Node, seen: Mapping[str, int]) -> bool:
    """Tell whether nothing of an element is missing, so that what follows it is where it belongs."""
    element = node.element
    match element:
        case Array(count=int() | str() as count):
            return len(node.value) == (count if isinstance(count, int) else seen.get(count, 0))
        case Numbers():
            return len(node.value) == element.count
    return True


def _moved(node: Node, by: int) -> Node:
    value = node.value
    if isinstance(node.element, Array):
        value = [[_moved(inner, by) for inner in item] for item in value]
    return node._replace(offset=node.offset + by, value=value)


def read(element: Element, body: memoryview, position: int, seen: Mapping[str, int], order: ByteOrder) -> Node | None:
    """Read one element; None when nothing is there of it, or not enough.

    Args:
        element: What to read.
        body: The bytes around it.
        position: Where it begins in them.
        seen: Integers before it in the same structure, by name.
        order: Byte order of the stream.
    """
    rest = len(body) - position
    match element:
        case Field():
            if rest < element.size:
                return None
            raw = body[position : position + element.size]
            return Node(element, position, element.size, int.from_bytes(raw, field_order(element, order)))
        case Bytes():
            length = element.length
            said = rest if length is None else seen.get(length, 0) if isinstance(length, str) else length
            size = min(said, rest)
            value = bytes(body[position : position + size])
            layout = None if element.inside is None else chosen(element.inside, seen, said, value)
            return Node(element, position, size, value, layout)
        case PfnList():
            entries = rest // 8 if element.count is None else min(seen.get(element.count, 0), rest // 8)
            return Node(element, position, 8 * entries, bytes(body[position : position + 8 * entries]))
        case Array(scan=None):
            return _array(element, body, position, seen, order)
        case Array():
            return _scanned(element, body, position, order)
        case StringPairs():
            texts = bytes(body[position:]).split(b"\0")
            pairs = [(texts[i], texts[i + 1]) for i in range(0, len(texts) - 2, 2)]
            return Node(element, position, rest, pairs)
        case Numbers():
            count = min(element.count, rest // element.size)
            numbers = struct.unpack_from(f"{ORDERS[order]}{count}{CODES[element.size]}", body, position)
            return Node(element, position, count * element.size, numbers)
        case Skip():
            return Node(element, position, element.size, b"") if element.size <= rest else None
        case Pages():
            return None


def chosen(choice: Choice, seen: Mapping[str, int], said: int, raw: bytes) -> Layout | None:
    """Return the layout of `raw`, bytes that are said to be `said` long; None when none is known."""
    layouts: Mapping[Any, Layout] = choice.layouts
    layout: Layout | None = None
    match choice.by:
        case "field":
            layout = layouts.get(seen.get(choice.field, -1))
        case "length":
            layout = layouts.get(said)
        case "prefix":
            layout = next((one for prefix, one in layouts.items() if raw.startswith(prefix)), None)
        case "zeros" if len(raw) == said:
            fitting = (one for size, one in layouts.items() if not raw[size:].strip(b"\0"))
            layout = next(fitting, list(layouts.values())[-1])
    return layout if layout is not None and layout.length.allows(said) else None


def _array(array: Array, body: memoryview, position: int, seen: Mapping[str, int], order: ByteOrder) -> Node:
    """Read items as long as they are whole, up to the count or the item that is marked as the last."""
    start = position
    count = array.count
    wanted = seen.get(count, 0) if isinstance(count, str) else count
    items: list[list[Node]] = []
    while position < len(body) and (wanted is None or len(items) < wanted):
        inner: dict[str, int] = {}
        item = _item(array.items, body, position, inner, order)
        if item is None:
            break
        items.append(item)
        position = item[-1].offset + item[-1].size
        if array.last is not None and (inner[array.last[0]] == array.last[1] or len(items) == MOST_ITEMS):
            break
    return Node(array, start, position - start, items)


def _item(
    elements: Sequence[Element], body: memoryview, position: int, seen: dict[str, int], order: ByteOrder
) -> list[Node] | None:
    """Read one structure; None when a field of it is missing."""
    item: list[Node] = []
    for element in elements:
        node = read(element, body, position, seen, order)
        if node is None:
            return None
        item.append(node)
        position += node.size
        if isinstance(element, Field):
            seen[element.name] = node.value
    return item


# -- structures that do not say how long they are --------------------------------------------------------------------


def _scanned(array: Array, body: memoryview, start: int, order: ByteOrder) -> Node:
    """Read structures that are found by what they begin with; the last element of each is what lies before the next.

    A footer between two of them belongs to neither.
    """
    scan = array.scan
    assert scan is not None
    end = max(start, len(body) - scan.behind)
    view = body[:end]
    heads: list[list[Node]] = []
    found = _candidates(array, order)
    raw = bytes(view)
    position = start
    while len(heads) < MOST_ITEMS and (match := found.search(raw, position)) is not None:
        head = _item(array.items[:-1], view, match.start(), {}, order)
        if head is not None and _likely(head, scan):
            heads.append(head)
            position = head[-1].offset + head[-1].size
        else:
            position = match.start() + 1
    items = []
    for index, head in enumerate(heads):
        behind = head[-1].offset + head[-1].size
        stop = heads[index + 1][0].offset if index + 1 < len(heads) else end
        if _footed(head, raw[behind:stop], scan):
            stop -= 5
        items.append([*head, Node(array.items[-1], behind, stop - behind, raw[behind:stop])])
    return Node(array, start, end - start, items)


@lru_cache(maxsize=16)
def _candidates(array: Array, order: ByteOrder) -> re.Pattern[bytes]:
    """Compile what structures begin with: a byte of `starts`, and the zeros in the integer behind it."""
    assert array.scan is not None
    pattern = b"[" + re.escape(array.scan.starts) + b"]"
    number = array.items[1]
    if isinstance(number, Field) and number.maximum is not None and field_order(number, order) == "big":
        pattern += bytes(number.size - (number.maximum.bit_length() + 7) // 8).replace(b"\0", rb"\x00")
    return re.compile(pattern)


@lru_cache(maxsize=16)
def _characters(scan: Scan) -> frozenset[int]:
    return frozenset(scan.characters)


def _likely(head: Sequence[Node], scan: Scan) -> bool:
    """Tell whether fields keep their maximum and texts have only the characters that names are made of."""
    allowed = _characters(scan)
    for node in head:
        element = node.element
        if isinstance(element, Field):
            if element.maximum is not None and node.value > element.maximum:
                return False
        elif not node.value or not allowed.issuperset(node.value):
            return False
    return True


def _footed(head: Sequence[Node], state: bytes, scan: Scan) -> bool:
    """Tell whether the bytes before the next structure are a footer of this one."""
    numbers = {node.element.name: node.value for node in head}
    number = numbers.get(scan.footer_field)
    if scan.footer is None or number is None:
        return False
    return state.endswith(bytes([scan.footer]) + int(number).to_bytes(4, "big"))
