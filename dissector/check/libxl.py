# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the libxl header and the libxl records (stream.md section 3), but for the order of checkpoints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dissector.check.model import PADDED, UNKNOWN, Hit, check, in_body, wrong_length
from dissector.check.session import number, whole
from dissector.spec import libxc, libxl, rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

EMULATOR: Final = (libxl.EMULATOR_XENSTORE_DATA, libxl.EMULATOR_CONTEXT)
VERSION: Final = 2
BIG_ENDIAN, CONVERTED = 1, 2
_STRANGE: Final = re.compile(rb"[^A-Za-z0-9/_@-]")
_VERSION_AT, _OPTIONS_AT = 8, 12


@check(rules.LIBXL_VERSION, libxl.STREAM_HEADER)
def version(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 12. Where not even the first bytes fit, see :mod:`dissector.check.framing`."""
    found = number(record, "version")
    if found is not None and found != VERSION:
        yield Hit(_VERSION_AT, {"found": f"version {found}"})


@check(rules.LIBXL_BIG_ENDIAN, libxl.STREAM_HEADER)
def big_endian(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 13."""
    found = number(record, "options")
    if found is not None and found & BIG_ENDIAN:
        yield Hit(_OPTIONS_AT, {"found": found})


@check(rules.LIBXL_OPTIONS, libxl.STREAM_HEADER)
def options(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 14."""
    found = number(record, "options")
    if found is not None and found & ~(BIG_ENDIAN | CONVERTED):
        yield Hit(_OPTIONS_AT, {"found": found})


@check(rules.LIBXL_CONVERTED, libxl.STREAM_HEADER)
def converted(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 15."""
    found = number(record, "options")
    if found is not None and found & CONVERTED:
        yield Hit(_OPTIONS_AT, {"found": found})


@check(rules.LIBXL_UNKNOWN, UNKNOWN)
def unknown(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 16."""
    if record.layer == "libxl":
        yield Hit(0, {"found": record.type_id})


@check(rules.LIBXL_PADDING, PADDED)
def padding(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 17."""
    if record.layer == "libxl":
        yield Hit(in_body(record, record.body_length or 0), {"what": record.type, "found": record.extra["padding"]})


@check(rules.LIBXL_EMPTY, libxl.END, libxl.LIBXC_CONTEXT, libxl.CHECKPOINT_END)
def empty(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 18."""
    if record.body_length:
        yield wrong_length(record)


@check(rules.EMULATOR_LENGTH, *EMULATOR)
def emulator_length(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 19."""
    if record.body_length is not None and record.body_length < 8:
        yield wrong_length(record)


@check(rules.EMULATOR_GUEST, *EMULATOR)
def emulator_guest(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 20."""
    if session.guest == "PV" or session.kind in ("pv", "pvh"):
        yield Hit(0, {"what": record.type, "guest": "PVH" if session.kind == "pvh" else "PV"})


@check(rules.EMULATOR_ID, *EMULATOR)
def emulator_id(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 21."""
    found = number(record, "emulator_id")
    if found is not None and found not in libxl.EMULATOR_ID.values:
        yield Hit(in_body(record, 0), {"found": found})


@check(rules.EMULATOR_INDEX, *EMULATOR)
def emulator_index(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 22."""
    found = number(record, "index")
    if found:
        yield Hit(in_body(record, 4), {"found": found})


@check(rules.EMULATOR_UNKNOWN, *EMULATOR)
def emulator_unknown(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 23."""
    if number(record, "emulator_id") == 0 and session.original:
        yield Hit(in_body(record, 0))


@check(rules.EMULATOR_MAGIC, libxl.EMULATOR_CONTEXT)
def emulator_magic(record: Record, session: Session) -> Iterator[Hit]:
    """What QEMU writes first; of an empty state nothing is said."""
    assert record.definition.signature is not None
    at, magic = record.definition.signature
    found = record.body[at : at + len(magic)]
    if found and not magic.startswith(found):
        yield Hit(in_body(record, at), {"found": found.hex(" ")})


@check(rules.XENSTORE_FORM, libxl.EMULATOR_XENSTORE_DATA)
def xenstore_form(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 24."""
    if not whole(record):
        return
    text = record.body[8:]
    at = 8
    while text:
        key, nul, rest = text.partition(b"\0")
        value, end, text = rest.partition(b"\0")
        if not nul or not end:
            yield Hit(in_body(record, at), {"problem": "end before the NUL of a " + ("key" if not nul else "value")})
            return
        if not key or key.startswith(b"/"):
            problem = f"have the absolute key {key.decode('ascii', 'backslashreplace')}" if key else "have an empty key"
            yield Hit(in_body(record, at), {"problem": problem})
            return
        at += len(key) + len(value) + 2


@check(rules.XENSTORE_KEY, libxl.EMULATOR_XENSTORE_DATA)
def xenstore_key(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 25."""
    texts = record.body[8:].split(b"\0")
    at = 8
    for number_, text in enumerate(texts[:-1]):
        strange = _STRANGE.search(text) if number_ % 2 == 0 else None
        if strange is not None:
            yield Hit(in_body(record, at + strange.start()), {"found": repr(text.decode("ascii", "backslashreplace"))})
            return
        at += len(text) + 1


@check(rules.LIBXC_CONTEXT_ORDER, libxl.LIBXC_CONTEXT, *EMULATOR, libxl.END)
def libxc_context_order(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 26."""
    half = session.forward
    if record.definition is libxl.LIBXC_CONTEXT:
        if half.count[libxl.LIBXC_CONTEXT]:
            yield Hit(0, {"problem": "a second LIBXC_CONTEXT"})
    elif half.adjoins and half.last is not None and half.last.definition is libxl.STREAM_HEADER:
        yield Hit(0, {"problem": f"the first libxl record is {record.type}"})


@check(rules.CHECKPOINT_STATE_SHORT, libxl.CHECKPOINT_STATE, libxc.X86_PV_VCPU_EXTENDED)
def checkpoint_state_short(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 29, the part that matters to a receiver."""
    if is_state(record, session) and (record.body_length or 0) < 4:
        yield wrong_length(record)


@check(rules.CHECKPOINT_STATE_LENGTH, libxl.CHECKPOINT_STATE, libxc.X86_PV_VCPU_EXTENDED)
def checkpoint_state_length(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 29."""
    if is_state(record, session) and (record.body_length or 0) > 4:
        yield wrong_length(record)


def is_state(record: Record, session: Session) -> bool:
    """Tell whether a record is a CHECKPOINT_STATE.

    With a wrong length it is read as the libxc record with the same number, which has no business there.
    """
    if record.definition is libxl.CHECKPOINT_STATE:
        return True
    return record.definition is libxc.X86_PV_VCPU_EXTENDED and session.behind_checkpoint_end
