# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the libxc headers, static data, and what all libxc records have in common (stream.md 4.1 to 4.4, 4.7)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from dissector.check.libxl import is_state
from dissector.check.model import PADDED, UNKNOWN, Hit, check, in_body, wrong_length
from dissector.check.session import number
from dissector.spec import findings, libxc, rules
from dissector.spec.model import OPTIONAL_RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

POLICIES: Final = {libxc.X86_CPUID_POLICY: 24, libxc.X86_MSR_POLICY: 16}
"""Policy records, and the size of their entries."""
_ID, _VERSION, _OPTIONS, _RESERVED1, _RESERVED2 = 8, 12, 16, 18, 20
BIG_ENDIAN: Final = 1
_MSR: Final = {"little": "<IIQ", "big": ">IIQ"}


@check(rules.IMAGE_VERSION, libxc.IMAGE_HEADER)
def image_version(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 34."""
    found = number(record, "version")
    if found is not None and found not in (2, 3):
        yield Hit(_VERSION, {"found": found})


@check(findings.BIG_ENDIAN, libxc.IMAGE_HEADER)
def big_endian(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 35."""
    if (number(record, "options") or 0) & BIG_ENDIAN:
        yield Hit(_OPTIONS, {"layer": "libxc"})


@check(rules.IMAGE_RESERVED, libxc.IMAGE_HEADER)
def image_reserved(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 36."""
    for name, at, mask in (
        ("options", _OPTIONS, BIG_ENDIAN),
        ("reserved1", _RESERVED1, 0),
        ("reserved2", _RESERVED2, 0),
    ):
        found = number(record, name)
        if found is not None and found & ~mask:
            yield Hit(at, {"field": name, "found": found})


@check(rules.DOMAIN_TYPE, libxc.DOMAIN_HEADER)
def domain_type(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 37."""
    found = number(record, "type")
    if found is not None and found not in (1, 2):
        name = libxc.DOMAIN_TYPE.values.get(found)
        yield Hit(0, {"found": f"{found} ({name})" if name else found})


@check(rules.PAGE_SHIFT, libxc.DOMAIN_HEADER)
def page_shift(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 38."""
    found = number(record, "page_shift")
    if found is not None and found != 12:
        yield Hit(4, {"found": found})


@check(rules.DOMAIN_RESERVED, libxc.DOMAIN_HEADER)
def domain_reserved(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 39."""
    found = number(record, "reserved1")
    if found:
        yield Hit(6, {"found": found})


@check(rules.XEN_MAJOR, libxc.DOMAIN_HEADER)
def xen_major(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 40."""
    if number(record, "xen_major") == 0:
        yield Hit(8, {"found": number(record, "xen_minor")})


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


@check(rules.TOOLSTACK, libxc.TOOLSTACK)
def toolstack(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 46."""
    yield Hit(0)


@check(rules.LIBXC_EMPTY, libxc.END, libxc.VERIFY, libxc.CHECKPOINT, libxc.STATIC_DATA_END)
def empty(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 47."""
    if record.body_length:
        yield wrong_length(record)


@check(rules.STATIC_MISSING, libxc.PAGE_DATA, libxc.X86_PV_P2M_FRAMES)
def static_missing(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 48, said once."""
    seen = session.forward
    if session.version != 3 or not seen.whole or seen.count[libxc.STATIC_DATA_END]:
        return
    if not seen.count[libxc.PAGE_DATA] and not seen.count[libxc.X86_PV_P2M_FRAMES]:
        yield Hit(0, {"what": record.type})


@check(rules.STATIC_REPEATED, libxc.STATIC_DATA_END)
def static_repeated(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 49."""
    if session.forward.count[libxc.STATIC_DATA_END]:
        yield Hit(0)


@check(rules.STATIC_VERSION, libxc.STATIC_DATA_END)
def static_version(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 50."""
    if session.version == 2:
        yield Hit(0)


@check(rules.POLICY_VERSION, *POLICIES)
def policy_version(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 51."""
    if session.version == 2:
        yield Hit(0, {"what": record.type})


@check(rules.POLICY_LATE, *POLICIES)
def policy_late(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 52."""
    if session.forward.count[libxc.STATIC_DATA_END]:
        yield Hit(0, {"what": record.type})


@check(rules.POLICY_LENGTH, *POLICIES)
def policy_length(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 53."""
    step = POLICIES[record.definition]
    if not record.body_length or record.body_length % step:
        yield wrong_length(record, step=step)


@check(rules.POLICY_ABSENT, libxc.STATIC_DATA_END)
def policy_absent(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 54."""
    seen = session.forward
    if session.version == 3 and seen.whole and not seen.count[libxc.STATIC_DATA_END]:
        for policy in POLICIES:
            if not seen.count[policy]:
                yield Hit(0, {"what": policy.name})


@check(rules.MSR_FLAGS, libxc.X86_MSR_POLICY)
def msr_flags(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 55; the first of a record. Entry by entry: a length may claim a million of them."""
    size = POLICIES[libxc.X86_MSR_POLICY]
    body = memoryview(record.body)[: len(record.body) // size * size]
    for number_, (index, flags, _) in enumerate(struct.iter_unpack(_MSR[record.order], body)):
        if flags:
            yield Hit(in_body(record, size * number_ + 4), {"found": flags, "index": index})
            return
