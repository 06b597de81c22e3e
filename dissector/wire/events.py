# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes out of the engine: frozen, slotted dataclasses, one per kind of event (design.md section 4).

Times are integers, nanoseconds since the epoch, UTC; None where the source has no times (a bare byte stream).
Frames count from 1 over all input files; 0 where the source has no frames. Offsets count stream bytes of one direction.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from dissector.spec.libxc import PAGE_SIZE
from dissector.wire import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from dissector.spec import model
    from dissector.spec.findings import Rule, Severity
    from dissector.wire.unit import Unit


class LostBytesError(LookupError):
    """Bytes that were asked for are not in the capture."""


class ContentsSource(Protocol):
    """Where stream bytes can be read again."""

    def read(self, flow: int, direction: str, offset: int, length: int, frames: tuple[int, int]) -> bytes:
        """Return `length` stream bytes from `offset`, found around the given first and last frame.

        Raises:
            LostBytesError: not all of them are in the capture, or it cannot be read again.
        """


DirectionName: TypeAlias = Literal["forward", "reverse"]
Mode: TypeAlias = Literal["plain", "remus", "colo", "unknown"]
Start: TypeAlias = Literal["syn", "mid-stream", "file"]


@dataclass(frozen=True, slots=True)
class Record:
    """One header, message or record of the stream (stream.md sections 2 to 4)."""

    event: ClassVar[str] = "record"

    flow: int
    direction: DirectionName
    layer: model.Layer
    type: str
    """Record name of the specification; ``UNKNOWN`` for a type number without one."""
    type_id: int | None
    """Type number; None for headers and messages."""
    offset: int
    """Stream offset of the first byte."""
    size: int
    """Bytes on the wire, header and padding included (and the stray bytes of a 4.18+ dirty list)."""
    body_length: int | None
    """As the record header says; None for headers and messages."""
    time: int | None
    time_end: int | None
    first_frame: int
    last_frame: int
    complete: bool | None
    """Whether all bytes were there; None: they were not looked at (``unseen``), and nothing is known to be missing."""
    lost: tuple[tuple[int, int], ...]
    """Missing bytes as (stream offset, length), clipped to this record."""
    definition: model.Record
    order: Literal["little", "big"]
    """Byte order of the integers in the body."""
    body: bytes
    """The kept bytes of the body: all of it for most records, count and pfn list for PAGE_DATA; shorter when lost."""
    header_size: int = 8
    """Bytes of record header on the wire: 8, or 16 or 12 for the dirty list of Xen 4.18+ (stream.md 4.6)."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further facts about this record that are not in its body (``stray``)."""
    source: ContentsSource | None = field(default=None, repr=False, compare=False)
    """Where the bytes that were not kept can be read again; None when nowhere."""
    unseen: tuple[tuple[int, int], ...] = ()
    """Bytes that were passed over in the file without a look (stream offset, length), clipped to this record."""

    @property
    def fields(self) -> dict[str, Any]:
        """The decoded body as in the JSON contract: pfn lists summarised, blobs as lengths."""
        return self.decode()

    def decode(self, *, pfns: bool = False) -> dict[str, Any]:
        """Decode the body; with `pfns`, whole pfn lists in place of summaries only."""
        values = codec.decode(self.definition, self.body, self.order, self.body_length, pfns=pfns)
        if self.extra:
            values.update(self.extra)
        return values

    @property
    def pfns(self) -> npt.NDArray[np.uint64]:
        """The pfn list as a numpy array of uint64, page-type bits removed (empty when the record has none)."""
        return codec.pfn_array(self.definition, self.body, self.order)

    @property
    def page_types(self) -> npt.NDArray[np.uint8]:
        """The page type (0 to 15) of each entry of a PAGE_DATA as a numpy array of uint8."""
        return codec.page_type_array(self.definition, self.body, self.order)

    def page(self, pfn: int) -> bytes | None:
        """Read the 4096 bytes of one page of a PAGE_DATA again from the capture.

        Returns:
            The contents; None when the page has none (its type is XTAB, BROKEN or XALLOC).

        Raises:
            KeyError: the record has no entry for `pfn`.
            LostBytesError: the bytes are not in the capture, or it cannot be read again (standard input, live).
        """
        place = codec.page_place(self.definition, self.body, self.order, pfn)
        return None if place is None else self._read(place, PAGE_SIZE)

    def whole_body(self) -> bytes:
        """Return all `body_length` bytes of the body, page contents included, reading the capture again if needed.

        Raises:
            LostBytesError: as for :meth:`page`.
        """
        length = len(self.body) if self.body_length is None else self.body_length
        return self.body if len(self.body) >= length else self._read(0, length)

    def _read(self, place: int, length: int) -> bytes:
        start = self.offset + (self.header_size if self.type_id is not None else 0) + place
        if any(at < start + length and start < at + count for at, count in self.lost):
            raise LostBytesError(f"stream bytes {start} to {start + length - 1} are not all in the capture")
        if self.source is None:
            raise LostBytesError("the input cannot be read again")
        return self.source.read(self.flow, self.direction, start, length, (self.first_frame, self.last_frame))


class _Unfrozen:
    """A :class:`Record` in the making: has its slots, and lets them be assigned."""

    __slots__ = tuple(one.name for one in fields(Record))


