# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of a large migration, piece by piece: a libxl stream of an HVM guest, plain or with Remus checkpoints.

Nothing is imported from ``dissector`` and nothing large is built: page contents are views into one pool of random
bytes.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PAGE: Final = 4096
BATCH: Final = 1024
XTAB: Final = 0xF << 60
POOL: Final = 8 << 20
GUEST_PAGES: Final = 4 << 20
"""Size of the guest; longer streams begin again at pfn 0."""

LARGEST: Final = ((128 << 20) - 8) // (8 + PAGE)
"""Pages in a record of the greatest length that the specification allows."""

KINDS: Final = {
    "1024-page": (BATCH, True),
    "xtab-only": (BATCH, False),
    "small": (1, True),
    "tiny": (2, False),
    "checkpoints": (2, False),
    "128M": (LARGEST, True),
}
"""Kind of PAGE_DATA records -> pfns in each, and whether their page contents follow.

``tiny`` is nothing but small records. ``checkpoints`` is Remus with `DIRTIED` of them in each checkpoint and a small
device model, as many checkpoints as the size holds.
"""

DIRTIED: Final = 5

LIBXL: Final = {"END": 0, "LIBXC_CONTEXT": 1, "EMULATOR_CONTEXT": 3, "CHECKPOINT_END": 4}
LIBXC: Final = {
    "END": 0x00,
    "PAGE_DATA": 0x01,
    "X86_TSC_INFO": 0x08,
    "HVM_CONTEXT": 0x09,
    "HVM_PARAMS": 0x0A,
    "CHECKPOINT": 0x0E,
    "STATIC_DATA_END": 0x10,
    "X86_CPUID_POLICY": 0x11,
    "X86_MSR_POLICY": 0x12,
}

CPUID_POLICY: Final = struct.pack("<6I", 0, 0xFFFFFFFF, 0xD, 0x68747541, 0x444D4163, 0x69746E65)
MSR_POLICY: Final = struct.pack("<IIQ", 0xCE, 0, 0x80000000)
TSC_INFO: Final = struct.pack("<IIQII", 0, 2095078, 3_493_300_000, 1, 0)
HVM_CONTEXT: Final = (
    struct.pack("<HHIIIQII", 1, 0, 24, 0x54381286, 1, 0, 0x00A20F12, 2095078)
    + struct.pack("<HHI1032x", 2, 0, 1032)
    + struct.pack("<HHI", 0, 0, 0)
)
HVM_PARAMS: Final = struct.pack("<II6Q", 3, 0, 1, 0xFEFFC, 5, 0xFEFFD, 6, 0xFEFFE)
EMULATOR_CONTEXT: Final = struct.pack("<II4sI", 2, 0, b"QEVM", 3 << 24) + bytes(20_001)
SMALL_CONTEXT: Final = EMULATOR_CONTEXT[:400]


def tail(context: bytes) -> int:
    """Count the bytes of everything behind the last page of a checkpoint or of the stream."""
    return 3 * 8 + len(TSC_INFO + HVM_CONTEXT + HVM_PARAMS) + 3 * 8 + len(context) + -len(context) % 8


class Record(NamedTuple):
    """One record as it was written: the truth to compare a reader with."""

    layer: str
    type: str
    offset: int
    size: int


