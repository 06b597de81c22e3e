# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the records of PV guests, and those of both kinds at the end of a checkpoint (stream.md 4.4, 4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.check.conditions import judged
from dissector.check.model import BODY_LENGTH, Hit, check, in_body, wrong_length
from dissector.check.session import is_state, number
from dissector.spec import libxc, rules
from dissector.spec.conditions import VCPU

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

HEAD: Final = 8
"""An X86_PV_INFO; vcpu_id and reserved word in front of a vcpu's state."""
RESERVED: Final = 2
"""Where the reserved bytes of X86_PV_INFO begin."""
BASIC: Final = {4: 2800, 8: 5168}
"""Width of the guest -> bytes of vcpu_guest_context."""
EXTENDED_MAX, XSAVE_MIN, MSR = 128, 16, 16
WIDTHS: Final = frozenset({(4, 3), (8, 4)})
CLOSING: Final = (libxc.END, libxc.CHECKPOINT)


# -- static data ------------------------------------------------------------------------------------------------------


@check(rules.PV_INFO_ORDER, libxc.X86_PV_INFO, libxc.X86_PV_P2M_FRAMES, libxc.SHARED_INFO)
def pv_info_order(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 56."""
    seen = session.forward
    if record.definition is libxc.X86_PV_INFO:
        if seen.count[libxc.X86_PV_INFO]:
            yield Hit(0, {"problem": "a second X86_PV_INFO"})
    elif seen.whole and not seen.count[libxc.X86_PV_INFO] and not seen.count[record.definition]:
        yield Hit(0, {"problem": f"{record.type} without X86_PV_INFO"})


@check(rules.PV_INFO_VALUE, libxc.X86_PV_INFO)
def pv_info_value(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 57."""
    if (record.body_length or 0) < HEAD:
        yield Hit(BODY_LENGTH, {"problem": f"body_length {record.body_length}"})
        return
    width, levels = number(record, "guest_width"), number(record, "pt_levels")
    if width is not None and levels is not None and (width, levels) not in WIDTHS:
        yield Hit(in_body(record, 0), {"problem": f"guest_width {width} and pt_levels {levels}"})


pv_info_length = judged(rules.PV_INFO_LENGTH)
"""Rule 57, the part that no receiver minds."""


@check(rules.PV_INFO_RESERVED, libxc.X86_PV_INFO)
def pv_info_reserved(record: Record, session: Session) -> Iterator[Hit]:
    """Section 4.6; no rule of section 7."""
    found = record.body[RESERVED:HEAD]
    used = found.lstrip(b"\0")
    if used:
        yield Hit(in_body(record, RESERVED + len(found) - len(used)), {"found": found.hex()})


@check(rules.P2M_RANGE, libxc.X86_PV_P2M_FRAMES)
def p2m_range(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 58."""
    found = record.body_length or 0
    if found < HEAD:
        yield Hit(BODY_LENGTH, {"problem": f"body_length {found}, expected at least 8"})
        return
    start, end = number(record, "p2m_start_pfn"), number(record, "p2m_end_pfn")
    if start is None or end is None:
        return
    if start > end:
        yield Hit(in_body(record, 0), {"problem": f"p2m_start_pfn {start:#x} is greater than p2m_end_pfn {end:#x}"})
    elif session.width is not None:
        per_frame = libxc.PAGE_SIZE // session.width
        frames = end // per_frame + 1 - start // per_frame
        if found != HEAD + 8 * frames:
            said = (
                f"body_length {found}, expected {HEAD + 8 * frames} for {frames} frames of pfns {start:#x} to {end:#x}"
            )
            yield Hit(BODY_LENGTH, {"problem": said})


@check(rules.P2M_ORDER, libxc.PAGE_DATA)
def p2m_order(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 59, said once."""
    seen = session.forward
    late = not seen.count[libxc.X86_PV_P2M_FRAMES] and not seen.count[libxc.PAGE_DATA]
    if session.guest == "PV" and seen.whole and late:
        yield Hit(0)


# -- the end of a checkpoint ------------------------------------------------------------------------------------------


shared_info_length = judged(rules.SHARED_INFO_LENGTH)


@check(rules.VCPU_LENGTH, *VCPU)
def vcpu_length(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 71."""
    if is_state(record, session) or record.body_length == HEAD:
        return
    expected = _expected(record, (record.body_length or 0) - HEAD, session)
    if expected:
        yield wrong_length(record, expected=expected)


def _expected(record: Record, blob: int, session: Session) -> str:
    """Say which length was expected; empty for a good one."""
    if blob < 0:
        return "at least 8"
    if record.definition is libxc.X86_PV_VCPU_BASIC:
        sizes = [BASIC[session.width]] if session.width is not None else sorted(BASIC.values())
        return "" if blob in sizes else " or ".join(str(HEAD + size) for size in sizes)
    if record.definition is libxc.X86_PV_VCPU_EXTENDED:
        return "" if blob <= EXTENDED_MAX else f"at most {HEAD + EXTENDED_MAX}"
    if record.definition is libxc.X86_PV_VCPU_XSAVE:
        return "" if blob >= XSAVE_MIN else f"at least {HEAD + XSAVE_MIN}"
    return "" if blob % MSR == 0 else f"8 + {MSR}n"


@check(rules.VCPU_EMPTY, *VCPU)
def vcpu_empty(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 72."""
    if record.body_length == HEAD and not is_state(record, session):
        yield Hit(BODY_LENGTH, {"what": record.type})


vcpu_reserved = judged(rules.VCPU_RESERVED)


@check(rules.VCPU_MISSING, *CLOSING)
def vcpu_missing(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 74."""
    if session.guest == "PV" and session.forward.whole and 0 not in session.vcpus:
        yield Hit(0, {"where": record.type})


@check(rules.VCPU_INNER, libxc.X86_PV_VCPU_EXTENDED)
def vcpu_inner(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 75. The converter passes on 128 bytes whatever the size says."""
    if is_state(record, session) or not session.original:
        return
    vcpu, inner, size = number(record, "vcpu_id"), number(record, "vcpu"), number(record, "size")
    blob = (record.body_length or 0) - HEAD
    if inner is not None and inner != vcpu:
        yield Hit(in_body(record, HEAD), {"problem": f"inner vcpu {inner}, expected vcpu_id {vcpu}"})
    elif size is not None and size != blob:
        yield Hit(
            in_body(record, HEAD + 4), {"problem": f"inner size {size}, expected {blob}, the bytes that are there"}
        )


tsc_length = judged(rules.TSC_LENGTH)
tsc_reserved = judged(rules.TSC_RESERVED)


@check(rules.TSC_COUNT, *CLOSING)
def tsc_count(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 78. Behind the last checkpoint of a 4.6 session END comes alone."""
    half = session.forward
    found = half.stage[libxc.X86_TSC_INFO]
    if half.stage_whole and found != 1 and not session.comes_alone(record):
        yield Hit(0, {"count": found or "no", "where": record.type})
