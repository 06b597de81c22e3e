# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of a good migration at random: some that may do anything, and some that break a known rule of severity error.

A fault takes a script (its items may be changed) and a seeded random generator, breaks one thing, and returns the item
that its finding must lie in; None if there is nothing in this migration that it could break.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import dissector
from captures.streams import LIBXC_TYPES, STATES
from dissector.spec.libxc import REC_LENGTH_MAX
from dissector.wire.events import Flow, Record
from tests.check.scripts import Item, Script, record
from tests.cross.mutations import FOREIGN, HEADERS
from tests.cross.tools import NAMES, paths, truth, wire_bytes

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Breaks = Callable[[Script, random.Random], Item | None]

TYPES = 0x100
"""Types from here on are taken for a sign that this is no record head (``wire/framer.py``)."""
SEGMENT = 16384
"""Bytes of payload in a frame; the receiving side merges them anyway (GRO)."""


# -- migrations --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Good:
    """A migration of the captures, both directions whole.

    Attributes:
        name: Capture and number of the flow.
        items: Its headers, messages and records in the order in which they were seen.
        mode: plain, remus or colo.
        close: How the connection ended; "file" for a bare stream.
    """

    name: str
    items: tuple[Item, ...]
    mode: str
    close: str

    def script(self) -> Script:
        """Return a copy that can be changed; item for item, bytes only when they are (see :func:`own`)."""
        items = [replace(item) for item in self.items]
        return Script(items, self.mode, self.close, {"segment": SEGMENT})


@cache
def goods() -> tuple[Good, ...]:
    """Every good migration of the captures once, whatever it travelled in."""
    found: dict[tuple[tuple[str, bytes], ...], Good] = {}
    for name in NAMES:
        if name in BAD or "legacy" in truth(name):
            continue
        for number, good in enumerate(_read(name)):
            key = tuple((item.direction, bytes(item.data)) for item in good.items)
            found.setdefault(key, replace(good, name=f"{name}#{number}" if number else name))
    return tuple(found.values())


BAD = {
    "big-endian",
    "unknown-records",
    "banner-only",
    "xl-target-fails",
    "xl-receiver-rejects",
    "xl-source-fails",
    "colo-header-12",
    "colo-header-16",
    "colo-list-last-16",
    "hvm-colo-xl-420",
}
"""Captures of something wrong (NOT_GOOD in ``tests/check/test_checker.py``)."""


def _read(name: str) -> list[Good]:
    """Return the whole migrations of a capture; one with a hole or an end inside a record is left out."""
    begun: dict[int, Flow] = {}
    over: dict[int, Flow] = {}
    items: dict[int, list[Item]] = {}
    behind: dict[tuple[int, str], int] = {}
    holes = set()
    for event in dissector.events(*paths(name)):
        if isinstance(event, Flow):
            (begun if event.phase == "begin" else over)[event.flow] = event
            items.setdefault(event.flow, [])
        elif isinstance(event, Record):
            key = event.flow, event.direction
            if event.complete is False or event.offset != behind.get(key, 0):
                holes.add(event.flow)
                continue
            behind[key] = event.offset + event.size
            data = bytearray(wire_bytes(event))
            items[event.flow].append(Item(event.direction, event.layer, event.type, data))
    found = []
    for flow, parts in items.items():
        forward = any(item.direction == "forward" and item.layer != "xl" for item in parts)
        if flow not in holes and forward and begun[flow].start != "mid-stream":
            end = over[flow]
            close = "file" if begun[flow].start == "file" else end.end if end.end in ("fin", "rst") else "none"
            found.append(Good(name, tuple(parts), end.mode, close))
    return found


def own(item: Item) -> bytearray:
    """Return the bytes of an item, no longer those of the good migration."""
    item.data = bytearray(item.data)
    return item.data


def put(item: Item, at: int, data: bytes) -> Item:
    """Overwrite some bytes of an item."""
    own(item)[at : at + len(data)] = data
    return item


def framed(script: Script, direction: str = "forward", layer: str = "") -> list[Item]:
    """Items with a record header."""
    return [
        item
        for item in script.items
        if item.type not in HEADERS and item.layer != "xl" and layer in ("", item.layer) and item.direction == direction
    ]