class Stream:
    """Writes one stream.

    Args:
        size: stream bytes, kept to less than one record entry.
        kind: one of `KINDS`.
        checkpoints: Remus checkpoints; 0 for a plain migration, or what the kind says.
        seed: of the page contents.
        note: called with every record.
    """

    def __init__(
        self, size: int, kind: str, checkpoints: int = 0, seed: int = 1, note: Callable[[Record], None] | None = None
    ) -> None:
        self.records: Counter[str] = Counter()
        """Records per ``layer TYPE`` so far."""
        self.offset = 0
        """Stream bytes so far."""
        self._size = size
        self._batch, self._with_contents = KINDS[kind]
        self._context = SMALL_CONTEXT if kind == "checkpoints" else EMULATOR_CONTEXT
        self._tail = tail(self._context)
        if kind == "checkpoints" and not checkpoints:
            checkpoints = max(1, size // (DIRTIED * (16 + 8 * self._batch) + self._tail))
        self._checkpoints = checkpoints
        self._note = note
        self._pool = memoryview(random.Random(seed).randbytes(POOL + BATCH * PAGE))
        self._batches = 0

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Iterate over the bytes."""
        yield from self._head()
        start, rounds = self.offset, self._checkpoints or 1
        for number in range(1, rounds + 1):
            yield from self._memory(start + (self._size - start) * number // rounds - self._tail)
            yield from self._libxc("X86_TSC_INFO", TSC_INFO)
            yield from self._libxc("HVM_CONTEXT", HVM_CONTEXT)
            yield from self._libxc("HVM_PARAMS", HVM_PARAMS)
            yield from self._libxc("CHECKPOINT" if self._checkpoints else "END")
            yield from self._libxl("EMULATOR_CONTEXT", self._context)
            yield from self._libxl("CHECKPOINT_END" if self._checkpoints else "END")

    def _head(self) -> Iterator[bytes | memoryview]:
        yield from self._record("libxl", "STREAM_HEADER", b"LibxlFmt" + struct.pack(">II", 2, 0))
        yield from self._libxl("LIBXC_CONTEXT")
        yield from self._record("libxc", "IMAGE_HEADER", b"\xff" * 8 + b"XENF" + struct.pack(">I8x", 3))
        yield from self._record("libxc", "DOMAIN_HEADER", struct.pack("<IHHII", 2, 12, 0, 4, 17))
        yield from self._libxc("X86_CPUID_POLICY", CPUID_POLICY)
        yield from self._libxc("X86_MSR_POLICY", MSR_POLICY)
        yield from self._libxc("STATIC_DATA_END")

    def _memory(self, until: int) -> Iterator[bytes | memoryview]:
        """One pass over the guest: PAGE_DATA records up to stream offset `until`."""
        each = 8 + PAGE * self._with_contents
        pfn = 0
        while (count := min(self._batch, (until - self.offset - 16) // each)) > 0:
            pfn %= GUEST_PAGES
            kind = 0 if self._with_contents else XTAB
            entries = array("Q", range(kind + pfn, kind + pfn + count)).tobytes()
            contents = self._contents(count) if self._with_contents else []
            yield from self._libxc("PAGE_DATA", struct.pack("<II", count, 0) + entries, contents)
            pfn += count

    def _contents(self, count: int) -> list[memoryview]:
        """Contents of some pages."""
        views = []
        for left in range(count, 0, -BATCH):
            place = self._batches * 1001 * 64 % POOL
            views.append(self._pool[place : place + PAGE * min(left, BATCH)])
            self._batches += 1
        return views

    def _libxl(self, type_: str, body: bytes = b"") -> Iterator[bytes | memoryview]:
        padding = bytes(-len(body) % 8)
        return self._record("libxl", type_, struct.pack("<II", LIBXL[type_], len(body)) + body + padding)

    def _libxc(
        self, type_: str, body: bytes = b"", contents: Sequence[memoryview] = ()
    ) -> Iterator[bytes | memoryview]:
        length = len(body) + sum(map(len, contents))
        return self._record("libxc", type_, struct.pack("<II", LIBXC[type_], length) + body, contents)

    def _record(
        self, layer: str, type_: str, head: bytes, contents: Sequence[memoryview] = ()
    ) -> Iterator[bytes | memoryview]:
        size = len(head) + sum(map(len, contents))
        if self._note is not None:
            self._note(Record(layer, type_, self.offset, size))
        self.records[f"{layer} {type_}"] += 1
        self.offset += size
        yield head
        yield from contents


def cut(pieces: Iterator[bytes | memoryview], size: int) -> Iterator[bytes | memoryview]:
    """Cut a stream into segments of `size` bytes; only those across pieces are copied."""
    rest = b""
    for piece in pieces:
        at = 0
        if rest:
            at = min(size - len(rest), len(piece))
            rest += piece[:at]
            if len(rest) < size:
                continue
            yield rest
        whole = at + (len(piece) - at) // size * size
        for start in range(at, whole, size):
            yield piece[start : start + size]
        rest = bytes(piece[whole:])
    if rest:
        yield rest
