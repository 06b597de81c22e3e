# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations as lists of items that can be changed one by one, and what a checker says of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from captures.guests import Guest, colo, plain, pv64, remus, save
from captures.network import Link, converse
from captures.packets import travel
from captures.streams import Conversation
from dissector.check.checker import Checker, checked
from dissector.wire.engine import Engine
from dissector.wire.events import Finding
from dissector.wire.limits import Limits, ThoroughLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from captures.network import Segment
    from captures.packets import Packet
    from dissector.wire.events import Event

LIMITS = ThoroughLimits()


@dataclass(eq=False)
class Item:
    """One header, message or record on the wire."""

    direction: str
    layer: str
    type: str
    data: bytearray


@dataclass
class Script:
    """Both directions of a migration, in the order of the protocol."""

    items: list[Item]
    mode: str = "plain"
    close: str = "fin"
    link: dict[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, conversation: Conversation, close: str = "fin", **link: object) -> Script:
        """Take a conversation apart."""
        items = []
        for turn in conversation.turns:
            half = conversation.half(turn.direction)
            for record in half.records:
                start, stop = record["offset"], record["offset"] + record["size"]
                if turn.start <= start < turn.end:
                    items.append(Item(turn.direction, record["layer"], record["type"], half.data[start:stop]))
        return cls(items, conversation.mode, close, link)

    def find(self, type_: str, index: int = 0, direction: str = "forward", layer: str = "") -> Item:
        """Return the index-th item of a type."""
        found = [
            item
            for item in self.items
            if (item.type, item.direction) == (type_, direction) and layer in ("", item.layer)
        ]
        return found[index]

    def place(self, item: Item) -> int:
        """Return the stream offset of an item."""
        before = self.items[: self.items.index(item)]
        return sum(len(one.data) for one in before if one.direction == item.direction)

    def insert(self, before: Item, data: bytes, direction: str = "forward", *, behind: bool = False) -> Item:
        """Put new bytes in front of an item, or behind it."""
        item = Item(direction, "", "inserted", bytearray(data))
        self.items.insert(self.items.index(before) + behind, item)
        return item

    def append(self, data: bytes, direction: str = "forward") -> Item:
        """Put new bytes behind everything."""
        self.items.append(Item(direction, "", "inserted", bytearray(data)))
        return self.items[-1]

    def remove(self, *items: Item) -> None:
        """Leave items out."""
        for item in items:
            self.items.remove(item)

    def cut(self, item: Item, size: int = 0) -> None:
        """Send only `size` bytes of an item, and nothing of either direction behind it."""
        del self.items[self.items.index(item) + 1 :]
        del item.data[size:]

    def conversation(self) -> Conversation:
        """Put it together."""
        made = Conversation(mode=self.mode)
        for item in self.items:
            made.half(item.direction).emit(item.layer, item.type, bytes(item.data))
        return made

    def packets(
        self,
        damage: Callable[[list[Segment], Conversation], list[Segment]] | None = None,
        thin: Callable[[list[Packet]], list[Packet]] | None = None,
    ) -> list[Packet]:
        """Send it over a connection."""
        link = Link(close=self.close, **self.link)  # type: ignore[arg-type]
        conversation = self.conversation()
        segments = converse(conversation, link)
        if damage is not None:
            segments = damage(segments, conversation)
        packets = travel(segments, link)
        return thin(packets) if thin is not None else packets

    def forward(self) -> bytes:
        """Return the forward bytes."""
        return b"".join(bytes(item.data) for item in self.items if item.direction == "forward")


def patch(item: Item, at: int, data: bytes) -> int:
    """Overwrite bytes of an item; return `at`."""
    assert at + len(data) <= len(item.data)
    item.data[at : at + len(data)] = data
    return at


def record(type_id: int, body: bytes = b"", length: int | None = None, padding: bytes | None = None) -> bytes:
    """Make a record."""
    pad = bytes(-len(body) % 8) if padding is None else padding
    return struct.pack("<II", type_id, len(body) if length is None else length) + body + pad


def engine_batches(packets: Sequence[Packet], limits: Limits = LIMITS) -> list[list[Event]]:
    """Events of packets, as the engine gives them."""
    engine = Engine(limits)
    found = [
        engine.packet(number, packet.time, packet.linktype, packet.data, packet.wire_length or len(packet.data))
        for number, packet in enumerate(packets, 1)
    ]
    return [*found, engine.finish()]


def findings(packets: Sequence[Packet], limits: Limits = LIMITS) -> list[Finding]:
    """What a checker says about a connection."""
    return findings_in(engine_batches(packets, limits))


def findings_in(batches: Sequence[list[Event]], checker: Checker | None = None) -> list[Finding]:
    """What a checker says about events."""
    return [event for batch in checked(batches, checker) for event in batch if isinstance(event, Finding)]


def stream_batches(data: bytes, entry: str = "xl", limits: Limits = LIMITS, step: int = 1 << 20) -> list[list[Event]]:
    """Events of a bare stream."""
    stream = Engine(limits).open_stream(entry)
    found = [stream.data(memoryview(data)[at : at + step]) for at in range(0, len(data), step)]
    return [*found, stream.finish()]


# -- good migrations -------------------------------------------------------------------------------------------------


def guest(**more: object) -> Guest:
    """An HVM guest of twelve pages."""
    given: dict[str, object] = {"pages": 12, "types": {9: "XTAB", 10: "BROKEN"}, "emulator_bytes": 61}
    return Guest(**(given | more))  # type: ignore[arg-type]


def hvm(**more: object) -> Script:
    """A plain migration of an HVM guest."""
    return Script.of(plain(guest(**more), passes=((3, 5, 8), (5,))))


def pv(**more: object) -> Script:
    """A plain migration of a PV guest."""
    made = pv64(pages=12, emulator_bytes=61)
    made.types = {1: "L4TAB_PINNED", 2: "L3TAB", 9: "XTAB", 10: "BROKEN"}
    for name, value in more.items():
        setattr(made, name, value)
    return Script.of(plain(made, passes=((3, 5, 8), (5,))))


def image(**more: object) -> Script:
    """A save image."""
    return Script.of(save(guest(**more)))


def remus_hvm(**more: object) -> Script:
    """Remus with three checkpoints."""
    return Script.of(remus(guest(**more), ((5, 8), (3, 4), (1,))), close="rst")


def colo_hvm(header_size: int = 8, **more: object) -> Script:
    """COLO with four checkpoints, and so three lists."""
    return Script.of(colo(guest(**more), ((1, 5, 8), (), (7,)), header_size), close="rst")
