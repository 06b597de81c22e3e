# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the libxl header and the libxl records (stream.md section 3), but for the order of checkpoints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dissector.check.conditions import judged
from dissector.check.model import PADDED, UNKNOWN, Hit, check, in_body, wrong_length
from dissector.check.session import is_state, whole
from dissector.spec import libxc, libxl, rules
from dissector.spec.conditions import EMULATOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

_STRANGE: Final = re.compile(rb"[^A-Za-z0-9/_@-]")


version = judged(rules.LIBXL_VERSION)
"""Rule 12. Where not even the first bytes fit, see :mod:`dissector.check.framing`."""
big_endian = judged(rules.LIBXL_BIG_ENDIAN)
options = judged(rules.LIBXL_OPTIONS)
converted = judged(rules.LIBXL_CONVERTED)


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


empty = judged(rules.LIBXL_EMPTY)
emulator_length = judged(rules.EMULATOR_LENGTH)


@check(rules.EMULATOR_GUEST, *EMULATOR)
def emulator_guest(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 20."""
    if session.guest == "PV" or session.kind in ("pv", "pvh"):
        yield Hit(0, {"what": record.type, "guest": "PVH" if session.kind == "pvh" else "PV"})


emulator_id = judged(rules.EMULATOR_ID)
emulator_index = judged(rules.EMULATOR_INDEX)
emulator_unknown = judged(rules.EMULATOR_UNKNOWN)


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
    """Rule 26. Behind a hole, what was found may stand in the contents of a page."""
    half = session.forward
    if record.definition is libxl.LIBXC_CONTEXT:
        if half.whole and half.count[libxl.LIBXC_CONTEXT]:
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