def every(script: Script, *types: str, direction: str = "forward", layer: str = "") -> list[Item]:
    """Items of some types."""
    return [
        item
        for item in script.items
        if item.type in types and item.direction == direction and layer in ("", item.layer)
    ]


# -- anything ---------------------------------------------------------------------------------------------------------

EXTREMES = (0, 1, 4, 7, 8, 9, 4096, 1 << 20, REC_LENGTH_MAX, REC_LENGTH_MAX + 1, 0x7FFFFFFF, 0xFFFFFFF8, 0xFFFFFFFF)
KINDS = ("flip", "overwrite", "truncate", "cut", "insert", "drop", "duplicate", "swap", "move", "length", "shift")


def anything(script: Script, rng: random.Random) -> tuple[str, str, int]:
    """Change one thing; return what, the direction, and from which offset on the stream is another one."""
    kind = rng.choice(KINDS)
    item = rng.choice(script.items)
    place = script.place(item)
    data = own(item)
    near = min(len(data), 64)
    if kind == "flip":
        data[rng.choice((rng.randrange(near), rng.randrange(len(data))))] ^= 1 << rng.randrange(8)
    elif kind == "overwrite":
        at = rng.randrange(near)
        more = rng.randbytes(rng.randint(1, 16))
        data[at : at + len(more)] = more
    elif kind == "truncate":
        del data[rng.randrange(len(data)) :]
    elif kind == "cut":
        script.cut(item, rng.randrange(len(data)))
    elif kind == "insert":
        foreign = rng.choice(
            [*FOREIGN["libxc"].values(), *FOREIGN["libxl"].values(), rng.randbytes(rng.randint(1, 64))]
        )
        script.insert(item, foreign, item.direction)
    elif kind == "drop":
        script.remove(item)
    elif kind == "duplicate":
        script.insert(item, bytes(data), item.direction)
    elif kind in ("swap", "move"):
        same = [one for one in script.items if one.direction == item.direction]
        at = same.index(item)
        other = same[min(at + 1, len(same) - 1)] if kind == "swap" else rng.choice(same)
        place = min(place, script.place(other))
        a, b = script.items.index(item), script.items.index(other)
        script.items[a], script.items[b] = script.items[b], script.items[a]
    elif kind == "length" and len(data) >= 8:
        length = int.from_bytes(data[4:8], "little")
        length = rng.choice((*EXTREMES, length + 1, length - 1)) & 0xFFFFFFFF
        data[4:8] = length.to_bytes(4, "little")
    else:
        at = rng.randrange(near)
        data[at:at] = rng.randbytes(rng.randint(1, 9))
    return f"{kind} {item.direction} {item.layer} {item.type}", item.direction, place


# -- faults ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A way to break a rule: the ids of which one must be found, and how it is broken."""

    ids: tuple[str, ...]
    breaks: Breaks

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.breaks.__name__


FAULTS: list[Fault] = []


def fault(*ids: str) -> Callable[[Breaks], Breaks]:
    """Enter a function into the table."""

    def enter(breaks: Breaks) -> Breaks:
        FAULTS.append(Fault(ids, breaks))
        return breaks

    return enter


def pick(rng: random.Random, items: list[Item]) -> Item | None:
    """Return any of them."""
    return rng.choice(items) if items else None


def word(rng: random.Random, *but: int, bits: int = 32) -> int:
    """Return a number that is none of these: small, near, or any."""
    while True:
        number = rng.choice((rng.randrange(32), rng.getrandbits(bits), 1 << rng.randrange(bits)))
        if number not in but:
            return number


def body(item: Item) -> bytes:
    """Return the body of a record."""
    return bytes(item.data[8 : 8 + int.from_bytes(item.data[4:8], "little")])


def resized(item: Item | None, rng: random.Random, *good: int, most: int = 64) -> Item | None:
    """Give a record a body of a length that is none of the good ones."""
    if item is None:
        return None
    old = body(item)
    sizes = {*range(most), *(max(0, len(old) + more) for more in (-16, -8, -1, 1, 8, 16))} - {len(old), *good}
    size = rng.choice(sorted(sizes))
    item.data = bytearray(record(int.from_bytes(item.data[:4], "little"), old[:size].ljust(size, b"\0")))
    return item


def one(script: Script, type_: str, layer: str = "", direction: str = "forward") -> Item | None:
    """Return the first item of a type."""
    found = every(script, type_, direction=direction, layer=layer)
    return found[0] if found else None


