# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding record heads again after framing was lost, or in a capture that starts in the middle (stream.md 5.7).

Every place whose first 16 bytes could be a record head starts a *candidate*: a strict framer that follows the chain of
records from there. A candidate dies at the first head or body that no Xen toolstack writes. It is proven when

* its records carry enough `evidence` (bytes fixed by the definitions and not zero; ascending pfns), and
* at least two heads fit together, and
* it reaches so far that it can not lie in the page contents of the very record whose head was lost: guest memory may
  hold an old migration stream, complete with valid heads.

Where the stream ends before that, the candidate with the most evidence is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

from dissector.spec import ALL_RECORDS, libxc, libxl, xl
from dissector.spec.model import Field, Record
from dissector.wire.framer import Framer
from dissector.wire.heads import HEADS
from dissector.wire.machine import ONCE, ONCE_STATES, RESYNC_STATE, REVERSE_STATES, Role, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.wire.codec import ByteOrder
    from dissector.wire.limits import Limits

_WINDOW = 16
"""Bytes that a head is recognised by: record header and the first 8 bytes of body."""
_ENOUGH = 6
"""Evidence that makes a chain believable; see :func:`dissector.wire.codec.evidence`."""
_ENOUGH_ALONE = 8
"""The same for a single record at the end of the stream."""
_ENOUGH_REVERSE = 3
_ENOUGH_TEXT = 60
"""Evidence that only two whole texts of xl in a row have."""
_REVERSE_HEADS = 4
"""Heads that make a back channel believable in a direction that could as well be guest memory."""

_LONG_CHAIN = 1 << 14
"""Records in a chain after which it is taken or dropped, however few bytes they cover."""

_TEXTS: tuple[tuple[bytes, State], ...] = (
    (xl.XL_MAGIC[:20], State.XL_HEADER),
    (libxl.LIBXL_IDENT + b"\0\0\0\2", State.LIBXL_HEADER),
    (b"\xff" * 8 + b"XENF\0\0\0", State.IMAGE_HEADER),
    (b"xl migration receiver", State.BANNER),
    (b"domain received, ready", State.READY),
    (b"my copy unpause results", State.REPORT),
)
"""Texts that say at once what begins here."""

GREETING_MAX = 2048
"""Bytes of text in front of a banner."""
_TEXT: Final = bytes((*range(7, 11), 13, 27, *range(32, 127), *range(128, 256)))
"""What text consists of, with colours and UTF-8."""

Place: TypeAlias = tuple[int, State, Record | None]
"""Where in the bytes at hand something may begin, in which state it is read, and the record it looks like."""

_GO = b"domain is yours, you"
_QEVM = b"QEVM\0\0\0\x03"
"""What an END record (eight zero bytes, which are everywhere) must be followed by to count as one: xl GO, or an
EMULATOR_CONTEXT with these bytes in it."""


def is_text(data: bytes) -> bool:
    """Tell whether a connection begins with text."""
    return not data[:64].translate(None, _TEXT)


@cache
def _length_pattern(record: Record, order: ByteOrder) -> bytes:
    if record.length.exact:
        lengths = (*record.length.exact, *record.length.tolerated)
        return b"(?:" + b"|".join(re.escape(n.to_bytes(4, order)) for n in lengths) + b")"
    return _number_pattern(4, record.length.maximum or libxc.REC_LENGTH_MAX, order)


