# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds both directions of a migration byte by byte and writes down what it has built.

Every ``emit`` appends bytes to a direction and one entry to its list of true records, so the ground truth comes
from the builder and not from a parser. Bytes of both directions are also logged as turns, in the order of the protocol.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Record = dict[str, Any]

BANNER = b"xl migration receiver ready, send binary domain data.\n"
READY = b"domain received, ready to unpause\0"
GO = b"domain is yours, you are cleared to unpause\0"
REPORT = b"my copy unpause results are as follows\0"
XL_MAGIC = b"Xen saved domain, xl format\n \0 \r"

LIBXL_TYPES = {
    "END": 0,
    "LIBXC_CONTEXT": 1,
    "EMULATOR_XENSTORE_DATA": 2,
    "EMULATOR_CONTEXT": 3,
    "CHECKPOINT_END": 4,
    "CHECKPOINT_STATE": 5,
}
LIBXC_TYPES = {
    "END": 0x00,
    "PAGE_DATA": 0x01,
    "X86_PV_INFO": 0x02,
    "X86_PV_P2M_FRAMES": 0x03,
    "X86_PV_VCPU_BASIC": 0x04,
    "X86_PV_VCPU_EXTENDED": 0x05,
    "X86_PV_VCPU_XSAVE": 0x06,
    "SHARED_INFO": 0x07,
    "X86_TSC_INFO": 0x08,
    "HVM_CONTEXT": 0x09,
    "HVM_PARAMS": 0x0A,
    "X86_PV_VCPU_MSRS": 0x0C,
    "VERIFY": 0x0D,
    "CHECKPOINT": 0x0E,
    "CHECKPOINT_DIRTY_PFN_LIST": 0x0F,
    "STATIC_DATA_END": 0x10,
    "X86_CPUID_POLICY": 0x11,
    "X86_MSR_POLICY": 0x12,
}
STATES = {"NEW": 0, "SVM_SUSPENDED": 1, "SVM_READY": 2, "SVM_RESUMED": 3}

PAGE_TYPES = {
    "NOTAB": 0x0,
    "L1TAB": 0x1,
    "L2TAB": 0x2,
    "L3TAB": 0x3,
    "L4TAB": 0x4,
    "L1TAB_PINNED": 0x9,
    "L2TAB_PINNED": 0xA,
    "L3TAB_PINNED": 0xB,
    "L4TAB_PINNED": 0xC,
    "BROKEN": 0xD,
    "XALLOC": 0xE,
    "XTAB": 0xF,
}
NO_DATA = ("BROKEN", "XALLOC", "XTAB")


@dataclass
class Turn:
    """A run of bytes of one direction that is sent before the other direction speaks again."""

    direction: str
    start: int
    end: int