def make_record(
    unit: Unit,
    flow: int,
    direction: DirectionName,
    time_end: int | None,
    last_frame: int,
    lost: tuple[tuple[int, int], ...],
    unseen: tuple[tuple[int, int], ...],
    source: ContentsSource | None,
) -> Record:
    """Make the :class:`Record` of what was framed, for the engine.

    A frozen dataclass sets each attribute through ``object.__setattr__``: six times the time, for millions of records.
    """
    made: Any = object.__new__(_Unfrozen)
    made.flow = flow
    made.direction = direction
    made.layer = unit.definition.layer
    made.type = unit.name
    made.type_id = unit.type_id
    made.offset = unit.offset
    made.size = unit.size
    made.body_length = unit.body_length
    made.time = unit.time
    made.time_end = time_end
    made.first_frame = unit.first_frame
    made.last_frame = last_frame
    made.complete = None if unseen and not lost else not lost
    made.lost = lost
    made.definition = unit.definition
    made.order = unit.order
    made.body = unit.body
    made.header_size = unit.header_size
    made.extra = unit.extra
    made.source = source
    made.unseen = unseen
    made.__class__ = Record
    record: Record = made
    return record


@dataclass(frozen=True, slots=True)
class Flow:
    """A migration was found (``phase`` begin) or its connection ended (``phase`` end)."""

    event: ClassVar[str] = "flow"

    flow: int
    phase: Literal["begin", "end"]
    sender: tuple[str, int]
    """Address and port of the sending (primary) side; ("", 0) for a bare byte stream."""
    receiver: tuple[str, int]
    start: Start
    entry: str
    """What the stream begins with: ``xl``, ``libxl``, ``libxc``, ``legacy``, ``unknown`` (mid-stream)."""
    mode: Mode
    time: int | None
    frame: int
    end: str | None = None
    """Why it ended: ``fin``, ``rst``, ``new connection``, ``capture end``, ``limit``."""
    begun: tuple[DirectionName, ...] = field(default=(), compare=False)
    """Directions whose stream offset 0 is known, by a SYN, to be their first byte."""
    closer: DirectionName | None = field(default=None, compare=False)
    """Whose side closed the connection first; None: not known, or not over."""
    short: tuple[DirectionName, ...] = field(default=(), compare=False)
    """Directions whose last bytes are known not to be in the capture."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that never came."""

    event: ClassVar[str] = "gap"

    flow: int
    direction: DirectionName
    offset: int
    length: int
    reason: Literal["lost", "snaplen", "limit", "capture end"]
    time: int | None
    frame: int
    """The frame that showed the hole."""
    cause: Literal["capture", "wire"] | None = None
    """Whether the capturing kernel dropped the packets, or they never came by; None: not known (files)."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Framing was lost and found again."""

    event: ClassVar[str] = "resync"

    flow: int
    direction: DirectionName
    offset: int
    """Where framing was lost."""
    skipped: int
    """Bytes between there and the next record head."""
    found: str
    """Layer and type of the first record after it, such as ``libxc PAGE_DATA``; empty when none was found."""
    time: int | None
    frame: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth knowing about the stream or the capture."""

    event: ClassVar[str] = "finding"

    rule: Rule
    text: str
    flow: int | None = None
    direction: DirectionName | None = None
    offset: int | None = None
    time: int | None = None
    frame: int = 0
    record: Record | None = field(default=None, repr=False, compare=False)
    """The record it is about, where that is known."""

    @property
    def id(self) -> str:
        """Stable identifier of the rule."""
        return self.rule.id

    @property
    def severity(self) -> Severity:
        """error, warn or note."""
        return self.rule.severity


@dataclass(frozen=True, slots=True)
class Summary:
    """What one flow added up to; emitted right after the flow's end."""

    event: ClassVar[str] = "summary"

    flow: int
    mode: Mode
    entry: str
    guest: str
    """Guest type as the domain header says, empty when unknown."""
    xen: str
    """Xen version of the sender such as ``4.17``, empty when unknown."""
    version: int | None
    """libxc stream version: 2 or 3."""
    bytes: Mapping[str, int]
    """Stream bytes per direction."""
    records: Mapping[str, int]
    """Records per ``layer TYPE``."""
    incomplete: int
    """Records with missing bytes."""
    passes: int
    """Memory passes of the plain stream or of the first checkpoint (inferred, stream.md 4.8)."""
    checkpoints: int
    pages: int
    """Pages whose contents were sent."""
    lost: Mapping[str, int]
    """Lost bytes per direction."""
    skipped: Mapping[str, int]
    """Bytes passed over while framing was lost, per direction."""
    seconds: float | None
    """From the first to the last payload byte."""
    findings: Mapping[str, int]
    """Findings per severity."""
    outcome: str
    """How it ended, in words (inferred)."""


@dataclass(frozen=True, slots=True)
class Total:
    """What the whole input added up to; the last event."""

    event: ClassVar[str] = "summary"

    frames: int
    flows: int
    other_connections: int
    """TCP connections that are no migration."""
    findings: Mapping[str, int]
    received: int | None = None
    """Live: packets that passed the filter, those dropped included; None: not known, or not live."""
    dropped: int | None = None
    """Live: packets that the capture lost."""


Event: TypeAlias = Record | Flow | Gap | Resync | Finding | Summary | Total
