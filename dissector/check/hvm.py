# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the records of HVM guests at the end of a checkpoint (stream.md 4.6, 9.5, 9.7; payloads.md 1.1)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.check.conditions import judged
from dissector.check.model import BODY_LENGTH, Hit, check, in_body
from dissector.check.pv import CLOSING
from dissector.check.session import number, whole
from dissector.spec import libxc, rules
from dissector.spec.hvm import HVM_PARAM, HVM_SAVE_TYPE
from dissector.spec.releases import HVM_PARAMS_SENT, LAST_SECTION, OPEN_SECTIONS, SECTION_LENGTHS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.check.session import Session
    from dissector.wire.events import Record

HEADER, END = 1, 0
HEADER_LENGTH: Final = 24
MAGIC: Final = b"\x86\x12\x38\x54"
_ENTRY: Final = {"little": struct.Struct("<HHI"), "big": struct.Struct(">HHI")}
_PARAM: Final = {"little": struct.Struct("<QQ"), "big": struct.Struct(">QQ")}


class Section(NamedTuple):
    """One entry of the chain in an HVM_CONTEXT.

    Attributes:
        at: Where it begins, in the body.
        typecode: What it holds.
        instance: Vcpu or device.
        length: Bytes of data, as it says; they may go beyond the body.
    """

    at: int
    typecode: int
    instance: int
    length: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.at + 8 + self.length


def sections(record: Record) -> Iterator[Section]:
    """Go along the chain, up to and with END, as far as there are bytes. Entries are little endian in every stream."""
    body, at = record.body, 0
    unpack = _ENTRY["little"].unpack_from
    while at + 8 <= len(body):
        section = Section(at, *unpack(body, at))
        yield section
        if section.typecode == END:
            return
        at = section.end


def params(record: Record) -> Iterator[tuple[int, int, int]]:
    """Give place in the body, index and value of each HVM parameter that is there."""
    body, unpack = record.body, _PARAM[record.order].unpack_from
    for number_ in range(min(number(record, "count") or 0, (len(body) - 8) // 16)):
        yield 8 + 16 * number_, *unpack(body, 8 + 16 * number_)


@check(rules.HVM_PARAMS_LENGTH, libxc.HVM_PARAMS)
def params_length(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 79."""
    found, count = record.body_length or 0, number(record, "count")
    if found < 8:
        yield Hit(BODY_LENGTH, {"length": found, "expected": "at least 8"})
    elif count is not None and found != 8 + 16 * count:
        yield Hit(BODY_LENGTH, {"length": found, "expected": f"{8 + 16 * count} for {count} parameters"})


params_empty = judged(rules.HVM_PARAMS_EMPTY)
params_reserved = judged(rules.HVM_PARAMS_RESERVED)


@check(rules.HVM_PARAM_INDEX, libxc.HVM_PARAMS)
def param_index(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 82; the first of a record. What a converted stream holds comes from an older Xen."""
    for at, index, _ in params(record):
        if index not in HVM_PARAMS_SENT:
            name = HVM_PARAM.values.get(index)
            yield Hit(in_body(record, at), {"index": index, "name": f" ({name})" if name else ""})
            return


context_empty = judged(rules.HVM_CONTEXT_EMPTY)


@check(rules.HVM_CONTEXT_MISSING, *CLOSING)
def context_missing(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 84."""
    half = session.forward
    there = half.stage[libxc.HVM_CONTEXT] or session.comes_alone(record)
    if session.guest == "HVM" and half.stage_whole and not there:
        yield Hit(0, {"where": record.type})


@check(rules.HVM_CONTEXT_CHAIN, libxc.HVM_CONTEXT)
def context_chain(record: Record, session: Session) -> Iterator[Hit]:
    """Rule 85; the first break of the chain."""
    body = record.body
    complete = whole(record)
    section = None
    for section in sections(record):
        problem = _problem(section, body)
        if problem:
            yield Hit(in_body(record, section.at), {"problem": problem})
            return
        if section.end > len(body) and complete:
            said = f"section type {section.typecode} of {section.length} bytes goes beyond the end"
            yield Hit(in_body(record, section.at), {"problem": said})
            return
    if not complete or not body:
        return
    if section is None or section.typecode != END:
        yield Hit(in_body(record, section.at if section else 0), {"problem": "the chain does not end with END"})
    elif section.end < len(body):
        yield Hit(in_body(record, section.end), {"problem": f"{len(body) - section.end} bytes behind END"})


@check(rules.HVM_CONTEXT_SECTION, libxc.HVM_CONTEXT)
def context_section(record: Record, session: Session) -> Iterator[Hit]:
    """Sections that no release knows, the first of a record (payloads.md 1.3)."""
    for section in sections(record):
        if section.typecode == HEADER or section.end > len(record.body):
            continue  # the matter of rule 85
        name = HVM_SAVE_TYPE.values.get(section.typecode, str(section.typecode))
        known, lengths = SECTION_LENGTHS.get(section.typecode), OPEN_SECTIONS.get(section.typecode)
        problem = ""
        if section.typecode > LAST_SECTION:
            problem = f"the last type is {LAST_SECTION}"
        elif known is not None and section.length not in {length for _, length in known.lengths}:
            problem = f"expected {' or '.join(str(length) for _, length in known.lengths)}"
        elif lengths is not None and not lengths.allows(section.length):
            problem = f"expected {lengths}"
        if problem:
            yield Hit(in_body(record, section.at), {"name": name, "length": section.length, "problem": problem})
            return


def _problem(section: Section, body: bytes) -> str:
    if section.at == 0:
        if section.typecode != HEADER:
            return f"the first section has type {section.typecode}, expected 1 (HEADER)"
        if section.length != HEADER_LENGTH:
            return f"HEADER of {section.length} bytes, expected {HEADER_LENGTH}"
        if body[8:12] != MAGIC[: len(body[8:12])]:
            return f"magic {body[8:12].hex(' ')}, expected {MAGIC.hex(' ')}"
    elif section.typecode == END and section.length:
        return f"END has {section.length} bytes, expected none"
    return ""