def guest(script: Script) -> str:
    """PV or HVM, as the domain header says."""
    header = one(script, "DOMAIN_HEADER")
    return "" if header is None else {1: "PV", 2: "HVM"}[header.data[0]]


def version(script: Script) -> int:
    """Return the version in the image header."""
    header = one(script, "IMAGE_HEADER")
    return 0 if header is None else header.data[15]


@fault("xl.save_file_header.magic")
def xl_magic(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "SAVE_FILE_HEADER")
    if item is not None:
        own(item)[rng.randrange(12, 32)] ^= 1 << rng.randrange(8)
    return item


@fault("xl.save_file_header.byteorder")
def xl_byteorder(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "SAVE_FILE_HEADER")
    return item and put(item, 32, struct.pack("<I", word(rng, 0x01020304)))


@fault("xl.save_file_header.mandatory_flags")
def xl_flags(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "SAVE_FILE_HEADER")
    return item and put(item, 36, struct.pack("<I", 3 | 1 << rng.randrange(2, 32)))


@fault("xl.config.length")
def xl_config(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "CONFIG")
    return item and put(item, 0, struct.pack("<I", rng.randrange(len(item.data) - 3, 1 << 32)))


@fault("xl.message")
def xl_message(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "READY", "REPORT", direction="reverse") + every(script, "GO"))
    if item is not None:
        own(item)[rng.randrange(1, len(item.data))] ^= 1 << rng.randrange(8)
    return item


@fault("libxl.stream_header.version")
def libxl_version(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "STREAM_HEADER")
    return item and put(item, 8, struct.pack(">I", word(rng, 2)))


@fault("libxl.stream_header.version")
def libxl_ident(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "STREAM_HEADER")
    if item is None or one(script, "SAVE_FILE_HEADER") is None:
        return None
    own(item)[rng.randrange(8)] ^= 1 << rng.randrange(8)
    return item


@fault("libxl.stream_header.big_endian")
def libxl_big_endian(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "STREAM_HEADER")
    return item and put(item, 15, bytes((item.data[15] | 1,)))


@fault("libxl.record.unknown")
def libxl_unknown(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, [item for item in framed(script, layer="libxl") if item.type != "LIBXC_CONTEXT"])
    if before is None or before.type == "CHECKPOINT_STATE":
        return None
    type_id = rng.choice((0, 0x80000000)) | rng.randrange(6, TYPES)
    return script.insert(before, record(type_id, rng.randbytes(rng.choice((0, 8, 24)))))


@fault("libxl.emulator.length")
def emulator_length(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "EMULATOR_CONTEXT", "EMULATOR_XENSTORE_DATA"))
    if item is not None:
        item.data = bytearray(record(item.data[0], body(item)[: rng.randrange(8)]))
    return item


@fault("libxl.emulator.guest_type")
def emulator_guest(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, every(script, "END", "CHECKPOINT_END", layer="libxl"))
    if before is None or guest(script) != "PV":
        return None
    return script.insert(before, record(3, struct.pack("<II", 2, 0) + rng.randbytes(rng.randrange(40))))


@fault("libxl.xenstore_data.form")
def xenstore(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, every(script, "EMULATOR_CONTEXT"))
    if before is None:
        return None
    good = b"".join(b"physmap/%x/size\0%d\0" % (number, number) for number in range(rng.randrange(4)))
    bad = rng.choice((b"key\0", b"\0value\0", b"/key\0value\0", b"key\0value", b"key"))
    return script.insert(before, record(2, struct.pack("<II", 2, 0) + good + bad))


@fault("libxl.checkpoint_end.place")
def checkpoint_end(script: Script, rng: random.Random) -> Item | None:
    before = one(script, "END", "libxl")
    if before is None or script.mode != "plain":
        return None
    return script.insert(before, record(4))


@fault("libxl.checkpoint_state.place")
def checkpoint_state(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, every(script, "END", "CHECKPOINT_END", "EMULATOR_CONTEXT", layer="libxl"))
    return before and script.insert(before, record(5, struct.pack("<I", rng.randrange(4))))


@fault("libxl.checkpoint_state.too_short")
def checkpoint_state_short(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "CHECKPOINT_STATE", direction="reverse"))
    if item is not None:
        item.data = bytearray(record(5, bytes(item.data[8 : 8 + rng.randrange(4)])))
    return item


