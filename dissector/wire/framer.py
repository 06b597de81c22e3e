# SPDX-License-Identifier: GPL-2.0-or-later
"""One direction's bytes and gaps -> units (headers, messages, records), by the tables of :mod:`machine`.

At any time the framer either wants bytes (`want` fills up to `need`) or has stream bytes that nobody needs before the
next wanted one (`skip`): page contents, padding, what is beyond a limit. Skipped bytes are counted, never looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.spec import BY_TYPE, findings, libxc, libxl, xl
from dissector.spec.model import (
    OPTIONAL_RECORD,
    RECORD_HEADER_SIZE,
    Record,
    padded,
)
from dissector.wire import codec, dirtylist
from dissector.wire.heads import HEADS, LENGTH_MAX, known_heads
from dissector.wire.machine import (
    BACK_CHANNEL_ORDER,
    CHOICES,
    ENDS,
    LAYER,
    MESSAGES,
    MODES,
    NEXT,
    NEXT_BARE,
    RECORDS,
    Head,
    State,
)
from dissector.wire.unit import Unit, identifying_bytes, unknown_record

if TYPE_CHECKING:
    from dissector.spec.findings import Rule
    from dissector.wire.codec import ByteOrder
    from dissector.wire.limits import Limits

_UNKNOWN_TYPES = 0x100
"""A type number above this (without the optional bit) is taken as a sign that framing is lost."""
_CONFIG_LEN_SIZE = 4
_CONFIG_LEN_MAX = 1 << 20
"""Longest configuration believed when only its own length field tells."""
_LONGEST_WEAK_ROW = 16
"""Records in a row that prove nothing, after which a strict framer takes them for guest memory."""
_FOREIGN_EMPTY_MAX = 4096
"""Longest body accepted in a record that should have none."""


class Framer:
    """Frames one direction from `position` on, beginning in `state`.

    With `strict`, anything that a Xen toolstack would not write fails at once: used to try out places where a record
    might begin after framing was lost.
    """

    __slots__ = (
        "_back_step",
        "_body_kept",
        "_counted",
        "_held",
        "_last",
        "_marks",
        "_optional_data_len",
        "_padding",
        "_streamv2",
        "_wanted",
        "_weak",
        "_weak_row",
        "entered",
        "failed",
        "findings",
        "guest",
        "heads",
        "kept",
        "limits",
        "list_header",
        "mode",
        "need",
        "order",
        "position",
        "skip",
        "start",
        "start_frame",
        "start_time",
        "starts",
        "state",
        "strict",
        "unit",
        "units",
        "want",
        "weight",
        "whole",
        "xl_order",
    )

    def __init__(
        self, state: State, position: int, limits: Limits, *, order: ByteOrder = "little", strict: bool = False
    ) -> None:
        self.state = state
        self.position = position
        """Stream offset of the next byte."""
        self.limits = limits
        self.order: ByteOrder = order
        self.strict = strict
        self.skip = 0
        self.want = bytearray()
        self.need = 0
        self.start = position
        self.start_frame = 0
        self.start_time: int | None = None
        self.unit: Unit | None = None
        self.units: list[Unit] = []
        """What was framed and not taken away yet."""
        self.findings: list[tuple[Rule, int, dict[str, object]]] = []
        """(rule, offset, values of its text), likewise."""
        self.failed = False
        """Framing was lost at `start`; the bytes read since are in `want`."""
        self.mode = ""
        """What the tables say about the mode so far; empty when nothing."""
        self.whole = True
        """Nothing lay before the first byte, as far as is known."""
        self.entered: State | None = None
        """The state that the first bytes of the stream led to; None before that."""
        self.guest = ""
        """``PV`` or ``HVM``: a strict framer refuses records of the other kind."""
        self.heads = 0
        self.weight = 0
        self.starts: set[int] = set()
        """Where the units of a strict framer begin."""
        self.kept = 0
        """Bytes of bodies in the units of a strict framer."""
        self.list_header = 0
        """Header size of the dirty lists of this connection, 0 until known (stream.md 5.4)."""
        self.xl_order: ByteOrder = "little"
        self._held: Unit | None = None
        self._marks: dict[int, tuple[int, int | None]] = {}
        self._optional_data_len: int | None = None
        self._streamv2 = True
        self._padding = False
        """The rest of the unit is padding that is to be looked at."""
        self._weak: set[str] = set()
        self._weak_row = 0
        self._last: Record | None = None
        self._back_step: int | None = None
        self._counted = False
        self._body_kept = 0
        self._wanted = 0
        self._begin()

    @property
    def settled(self) -> int:
        """Stream offset up to which every unit was framed."""
        unit = self._held or self.unit
        return self.start if unit is None else unit.offset

    @property
    def begun(self) -> bool:
        """Whether a header or message was recognised at `settled`, and what it heads is being read."""
        return self._held is not None or self.unit is not None

    # -- input ---------------------------------------------------------------------------------------------------

    def data(self, view: memoryview, frame: int, time: int | None) -> int:
        """Take the next bytes of the stream; return how many were used (all, unless `failed` became true)."""
        at = 0
        end = len(view)
        while at < end and not self.failed:
            if self.skip:
                take = min(self.skip, end - at)
                at += take
                self.advance(take, frame, time)
                continue
            if not self.want and self.unit is None:
                if self.state in RECORDS and not self.strict and self._held is None:
                    at = self._whole(view, at, frame, time)
                    if at == end:
                        break
                self.start_frame, self.start_time = frame, time
            take = min(self.need - len(self.want), end - at)
            self.want += view[at : at + take]
            self.position += take
            at += take
            if len(self.want) >= self.need:
                self._collected(frame, time)
        return at

    def _whole(self, view: memoryview, at: int, frame: int, time: int | None) -> int:
        """Frame the records that lie whole in `view` from `at` on, one after the other; return where the rest begins.

        Does the same as the long way, which takes over at the first record that something is to be said about.
        """
        order = self.order
        heads = known_heads(self.state, order)
        head = bytes(view[at : at + RECORD_HEADER_SIZE])
        if len(head) < RECORD_HEADER_SIZE:
            return at
        known = heads.found[head] if head in heads.found else heads.learn(head)
        if known is None or at + known.size > len(view):
            return at
        data, base = bytes(view[at:]), self.position  # slices of bytes cost a third of those of a memoryview
        start, end, max_body, units = 0, len(data), self.limits.max_body, self.units
        look = self.limits.padding
        while known is not None:
            definition, type_id, length, size, plan, counted, behind = known
            if start + size > end or length > max_body:
                break
            first = start + RECORD_HEADER_SIZE
            if plan is None:
                body = data[first : first + length]
                if counted and codec.expected_length(definition, body, order) not in (None, length):
                    break
            else:
                before, place, width = plan
                place += first
                until = first + before + 8 * int.from_bytes(data[place : place + width], order)
                body = data[first:until]
                contents = libxc.PAGE_SIZE * codec.data_pages(body, order, before)
                if until - first + contents != length:
                    break
            if look and data[first + length : start + size].strip(b"\0"):
                break
            offset = base + start
            units.append(
                Unit(definition, type_id, offset, size, length, order, frame, time, definition.name, body, frame, time)
            )
            start += size
            if behind is not None:
                self.state = behind
                if behind not in RECORDS:
                    break
                heads = known_heads(behind, order)
            head = data[start : start + RECORD_HEADER_SIZE]
            if len(head) < RECORD_HEADER_SIZE:
                break
            known = heads.found[head] if head in heads.found else heads.learn(head)
        if start:
            self.start_frame, self.start_time = frame, time
        self.position = base + start
        self._begin()
        return at + start

    def advance(self, count: int, frame: int, time: int | None) -> None:
        """Pass over `count` bytes, at most `skip`, whether they came or not."""
        self.skip -= count
        self.position += count
        if count and not self.skip and self.unit is not None:
            self._body_passed(frame, time)

    def gap(self, count: int, frame: int, time: int | None) -> int:
        """Take `count` lost bytes; return how many were used (all, unless `failed` became true)."""
        left = count
        while left and not self.failed:
            if self.skip:
                take = min(self.skip, left)
                left -= take
                self.advance(take, frame, time)
            elif self.unit is not None:
                self._keep_prefix(frame, time)
            elif self._held is not None:
                self._guess_list(frame, time)
                self.failed = True
            elif self.state in MESSAGES and (self.state is not State.XL_CONFIG or self._optional_data_len is not None):
                if self.want:
                    self._open_message()
                else:
                    left -= self._lost_message(left)
            else:
                self.failed = True
        return count - left

    def end(self) -> None:
        """The stream ends here: hand out what is unfinished."""
        if self._held is not None:
            self._decide_list(self.start_frame, self.start_time, at_end=True)
        if self.unit is None and self.want and self.state in MESSAGES and self.fits(self.state):
            if self.state is State.XL_CONFIG and self._optional_data_len is None:
                return
            self._open_message()
        if self.unit is not None:
            unit = self.unit
            unit.cut_at = self.position
            if not unit.body and not self._padding:
                unit.body = bytes(self.want)
            if self._is_back_list(unit.definition) and self.list_header > RECORD_HEADER_SIZE:
                self._take_stray(unit, self.list_header)
            missing = unit.end - self.position
            name = f"{unit.definition.layer} {unit.name}"
            self._finding(findings.RECORD_CUT, unit.offset, what=name, missing=missing)
            self.unit = None
            self._emit(unit)
        elif self.want and self.state in ENDS:
            self._finding(findings.TRAILING, self.start)
        elif self.want and self.state in RECORDS:
            self._finding(
                findings.RECORD_CUT, self.start, what="a record header", missing=RECORD_HEADER_SIZE - len(self.want)
            )
        self.want.clear()

    def expect(self, state: State) -> None:
        """Somebody else told which header this direction begins with, whatever is lost of it."""
        self.entered = self.state = state
        self.need = MESSAGES[state].length.exact[0]

    def know_list_header(self, size: int) -> None:
        """Learn the header size of this connection's dirty lists, that of the one being read too; 0: not known."""
        if self.list_header or not size:
            return
        self.list_header = size
        unit, stray = self.unit, size - RECORD_HEADER_SIZE
        if stray and unit is not None and self._is_back_list(unit.definition):
            unit.size += stray
            if self.skip:
                self.skip += stray
            else:
                self._body_kept = self.need = min((unit.body_length or 0) + stray, self.limits.max_body)

    # -- what comes next -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Set `need` for the state."""
        self.start = self.position
        self.want.clear()
        state = self.state
        if state is State.XL_CONFIG:
            length = self._optional_data_len
            if length is None:
                self.need = _CONFIG_LEN_SIZE
                return
            if length == 0:
                self._after_config()
                return
            self.need = min(length, self.limits.max_body)
        elif state in MESSAGES:
            self.need = MESSAGES[state].length.exact[0]
        elif state in RECORDS:
            self.need = RECORD_HEADER_SIZE
        elif state in CHOICES:
            self.need = max(8 if isinstance(what, Head) else len(what) for what, _ in CHOICES[state][0])
        else:
            self.need = 1

    def _collected(self, frame: int, time: int | None) -> None:
        if self._held is not None:
            self._decide_list(frame, time)
        elif self._padding:
            self._padding_there(frame, time)
        elif self.unit is not None:
            self._body(frame, time)
        elif self.state is State.XL_CONFIG and self._optional_data_len is None:
            self._infer_config(frame, time)
        elif self.state in MESSAGES:
            self._message(frame, time)
        elif self.state in RECORDS:
            self._head(frame, time)
        elif self.state in CHOICES:
            self._choose(frame, time)
        elif self.state is State.DONE and self.strict:
            self.failed = True
        elif self.state is State.DONE:
            self._finding(findings.TRAILING, self.start)
            self._ignore_rest()
        else:
            self._ignore_rest()

    def _ignore_rest(self) -> None:
        self.want.clear()
        self.state = State.LEGACY
        self.skip = 1 << 62

    def _choose(self, frame: int, time: int | None) -> None:
        rows, otherwise = CHOICES[self.state]
        for what, state in rows:
            if isinstance(what, Head):
                type_id, length = HEADS[self.order].unpack_from(self.want)
                hit = type_id == what.type_id and what.body_length in (None, length)
            else:
                hit = self.want.startswith(what)
            if hit:
                self._become(state, frame, time)
                return
        if otherwise is not None:
            self._become(otherwise, frame, time)
        elif self.state in ENDS and not self.strict:
            self._finding(findings.TRAILING, self.start)
            self._ignore_rest()
        else:
            self.failed = True

    def _become(self, state: State, frame: int, time: int | None) -> None:
        """Read the bytes at hand again, in `state`."""
        self.mode = MODES.get((self.state, state.name), self.mode)
        if self.entered is None:
            self.entered = state
        self.state = state
        self._reread(self.start, frame, time)

    def _reread(self, start: int, frame: int, time: int | None) -> None:
        """Begin at `start` with the bytes in `want`, which are there already."""
        seen = bytes(self.want)
        self.position = start
        self._begin()
        used = min(self.need, len(seen))
        self.want += seen[:used]
        self.position += used
        if used and used == self.need:
            self._collected(frame, time)
        if used < len(seen) and not self.failed:
            used += self.data(memoryview(seen)[used:], frame, time)
        if self.failed:  # whoever searches on needs all bytes from `start`
            self.want += seen[used:]
            self.position += len(seen) - used

    # -- headers and messages ------------------------------------------------------------------------------------

    def fits(self, state: State) -> bool:
        """Tell whether the bytes at hand are those that the message of a state begins with."""
        return all(
            self.want[at : at + len(text)] == text[: max(0, len(self.want) - at)]
            for at, text in identifying_bytes(MESSAGES[state])
        )

    def _open_message(self) -> None:
        """Begin a unit for the message of this state."""
        record = MESSAGES[self.state]
        size = self._optional_data_len if record is xl.CONFIG else self.need
        assert size is not None
        if record is xl.SAVE_FILE_HEADER and self.want[32:36] == b"\x01\x02\x03\x04":
            self.xl_order = "big"
        self.unit = Unit(
            record,
            None,
            self.start,
            size,
            None,
            self.xl_order if record.layer == "xl" else self.order,
            self.start_frame,
            self.start_time,
            name=record.name,
            header_size=0,
        )

    def _lost_message(self, lost: int) -> int:
        """Pass over a message of which no byte came; return how many lost bytes that used."""
        size = self._optional_data_len if self.state is State.XL_CONFIG else self.need
        assert size is not None
        if lost < size:
            self._open_message()
            assert self.unit is not None
            self.skip = size
            return 0
        self.position += size
        self._after(MESSAGES[self.state], b"")
        return size

    def _message(self, frame: int, time: int | None) -> None:
        if not self.fits(self.state):
            record = MESSAGES[self.state]
            if record.layer == "xl" and record is not xl.SAVE_FILE_HEADER:
                self._finding(findings.MESSAGE, self.start, what=record.name)
            self.failed = True
            return
        self._open_message()
        unit = self.unit
        assert unit is not None
        unit.body = bytes(self.want)
        if self.strict:
            gained = codec.evidence(unit.definition, unit.body, unit.order, None)
            if gained < 0:
                self.failed = True
                self.unit = None
                return
            self._weigh(unit, gained)
        self.skip = unit.end - self.position
        if self.skip:
            self._finding(findings.LIMIT_BODY, unit.offset, what=unit.name, kept=len(unit.body))
        else:
            self._complete(frame, time)

    # -- records -------------------------------------------------------------------------------------------------

    def _accept(self, type_id: int, length: int) -> Record | None:
        """Find the definition for a record header; None when it can not be one."""
        table = RECORDS[self.state]
        record = table.get(type_id)
        if self.strict:
            if record is None or not record.length.allows(length):
                return None
            return record if not self.guest or record.guests in ("any", self.guest) else None
        layer = LAYER[self.state]
        if length > LENGTH_MAX[layer]:
            return None
        if record is None and self.state is not State.BACK_CHANNEL:
            record = BY_TYPE.get((layer, type_id))
            if record is not None:
                if not record.length.allows(length):
                    return None
                self._finding(findings.UNEXPECTED, self.start, what=f"{record.layer} {record.name}")
        if record is None:
            if type_id & ~OPTIONAL_RECORD >= _UNKNOWN_TYPES or self.state is State.BACK_CHANNEL:
                return None
            optional = bool(type_id & OPTIONAL_RECORD) and layer == "libxc"
            rule = findings.UNKNOWN_OPTIONAL if optional else findings.UNKNOWN_RECORD
            self._finding(rule, self.start, layer=layer, type_id=type_id)
            return unknown_record(layer, type_id)
        if not record.length.allows(length):
            if record.length.exact == (0,) and length > _FOREIGN_EMPTY_MAX:
                return None
            self._finding(
                findings.RECORD_LENGTH, self.start, what=record.name, length=length, expected=str(record.length)
            )
        return record

    def _head(self, frame: int, time: int | None) -> None:
        type_id, length = HEADS[self.order].unpack(self.want)
        record = self._accept(type_id, length)
        if record is None:
            self.failed = True
            return
        self.want.clear()
        size = RECORD_HEADER_SIZE + padded(length)
        self.unit = Unit(
            record,
            type_id,
            self.start,
            size,
            length,
            self.order,
            self.start_frame,
            self.start_time,
            name=record.name,
        )
        plan = codec.list_plan(record)
        self._counted = plan is None
        self._wanted = length if plan is None else 0
        self._body_kept = min(length, self.limits.max_body)
        if self._is_back_list(record) and self.list_header > RECORD_HEADER_SIZE:
            self._body_kept = min(length + self.list_header - RECORD_HEADER_SIZE, self.limits.max_body)
            self.unit.size += self.list_header - RECORD_HEADER_SIZE
        self.need = self._body_kept if plan is None else min(length, plan[0])
        if not self.need:
            self._body(frame, time)

    def _body(self, frame: int, time: int | None) -> None:
        """The wanted part of a body is there, or (with a pfn list) its count."""
        unit = self.unit
        assert unit is not None
        assert unit.body_length is not None
        if not self._counted:
            self._counted = True
            plan = codec.list_plan(unit.definition)
            assert plan is not None
            before, at, size = plan
            if len(self.want) == before:
                count = int.from_bytes(self.want[at : at + size], self.order)
                self._wanted = min(before + 8 * count, unit.body_length)
                self.need = min(self._wanted, self._body_kept)
                if self.need > before:
                    return
        unit.body = bytes(self.want)
        self.want.clear()
        self._judge(unit)
        if self.failed:
            return
        self._pass_rest(frame, time)

    def _pass_rest(self, frame: int, time: int | None) -> None:
        """Nobody needs what is left of a record, but perhaps for its padding."""
        unit = self.unit
        assert unit is not None
        self.skip = unit.end - self.position
        if self.limits.padding and not self.strict and self.skip >= unit.padding:
            self.skip -= unit.padding
        if not self.skip:
            self._body_passed(frame, time)

    def _body_passed(self, frame: int, time: int | None) -> None:
        """The position is behind a body, or behind its padding too."""
        unit = self.unit
        assert unit is not None
        if self.position == unit.end:
            self._complete(frame, time)
        else:
            self._padding = True
            self.need = unit.end - self.position

    def _padding_there(self, frame: int, time: int | None) -> None:
        unit = self.unit
        assert unit is not None
        if self.want.strip(b"\0"):
            unit.extra["padding"] = self.want.hex()
        self.want.clear()
        self._padding = False
        self._complete(frame, time)

    def _judge(self, unit: Unit) -> None:
        """Compare a body with its definition: kills a strict framer, otherwise makes findings."""
        if self.strict:
            gained = codec.evidence(unit.definition, unit.body, unit.order, unit.body_length)
            if gained < 0:
                self.want += unit.body
                self.unit = None
                self.failed = True
                return
            self._weigh(unit, gained)
            return
        assert unit.body_length is not None
        expected = codec.expected_length(unit.definition, unit.body, unit.order)
        if expected is not None and expected != unit.body_length:
            self._finding(
                findings.RECORD_LENGTH, unit.offset, what=unit.name, length=unit.body_length, expected=str(expected)
            )
        if self._wanted > self.limits.max_body:
            self._finding(findings.LIMIT_BODY, unit.offset, what=unit.name, kept=len(unit.body))

    def _weigh(self, unit: Unit, gained: int) -> None:
        """Count the evidence of one more head; a kind of record that proves little counts once."""
        self.heads += 1
        if unit.definition is self._last and not unit.definition.repeats:
            self.failed = True
        self._last = unit.definition
        self.kept += len(unit.body)
        self.starts.add(unit.offset)
        if gained > 1 or unit.name not in self._weak:
            self.weight += gained
            self._weak_row = 0
        else:
            self._weak_row += 1
            if self._weak_row > _LONGEST_WEAK_ROW:
                self.failed = True
        if gained <= 1:
            self._weak.add(unit.name)
        if self.state is State.BACK_CHANNEL:
            step = unit.body[0] if unit.definition is libxl.CHECKPOINT_STATE and unit.body else -1
            if self._back_step is not None and BACK_CHANNEL_ORDER.get(self._back_step) != step:
                self.failed = True
            self._back_step = step

    def weigh_rest(self) -> None:
        """The stream ends: count the evidence of the record it ends in."""
        unit = self.unit
        if unit is not None and self.want and unit.type_id is not None:
            gained = codec.evidence(unit.definition, bytes(self.want), unit.order, unit.body_length)
            if gained < 0:
                self.failed = True
            else:
                self._weigh(unit, gained)

    def _keep_prefix(self, frame: int, time: int | None) -> None:
        """Bytes of the wanted part are lost: keep what came before them and pass over the rest of the unit."""
        unit = self.unit
        assert unit is not None
        if self._padding:
            self._padding = False
            self.want.clear()
        elif self.want:
            unit.body = bytes(self.want)
            self.want.clear()
        if self.strict and unit.type_id is not None:
            self._judge(unit)
            if self.failed:
                return
        self.skip = unit.end - self.position
        if not self.skip:
            self._complete(frame, time)

    def _complete(self, frame: int, time: int | None) -> None:
        unit = self.unit
        assert unit is not None
        self.unit = None
        unit.last_frame = frame
        unit.time_end = time
        if self._is_back_list(unit.definition):
            self._list_complete(unit)
            return
        self._emit(unit)
        self._after(unit.definition, unit.body)

    def _emit(self, unit: Unit) -> None:
        self.units.append(unit)

    def _after(self, record: Record, body: bytes) -> None:
        """Go on to the state behind `record`."""
        if record is xl.SAVE_FILE_HEADER:
            self._xl_header(body)
        elif record is libxl.STREAM_HEADER:
            self._set_order(record, body[12:16])
        elif record is libxc.IMAGE_HEADER:
            self._set_order(record, body[16:18])
        elif record is libxc.END and not self.mode:
            self.mode = "plain"
        if record is xl.CONFIG:
            self._after_config()
            return
        step = (self.state, record.name)
        if self.whole and self.entered is State.IMAGE_HEADER and step in NEXT_BARE:
            self.state = NEXT_BARE[step]
        else:
            self.state = NEXT.get(step, self.state)
        self._begin()

    def _xl_header(self, body: bytes) -> None:
        """Remember what the xl header says about the bytes behind it (stream.md 2.2)."""
        if len(body) < xl.SAVE_FILE_HEADER.length.exact[0]:
            self._optional_data_len = None
            return
        self._streamv2 = bool(int.from_bytes(body[36:40], self.xl_order) & xl.STREAMV2)
        self._optional_data_len = int.from_bytes(body[44:48], self.xl_order)

    def _infer_config(self, frame: int, time: int | None) -> None:
        """The xl header is lost, but its configuration follows: Xen's writer makes that all of the optional data."""
        length = int.from_bytes(self.want[:_CONFIG_LEN_SIZE], self.xl_order)
        if not 0 < length <= _CONFIG_LEN_MAX:
            self.failed = True
            return
        self._optional_data_len = _CONFIG_LEN_SIZE + length
        self._reread(self.start, frame, time)

    def _after_config(self) -> None:
        if self._streamv2:
            self.state = State.LIBXL_HEADER
            self._begin()
            return
        self._finding(findings.LEGACY, self.position, what="xl header without STREAMv2")
        self._ignore_rest()

    def _set_order(self, record: Record, options: bytes) -> None:
        if options and options[-1] & 1:
            self.order = "big"
            self._finding(findings.BIG_ENDIAN, self.start, layer=record.layer)

    # -- the dirty list, whose header has 8, 16 or 12 bytes (stream.md 4.6, 5.4) ---------------------------------

    def _is_back_list(self, record: Record) -> bool:
        return record is libxc.CHECKPOINT_DIRTY_PFN_LIST and self.state is State.BACK_CHANNEL

    def _list_complete(self, unit: Unit) -> None:
        """A dirty list is there up to where it ends if its header has 8 bytes, or up to its known end."""
        self._held = unit
        if not self.list_header and dirtylist.plainly_specified(unit.body):
            self.list_header = RECORD_HEADER_SIZE
        if self.list_header:
            self._settle_list(self.list_header, unit.last_frame, unit.time_end)
            return
        self.start = self.position
        self._marks.clear()
        self.need = dirtylist.LOOKAHEAD[0]

    def _decide_list(self, frame: int, time: int | None, *, at_end: bool = False) -> None:
        """Tell the header size from the bytes behind the list."""
        unit = self._held
        assert unit is not None
        seen = len(self.want)
        self._marks[seen] = (frame, time)
        size = None
        if at_end or seen in dirtylist.DECIDING:
            size = dirtylist.header_size(unit.body, bytes(self.want), unit.order, at_end=at_end)
        if size is None:
            self.need = next(count for count in dirtylist.LOOKAHEAD if count > seen)
            return
        if size.certain and not at_end:
            self.list_header = size.bytes
        self._settle_list(size.bytes, frame, time)

    def _guess_list(self, frame: int, time: int | None) -> None:
        """What follows a list is lost."""
        unit = self._held
        assert unit is not None
        size = dirtylist.guess(unit.body, bytes(self.want), unit.order)
        if size > RECORD_HEADER_SIZE:
            unit.extra["header_size_inferred"] = True
        self._settle_list(size, frame, time)

    def _settle_list(self, size: int, frame: int, time: int | None) -> None:
        """Hand out the held list as one with a header of `size` bytes, and read on behind it."""
        unit = self._held
        assert unit is not None
        self._held = None
        stray = size - RECORD_HEADER_SIZE
        if stray:
            body = unit.body
            if unit.size == RECORD_HEADER_SIZE + padded(unit.body_length or 0):
                body += self.want[:stray]
                del self.want[:stray]
                unit.size += stray
                unit.last_frame, unit.time_end = self._marks.get(stray, (frame, time))
                self.start_frame, self.start_time = self._marks.get(stray + 1, (frame, time))
            unit.body = body
            self._take_stray(unit, size)
        unit.extra["header_size"] = size
        self._emit(unit)
        self.state = State.BACK_CHANNEL
        self._reread(unit.end, frame, time)

    def _take_stray(self, unit: Unit, size: int) -> None:
        """Take what belongs to a list header of `size` bytes out of the body."""
        stray = size - RECORD_HEADER_SIZE
        unit.header_size = size
        unit.extra["stray"] = unit.body[:stray].hex()
        unit.extra["header_size"] = size
        unit.body = unit.body[stray:]
        self._finding(findings.DIRTY_HEADER, unit.offset, size=size)

    def _finding(self, rule: Rule, offset: int, **values: object) -> None:
        if not self.strict:
            self.findings.append((rule, offset, values))
