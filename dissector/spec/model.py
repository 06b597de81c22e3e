# SPDX-License-Identifier: GPL-2.0-or-later
"""What a definition is made of: the few frozen dataclasses that describe headers, messages and records.

Everything in :mod:`dissector.spec` is data of these types. Nothing here reads bytes: :mod:`dissector.wire.codec`
interprets the definitions for the core, :mod:`dissector.layers` turns them into scapy classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Order: TypeAlias = Literal["big", "little", "stream"]
"""Byte order of integers: fixed, or as the stream's header option bit says (always little in practice)."""

Layer: TypeAlias = Literal["xl", "libxl", "libxc"]
Direction: TypeAlias = Literal["forward", "reverse", "both"]


@dataclass(frozen=True, slots=True, eq=False)
class Enum:
    """Names for the values of one integer field."""

    name: str
    values: Mapping[int, str]
    section: str


@dataclass(frozen=True, slots=True, eq=False)
class Flags:
    """Names for the bits of one integer field, by bit number (0 = least significant)."""

    name: str
    bits: Mapping[int, str]
    section: str


@dataclass(frozen=True, slots=True, eq=False)
class NamesBy:
    """Names of one integer field that depend on integers before it in the same structure."""

    fields: tuple[str, ...]
    names: Mapping[tuple[int, ...], Enum | Flags]
    """Values of those fields, in their order -> names."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """An unsigned integer of 1, 2, 4 or 8 bytes."""

    name: str
    size: Literal[1, 2, 4, 8]
    meaning: str
    names: Enum | Flags | None = None
    reserved: bool = False
    """The specification wants zero here."""
    const: int | None = None
    """The only value a receiver accepts."""
    maximum: int | None = None
    """Largest value that occurs; used to recognise record heads after losing framing."""
    hexadecimal: bool = False
    order: Order = "stream"
    secret: bool = False
    """The guest's own data; ``--scrub`` blanks it."""
    names_by: NamesBy | None = None
    """Names that depend on other fields: shown where a body is shown as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Bytes:
    """A run of bytes."""

    name: str
    meaning: str
    length: int | str | None = None
    """Number of bytes; the name of an earlier field that holds it; None for the rest of the body."""
    const: bytes | None = None
    text: bool = False
    """The bytes are text (ASCII or UTF-8), possibly with a trailing NUL."""
    secret: bool = False
    """The guest's own data; ``--scrub`` blanks it."""
    inside: Choice | None = None
    """What is known of their contents."""
    members: tuple[Member, ...] = ()
    """Of a text in JSON, what is shown under a name of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A member of a JSON text."""

    name: str
    path: tuple[str, ...]
    """Names of the objects it is in, and its own."""
    kind: Literal["text", "number"]
    meaning: str


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """A list of structures, one after the other without padding."""

    name: str
    meaning: str
    items: tuple[Field | Bytes | Numbers | Skip, ...]
    count: str | int | None = None
    """Number of items, or name of the earlier field that holds it; None: as many as the rest of the body holds."""
    last: tuple[str, int] | None = None
    """Name and value of the field that marks the last item of a chain. Bytes behind it belong to no item."""
    scan: Scan | None = None
    """Items do not say how long they are: how the next one is found. Its last element is what lies before that."""


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """How structures of unknown length are found: each begins with a byte of `starts`; its fields keep their `maximum`.

    Its texts are not empty and have no other characters than `characters`.
    """

    starts: bytes
    characters: bytes
    footer: int | None = None
    """A byte that, with the u32 `footer_field` behind it, may stand between two structures."""
    footer_field: str = ""
    behind: int = 0
    """Bytes behind the last structure."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A fixed number of unsigned integers of one size."""

    name: str
    size: Literal[1, 2, 4, 8]
    count: int
    meaning: str
    hexadecimal: bool = False
    secret: bool = False
    """As of a Field."""


@dataclass(frozen=True, slots=True, eq=False)
class Skip:
    """Bytes without meaning: padding, reserved, or not worth a name."""

    size: int
    secret: bool = False
    """As of a Field."""

    @property
    def name(self) -> str:
        """No name; nothing is shown of them."""
        return ""


@dataclass(frozen=True, slots=True, eq=False)
class PfnList:
    """A list of u64 page frame numbers, kept as bytes (numpy on request)."""

    name: str
    meaning: str
    count: str | None = None
    """Name of the earlier field that holds the number of entries; None: the rest of the body."""
    typed: bool = False
    """Bits 63-60 of each entry hold the page type, 59-52 are reserved (PAGE_DATA)."""


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """Page contents: 4096 bytes for every entry of a typed PfnList that carries data. Never collected, only skipped."""

    name: str
    meaning: str
    pfns: str


