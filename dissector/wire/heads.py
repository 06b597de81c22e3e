# SPDX-License-Identifier: GPL-2.0-or-later
"""Record headers that nothing is to be said about, by their eight bytes: they need to be judged only once.

A capture has few different headers: most of its records are of a handful of types and lengths. What the framer finds
out about a header depends on nothing but its bytes, the state and the byte order, so it is remembered here.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.spec import libxc
from dissector.spec.model import RECORD_HEADER_SIZE, Array, PfnList, Record, padded
from dissector.wire import codec
from dissector.wire.machine import LAYER, NEXT, RECORDS, State

if TYPE_CHECKING:
    from dissector.wire.codec import ByteOrder

HEADS: Final = {"little": struct.Struct("<II"), "big": struct.Struct(">II")}
LENGTH_MAX: Final = {"libxc": libxc.REC_LENGTH_MAX, "libxl": 1 << 30}
"""Longest body that is believed. libxl sets no limit; a longer one is taken as a sign that framing is lost."""
_KNOWN_MAX: Final = 4096
_SPECIAL: Final = frozenset({libxc.END, libxc.CHECKPOINT_DIRTY_PFN_LIST})
"""Records that tell something about the stream, or whose end only the bytes behind them tell."""


class KnownHead(NamedTuple):
    """What eight bytes of header mean."""

    definition: Record
    type_id: int
    length: int
    """Bytes of body."""
    size: int
    """Bytes of the record, header and padding included."""
    plan: tuple[int, int, int] | None
    """See :func:`~dissector.wire.codec.list_plan`."""
    counted: bool
    """A count in the body may ask for another length."""
    next: State | None
    """The state behind the record; None: the same."""


class KnownHeads:
    """The headers seen in one state of streams of one byte order."""

    __slots__ = ("_order", "_state", "found")

    def __init__(self, state: State, order: ByteOrder) -> None:
        self.found: dict[bytes, KnownHead | None] = {}
        """Eight bytes -> what they mean; None: the framer has to look at each of them anew."""
        self._state = state
        self._order = order

    def learn(self, head: bytes) -> KnownHead | None:
        """Look into eight bytes that are not in `found` yet."""
        if len(self.found) >= _KNOWN_MAX:
            self.found.clear()
        known = self.found[head] = self._judge(head)
        return known

    def _judge(self, head: bytes) -> KnownHead | None:
        type_id, length = HEADS[self._order].unpack(head)
        record = RECORDS[self._state].get(type_id)
        if record is None or record in _SPECIAL or not record.length.allows(length):
            return None
        if length > LENGTH_MAX[LAYER[self._state]]:
            return None
        plan = codec.list_plan(record)
        counted = any(isinstance(one, PfnList | Array) and one.count is not None for one in record.body)
        behind = NEXT.get((self._state, record.name))
        return KnownHead(record, type_id, length, RECORD_HEADER_SIZE + padded(length), plan, counted, behind)


@cache
def known_heads(state: State, order: ByteOrder) -> KnownHeads:
    """Return what is known in `state`, one of `RECORDS`: the same object for every stream of this process."""
    return KnownHeads(state, order)
