# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine found while it read, judged anew with what is known of the stream around that place.

The engine says that a place is no record head; here it becomes clear what should have been there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from dissector.check.model import Hit, check
from dissector.spec import BY_TYPE, findings, libxc, libxl, rules, xl
from dissector.wire.heads import HEADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Half, Session
    from dissector.spec import model
    from dissector.spec.findings import Rule
    from dissector.wire.events import Finding, Record

JUDGED_WITH_THE_RECORD: Final = frozenset(
    {
        findings.RECORD_LENGTH,
        findings.UNEXPECTED,
        findings.BIG_ENDIAN,
        findings.UNKNOWN_RECORD,
        findings.UNKNOWN_OPTIONAL,
        findings.DIRTY_HEADER,
    }
)
"""The record itself comes too, and its own rule says more."""
JUDGED_AT_THE_END: Final = frozenset({findings.RECORD_CUT})
"""Whether a stream or only its capture ends inside a record is known at the end (:mod:`dissector.check.ending`)."""

IMAGE_BEGINS: Final = b"\xff" * 8 + b"XENF"
HEADERS: Final = (
    (xl.XL_MAGIC[:12], "xl header"),
    (libxl.LIBXL_IDENT, "libxl stream header"),
    (IMAGE_BEGINS, "libxc image header"),
)
"""Beginnings of headers, and what to call them."""
BEFORE_LIBXC: Final = frozenset({libxl.CHECKPOINT_END, libxl.CHECKPOINT_STATE})
"""Records of libxl behind which libxc may go on."""
_HEX: Final = re.compile(r"[0-9a-f]{2}(?: [0-9a-f]{2})*$")
_STATE_HEAD: Final = b"\x05\0\0\0"


def judge(finding: Finding, session: Session) -> tuple[Rule, dict[str, Any]] | None:
    """Say what a finding of the engine really is: a rule and the values of its text; None for nothing of its own.

    The rule of the finding itself means that it stays as it is.
    """
    rule = finding.rule
    if rule in JUDGED_AT_THE_END and finding.direction is not None and finding.offset is not None:
        session.stops_at[finding.direction] = finding.offset
    if rule in JUDGED_WITH_THE_RECORD or rule in JUDGED_AT_THE_END:
        return None
    if rule is findings.FRAMING:
        return _framing(finding, session)
    if rule is findings.MESSAGE:
        session.misread = (finding.direction, finding.offset)
        session.broken[finding.direction or "forward"] = finding.offset or 0
    if rule is findings.REVERSE_UNKNOWN and ("reverse" not in session.flow.begun or "reverse" in session.unseen):
        return None  # what is there is not known to be the beginning
    if rule is findings.TRAILING and finding.direction == "forward" and _waits_for_go(session):
        return findings.MESSAGE, {"what": "GO"}
    return rule, {}


def _framing(finding: Finding, session: Session) -> tuple[Rule, dict[str, Any]] | None:
    half = session.forward if finding.direction == "forward" else session.reverse
    shown = _HEX.search(finding.text)
    seen = bytes.fromhex(shown[0]) if shown else b""
    offset = finding.offset or 0
    if session.misread == (finding.direction, offset):
        return None
    begun = session.flow.start == "file" or finding.direction in session.flow.begun
    if half.last is None and not offset and begun:
        session.broken[finding.direction or "forward"] = offset
        return (rules.XL_MAGIC, {}) if seen.startswith(xl.XL_MAGIC[:12]) else (finding.rule, {})
    if half.last is None or half.behind != offset or not half.whole:
        return rules.FRAMING_UNCERTAIN, {"what": seen.hex(" ")}
    session.broken[finding.direction or "forward"] = offset
    return _expected(half.last.definition, seen) or _known(half, seen) or (finding.rule, {})


def _expected(last: model.Record, seen: bytes) -> tuple[Rule, dict[str, Any]] | None:
    """Name what should have followed `last`, where only one thing can."""
    if last is xl.CONFIG:
        return rules.LIBXL_VERSION, {"found": seen.hex(" ")}
    if last is libxl.LIBXC_CONTEXT:
        return rules.IMAGE_MARKER, {"found": seen.hex(" ")}
    if last is xl.BANNER and not seen.startswith(_STATE_HEAD):
        return findings.MESSAGE, {"what": "READY"}
    return None


def _known(half: Half, seen: bytes) -> tuple[Rule, dict[str, Any]] | None:
    """Recognise what stands in the place of a record."""
    for begins, name in HEADERS:
        if seen and seen.startswith(begins[: len(seen)]):
            return rules.HEADER_TWICE, {"what": name}
    assert half.last is not None
    order = half.last.order
    if (half.last.layer == "libxc" or half.last.definition in BEFORE_LIBXC) and len(seen) >= 8:
        type_id, length = HEADS[order].unpack_from(seen)
        known = BY_TYPE.get(("libxc", type_id))
        if known is not None and length > libxc.REC_LENGTH_MAX:
            return rules.TOO_LONG, {"what": known.name, "length": length, "limit": libxc.REC_LENGTH_MAX}
    return None


def _waits_for_go(session: Session) -> bool:
    last = session.forward.last
    at_end = last is not None and last.definition is libxl.END
    return at_end and session.flow.entry == "xl" and bool(session.reverse.count[xl.READY])


@check(rules.HEADER_TWICE, libxc.X86_PV_INFO, libxc.PAGE_DATA)
def domain_header_twice(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 100 for the domain header, which looks like the head of a record of 12 bytes."""
    last = session.forward.last
    if last is not None and last.definition is libxc.DOMAIN_HEADER and session.forward.adjoins and last.complete:
        head = HEADS[record.order].pack(record.type_id, record.body_length)
        if head + record.body[:8] == last.body:
            yield Hit(0, {"what": "libxc domain header"})
