# SPDX-License-Identifier: GPL-2.0-or-later
"""The forward streams of the captures as lists of items, and every single change of one of them that may matter.

Nothing here is random. Items come from the truth beside each capture, fields from :mod:`dissector.spec`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import dissector
from dissector.spec import BY_NAME, libxc
from dissector.spec.model import Bytes, Field
from dissector.wire.events import Flow, Record
from tests.check.scripts import record
from tests.cross.tools import NAMES, paths, truth, wire_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.spec import model

HEADERS = {"SAVE_FILE_HEADER", "CONFIG", "STREAM_HEADER", "IMAGE_HEADER", "DOMAIN_HEADER"}


class Item(NamedTuple):
    """One header or record."""

    layer: str
    type: str
    data: bytes

    @property
    def name(self) -> str:
        """Layer and type."""
        return f"{self.layer} {self.type}"

    @property
    def framed(self) -> bool:
        """Whether it has a record header."""
        return self.type not in HEADERS


@dataclass(frozen=True)
class Stream:
    """A forward stream from its first byte to the last END."""

    name: str
    form: str
    mode: str
    order: str
    items: tuple[Item, ...]

    def offset(self, index: int) -> int:
        """Return where an item begins."""
        return sum(len(item.data) for item in self.items[:index])

    @property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(item.data for item in self.items)


class Mutation(NamedTuple):
    """A stream with one change.

    Attributes:
        what: Which item, and what was done to it.
        first: Index of the first item that is not as it was.
        behind: Index of the first item behind the change.
        data: The bytes between the two.
    """

    what: str
    first: int
    behind: int
    data: bytes

    def apply(self, stream: Stream) -> bytes:
        """Return the whole changed stream."""
        before = (item.data for item in stream.items[: self.first])
        return b"".join([*before, self.data, *(item.data for item in stream.items[self.behind :])])


# -- streams ----------------------------------------------------------------------------------------------------------


def whole(name: str) -> bool:
    """Whether every forward byte of every stream is in the capture and none was cut off."""
    found = truth(name)
    flows = found["flows"]
    gaps = any(flow["forward"]["missing"] or flow["start"] == "mid-stream" for flow in flows)
    cut = any("cut" in one for flow in flows for one in flow["forward"]["records"])
    return not gaps and not cut and "legacy" not in found


@cache
def streams(name: str) -> tuple[Stream, ...]:
    """Whole forward streams of a capture, in the order of its truth, without GO."""
    begun: dict[int, Flow] = {}
    parts: dict[int, list[Item]] = {}
    for event in dissector.events(*paths(name)):
        if isinstance(event, Flow) and event.phase == "begin":
            begun[event.flow] = event
            parts[event.flow] = []
        elif isinstance(event, Record) and event.direction == "forward":
            parts[event.flow].append(Item(event.layer, event.type, wire_bytes(event)))
    found = []
    for number, flow in enumerate(truth(name)["flows"]):
        items = next(
            found_items
            for found_items in parts.values()
            if [(item.layer, item.type, len(item.data)) for item in found_items]
            == [(one["layer"], one["type"], one["size"]) for one in flow["forward"]["records"]]
        )
        kept = tuple(item for item in items if item.type != "GO")
        if kept:
            label = f"{name}#{number}" if number else name
            order = "big" if name == "big-endian" else "little"
            found.append(Stream(label, kept[0].layer, flow["mode"], order, kept))
    return tuple(found)


def inner(stream: Stream) -> Iterator[Stream]:
    """Give a stream and what is wrapped in it: an xl stream as libxl and libxc too."""
    yield stream
    layers = [item.layer for item in stream.items]
    if stream.form == "xl":
        yield Stream(f"{stream.name}:libxl", "libxl", stream.mode, stream.order, stream.items[layers.index("libxl") :])
    if stream.form != "libxc":
        image = [item for item in stream.items if item.layer == "libxc"]
        yield Stream(f"{stream.name}:libxc", "libxc", stream.mode, stream.order, tuple(image))


@cache
def distinct() -> tuple[Stream, ...]:
    """Every whole stream of the captures once, whatever it travelled in."""
    found: dict[tuple[str, bytes], Stream] = {}
    for name in NAMES:
        if whole(name):
            for stream in streams(name):
                found.setdefault((stream.form, stream.data), stream)
    return tuple(found.values())


# -- one change --------------------------------------------------------------------------------------------------------


def mutations(stream: Stream) -> Iterator[Mutation]:
    """Every change of the first item of each type, and of the last PAGE_DATA."""
    seen = set()
    last_pages = max((at for at, item in enumerate(stream.items) if item.type == "PAGE_DATA"), default=-1)
    for at, item in enumerate(stream.items):
        if item.name in seen and at != last_pages:
            continue
        name = f"last {item.name}" if item.name in seen else item.name
        seen.add(item.name)
        tried = {item.data}
        for what, data in changed(item):
            if data not in tried:
                tried.add(data)
                yield Mutation(f"{name}: {what}", at, at + 1, data)
        yield from moved(stream, at, name)


def moved(stream: Stream, at: int, name: str) -> Iterator[Mutation]:
    """Give changes of the order, and cuts."""
    item, behind = stream.items[at], stream.items[at + 1 : at + 2]
    yield Mutation(f"{name}: left out", at, at + 1, b"")
    yield Mutation(f"{name}: twice", at, at + 1, item.data * 2)
    if behind and behind[0].data != item.data:
        yield Mutation(f"{name}: behind {behind[0].name}", at, at + 2, behind[0].data + item.data)
    cuts = {"in front": 0, "inside its first 8 bytes": 4, "in the middle": len(item.data) // 2 & ~7}
    end = len(stream.items)
    for where, size in {**cuts, "one byte before its end": len(item.data) - 1}.items():
        yield Mutation(f"{name}: stream cut {where}", at, end, item.data[:size])
    if behind:
        yield Mutation(f"{name}: stream cut behind it", at, end, item.data)
    if item.framed:
        for what, data in FOREIGN[item.layer].items():
            yield Mutation(f"{name}: {what} in front", at, at, data)


def pages(*entries: int) -> bytes:
    """Return a PAGE_DATA without contents."""
    return record(1, struct.pack(f"<II{len(entries)}Q", len(entries), 0, *entries))


FOREIGN = {
    "libxc": {
        "an END": record(0),
        "a PAGE_DATA of a hole": pages(0xF << 60 | 1),
        "an X86_PV_INFO": record(2, b"\x08\x04" + bytes(6)),
        "a P2M_FRAMES": record(3, struct.pack("<IIQ", 0, 5, 7)),
        "a vcpu": record(4, bytes(8 + 5168)),
        "a SHARED_INFO": record(7, bytes(4096)),
        "an X86_TSC_INFO": record(8, bytes(24)),
        "an HVM_PARAMS": record(10, struct.pack("<IIQQ", 1, 0, 1, 2)),
        "a TOOLSTACK": record(11, b"12345678"),
        "a VERIFY": record(13),
        "a CHECKPOINT": record(14),
        "a DIRTY_PFN_LIST": record(15, struct.pack("<Q", 3)),
        "a STATIC_DATA_END": record(16),
        "a CPUID_POLICY": record(17, bytes(24)),
        "an MSR_POLICY": record(18, bytes(16)),
        "an unknown record": record(19, bytes(8)),
        "an unknown optional record": record(0x80000001, bytes(8)),
    },
    "libxl": {
        "an END": record(0),
        "a LIBXC_CONTEXT": record(1),
        "a XENSTORE_DATA without keys": record(2, struct.pack("<II", 2, 0)),
        "a XENSTORE_DATA": record(2, struct.pack("<II", 2, 0) + b"physmap/1/size\x001\x00"),
        "an EMULATOR_CONTEXT": record(3, struct.pack("<II", 2, 0)),
        "a CHECKPOINT_END": record(4),
        "a CHECKPOINT_STATE": record(5, bytes(4)),
        "an empty CHECKPOINT_STATE": record(5),
        "an unknown record": record(6, bytes(8)),
        "an unknown optional record": record(0x80000001, bytes(8)),
    },
}
"""Records that do not belong where they are put."""
TYPES = (0x00, 0x01, 0x05, 0x0B, 0x0D, 0x10, 0x13, 0x80000001, 0xFFFFFFFF)
LENGTHS = (0, libxc.REC_LENGTH_MAX + 1, 0x7FFFFFFF, 0xFFFFFFFF)


def changed(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give what one item may be changed into: what was done, and the bytes."""
    if item.framed:
        yield from framing(item)
    yield from fields(item)
    special = SPECIAL.get(item.type)
    if special is not None:
        yield from special(item)