@fault("libxl.checkpoint_state.control_id")
def control_id(script: Script, rng: random.Random) -> Item | None:
    direction = rng.choice(("forward", "reverse"))
    item = pick(rng, every(script, "CHECKPOINT_STATE", direction=direction))
    good = {STATES["NEW"]} if direction == "forward" else {1, 2, 3}
    return item and put(item, 8, struct.pack("<I", word(rng, *good)))


@fault("libxl.checkpoint_state.control_id", "libxc.checkpoint_dirty_pfn_list.place")
def control_order(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "CHECKPOINT_STATE", direction="reverse"))
    return item and put(item, 8, struct.pack("<I", rng.choice([id_ for id_ in (1, 2, 3) if id_ != item.data[8]])))


@fault("libxl.end.inside_checkpoint")
def end_inside(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "CHECKPOINT_END"))
    return item and put(item, 0, b"\0")


@fault("libxc.image_header.marker", "libxc.image_header.id")
def image_marker(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "IMAGE_HEADER")
    if item is None or one(script, "STREAM_HEADER") is None:
        return None
    own(item)[rng.randrange(12)] ^= 1 << rng.randrange(8)
    return item


@fault("libxc.image_header.version")
def image_version(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "IMAGE_HEADER")
    return item and put(item, 12, struct.pack(">I", word(rng, 2, 3)))


@fault("stream.big_endian")
def libxc_big_endian(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "IMAGE_HEADER")
    return item and put(item, 17, b"\1")


@fault("libxc.domain_header.type")
def domain_type(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "DOMAIN_HEADER")
    return item and put(item, 0, struct.pack("<I", word(rng, 1, 2)))


@fault("libxc.domain_header.page_shift")
def page_shift(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "DOMAIN_HEADER")
    return item and put(item, 4, struct.pack("<H", word(rng, 12, bits=16)))


@fault("libxc.record.too_long", "libxc.page_data.length")
def too_long(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, framed(script, layer="libxc"))
    length = rng.choice((REC_LENGTH_MAX + 1, 0xFFFFFFFF, rng.randrange(REC_LENGTH_MAX + 1, 1 << 32)))
    return item and put(item, 4, struct.pack("<I", length))


@fault("record.unknown")
def unknown(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, _inside_libxc(script))
    return before and script.insert(
        before, record(rng.randrange(0x13, TYPES), rng.randbytes(rng.choice((0, 5, 8, 24))))
    )


@fault("stream.framing")
def unknown_by_far(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, _inside_libxc(script))
    type_id = rng.randrange(TYPES, 1 << 31) | rng.choice((0, 1 << 31))
    return before and script.insert(before, record(type_id, rng.randbytes(8)))


def _inside_libxc(script: Script) -> list[Item]:
    """Records of libxc that do not follow on one of libxl, where a type alone does not tell the layer."""
    items = framed(script)
    return [item for before, item in pairwise(items) if item.layer == "libxc" and before.layer == "libxc"]


@fault("record.unknown_optional_buffered")
def unknown_buffered(script: Script, rng: random.Random) -> Item | None:
    items = framed(script, layer="libxc")
    first = next((at for at, item in enumerate(items) if item.type == "CHECKPOINT"), len(items))
    # Of the first record behind CHECKPOINT_END nothing tells which layer a type that nobody knows belongs to.
    before = pick(rng, [item for item in items[first + 1 :] if item.type not in ("PAGE_DATA", "X86_TSC_INFO")])
    return before and script.insert(before, record(0x80000000 | rng.randrange(0x13, TYPES), rng.randbytes(8)))


@fault("libxc.record.guest_type")
def guest_type(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, every(script, "X86_TSC_INFO", "END", layer="libxc"))
    if before is None:
        return None
    others = ["an X86_PV_INFO", "a vcpu", "a SHARED_INFO"] if guest(script) == "HVM" else ["an HVM_PARAMS"]
    return script.insert(before, FOREIGN["libxc"][rng.choice(others)])


@fault("libxc.toolstack")
def toolstack(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, every(script, "X86_TSC_INFO", "END", "STATIC_DATA_END", layer="libxc"))
    return before and script.insert(before, record(11, rng.randbytes(rng.randrange(64))))


