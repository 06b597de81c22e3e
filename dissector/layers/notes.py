# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets for the events that are not records: gaps, resynchronisation, findings, flows.

They carry no bytes of the wire (``bytes(packet)`` is empty); their fields are those of the engine's event.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

from scapy.fields import Field
from scapy.packet import Packet
from scapy.utils import EDecimal

from dissector.wire import events

Note: TypeAlias = events.Gap | events.Resync | events.Finding | events.Flow | events.Summary

_ELSEWHERE = ("time", "direction", "rule")
"""What is in scapy's own slots, or shown as the rule's id and severity."""


class FactField(Field):  # type: ignore[misc]
    """A fact about the stream that takes no bytes on the wire."""

    __slots__: list[str] = []

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, None]:
        """Take nothing."""
        return data, None

    def addfield(self, packet: Any, data: bytes, value: Any) -> bytes:
        """Add nothing."""
        return data

    def i2repr(self, packet: Any, value: Any) -> str:
        """Show text without quotes."""
        return str(value)

    def randval(self) -> None:
        """Leave it alone when fuzzing."""


class XenMigrationNote(Packet):  # type: ignore[misc]
    """What all packets without bytes have in common; ``event`` is the engine's event."""

    __slots__ = ["event"]
    name = "Xen migration note"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "event", None)
        super().__init__(*args, **kwargs)

    def mysummary(self) -> str:
        """Say it in one line."""
        text = self.fields.get("text")
        facts = (
            f"{name}={value}"
            for name, value in self.fields.items()
            if name not in ("flow", "offset", "text") and not (name == "cause" and value is None)
        )
        where = [self.direction or "", str(self.fields.get("offset") or "") if self.direction else ""]
        return " ".join(word for word in (*where, self.name, text or " ".join(facts)) if word)

    def copy(self) -> Any:
        """Return a deep copy, event included."""
        clone = super().copy()
        clone.event = self.event
        return clone


_METACLASS: Any = type(XenMigrationNote)


def _make_class(event: type[Note]) -> Any:
    names = [field.name for field in dataclasses.fields(event) if field.name not in _ELSEWHERE]
    if event is events.Finding:
        names = ["id", "severity", *names]
    namespace = {
        "name": f"migration {event.__name__.lower()}",
        "__doc__": event.__doc__,
        "__module__": "dissector.layers",
        "__slots__": [],
        "fields_desc": [FactField(name, None) for name in names],
    }
    return _METACLASS(f"XenMigration{event.__name__}", (XenMigrationNote,), namespace)


CLASSES: dict[type[Note], type[XenMigrationNote]] = {
    event: _make_class(event) for event in (events.Gap, events.Resync, events.Finding, events.Flow, events.Summary)
}
"""Event class -> packet class."""


def packet_of(event: Note) -> XenMigrationNote:
    """Make the packet of an event that is no record."""
    packet = CLASSES[type(event)]()
    packet.event = event
    packet.direction = getattr(event, "direction", None)
    time = getattr(event, "time", None)
    if time is not None:
        packet.time = EDecimal(time) / 1_000_000_000
    for field in packet.fields_desc:
        packet.fields[field.name] = getattr(event, field.name)
    return packet
