# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the libxc headers, static data, and what all libxc records have in common (stream.md 4.1 to 4.4, 4.7)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from dissector.check.conditions import judged
from dissector.check.model import PADDED, UNKNOWN, Hit, check, in_body
from dissector.check.session import is_state, number
from dissector.spec import findings, libxc, rules
from dissector.spec.conditions import POLICIES
from dissector.spec.cpu import NO_SUBLEAF
from dissector.spec.model import OPTIONAL_RECORD
from dissector.wire.leading import ORDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

_OPTIONS = 16
BIG_ENDIAN: Final = 1
_KEYS: Final = {libxc.X86_CPUID_POLICY: "II16x", libxc.X86_MSR_POLICY: "I12x"}
"""What tells the entries of a policy apart: leaf and subleaf, or the MSR."""


image_version = judged(rules.IMAGE_VERSION)


@check(findings.BIG_ENDIAN, libxc.IMAGE_HEADER)
def big_endian(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 35."""
    if (number(record, "options") or 0) & BIG_ENDIAN:
        yield Hit(_OPTIONS, {"layer": "libxc"})


image_reserved = judged(rules.IMAGE_RESERVED)
domain_type = judged(rules.DOMAIN_TYPE)
page_shift = judged(rules.PAGE_SHIFT)
domain_reserved = judged(rules.DOMAIN_RESERVED)
xen_major = judged(rules.XEN_MAJOR)


@check(rules.LIBXC_PADDING, PADDED)
def padding(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 42."""
    if record.layer == "libxc":
        yield Hit(in_body(record, record.body_length or 0), {"what": record.type, "found": record.extra["padding"]})


@check(findings.UNKNOWN_RECORD, UNKNOWN)
def unknown(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 43."""
    if record.layer == "libxc" and not _optional(record):
        yield Hit(0, {"layer": "libxc", "type_id": record.type_id})


@check(findings.UNKNOWN_OPTIONAL, UNKNOWN)
def unknown_optional(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 44, in a plain stream and in the first checkpoint."""
    if record.layer == "libxc" and _optional(record) and not session.forward.count[libxc.CHECKPOINT]:
        yield Hit(0, {"type_id": record.type_id})


@check(rules.UNKNOWN_BUFFERED, UNKNOWN)
def unknown_buffered(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 44, later."""
    if record.layer == "libxc" and _optional(record) and session.forward.count[libxc.CHECKPOINT]:
        yield Hit(0, {"found": record.type_id})


def _optional(record: Record) -> bool:
    return bool((record.type_id or 0) & OPTIONAL_RECORD)


@check(rules.GUEST_RECORD, *(record for record in libxc.RECORDS if record.guests != "any"))
def guest_record(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 45."""
    wanted = record.definition.guests
    if record.direction == "reverse" or record.definition is libxc.CHECKPOINT_DIRTY_PFN_LIST:
        return
    if session.guest and wanted != session.guest and not is_state(record, session):
        yield Hit(0, {"what": record.type, "wanted": wanted, "guest": session.guest})


toolstack = judged(rules.TOOLSTACK)
empty = judged(rules.LIBXC_EMPTY)


@check(rules.STATIC_MISSING, libxc.PAGE_DATA, libxc.X86_PV_P2M_FRAMES)
def static_missing(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 48, said once."""
    seen = session.forward
    if session.version != 3 or not seen.whole or seen.count[libxc.STATIC_DATA_END]:
        return
    if not seen.count[libxc.PAGE_DATA] and not seen.count[libxc.X86_PV_P2M_FRAMES]:
        yield Hit(0, {"what": record.type})


static_repeated = judged(rules.STATIC_REPEATED)
static_version = judged(rules.STATIC_VERSION)
policy_version = judged(rules.POLICY_VERSION)
policy_late = judged(rules.POLICY_LATE)
policy_length = judged(rules.POLICY_LENGTH)


@check(rules.POLICY_ABSENT, libxc.STATIC_DATA_END)
def policy_absent(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 54."""
    seen = session.forward
    if session.version == 3 and seen.whole and not seen.count[libxc.STATIC_DATA_END]:
        for policy in POLICIES:
            if not seen.count[policy]:
                yield Hit(0, {"what": policy.name})


def policy_entries(record: Record, form: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Give the place in the body and the integers of each whole entry: one by one, a length may claim a million.

    Args:
        record: a CPUID or MSR policy.
        form: what an entry consists of, as struct writes it.
    """
    unpack = struct.Struct(ORDERS[record.order] + form)
    body = memoryview(record.body)[: len(record.body) // unpack.size * unpack.size]
    for number_, values in enumerate(unpack.iter_unpack(body)):
        yield unpack.size * number_, values


@check(rules.MSR_FLAGS, libxc.X86_MSR_POLICY)
def msr_flags(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 55; the first of a record."""
    for at, (index, flags) in policy_entries(record, "II8x"):
        if flags:
            yield Hit(in_body(record, at + 4), {"found": flags, "index": index})
            return


@check(rules.POLICY_ORDER, *POLICIES)
def policy_order(record: Record, session: Session) -> Iterator[Hit]:
    """Leaves ascend, and the subleaves of one; so do MSRs. The first entry of a record that does not."""
    before: tuple[int, ...] | None = None
    for at, key in policy_entries(record, _KEYS[record.definition]):
        if before is not None and key <= before:
            said = {"entry": _entry(key), "before": _entry(before)}
            yield Hit(in_body(record, at), {"what": record.type, **said})
            return
        before = key


def _entry(key: tuple[int, ...]) -> str:
    """Write a leaf with its subleaf, if it has one, or an MSR."""
    return "/".join(f"{part:#x}" for part in key if part != NO_SUBLEAF)
