# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the xl layer: header, configuration, messages (stream.md section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.check.conditions import judged
from dissector.check.model import Hit, check
from dissector.check.session import config_text, number, parsed, whole
from dissector.spec import rules, xl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

KNOWN_FLAGS: Final = 0x3
JSON: Final = 0x1
_BYTEORDER, _MANDATORY, _OPTIONAL, _LENGTH = 32, 36, 40, 44
"""Where the fields of the header stand."""


@check(rules.XL_BYTEORDER, xl.SAVE_FILE_HEADER)
def byteorder(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 2."""
    found = record.body[_BYTEORDER:_MANDATORY]
    if len(found) == 4 and found != b"\4\3\2\1":
        yield Hit(_BYTEORDER, {"found": found.hex(" ")})


mandatory_flags = judged(rules.XL_MANDATORY_FLAGS)
old_flags = judged(rules.XL_OLD_FLAGS)
optional_flags = judged(rules.XL_OPTIONAL_FLAGS)


@check(rules.XL_CONFIG_LENGTH, xl.CONFIG)
def config_length(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 6."""
    length = number(record, "config_len")
    if record.size < 4:
        yield Hit(0, {"size": record.size, "problem": "expected none, or at least 4"})
    elif length is not None and 4 + length > record.size:
        yield Hit(0, {"size": record.size, "problem": f"config_len {length}, expected at most {record.size - 4}"})


@check(rules.XL_CONFIG_SURPLUS, xl.CONFIG)
def config_surplus(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 7."""
    length = number(record, "config_len")
    if length is not None and 4 + length < record.size:
        yield Hit(4 + length, {"size": record.size, "expected": 4 + length})


@check(rules.XL_CONFIG_SURPLUS, xl.SAVE_FILE_HEADER)
def no_config(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 7: xl refuses to migrate without a configuration, so there is one."""
    if number(record, "optional_data_len") == 0:
        yield Hit(_LENGTH, {"size": 0, "expected": "more than 4"})


@check(rules.XL_CONFIG_JSON, xl.CONFIG)
def config_json(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 8."""
    length = number(record, "config_len")
    if not whole(record) or len(record.body) < record.size or not session.flags or not session.flags & JSON:
        return
    if length is None or 4 + length > record.size:
        return
    text = config_text(record)
    nul = text.find(b"\0")
    if nul < 0:
        yield Hit(4 + len(text) - 1, {"problem": "has no NUL at its end"})
    elif nul < len(text) - 1:
        yield Hit(4 + nul, {"problem": f"has a NUL at byte {nul} of {len(text)}"})
    elif parsed(text) is None:
        yield Hit(4, {"problem": "is no JSON object"})


@check(rules.XL_PERMISSION, xl.GO)
def permission(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 10: a permission after success. One that is missing shows at the end (:mod:`dissector.check.ending`)."""
    if record.direction == "reverse" and session.statuses and session.statuses[-1] == 0:
        yield Hit(0, {"problem": "the target hands back the permission to resume although it reported success"})


@check(rules.XL_BANNER_FIRST, xl.BANNER, xl.SAVE_FILE_HEADER)
def banner_first(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 11. Both directions come in the order of their frames, but one may wait for a hole that is never filled."""
    other = session.forward.first if record.definition is xl.BANNER else session.reverse.first
    if other is None or other.direction == record.direction:
        return
    banner, header = (record, other) if record.definition is xl.BANNER else (other, record)
    if banner.definition is not xl.BANNER or header.definition is not xl.SAVE_FILE_HEADER:
        return
    times = banner.time is not None and header.time is not None and header.time < banner.time
    if times and header.first_frame < banner.first_frame:
        yield Hit(0, record=header)
