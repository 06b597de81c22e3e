# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about checkpoints, the back channel, and how both directions fit together (stream.md 3.7, 5.1 to 5.3)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from dissector.check.conditions import judged
from dissector.check.model import Hit, check, in_body
from dissector.check.session import number
from dissector.spec import findings, libxc, libxl, rules, xl
from dissector.spec.libxc import CHECKPOINT_DIRTY_PFN_LIST as DIRTY_LIST
from dissector.spec.model import RECORD_HEADER_SIZE
from dissector.wire import codec
from dissector.wire.machine import BACK_CHANNEL_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

NEW, SUSPENDED, READY = 0, 1, 2
LIST: Final = -1
"""What BACK_CHANNEL_ORDER calls a dirty list."""
_SLICE: Final = 1 << 16
"""Bytes of a list that are looked at together."""


# -- the order of libxl records ---------------------------------------------------------------------------------------


checkpoint_end_place = judged(rules.CHECKPOINT_END_PLACE)


@check(rules.CHECKPOINT_STATE_PLACE, libxl.CHECKPOINT_STATE)
def checkpoint_state_place(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 28."""
    last = session.forward.last
    follows = record.direction == "forward" and session.forward.adjoins and last is not None
    if follows and last is not None and last.definition is not libxl.CHECKPOINT_END:
        yield Hit(0, {"before": f"{last.layer} {last.type}"})


@check(rules.CONTROL_ID, libxl.CHECKPOINT_STATE)
def control_id(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 30. A list that is missing is the matter of rule 95."""
    found = number(record, "control_id")
    if found is None:
        return
    if record.direction == "forward":
        if found != NEW:
            yield Hit(in_body(record, 0), {"found": _state(found), "expected": "0 (NEW) from the primary"})
        return
    expected = _expected_step(session)
    if found == NEW or found > 3:
        yield Hit(in_body(record, 0), {"found": _state(found), "expected": "1 to 3 from the secondary"})
    elif expected is not None and found != expected and expected != LIST:
        yield Hit(in_body(record, 0), {"found": _state(found), "expected": _state(expected)})


@check(rules.CONTROL_ID, libxc.PAGE_DATA, libxc.X86_TSC_INFO)
def no_new(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 30: in COLO a checkpoint from the second on begins with NEW. Behind a hole CHECKPOINT_END is inferred."""
    colo = session.forward.count[libxl.CHECKPOINT_STATE] or session.reverse.count[libxl.CHECKPOINT_STATE]
    if colo and session.forward.whole and session.behind_checkpoint_end:
        yield Hit(0, {"found": f"missing before {record.type}", "expected": _state(NEW)})


end_inside = judged(rules.END_INSIDE)


@check(rules.EMULATOR_COUNT, libxl.CHECKPOINT_END, libxl.END)
def emulator_count(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 32. A PVH guest has none, and its libxc stream looks like that of an HVM guest."""
    half = session.forward
    found = half.stage[libxl.EMULATOR_CONTEXT]
    may_lack = session.xen is not None and (4, 7) <= session.xen <= (4, 9)
    wanted = (session.kind == "hvm" and not may_lack) or half.count[libxl.EMULATOR_CONTEXT]
    finished = record.definition is libxl.END and half.count[libxl.CHECKPOINT_END] and not half.stage[libxc.END]
    judged = half.stage_whole and session.guest == "HVM" and session.original and not finished
    if judged and (found > 1 or (wanted and not found)):
        yield Hit(0, {"count": found or "no", "where": record.type})


# -- the order of libxc records ---------------------------------------------------------------------------------------


@check(rules.VERIFY_PLACE, libxc.VERIFY, libxc.CHECKPOINT)
def verify_place(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 69. The first CHECKPOINT is where a stream shows that it is no plain one."""
    half = session.forward
    seen = half.count[libxc.VERIFY]
    if record.definition is libxc.VERIFY:
        if half.count[libxc.CHECKPOINT]:
            yield Hit(0, {"problem": "VERIFY behind a CHECKPOINT"})
        elif seen:
            yield Hit(0, {"problem": "a second VERIFY"})
    elif seen and not half.count[libxc.CHECKPOINT]:
        yield Hit(0, {"problem": "CHECKPOINT behind VERIFY, which only plain migrations have"})


@check(rules.CHECKPOINT_PLAIN, libxc.CHECKPOINT, xl.READY)
def checkpoint_plain(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 87: only the receiver's answer tells that it was started for a plain migration."""
    said = xl.READY.body[0].const.rstrip(b"\0").decode()  # type: ignore[union-attr]
    if record.definition is libxc.CHECKPOINT:
        if session.reverse.count[xl.READY]:
            yield Hit(0, {"found": said})
    elif session.checkpoint is not None:
        yield Hit(0, {"found": said}, session.checkpoint)


@check(rules.END_AFTER_CHECKPOINT, libxc.END)
def end_after_checkpoint(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 88. Where the domain header is not in the capture, it may have been a 4.6."""
    if session.forward.count[libxc.CHECKPOINT] and session.xen not in (None, (4, 6)):
        yield Hit(0)


# -- the back channel -------------------------------------------------------------------------------------------------


dirty_list_forward = judged(rules.DIRTY_LIST_FORWARD)
dirty_list_length = judged(rules.DIRTY_LIST_LENGTH)


@check(rules.DIRTY_LIST_PFN, DIRTY_LIST)
def dirty_list_pfn(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 91."""
    memory = session.memory
    if record.direction != "reverse" or not session.forward.whole or not memory.certain or memory.highest < 0:
        return
    size = memory.highest + 1
    first, more = None, 0
    for at, pfns in _slices(record):
        if max(pfns) < size:
            continue
        wrong = [index for index, pfn in enumerate(pfns) if pfn >= size]
        first = first or (at + 8 * wrong[0], pfns[wrong[0]])
        more += len(wrong)
    if first is not None:
        said = f" (and {more - 1} more)" if more > 1 else ""
        yield Hit(in_body(record, first[0]), {"pfn": first[1], "size": size, "more": said})


@check(rules.DIRTY_LIST_ORDER, DIRTY_LIST)
def dirty_list_order(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 92; the first place of a list."""
    if record.direction != "reverse":
        return
    last = -1
    for at, pfns in _slices(record):
        for index, (before, pfn) in enumerate(pairwise((last, *pfns))):
            if pfn <= before:
                yield Hit(in_body(record, at + 8 * index), {"pfn": pfn, "before": before})
                return
        last = pfns[-1]


@check(findings.DIRTY_HEADER, DIRTY_LIST)
def dirty_list_header(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 93. What it did shows in the next rule, and in how the session ended."""
    if record.header_size > RECORD_HEADER_SIZE:
        yield Hit(RECORD_HEADER_SIZE, {"size": record.header_size})


@check(rules.DIRTY_LIST_RESENT, DIRTY_LIST, libxc.CHECKPOINT)
def dirty_list_resent(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 94: whichever comes last, the list or the end of the checkpoint it was for."""
    if record.definition is DIRTY_LIST:
        listed, number_ = record, session.reverse.count[DIRTY_LIST]
        wanted = record.direction == "reverse" and session.reverse.whole and record.complete
        sent = next((pfns for key, pfns in session.resent if key == number_ + 1), None) if wanted else None
    else:
        key, sent = session.news, session.sending
        listed = next((one for number_, one in session.lists if number_ == key), record)
    if sent is None or listed.definition is not DIRTY_LIST or not sent.certain or not session.forward.whole:
        return
    missing, first, last, zero = 0, None, -1, False
    for at, pfns in _slices(listed):
        zero = zero or not pfns[0]
        gone = [index for index, pfn in enumerate(pfns) if pfn not in sent]
        if gone:
            first = first or (at + 8 * gone[0], pfns[gone[0]])
            missing, last = missing + len(gone), pfns[gone[-1]]
    if first is not None:
        reason = ""
        whole_list = len(listed.body) // 8
        if (
            listed.header_size > RECORD_HEADER_SIZE
            and missing == 1
            and listed.body[-8:] == last.to_bytes(8, listed.order)
        ):
            reason = ": the primary read the list one word late, so that the last pfn was left over"
            reason += " and page 0 was sent for nothing" if 0 in sent and not zero else ""
        values = {"missing": missing, "count": whole_list, "pfn": first[1], "reason": reason}
        yield Hit(in_body(listed, first[0]), values, listed)


@check(rules.DIRTY_LIST_PLACE, DIRTY_LIST, libxl.CHECKPOINT_STATE)
def dirty_list_place(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 95."""
    if record.direction != "reverse":
        return
    expected = _expected_step(session)
    if record.definition is DIRTY_LIST:
        if expected is not None and expected != LIST:
            last = session.reverse.last
            place = "at the beginning" if last is None else f"behind {_step_name(last)}"
            yield Hit(0, {"problem": f"CHECKPOINT_DIRTY_PFN_LIST {place}"})
    elif expected == LIST:
        yield Hit(0, {"problem": f"{_step_name(record)} in place of the list"})


@check(rules.COLO_GUEST, libxl.CHECKPOINT_STATE)
def colo_guest(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 96, said once."""
    if session.forward.count[libxl.CHECKPOINT_STATE] or session.reverse.count[libxl.CHECKPOINT_STATE]:
        return
    if session.guest == "PV" or session.kind in ("pv", "pvh"):
        yield Hit(0, {"guest": "PVH" if session.kind == "pvh" else "PV"})


def _expected_step(session: Session) -> int | None:
    """Return the control id that comes next in the back channel, -1 for a list; None if that is not known."""
    half = session.reverse
    last = half.last
    if last is None:
        return READY if half.whole else None
    if not half.adjoins:
        return None
    if last.definition is xl.BANNER:
        return READY
    if last.definition is DIRTY_LIST:
        return BACK_CHANNEL_ORDER[LIST]
    step = number(last, "control_id") if last.definition is libxl.CHECKPOINT_STATE else None
    return BACK_CHANNEL_ORDER.get(step) if step is not None else None


def _state(control: int) -> str:
    name = libxl.CONTROL_ID.values.get(control)
    return f"{control} ({name})" if name else str(control)


def _step_name(record: Record) -> str:
    found = number(record, "control_id") if record.definition is libxl.CHECKPOINT_STATE else None
    return record.type if found is None else libxl.CONTROL_ID.values.get(found, f"control_id {found}")


def _slices(record: Record) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Give the pfns of a list that are there, some at a time, with their place in the body."""
    raw = record.body[: len(record.body) & ~7]
    for at in range(0, len(raw), _SLICE):
        yield at, codec.entries(raw[at : at + _SLICE], record.order)