def framing(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other record types, lengths, sizes and padding."""
    type_id, length = struct.unpack_from("<II", item.data)
    body = item.data[8 : 8 + length]
    for other in TYPES:
        yield f"type {other:#x}", struct.pack("<I", other) + item.data[4:]
    for other in (*LENGTHS, *(length + more for more in (-8, -1, 1, 8) if length + more >= 0)):
        yield f"length {_told(other, length)}", item.data[:4] + struct.pack("<I", other) + item.data[8:]
    for size in sorted({0, 4, 8, *(length + more for more in (-8, -1, 1, 8) if length + more >= 0)}):
        yield f"body of {_told(size, length)}", record(type_id, body[:size].ljust(size, b"\0"))
    if length % 8:
        yield "padding not zero", item.data[:-1] + b"\1"
    else:
        yield "body 1 longer and padding not zero", record(type_id, body + b"\0", padding=bytes(6) + b"\1")


def _told(value: int, length: int) -> str:
    """Return a length as a number, or as a difference where it is near."""
    if value in LENGTHS or value < 9:
        return f"{value:#x}" if value > 8 else str(value)
    return f"{value - length:+}"


def fixed(definition: model.Record) -> Iterator[tuple[str, int, int, str]]:
    """Give the fields at the beginning of a body whose place is known: name, place, size, byte order."""
    at = 0
    for element in definition.body:
        if isinstance(element, Field):
            yield element.name, at, element.size, element.order
            at += element.size
        elif isinstance(element, Bytes) and isinstance(element.length, int):
            for byte in range(min(element.length, 16)):
                yield f"{element.name}[{byte}]", at + byte, 1, "big"
            at += element.length
        else:
            return


def fields(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other values of every field: some bits turned over, zero, all ones."""
    definition = BY_NAME.get((item.layer, item.type))
    if definition is None:
        return
    base = 8 if item.framed else 0
    for name, at, size, order in fixed(definition):
        place = base + at
        if place + size > len(item.data):
            return
        endian = "big" if order == "big" else "little"
        value = int.from_bytes(item.data[place : place + size], endian)
        top = 8 * size - 1
        bits = sorted({0, 1, 2, 15, 16, top} & set(range(8 * size))) if not item.framed else [0, top]
        values = {f"bit {bit} of {name}": value ^ 1 << bit for bit in bits}
        if size > 1:
            values |= {f"{name} 0": 0, f"{name} all ones": (1 << 8 * size) - 1}
        for what, other in values.items():
            yield what, item.data[:place] + other.to_bytes(size, endian) + item.data[place + size :]


def page_entries(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other entries of a pfn list, and other counts."""
    count, _, first = struct.unpack_from("<IIQ", item.data, 8)
    for nibble in range(16):
        entry = first & (1 << 60) - 1 | nibble << 60
        yield f"page type {nibble:#x} of the first pfn", _put(item, 16, struct.pack("<Q", entry))
    for bit in (51, 52, 59):
        yield f"bit {bit} of the first pfn", _put(item, 16, struct.pack("<Q", first ^ 1 << bit))
    if count > 1:
        yield "the second pfn is the first", _put(item, 24, item.data[16:24])
    for more in (-1, 1):
        yield f"count {more:+}", _put(item, 8, struct.pack("<I", count + more))


def pv_info(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other widths and levels."""
    for width in (0, 4, 8, 16):
        for levels in (2, 3, 4, 5):
            yield f"guest_width {width}, pt_levels {levels}", _put(item, 8, bytes((width, levels)))


def p2m_frames(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other ranges."""
    _, end = struct.unpack_from("<II", item.data, 8)
    yield "start behind end", _put(item, 8, struct.pack("<I", end + 1))
    yield "end 1024 pfns later", _put(item, 12, struct.pack("<I", end + 1024))
    yield "end 1", _put(item, 12, struct.pack("<I", 1))


def params(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other counts and indices."""
    (count,) = struct.unpack_from("<I", item.data, 8)
    for more in (-1, 1):
        yield f"count {more:+}", _put(item, 8, struct.pack("<I", count + more))
    for index in (4, 10, 39):
        yield f"first index {index}", _put(item, 16, struct.pack("<Q", index))


def context(item: Item) -> Iterator[tuple[str, bytes]]:
    """Break the chain."""
    yield "first section of type 2", _put(item, 8, b"\2")
    yield "first section 8 longer", _put(item, 12, struct.pack("<I", 32))
    yield "other magic", _put(item, 16, b"\0")


def emulator(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other emulators."""
    for id_ in (0, 1, 3):
        yield f"emulator_id {id_}", _put(item, 8, struct.pack("<I", id_))


def xenstore(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other keys and values."""
    head = item.data[8:16]
    for text in (b"", b"\0value\0", b"/a\0b\0", b"a\0b", b"a b\0c\0", b"a\0b\0c\0"):
        yield f"with {text!r}", record(2, head + text)


def config(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other texts."""
    (length,) = struct.unpack_from("<I", item.data)
    for more in (-1, 1):
        yield f"config_len {more:+}", struct.pack("<I", length + more) + item.data[4:]
    yield "without NUL", item.data[:-1] + b" "
    yield "no JSON", _put(item, 4, b"[")
    yield "one byte shorter", item.data[:-1]


def header(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other lengths of the optional data."""
    (length,) = struct.unpack_from("<I", item.data, 44)
    for more in (-1, 1, 4096):
        yield f"optional_data_len {more:+}", _put(item, 44, struct.pack("<I", length + more))


def domain(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other guest types and page sizes."""
    for kind in range(5):
        yield f"type {kind}", _put(item, 0, struct.pack("<I", kind))
    for shift in (0, 11, 13):
        yield f"page_shift {shift}", _put(item, 4, struct.pack("<H", shift))


def image(item: Item) -> Iterator[tuple[str, bytes]]:
    """Give other versions."""
    for version in (0, 1, 2, 3, 4):
        yield f"version {version}", _put(item, 12, struct.pack(">I", version))


def _put(item: Item, at: int, data: bytes) -> bytes:
    return item.data[:at] + data + item.data[at + len(data) :]


SPECIAL = {
    "PAGE_DATA": page_entries,
    "X86_PV_INFO": pv_info,
    "X86_PV_P2M_FRAMES": p2m_frames,
    "HVM_PARAMS": params,
    "HVM_CONTEXT": context,
    "EMULATOR_CONTEXT": emulator,
    "EMULATOR_XENSTORE_DATA": xenstore,
    "CONFIG": config,
    "SAVE_FILE_HEADER": header,
    "DOMAIN_HEADER": domain,
    "IMAGE_HEADER": image,
}
"""Changes that only one kind of item has."""
