# SPDX-License-Identifier: GPL-2.0-or-later
"""What the framer works on: the unit being framed, and what a definition says about how to collect it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from dissector.spec.model import RECORD_ALIGNMENT, RECORD_HEADER_SIZE, Bytes, Field, Length, Record

if TYPE_CHECKING:
    from dissector.wire.codec import ByteOrder


@dataclass(slots=True)
class Unit:
    """One header, message or record as it was framed, before lost ranges are known."""

    definition: Record
    type_id: int | None
    offset: int
    size: int
    body_length: int | None
    order: ByteOrder
    first_frame: int
    time: int | None
    name: str = ""
    body: bytes = b""
    last_frame: int = 0
    time_end: int | None = None
    header_size: int = RECORD_HEADER_SIZE
    cut_at: int | None = None
    """Stream offset behind the last byte that came, when the stream ended inside this unit."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def padding(self) -> int:
        """Bytes of padding behind the body; 0 for headers and messages, which have none."""
        return 0 if self.body_length is None else -self.body_length % RECORD_ALIGNMENT

    @property
    def end(self) -> int:
        """Stream offset of the first byte behind this unit."""
        return self.offset + self.size


@cache
def unknown_record(layer: str, type_id: int) -> Record:
    """Make the definition that stands in for a type number without one."""
    return Record(
        layer="libxl" if layer == "libxl" else "libxc",
        name="UNKNOWN",
        meaning="record type that no Xen release defines",
        section="4.3",
        type_id=type_id,
        length=Length(),
        body=(Bytes("data", "opaque", secret=True),),
    )


@cache
def identifying_bytes(record: Record) -> tuple[tuple[int, bytes], ...]:
    """Return (offset, bytes) of everything in a fixed message that identifies it."""
    position = 0
    found = []
    for element in record.body:
        if isinstance(element, Field):
            if element.const is not None and element.hexadecimal:
                found.append((position, element.const.to_bytes(element.size, "big")))
            position += element.size
        elif isinstance(element, Bytes) and isinstance(element.length, int):
            if element.const is not None:
                found.append((position, element.const))
            position += element.length
    return tuple(found)
