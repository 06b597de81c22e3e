# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges records by the table in :mod:`dissector.spec.conditions`."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from dissector.check.model import BODY_LENGTH, Check, Hit, in_body
from dissector.check.session import is_state, number
from dissector.spec.conditions import CONDITIONS
from dissector.spec.model import Bytes, Enum, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dissector.check.session import Session
    from dissector.spec.conditions import Condition, When
    from dissector.spec.findings import Rule
    from dissector.spec.model import Record as Definition
    from dissector.wire.events import Record

_WHEN: Final[dict[When, Callable[[Record, Session], bool]]] = {
    "forward": lambda record, session: record.direction == "forward",
    "reverse": lambda record, session: record.direction == "reverse",
    "v2": lambda record, session: session.version == 2,
    "original": lambda record, session: session.original,
    "inside": lambda record, session: session.inside is True,
    "outside": lambda record, session: session.inside is False,
    "not a state": lambda record, session: not is_state(record, session),
    "has a head": lambda record, session: (record.body_length or 0) >= 8,
}
_NAMES: Final = re.compile(r"\{(\w+)")


def judged(rule: Rule) -> Check:
    """Make the check of a rule from the table; records have to be looked at in its order."""
    rows = [one for one in CONDITIONS if one.rule is rule]
    assert rows, rule.id

    def test(record: Record, session: Session) -> Iterator[Hit]:
        for one in rows:
            if record.definition in one.on and holds(one, record, session):
                yield _hit(one, record)

    return Check(rule, tuple(dict.fromkeys(definition for one in rows for definition in one.on)), test)


def holds(one: Condition, record: Record, session: Session) -> bool:
    """Tell whether a record is as a condition says, and so breaks its rule."""
    if one.behind is not None and not session.forward.count[one.behind]:
        return False
    if one.length is not None and (record.body_length is None or one.length.allows(record.body_length)):
        return False
    if one.field:
        found = number(record, one.field)
        if found is None or not _breaks(one, found):
            return False
    return all(_WHEN[name](record, session) for name in one.when)


def _breaks(one: Condition, found: int) -> bool:
    if found & one.zero or ~found & one.ones or found in one.forbidden:
        return True
    return bool(one.allowed and found not in one.allowed) or (one.maximum is not None and found > one.maximum)


def _hit(one: Condition, record: Record) -> Hit:
    facts: dict[str, object] = {"what": record.type, "length": record.body_length, "field": one.field}
    at = 0
    if one.length is not None:
        at = BODY_LENGTH
        facts["step"] = one.length.step
    if one.field:
        at = in_body(record, place(record.definition, one.field)[0])
        facts["found"] = _found(one, record)
    names = _NAMES.findall(one.rule.text)
    return Hit(at, {name: facts[name] for name in names})


def _found(one: Condition, record: Record) -> object:
    said = one.tells or one.field
    found = number(record, said)
    names = place(record.definition, said)[1].names
    name = names.values.get(found or 0) if isinstance(names, Enum) else None
    if name is not None:
        return f"{found} ({name})"
    return found if one.said == "{}" else one.said.format(found)


@cache
def place(definition: Definition, name: str) -> tuple[int, Field]:
    """Return where a field stands, from the beginning of the body, and what it is; nothing before it varies in size."""
    at = 0
    for element in definition.body:
        if isinstance(element, Field):
            if element.name == name:
                return at, element
            at += element.size
        else:
            assert isinstance(element, Bytes), (definition.name, name)
            assert isinstance(element.length, int), (definition.name, name)
            at += element.length
    raise KeyError(name)