@fault("libxc.static_data_end.missing")
def static_missing(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "STATIC_DATA_END")
    if item is None or version(script) != 3:
        return None
    script.remove(item)
    return one(script, "X86_PV_P2M_FRAMES") or one(script, "PAGE_DATA")


@fault("libxc.static_data_end.repeated")
def static_repeated(script: Script, rng: random.Random) -> Item | None:
    if one(script, "STATIC_DATA_END") is None:
        return None
    before = pick(rng, every(script, "PAGE_DATA", "X86_TSC_INFO"))
    return before and script.insert(before, record(16))


@fault("libxc.policy.length")
def policy_length(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "X86_CPUID_POLICY", "X86_MSR_POLICY"))
    step = 24 if item is not None and item.type == "X86_CPUID_POLICY" else 16
    return resized(item, rng, *range(step, 4096, step))


@fault("libxc.x86_pv_info.order")
def pv_info(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "X86_PV_INFO")
    if item is None:
        return None
    if rng.random() < 0.5:
        before = rng.choice(every(script, "STATIC_DATA_END", "X86_PV_P2M_FRAMES", "X86_TSC_INFO"))
        return script.insert(before, bytes(item.data))
    script.remove(item)
    return one(script, "X86_PV_P2M_FRAMES")


@fault("libxc.x86_pv_info.value")
def pv_width(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "X86_PV_INFO")
    pairs = [(width, levels) for width in range(10) for levels in range(6) if (width, levels) not in ((4, 3), (8, 4))]
    return item and put(item, 8, bytes(rng.choice(pairs)))


@fault("libxc.x86_pv_p2m_frames.range")
def p2m_range(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "X86_PV_P2M_FRAMES")
    if item is None:
        return None
    if rng.random() < 0.5:
        return resized(item, rng)
    _, end = struct.unpack_from("<II", item.data, 8)
    return put(item, 8, struct.pack("<I", rng.randint(end + 1, 0xFFFFFFFF)))


@fault("libxc.x86_pv_p2m_frames.order")
def p2m_order(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "X86_PV_P2M_FRAMES")
    if item is None:
        return None
    script.remove(item)
    return one(script, "PAGE_DATA")


@fault("libxc.page_data.length")
def page_count(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "PAGE_DATA"))
    # A list that goes on in the contents may have types that do not exist: then it has no length (rule 61).
    return item and put(item, 8, struct.pack("<I", rng.choice((0, rng.randrange(len(item.data) // 8, 1 << 32)))))


@fault("libxc.page_data.length")
def page_contents(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "PAGE_DATA"))
    if item is None:
        return None
    data = body(item)
    count = int.from_bytes(data[:4], "little")
    at = 15 + 8 * rng.randrange(count)
    carries = data[at] >> 4 not in (0xD, 0xE, 0xF)
    return put(item, 8 + at, bytes((rng.choice((0xD0, 0xF0)) if carries else 0x00,)))


@fault("libxc.page_data.type")
def page_type(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "PAGE_DATA"))
    if item is None:
        return None
    at = 23 + 8 * rng.randrange(int.from_bytes(item.data[8:12], "little"))
    return put(item, at, bytes((rng.randrange(5, 9) << 4,)))


@fault("libxc.page_data.pfn")
def page_pfn(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "PAGE_DATA"))
    if item is None or guest(script) != "PV":
        return None
    at = 16 + 8 * rng.randrange(int.from_bytes(item.data[8:12], "little"))
    top = item.data[at + 7]
    return put(item, at, rng.randrange(1 << 33, 1 << 52).to_bytes(7, "little") + bytes((top,)))


@fault("libxc.shared_info.length")
def shared_info(script: Script, rng: random.Random) -> Item | None:
    return resized(pick(rng, every(script, "SHARED_INFO")), rng)


@fault("libxc.vcpu.length")
def vcpu_length(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, *(name for name in LIBXC_TYPES if "VCPU" in name)))
    if item is None:
        return None
    good = {
        "X86_PV_VCPU_BASIC": {8},
        "X86_PV_VCPU_EXTENDED": set(range(8, 137)),
        "X86_PV_VCPU_XSAVE": {8, *range(24, 8192)},
        "X86_PV_VCPU_MSRS": set(range(8, 8192, 16)),
    }
    return resized(item, rng, *good[item.type])


@fault("libxc.vcpu.basic_missing")
def vcpu_missing(script: Script, rng: random.Random) -> Item | None:
    item = one(script, "X86_PV_VCPU_BASIC")
    if item is None:
        return None
    script.remove(item)
    return next(found for found in script.items if found.layer == "libxc" and found.type in ("END", "CHECKPOINT"))


@fault("libxc.x86_tsc_info.length")
def tsc_length(script: Script, rng: random.Random) -> Item | None:
    return resized(pick(rng, every(script, "X86_TSC_INFO")), rng)


@fault("libxc.hvm_params.length")
def params_length(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "HVM_PARAMS"))
    if item is not None and rng.random() < 0.5:
        return put(item, 8, struct.pack("<I", word(rng, int.from_bytes(item.data[8:12], "little"))))
    if item is not None and not int.from_bytes(item.data[8:12], "little"):
        return None
    return resized(item, rng)