def _number_pattern(size: int, maximum: int, order: ByteOrder) -> bytes:
    """Match integers of `size` bytes up to about `maximum`: exact in the leading bytes, any value below."""
    used = max(1, (maximum.bit_length() + 7) // 8)
    top = maximum >> 8 * (used - 1)
    low = b"." * (used - 1)
    leading = b"[\\x00-" + re.escape(bytes([top])) + b"]" if top < 255 else b"."
    zeros = rb"\x00" * (size - used)
    return low + leading + zeros if order == "little" else zeros + leading + low


def _field_pattern(field: Field, order: ByteOrder) -> bytes:
    if field.order != "stream":
        order = field.order
    if field.const is not None:
        return re.escape(field.const.to_bytes(field.size, order))
    if field.reserved:
        return rb"\x00" * field.size
    if field.maximum is not None:
        return _number_pattern(field.size, field.maximum, order)
    return b"." * field.size


@cache
def head_pattern(record: Record, order: ByteOrder) -> re.Pattern[bytes]:
    """Compile what the first 16 bytes of a record look like: header and the start of the body."""
    assert record.type_id is not None
    pattern = re.escape(record.type_id.to_bytes(4, order)) + _length_pattern(record, order)
    room = _WINDOW - 8
    for element in record.body:
        if not isinstance(element, Field) or element.size > room:
            break
        pattern += _field_pattern(element, order)
        room -= element.size
    if record.signature is not None and record.signature[0] == 0:
        pattern += re.escape(record.signature[1][:room])
    return re.compile(pattern, re.DOTALL)


@cache
def _heads(role: Role | None, order: ByteOrder) -> dict[int, tuple[tuple[Record, re.Pattern[bytes]], ...]]:
    """Return, by the low byte of the type number, the records that may begin a chain in this direction."""
    table: dict[int, list[tuple[Record, re.Pattern[bytes]]]] = {}
    for record in ALL_RECORDS:
        if record.type_id is None or record.name == "END" or record is libxc.TOOLSTACK:
            continue
        if role is not None and record.direction not in (role, "both"):
            continue
        table.setdefault(record.type_id & 0xFF, []).append((record, head_pattern(record, order)))
    return {low: tuple(rows) for low, rows in table.items()}


@cache
def _prefilter(role: Role | None, order: ByteOrder) -> re.Pattern[bytes]:
    """Compile the cheapest test that lets every possible type number through."""
    lows = b"".join(re.escape(bytes([low])) for low in sorted(_heads(role, order)))
    word = b"[" + lows + rb"]\x00\x00\x00" if order == "little" else rb"\x00\x00\x00[" + lows + b"]"
    return re.compile(word, re.DOTALL)


def _looks_like_numbers(record: Record, scan: bytes, place: int) -> bool:
    """Tell whether an empty record at `place` is rather one of a row of small numbers in guest memory.

    The type number of an empty record followed by zeros is a small u64. What comes before the real one: the same again
    never; before CHECKPOINT_END a device model's state or a CHECKPOINT, before the others anything.
    """
    before = scan[place - 8 : place] if place >= 8 else b""
    if before == scan[place : place + 8]:
        return True
    return record is libxl.CHECKPOINT_END and before[1:] == bytes(7) and before[:1] not in (b"\0", b"\x0e")


@dataclass(slots=True)
class Candidate:
    """A chain of records being tried."""

    framer: Framer
    start: int
    first: str
    """Layer and type of its first record."""
    role: Role


def _held(candidate: Candidate) -> int:
    """Return the bytes a candidate holds."""
    return candidate.framer.kept + len(candidate.framer.want)


def _idle_chain(candidate: Candidate) -> bool:
    """Tell whether a chain grows long without proving anything: rows of empty records in guest memory."""
    return len(candidate.framer.units) > _LONG_CHAIN and candidate.framer.weight < _ENOUGH


class Search:
    """Looks for a believable chain of records in one direction, from stream offset `start` on."""

    def __init__(
        self, start: int, limits: Limits, *, role: Role | None, order: ByteOrder, alignment: int | None
    ) -> None:
        self.start = start
        """Where framing was lost."""
        self.position = start
        self.searched = 0
        """Bytes that came since; lost ones do not count."""
        self.greeting = False
        """A connection began with text: that of a login shell perhaps, behind which xl's receiver sends its banner."""
        self.limits = limits
        self.role = role
        self.order: ByteOrder = order
        self.alignment = alignment
        """Stream offset modulo 8 of all record heads, None when not known."""
        self.candidates: list[Candidate] = []
        self.crowded = False
        """A place was not tried because too many candidates were alive."""
        self._tail = b""
        self._scanned = start
        self.guest = ""
        """``PV`` or ``HVM`` when the domain header told: the other kind's records can only lie in guest memory."""
        self.pages_seen = False
        """A PAGE_DATA of this direction was reported already."""

    def skip_to(self, position: int) -> None:
        """Go on at `position`; the bytes before it are lost."""
        self.position = self._scanned = position
        self._tail = b""

    # -- input ---------------------------------------------------------------------------------------------------

    def data(self, view: memoryview, frame: int, time: int | None, *, scan: bool = True) -> Candidate | None:
        """Take the next bytes; return a proven candidate (it has taken them too) or None.

        Without `scan` no new candidates are looked for in them: that costs next to nothing.
        """
        self.searched += len(view)
        for candidate in self.candidates:
            candidate.framer.data(view, frame, time)
        self._bury()
        if not scan:
            self.skip_to(self.position + len(view))
            return self._proven()
        begin = self.position - len(self._tail)
        seen = self._tail + bytes(view)
        self.position += len(view)
        self._scan(seen, begin, frame, time, last=False)
        self._tail = seen[-(2 * _WINDOW + 8) :]
        return self._proven()

    def gap(self, count: int, frame: int, time: int | None) -> Candidate | None:
        """Take lost bytes; return a candidate with enough evidence whose chain breaks here, or a proven one."""
        self._scan(self._tail, self.position - len(self._tail), frame, time, last=True)
        broken: list[Candidate] = []
        for candidate in self.candidates:
            candidate.framer.gap(count, frame, time)
            if candidate.framer.failed and candidate.framer.heads > 1 and self._believable(candidate):
                broken.append(candidate)
        self._bury()
        self.position += count
        self._tail = b""
        self._scanned = self.position
        if broken:
            best = max(broken, key=lambda one: one.framer.weight)
            if all(best.framer.weight > living.framer.weight for living in self.candidates):
                return best
        return self._proven()

    def end(self, frame: int, time: int | None) -> Candidate | None:
        """The stream ends: return the best candidate that is believable at all."""
        self._scan(self._tail, self.position - len(self._tail), frame, time, last=True)
        for candidate in self.candidates:
            candidate.framer.weigh_rest()
        self._bury()
        believable = [one for one in self.candidates if self._believable(one)]
        return max(believable, key=lambda one: (one.framer.weight, -one.start), default=None)

    # -- candidates ----------------------------------------------------------------------------------------------

    def _bury(self) -> None:
        """Drop dead candidates, and the weakest when all together hold too much."""
        self.candidates = [one for one in self.candidates if not one.framer.failed and not _idle_chain(one)]
        while len(self.candidates) > 1 and sum(map(_held, self.candidates)) > self.limits.max_flow_buffer:
            self.crowded = True
            self._drop_weakest()

    def _believable(self, candidate: Candidate) -> bool:
        """Tell whether the evidence is enough.

        A direction known to be reverse has no page contents to mistake for records: one whole head is enough there. A
        back channel found where guest memory could be as well must be longer.
        """
        framer = candidate.framer
        if candidate.role == "reverse":
            if self.role is None:
                return framer.weight >= _ENOUGH_TEXT or (framer.heads >= _REVERSE_HEADS and framer.weight >= _ENOUGH)
            return framer.heads >= 1 and framer.weight >= _ENOUGH_REVERSE
        return framer.weight >= (_ENOUGH if framer.heads > 1 else _ENOUGH_ALONE)

    def _proven(self) -> Candidate | None:
        """Return the candidate that begins first of those that are proven."""
        proven = (one for one in self.candidates if self._believable(one) and self._reaches_out(one))
        return min(proven, key=lambda one: one.start, default=None)

    def _reaches_out(self, candidate: Candidate) -> bool:
        """Tell whether a chain can not lie in the contents of the record whose head was lost."""
        framer = candidate.framer
        return (
            framer.heads > 1
            and (
                candidate.role == "reverse"
                or framer.start - self.start >= libxc.LARGEST_PAGE_DATA
                or len(framer.units) > _LONG_CHAIN
                or _held(candidate) > self.limits.max_flow_buffer
            )
        ) or (candidate.role == "reverse" and self.role is not None)

    def _scan(self, scan: bytes, begin: int, frame: int, time: int | None, *, last: bool) -> None:
        """Start candidates at the places of `scan` (stream offset `begin`) not looked at yet, from first to last."""
        limit = len(scan) - (0 if last else _WINDOW + 24) + (8 if last else 0)
        at = max(0, self._scanned - begin)
        if limit <= at:
            return
        self._scanned = begin + limit
        places = [*self._texts(scan, at, limit), *self._heads(scan, begin, at, limit, last=last)]
        places.sort(key=lambda found: found[0])
        for place, state, record in places:
            self._try(state, record, scan, begin, place, frame, time)

    def _heads(self, scan: bytes, begin: int, at: int, limit: int, *, last: bool) -> Iterator[Place]:
        """Find what looks like a record head."""
        heads = _heads(self.role, self.order)
        shift = 0 if self.order == "little" else 3
        for match in _prefilter(self.role, self.order).finditer(scan, at, min(len(scan), limit + 3)):
            place = match.start()
            if place >= limit or not self._aligned(begin + place):
                continue
            for record, pattern in heads[scan[place + shift]]:
                if record.length.exact == (0,) and _looks_like_numbers(record, scan, place):
                    continue
                if pattern.match(scan, place) or (last and self._short(record, scan, place)):
                    yield place, RESYNC_STATE[record.layer, record.name], record

    def _short(self, record: Record, scan: bytes, place: int) -> bool:
        """Compare a head of which fewer than 16 bytes are there."""
        rest = scan[place:]
        if not 8 <= len(rest) < _WINDOW or record.type_id is None:
            return False
        type_id, length = HEADS[self.order].unpack_from(rest)
        return bool(type_id == record.type_id and record.length.allows(length))

    def _texts(self, scan: bytes, at: int, limit: int) -> Iterator[Place]:
        """Find texts that say what begins, and END records by what follows them."""
        for text, state in _TEXTS:
            role: Role = "reverse" if state in REVERSE_STATES else "forward"
            if self.role not in (None, role):
                continue
            place = scan.find(text, at)
            while 0 <= place < limit:
                yield place, state, None
                place = scan.find(text, place + 1)
        if self.role != "reverse":
            yield from self._ends(scan, at, limit)

    def _ends(self, scan: bytes, at: int, limit: int) -> Iterator[Place]:
        go = scan.find(_GO, at)
        if 0 <= go < limit + 8:
            if self.guest == "PV" and go >= 16 and not any(scan[go - 16 : go]):
                yield go - 16, State.LIBXC, libxc.END
            elif go >= 8 and not any(scan[go - 8 : go]):
                yield go - 8, State.LIBXL, libxl.END
            elif self.role == "forward":
                yield go, State.GO, None
        pattern = head_pattern(libxl.EMULATOR_CONTEXT, self.order)
        qevm = scan.find(_QEVM, at)
        while 0 <= qevm < limit + 24:
            place = qevm - 24
            if place >= at and not any(scan[place : place + 8]) and pattern.match(scan, place + 8):
                yield place, State.LIBXC, libxc.END
            qevm = scan.find(_QEVM, qevm + 1)

    def _aligned(self, offset: int) -> bool:
        return self.alignment is None or (offset - self.alignment) % 8 == 0

    def _try(
        self, state: State, record: Record | None, scan: bytes, begin: int, place: int, frame: int, time: int | None
    ) -> None:
        """Start a candidate at `place` of `scan`, unless a living one expects a head just there."""
        offset = begin + place
        if record is not None and not self._aligned(offset):
            return
        if self.pages_seen and (state in ONCE_STATES or record in ONCE):
            return
        role: Role = "reverse" if state in REVERSE_STATES else "forward"
        if record is libxl.CHECKPOINT_STATE:
            if any(scan[place + 8 : place + 12]):
                state, role = State.BACK_CHANNEL, "reverse"
            else:
                state, role = State.CHECKPOINT_STATE, "forward"
        if self.role not in (None, role):
            return
        for living in self.candidates:
            if living.role == role and (offset == living.framer.start or offset in living.framer.starts):
                return
        if len(self.candidates) >= self.limits.max_candidates:
            self.crowded = True
            self._drop_weakest()
        framer = Framer(state, offset, self.limits, order=self.order, strict=True)
        framer.guest = self.guest
        framer.data(memoryview(scan)[place:], frame, time)
        name = f"{record.layer} {record.name}" if record is not None else state.name
        if not framer.failed:
            self.candidates.append(Candidate(framer, offset, name, role))

    def _drop_weakest(self) -> None:
        weakest = min(range(len(self.candidates)), key=lambda i: (self.candidates[i].framer.weight, i))
        del self.candidates[weakest]