@dataclass
class Half:
    """One direction of the conversation: its bytes and its true records."""

    direction: str
    turns: list[Turn]
    data: bytearray = field(default_factory=bytearray)
    records: list[Record] = field(default_factory=list)
    libxl_order: str = "<"
    libxc_order: str = "<"

    def raw(self, data: bytes) -> None:
        """Append bytes that are not a record."""
        start = len(self.data)
        self.data += data
        if self.turns and self.turns[-1].direction == self.direction and self.turns[-1].end == start:
            self.turns[-1].end = len(self.data)
        else:
            self.turns.append(Turn(self.direction, start, len(self.data)))

    def emit(self, layer: str, type_: str, data: bytes, **facts: Any) -> None:
        """Append one record, header or message, and remember it."""
        self.records.append({"layer": layer, "type": type_, "offset": len(self.data), "size": len(data), **facts})
        self.raw(data)

    def _framed(self, layer: str, type_: str, type_id: int, body: bytes, stray: bytes = b"", **facts: Any) -> None:
        order = self.libxl_order if layer == "libxl" else self.libxc_order
        padding = -len(body) % 8
        data = struct.pack(order + "II", type_id, len(body)) + stray + body + bytes(padding)
        self.emit(layer, type_, data, type_id=type_id, body_length=len(body), padding=padding, **facts)

    # xl ------------------------------------------------------------------------------------------------------------
    def xl_header(self, config: bytes, flags: int = 3) -> None:
        """Save-file header and optional data."""
        optional = struct.pack("<I", len(config)) + config
        data = XL_MAGIC + struct.pack("<IIII", 0x01020304, flags, 0, len(optional))
        facts = {"byteorder": "0x1020304", "mandatory_flags": flags, "optional_flags": 0}
        self.emit("xl", "SAVE_FILE_HEADER", data, **facts, optional_data_len=len(optional))
        json_text = bool(flags & 1)
        self.emit(
            "xl", "CONFIG", optional, config_len=len(config), json=json_text, nul_terminated=config.endswith(b"\0")
        )

    def message(self, type_: str) -> None:
        """One of the fixed xl messages."""
        self.emit("xl", type_, {"BANNER": BANNER, "READY": READY, "GO": GO, "REPORT": REPORT}[type_])

    def status(self, status: int) -> None:
        """Report and its status byte."""
        self.message("REPORT")
        self.emit("xl", "REPORT_STATUS", bytes([status]), status=status)

    # libxl ---------------------------------------------------------------------------------------------------------
    def libxl_header(self, options: int = 0) -> None:
        """Stream header; option bit 0 turns the records big-endian."""
        self.libxl_order = ">" if options & 1 else "<"
        self.emit("libxl", "STREAM_HEADER", b"LibxlFmt" + struct.pack(">II", 2, options), version=2, options=options)

    def libxl(self, type_: str, body: bytes = b"", **facts: Any) -> None:
        """One libxl record."""
        self._framed("libxl", type_, LIBXL_TYPES[type_], body, **facts)

    def emulator(self, type_: str, blob: bytes, emulator_id: int = 2) -> None:
        """EMULATOR_XENSTORE_DATA or EMULATOR_CONTEXT."""
        head = struct.pack(self.libxl_order + "II", emulator_id, 0)
        self.libxl(type_, head + blob, emulator_id=emulator_id, emulator_index=0)

    def state(self, name: str) -> None:
        """COLO CHECKPOINT_STATE."""
        body = struct.pack(self.libxl_order + "I", STATES[name])
        self.libxl("CHECKPOINT_STATE", body, state=STATES[name], state_name=name)

    # libxc ---------------------------------------------------------------------------------------------------------
    def libxc_headers(
        self, guest_type: int, version: int = 3, xen: tuple[int, int] = (4, 17), options: int = 0
    ) -> None:
        """Image header and domain header."""
        self.libxc_order = ">" if options & 1 else "<"
        image = struct.pack(">QIIHHI", 0xFFFFFFFFFFFFFFFF, 0x58454E46, version, options, 0, 0)
        self.emit("libxc", "IMAGE_HEADER", image, version=version, options=options)
        domain = struct.pack(self.libxc_order + "IHHII", guest_type, 12, 0, *xen)
        facts = {"guest_type": guest_type, "page_shift": 12, "xen": f"{xen[0]}.{xen[1]}"}
        self.emit("libxc", "DOMAIN_HEADER", domain, **facts)

    def libxc(self, type_: str, body: bytes = b"", **facts: Any) -> None:
        """One libxc record with a known type."""
        self._framed("libxc", type_, LIBXC_TYPES[type_], body, **facts)

    def libxc_unknown(self, type_id: int, body: bytes) -> None:
        """One libxc record with a type no release knows."""
        self._framed("libxc", "UNKNOWN", type_id, body)

    def page_data(self, pages: Sequence[tuple[int, str]], contents: Iterable[bytes]) -> None:
        """PAGE_DATA for (pfn, page type name) pairs; contents only for the types that carry some."""
        blob = b"".join(contents)
        entries = [PAGE_TYPES[kind] << 60 | pfn for pfn, kind in pages]
        body = struct.pack(f"{self.libxc_order}II{len(entries)}Q", len(entries), 0, *entries) + blob
        data_pages = sum(kind not in NO_DATA for _, kind in pages)
        if len(blob) != 4096 * data_pages:
            raise ValueError("page contents do not fit the page types")
        facts = {"count": len(pages), "first_pfn": pages[0][0], "last_pfn": pages[-1][0], "data_pages": data_pages}
        self.libxc("PAGE_DATA", body, **facts, types=dict(Counter(kind for _, kind in pages)))

    def dirty_pfns(self, pfns: Sequence[int], header_size: int = 8) -> None:
        """CHECKPOINT_DIRTY_PFN_LIST with the header of a given toolstack (8, 16 or 12 bytes)."""
        stray = bytes(header_size - 8)
        facts: dict[str, Any] = {"header_size": header_size, "count": len(pfns)}
        if pfns:
            facts.update(first_pfn=pfns[0], last_pfn=pfns[-1])
        body = struct.pack(f"{self.libxc_order}{len(pfns)}Q", *pfns)
        self._framed("libxc", "CHECKPOINT_DIRTY_PFN_LIST", 0x0F, body, stray, **facts)

    def cut(self, size: int) -> None:
        """End this direction after ``size`` bytes: what follows was never sent."""
        del self.data[size:]
        self.records[:] = [record for record in self.records if record["offset"] < size]
        self.turns[:] = [t for t in self.turns if t.direction != self.direction or t.start < size]
        for turn in self.turns:
            if turn.direction == self.direction:
                turn.end = min(turn.end, size)


@dataclass
class Conversation:
    """Both directions of one migration."""

    turns: list[Turn] = field(default_factory=list)
    mode: str = "plain"

    def __post_init__(self) -> None:
        """Make the two directions share the list of turns."""
        self.forward = Half("forward", self.turns)
        self.reverse = Half("reverse", self.turns)

    def half(self, direction: str) -> Half:
        """Return the direction by its name."""
        return self.forward if direction == "forward" else self.reverse

    def find(self, type_: str, index: int = 0, direction: str = "forward") -> Record:
        """Return the index-th true record of a type."""
        found: list[Record] = [r for r in self.half(direction).records if r["type"] == type_]
        return found[index]


def sha256(data: bytes) -> str:
    """Return the hex digest of a stream."""
    return hashlib.sha256(data).hexdigest()
