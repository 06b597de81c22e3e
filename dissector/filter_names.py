# SPDX-License-Identifier: GPL-2.0-or-later
"""Every display-filter name of the Wireshark dissector, made from the definitions.

The Lua writer registers exactly these fields and ``xendissect fields`` lists them. Our own filter (``read -Y``) knows
the same names, see :mod:`dissector.filter_fields`; `ONLY_OURS` says what it has besides and what to write in Wireshark.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dissector import spec
from dissector.spec import findings, rules
from dissector.spec.libxc import PAGE_TYPE
from dissector.spec.model import Array, Bytes, Element, Enum, Field, Flags, Numbers, PfnList, StringPairs
from dissector.wire.unit import unknown_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dissector.spec.model import Layout, Record

PROTOCOL: Final = "xenmig"

FieldType: TypeAlias = Literal[
    "FT_NONE", "FT_BOOLEAN", "FT_UINT8", "FT_UINT16", "FT_UINT32", "FT_UINT64", "FT_FRAMENUM", "FT_STRING", "FT_BYTES"
]
Base: TypeAlias = Literal["NONE", "DEC", "HEX"]


@dataclass(frozen=True, slots=True)
class FilterName:
    """A field as Wireshark registers it."""

    name: str
    """All of it: ``xenmig.libxc.page_data.count``."""
    type: FieldType
    meaning: str
    base: Base = "NONE"
    """How numbers are shown; NONE for what is no number."""
    names: Enum | Flags | None = None
    """Words for the values, or for the bits (each bit is a field of its own besides)."""
    section: str = ""
    """Where stream.md says more."""
    record: Record | None = None
    """The record it belongs to; None for what every record has."""
    mask: int | None = None
    """For one bit of a flags field: which."""
    width: int | None = None
    """For one bit of a flags field: bits of that field."""

    @property
    def path(self) -> str:
        """The name behind that of the record: ``count``; empty for the record itself."""
        prefix = PROTOCOL if self.record is None else self.record.filter_name
        return self.name.removeprefix(prefix).removeprefix(".")

    @property
    def label(self) -> str:
        """The last word of the name, as the details pane shows it: ``count``."""
        return self.name.rpartition(".")[2]


_UINT: Final[Mapping[int, FieldType]] = {1: "FT_UINT8", 2: "FT_UINT16", 4: "FT_UINT32", 8: "FT_UINT64"}


def _bases(type_: FieldType) -> Base:
    return "DEC" if type_.startswith("FT_UINT") else "NONE"


# -- what every record has -------------------------------------------------------------------------------------------

_COMMON: Final[tuple[tuple[str, FieldType, str, str], ...]] = (
    ("direction", "FT_STRING", "forward (sender to receiver) or reverse (COLO back channel, xl answers)", "1"),
    ("layer", "FT_STRING", "xl, libxl or libxc", "1"),
    ("type", "FT_STRING", "name of the record, such as PAGE_DATA; UNKNOWN for a type number without one", ""),
    ("type_id", "FT_UINT32", "type number; not for headers and messages", "3.2, 4.3"),
    ("offset", "FT_UINT64", "stream offset of the first byte, in its direction", ""),
    ("size", "FT_UINT64", "bytes on the wire, header and padding included", ""),
    ("body_length", "FT_UINT32", "bytes of body, as the record header says", "3.2, 4.3"),
    ("record", "FT_UINT32", "number of the record in its direction, from 1", ""),
    ("header_size", "FT_UINT8", "bytes of record header; 16 or 12 for a dirty list of Xen 4.18 and later", "4.6"),
    ("complete", "FT_BOOLEAN", "no byte of the record is missing", ""),
    ("lost", "FT_UINT64", "bytes of the record that are missing, if any are", ""),
    ("lost.offset", "FT_UINT64", "stream offset of some of them", ""),
    ("lost.length", "FT_UINT64", "how many there", ""),
    ("lost.pfn", "FT_UINT64", "a page whose contents are not whole", ""),
    ("first_frame", "FT_FRAMENUM", "frame with the first byte", ""),
    ("last_frame", "FT_FRAMENUM", "frame with the last byte", ""),
    ("flow", "FT_UINT32", "number of the migration, from 0, as flow in the JSON", ""),
    ("mode", "FT_STRING", "plain, remus, colo or unknown", "5"),
    ("entry", "FT_STRING", "what the stream begins with: xl, libxl, libxc, legacy or unknown", "5"),
    ("gap.direction", "FT_STRING", "as direction, of bytes that never came", "1"),
    ("gap.offset", "FT_UINT64", "stream offset of bytes that never came", ""),
    ("gap.length", "FT_UINT64", "how many", ""),
    ("gap.reason", "FT_STRING", "why: lost, snaplen, limit or capture end", ""),
    ("resync.direction", "FT_STRING", "as direction, where framing was lost", "1"),
    ("resync.offset", "FT_UINT64", "where framing was lost", "5.7"),
    ("resync.skipped", "FT_UINT64", "bytes between there and the next record head", "5.7"),
    ("resync.found", "FT_STRING", "the first record after it, such as libxc PAGE_DATA", "5.7"),
    ("contents", "FT_NONE", "page contents: the frame carries pages of a PAGE_DATA", "4.5"),
    ("contents.record", "FT_UINT32", "number of the record the pages belong to", ""),
    ("contents.frame", "FT_FRAMENUM", "first frame of that record", ""),
    ("contents.first_pfn", "FT_UINT64", "first page with bytes in this frame", ""),
    ("contents.last_pfn", "FT_UINT64", "last page with bytes in this frame", ""),
    ("finding", "FT_STRING", "id of something worth knowing, such as stream.framing", "7"),
    ("finding.severity", "FT_STRING", "error, warn or note", "7"),
    ("finding.direction", "FT_STRING", "as direction, of what was found", "1"),
    ("finding.offset", "FT_UINT64", "its stream offset", ""),
)

_HEXADECIMAL: Final = frozenset(("type_id", "lost.pfn", "contents.first_pfn", "contents.last_pfn"))


def _common() -> Iterator[FilterName]:
    for name, type_, meaning, section in _COMMON:
        base: Base = "HEX" if name in _HEXADECIMAL else _bases(type_)
        yield FilterName(f"{PROTOCOL}.{name}", type_, meaning, base, section=section)


# -- fields of one record type ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the names below one record."""

    record: Record
    section: str = ""
    """Where what is inside a run of bytes is described; empty: where the record is."""

    def make(
        self,
        path: str,
        type_: FieldType,
        meaning: str,
        *,
        hexadecimal: bool = False,
        names: Enum | Flags | None = None,
        mask: int | None = None,
        width: int | None = None,
    ) -> FilterName:
        name = f"{self.record.filter_name}.{path}".removesuffix(".")
        base: Base = "HEX" if hexadecimal else _bases(type_)
        section = names.section if names is not None else self.section or self.record.section
        return FilterName(name, type_, meaning, base, names, section, self.record, mask, width)

    def all(self) -> Iterator[FilterName]:
        yield self.make("", "FT_NONE", self.record.meaning)
        for element in self.record.body:
            yield from self.element(element, "")
        if self.record.name == "CHECKPOINT_DIRTY_PFN_LIST":
            yield self.make("header_size", "FT_UINT8", "bytes of record header it was sent with: 8, 16 or 12")
            yield self.make("header_size_inferred", "FT_BOOLEAN", "nothing behind the list proves that size")
            yield self.make("stray", "FT_BYTES", "bytes between header and list that do not belong there")

    def element(self, element: Element, prefix: str) -> Iterator[FilterName]:
        path = f"{prefix}{element.name}"
        match element:
            case Field():
                yield from self.integer(element, path)
            case Bytes():
                yield from self.bytes(element, path)
                layouts = element.inside.layouts.values() if element.inside is not None else ()
                for layout in layouts:
                    yield from replace(self, section=layout.section).layout(layout, f"{prefix}{layout.key}")
            case Numbers():
                yield self.make(path, _UINT[element.size], element.meaning, hexadecimal=element.hexadecimal)
            case PfnList():
                yield from self.pfn_list(element)
            case Array():
                yield self.make(path, "FT_NONE", f"one of the {element.meaning}")
                for item in element.items:
                    yield from self.element(item, f"{path}.")
                yield self.make(f"{path}_count", "FT_UINT32", f"number of {element.meaning}")
                if element.last is not None:
                    yield self.make(
                        f"{path}_rest", "FT_UINT32", f"bytes behind the {element.meaning}, if there are any"
                    )
            case StringPairs():
                yield self.make(path, "FT_STRING", "one pair, as key=value")
                yield self.make(f"{path}.key", "FT_STRING", "key of a pair")
                yield self.make(f"{path}.value", "FT_STRING", "value of a pair")
                yield self.make(f"{path}_rest", "FT_UINT32", "bytes behind the pairs, if there are any")

    def layout(self, layout: Layout, path: str) -> Iterator[FilterName]:
        yield self.make(path, "FT_NONE", layout.meaning)
        for element in layout.body:
            yield from self.element(element, f"{path}.")

    def integer(self, field: Field, path: str) -> Iterator[FilterName]:
        type_ = _UINT[field.size]
        hexadecimal = field.hexadecimal or isinstance(field.names, Flags)
        yield self.make(path, type_, field.meaning, hexadecimal=hexadecimal, names=field.names)
        if isinstance(field.names, Flags):
            for bit, word in field.names.bits.items():
                meaning = f"bit {bit} of {field.name}: {word}"
                yield self.make(f"{path}.{word.lower()}", "FT_BOOLEAN", meaning, mask=1 << bit, width=8 * field.size)

    def bytes(self, element: Bytes, path: str) -> Iterator[FilterName]:
        if element.text:
            yield self.make(path, "FT_STRING", element.meaning)
            for member in element.members:
                yield self.make(member.name, "FT_STRING" if member.kind == "text" else "FT_UINT64", member.meaning)
            if element.members:
                yield self.make(f"{path}_error", "FT_STRING", f"what is wrong with {element.name}, if anything is")
        else:
            yield self.make(path, "FT_BYTES", element.meaning)
            yield self.make(f"{path}_length", "FT_UINT32", f"bytes of {element.name}")

    def pfn_list(self, element: PfnList) -> Iterator[FilterName]:
        yield self.make(element.name, "FT_UINT64", f"{element.meaning}, one by one", hexadecimal=True)
        yield self.make("first_pfn", "FT_UINT64", "first of the list", hexadecimal=True)
        yield self.make("last_pfn", "FT_UINT64", "last of the list", hexadecimal=True)
        yield self.make("runs", "FT_STRING", "the list as runs of pfns that follow each other")
        if element.count is None:
            yield self.make("count", "FT_UINT32", "number of pfns")
        if element.typed:
            yield self.make("data_pages", "FT_UINT32", "pages with contents")
            yield self.make("types", "FT_STRING", "pfns per page type, such as NOTAB=1020 XTAB=4")
            for word in PAGE_TYPE.values.values():
                yield self.make(f"types.{word.lower()}", "FT_UINT32", f"pfns of page type {word}, if there are any")