@fault("libxc.hvm_context.empty")
def context_empty(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "HVM_CONTEXT"))
    if item is not None:
        item.data = bytearray(record(9))
    return item


@fault("libxc.hvm_context.missing")
def context_missing(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "HVM_CONTEXT"))
    if item is None:
        return None
    behind = script.items[script.items.index(item) :]
    script.remove(item)
    return next(found for found in behind if found.layer == "libxc" and found.type in ("END", "CHECKPOINT"))


@fault("libxc.checkpoint_dirty_pfn_list.forward")
def list_forward(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, every(script, "HVM_CONTEXT", "HVM_PARAMS", "SHARED_INFO"))
    pfns = sorted(rng.sample(range(1000), rng.randrange(9)))
    return before and script.insert(before, record(15, struct.pack(f"<{len(pfns)}Q", *pfns)))


@fault("libxc.checkpoint_dirty_pfn_list.length")
def list_length(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "CHECKPOINT_DIRTY_PFN_LIST", direction="reverse"))
    if item is not None:
        item.data = bytearray(record(15, body(item)[:64] + bytes(rng.randrange(1, 8))))
    return item


@fault("libxc.checkpoint_dirty_pfn_list.pfn")
def list_pfn(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "CHECKPOINT_DIRTY_PFN_LIST", direction="reverse"))
    if item is not None:
        item.data = bytearray(record(15, body(item) + struct.pack("<Q", rng.randrange(1 << 33, 1 << 52))))
    return item


@fault("libxc.checkpoint_dirty_pfn_list.place", "libxl.checkpoint_state.control_id")
def list_place(script: Script, rng: random.Random) -> Item | None:
    item = pick(rng, every(script, "CHECKPOINT_DIRTY_PFN_LIST", direction="reverse"))
    if item is None:
        return None
    if rng.random() < 0.5:
        return script.insert(item, bytes(item.data), "reverse", behind=True)
    later = [one for one in script.items[script.items.index(item) + 1 :] if one.direction == "reverse"]
    script.remove(item)
    return later[0] if later else None


@fault("stream.header_twice")
def header_twice(script: Script, rng: random.Random) -> Item | None:
    header = pick(rng, every(script, "SAVE_FILE_HEADER", "STREAM_HEADER", "IMAGE_HEADER"))
    before = pick(rng, every(script, "PAGE_DATA", "X86_TSC_INFO", "HVM_CONTEXT", "SHARED_INFO", "EMULATOR_CONTEXT"))
    return before and header and script.insert(before, bytes(header.data))


@fault("stream.framing")
def no_record(script: Script, rng: random.Random) -> Item | None:
    before = pick(rng, every(script, "X86_TSC_INFO", "HVM_CONTEXT", "SHARED_INFO", "STATIC_DATA_END"))
    return before and script.insert(before, b"\xee" * rng.randrange(8, 128, 8))


@fault("ending.cut")
def stream_cut(script: Script, rng: random.Random) -> Item | None:
    items = framed(script)
    whole = [item.type for item in items].index("CHECKPOINT_END") if script.mode != "plain" else len(items) - 1
    item = pick(rng, items[:whole])
    if item is None or script.close == "none":
        return None
    kept = [one for one in script.items if one in items or one.type in (*HEADERS, "BANNER")]
    script.items = kept
    own(item)
    script.cut(item, rng.randrange(9, len(item.data)) if len(item.data) > 9 else len(item.data))
    return item