@dataclass(frozen=True, slots=True, eq=False)
class StringPairs:
    """`key NUL value NUL` pairs up to the end of the body."""

    name: str
    meaning: str
    secret: bool = False
    """The values are the guest's own data; ``--scrub`` blanks them."""


Element: TypeAlias = Field | Bytes | Array | PfnList | Pages | StringPairs | Numbers | Skip


@dataclass(frozen=True, slots=True)
class Length:
    """Which body lengths a record may have: `minimum + k * step`, at most `maximum`; or one of `exact`."""

    minimum: int = 0
    step: int = 1
    maximum: int | None = None
    exact: tuple[int, ...] = ()
    tolerated: tuple[int, ...] = ()
    """Lengths that old releases sent and receivers let through (the zero-content erratum, stream.md 4.4)."""

    def allows(self, length: int) -> bool:
        """Tell whether `length` bytes of body are what a receiver accepts."""
        if length in self.tolerated:
            return True
        if self.exact:
            return length in self.exact
        if length < self.minimum or (length - self.minimum) % self.step:
            return False
        return self.maximum is None or length <= self.maximum

    def __str__(self) -> str:
        """Say it in words, for findings."""
        if self.exact:
            text = " or ".join(str(n) for n in self.exact)
        elif self.maximum == self.minimum:
            text = str(self.minimum)
        else:
            text = f"{self.minimum} + {self.step}n" if self.step > 1 else f"at least {self.minimum}"
            if self.maximum is not None:
                text += f", at most {self.maximum}"
        return text


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A structure inside a run of bytes (payloads.md). Newer forms of it only ever got longer."""

    name: str
    """Lower-cased it is the key in JSON and part of filter names."""
    meaning: str
    section: str
    body: tuple[Element, ...]
    length: Length = field(default_factory=Length)
    """Lengths it may have; of another length nothing inside is shown."""
    releases: Mapping[int, str] = field(default_factory=dict)
    """Length -> the Xen releases that write it, where it depends on them."""
    brief: bool = False
    """Short enough to be shown always; others only where a body is shown as a whole."""

    @property
    def key(self) -> str:
        """The name in JSON and filters."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which layout a run of bytes has."""

    by: Literal["field", "length", "zeros", "prefix"]
    """By the value of `field` before it; by its length; the first layout behind whose length all bytes are zero, or
    else the last (an inference); by the bytes it begins with."""
    layouts: Mapping[int, Layout] | Mapping[bytes, Layout]
    """Value of the field, length, or prefix -> layout."""
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One header, message or record of the stream.

    Records proper have a `type_id` and an 8-byte header (u32 type, u32 body_length) before the body, and are padded
    with zeros to a multiple of 8. Headers and messages have neither.
    """

    layer: Layer
    name: str
    """The specification's name; lower-cased it is the filter name."""
    meaning: str
    section: str
    body: tuple[Element, ...] = ()
    type_id: int | None = None
    length: Length = field(default_factory=Length)
    direction: Direction = "forward"
    guests: Literal["PV", "HVM", "any"] = "any"
    since: str = "4.6"
    repeats: bool = False
    """Several of these may follow each other directly."""
    signature: tuple[int, bytes] | None = None
    """Offset in the body and bytes that Xen's writers always put there: evidence when recognising record heads."""

    @property
    def filter_name(self) -> str:
        """The display-filter prefix of this record, e.g. ``xenmig.libxc.page_data``."""
        return f"xenmig.{self.layer}.{self.name.lower()}"

    def element(self, name: str) -> Element:
        """Return the element called `name`; raise KeyError when there is none."""
        for element in self.body:
            if element.name == name:
                return element
        raise KeyError(name)


RECORD_HEADER: tuple[Field, Field] = (
    Field("type", 4, "record type; bit 31 marks a record that a reader may skip (libxc)"),
    Field("body_length", 4, "bytes of body, without padding"),
)
"""The header in front of every libxl and libxc record (stream.md 3.2, 4.3)."""

RECORD_HEADER_SIZE = 8
RECORD_ALIGNMENT = 8
OPTIONAL_RECORD = 0x8000_0000


def padded(length: int) -> int:
    """Round a body length up to the record alignment of 8 bytes."""
    return (length + 7) & ~7
