# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about PAGE_DATA and the passes over the memory (stream.md 4.5, 4.8)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from dissector.check.conditions import judged
from dissector.check.model import BODY_LENGTH, Hit, check, in_body
from dissector.check.session import number
from dissector.spec import libxc, rules
from dissector.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

LEGAL: Final = bytes(top for top in range(256) if top >> 4 in libxc.PAGE_TYPE.values)
"""Most significant bytes of entries whose page type exists."""
HVM_TYPES: Final = bytes(top for top in range(256) if top >> 4 in (0x0, 0xD, 0xE, 0xF))
XALLOC: Final = 0xE
LIST: Final = 8
"""Where the list stands in the body."""


@check(rules.PAGE_DATA_LENGTH, libxc.PAGE_DATA)
def length(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 60. A list with a type that does not exist has no length; see the next rule."""
    found = record.body_length or 0
    if found < LIST:
        yield Hit(BODY_LENGTH, {"length": found, "expected": "at least 16"})
        return
    batch = session.batch(record)
    if batch is None:
        return
    if not batch.count:
        yield Hit(in_body(record, 0), {"length": found, "expected": "a count of at least 1"})
    elif LIST + 8 * batch.count > found:
        yield Hit(
            BODY_LENGTH, {"length": found, "expected": f"at least {LIST + 8 * batch.count} for {batch.count} pfns"}
        )
    elif batch.whole and not batch.tops.translate(None, LEGAL):
        pages = codec.data_pages(batch.raw, record.order)
        expected = LIST + 8 * batch.count + libxc.PAGE_SIZE * pages
        if expected != found:
            said = f"{expected} for {batch.count} pfns with {pages} pages of contents"
            yield Hit(BODY_LENGTH, {"length": found, "expected": said})


@check(rules.PAGE_TYPE, libxc.PAGE_DATA)
def page_type(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 61; the first of a record."""
    batch = session.batch(record)
    wrong = batch.tops.translate(None, LEGAL) if batch is not None else b""
    if batch is not None and wrong:
        at = batch.tops.index(wrong[0])
        values = {"found": wrong[0] >> 4, "pfn": batch.pfns[at], "more": _more(len(wrong))}
        yield Hit(_entry(record, at), values)


@check(rules.PAGE_DATA_RESERVED, libxc.PAGE_DATA)
def reserved(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 62; the first of a record."""
    found = number(record, "reserved")
    if found:
        yield Hit(in_body(record, 4), {"problem": f"reserved word {found:#x}"})
        return
    batch = session.batch(record)
    if batch is None:
        return
    for at, entry in enumerate(batch.entries):
        if entry & libxc.PFN_RESERVED_MASK:
            yield Hit(_entry(record, at), {"problem": f"reserved bits of entry {at} ({entry:#018x})"})
            return


count = judged(rules.PAGE_DATA_COUNT)


@check(rules.PAGE_DATA_ORDER, libxc.PAGE_DATA)
def order(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 64; the first of a record."""
    batch = session.batch(record)
    if batch is None:
        return
    for at, (before, pfn) in enumerate(pairwise(batch.pfns), 1):
        if pfn <= before:
            yield Hit(_entry(record, at), {"pfn": pfn, "before": before})
            return


@check(rules.PAGE_DATA_PFN, libxc.PAGE_DATA)
def pfn_in_range(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 65; the first of a record."""
    batch, maximum = session.batch(record), session.max_pfn
    if batch is None or maximum is None or session.guest != "PV" or not batch.raw:
        return
    wrong = [at for at, pfn in enumerate(batch.pfns) if pfn > maximum]
    if wrong:
        values = {"pfn": batch.pfns[wrong[0]], "maximum": maximum, "more": _more(len(wrong))}
        yield Hit(_entry(record, wrong[0]), values)


@check(rules.HVM_PAGE_TYPE, libxc.PAGE_DATA)
def hvm_page_type(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 66; the first of a record."""
    batch = session.batch(record)
    if batch is None or session.guest != "HVM":
        return
    wrong = bytes(top for top in batch.tops.translate(None, HVM_TYPES) if top in LEGAL)
    if wrong:
        at = batch.tops.index(wrong[0])
        name = libxc.PAGE_TYPE.values[wrong[0] >> 4]
        yield Hit(_entry(record, at), {"name": name, "pfn": batch.pfns[at], "more": _more(len(wrong))})


@check(rules.XALLOC, libxc.PAGE_DATA)
def xalloc(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 67; the first of a record."""
    batch = session.batch(record)
    if batch is None or not session.original:
        return
    found = [at for at, top in enumerate(batch.tops) if top >> 4 == XALLOC]
    if found:
        yield Hit(_entry(record, found[0]), {"pfn": batch.pfns[found[0]], "more": _more(len(found))})


@check(rules.FIRST_PASS, libxc.PAGE_DATA)
def first_pass(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 68; the first place of a stream."""
    memory, batch = session.memory, session.batch(record)
    if not memory.first_pass or memory.told or not (session.original and session.forward.whole and memory.certain):
        return
    if batch is None or not batch.whole or not batch.raw or memory.begins_pass(batch.pfns[0]):
        return
    expected = memory.expected
    for at, pfn in enumerate(batch.pfns):
        if pfn > expected:
            memory.told = True
            yield Hit(_entry(record, at), {"before": max(0, expected - 1), "pfn": pfn})
            return
        expected = pfn + 1


def _entry(record: Record, number_: int) -> int:
    return in_body(record, LIST + 8 * number_)


def _more(found: int) -> str:
    return f" (and {found - 1} more in this record)" if found > 1 else ""