_RECORDS: Final = (*spec.ALL_RECORDS, unknown_record("libxl", 0), unknown_record("libxc", 0))

ALL: Final[tuple[FilterName, ...]] = (
    *_common(),
    *(name for record in _RECORDS for name in _Maker(record).all()),
)
"""Common fields first, then each record and its fields in wire order; records of unknown type last."""

BY_NAME: Final[Mapping[str, FilterName]] = {field.name: field for field in ALL}

_EXPERTS: Final[Mapping[str, str]] = {
    "gap": "bytes that never came",
    "resync": "framing was lost and found again",
    "late": "a segment that came late",
    "cut": "bytes of this record are missing",
}


def _blanks(text: str) -> str:
    """Say something where nothing but what the place of discovery fills in would be left."""
    return text if any(char.isalpha() for char in text) else "what its text says"


EXPERTS: Final[tuple[FilterName, ...]] = tuple(
    FilterName(f"{PROTOCOL}.expert.{id_}", "FT_NONE", _blanks(meaning), section=section)
    for id_, meaning, section in (
        *((rule.id, rule.says, rule.section) for rule in findings.RULES),
        *((rule.id, rule.says, rule.section) for rule in rules.RULES if not rule.beyond_wireshark),
        *((id_, meaning, "") for id_, meaning in _EXPERTS.items()),
    )
)
"""Expert infos, which are fields too: one for each finding, and those about the capture."""

_NOT_IN_WIRESHARK: Final[Mapping[str, str]] = {
    "frame": "frame.number",
    "time": "frame.time",
    "time_end": "frame.time of the frame in xenmig.last_frame",
    "xl": 'xenmig.layer == "xl"',
    "libxl": 'xenmig.layer == "libxl"',
    "libxc": 'xenmig.layer == "libxc"',
}

ONLY_OURS: Final[Mapping[str, str]] = {f"{PROTOCOL}.{name}": instead for name, instead in _NOT_IN_WIRESHARK.items()} | {
    f"{field.name}_name": f'{field.name} == "NAME"' for field in ALL if field.names is not None
}
"""Names that only ``xendissect read -Y`` knows, and what to write in Wireshark instead."""
