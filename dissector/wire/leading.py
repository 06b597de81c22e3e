# SPDX-License-Identifier: GPL-2.0-or-later
"""The integers that a body or structure begins with, as one ``struct``: most of what records hold, read at once."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from dissector.spec.model import Array, Enum, Field, Flags, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dissector.spec.model import Element

ByteOrder: TypeAlias = Literal["little", "big"]

ORDERS: Mapping[ByteOrder, str] = {"little": "<", "big": ">"}
"""Byte order -> its sign for struct."""
CODES: Mapping[int, str] = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Bytes of an unsigned integer -> its letter for struct."""


class Leading(NamedTuple):
    """The leading integers of one definition in a stream of one byte order, as far as they have one order."""

    unpack: Callable[[bytes | memoryview, int], tuple[Any, ...]]
    """Bytes and a place in them -> the integers."""
    size: int
    """Bytes they take."""
    names: tuple[str, ...]
    named: tuple[tuple[str, str, Enum | Flags | None], ...]
    """(name, key of the value's name, names) of each; empty when no value has a name."""
    rest: tuple[Element, ...]
    """The elements behind them."""


def field_order(field: Field, order: ByteOrder) -> ByteOrder:
    """Resolve the byte order of one field in a stream of byte order `order`."""
    return order if field.order == "stream" else field.order


@lru_cache(maxsize=1024)
def leading(owner: Record | Array, order: ByteOrder) -> Leading:
    """Compile the leading integers of a record's body, or of one item of an array."""
    elements: tuple[Element, ...] = owner.items if isinstance(owner, Array) else owner.body
    found: list[Field] = []
    theirs: ByteOrder = order
    for element in elements:
        if not isinstance(element, Field):
            break
        its = field_order(element, order)
        if not found:
            theirs = its
        if its != theirs:
            break
        found.append(element)
    compiled = struct.Struct(ORDERS[theirs] + "".join(CODES[one.size] for one in found))
    named = tuple((one.name, f"{one.name}_name", one.names) for one in found)
    return Leading(
        compiled.unpack_from,
        compiled.size,
        tuple(one.name for one in found),
        named if any(one.names is not None for one in found) else (),
        elements[len(found) :],
    )
