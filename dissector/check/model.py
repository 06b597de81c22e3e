# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check is: a rule, the records it looks at, and a function that finds what is wrong with one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from dissector.spec.model import Record as Definition

if TYPE_CHECKING:
    from types import ModuleType

    from dissector.check.session import Session
    from dissector.spec.findings import Rule
    from dissector.wire.events import Record


@dataclass(frozen=True, slots=True)
class Hit:
    """A place where a rule is broken.

    Attributes:
        at: Bytes from the first byte of the record, header included.
        values: What the text of the rule says in braces.
        record: The record, if it is another one than the one that was looked at.
    """

    at: int
    values: dict[str, object] = field(default_factory=dict)
    record: Record | None = None


Test: TypeAlias = Callable[["Record", "Session"], Iterable[Hit]]


UNKNOWN: Final = Definition(layer="libxc", name="UNKNOWN", meaning="any record of unknown type", section="4.3")
PADDED: Final = Definition(layer="libxc", name="PADDED", meaning="any record whose padding is not zero", section="4.3")


@dataclass(frozen=True, slots=True)
class Check:
    """A rule, and how to find where it is broken.

    Attributes:
        rule: What is said about it.
        on: Definitions of the records it looks at; `UNKNOWN` and `PADDED` stand for many.
        test: Takes a record and what is known of the stream before it.
    """

    rule: Rule
    on: tuple[Definition, ...]
    test: Test


def check(rule: Rule, *on: Definition) -> Callable[[Test], Check]:
    """Make a :class:`Check` of the function below."""
    return lambda test: Check(rule, on, test)


def checks_in(module: ModuleType) -> list[Check]:
    """Return the checks of a module, in the order they stand there."""
    return [value for value in vars(module).values() if isinstance(value, Check)]


def in_body(record: Record, offset: int) -> int:
    """Return how far a place in the body lies from the first byte of the record."""
    return offset + (record.header_size if record.type_id is not None else 0)


BODY_LENGTH = 4
"""Where the length stands in a record header."""


def wrong_length(record: Record, **values: object) -> Hit:
    """Point at the length in a record header."""
    return Hit(BODY_LENGTH, {"what": record.type, "length": record.body_length, **values})
