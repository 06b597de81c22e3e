# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of a large migration, piece by piece: a libxl stream of an HVM guest, plain or with Remus checkpoints.

Nothing is imported from ``dissector`` and nothing large is built: page contents are views into one pool of random bytes.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE: Final = 4096
BATCH: Final = 1024
XTAB: Final = 0xF << 60
POOL: Final = 8 << 20
GUEST_PAGES: Final = 4 << 20
"""Size of the guest; longer streams begin again at pfn 0."""

KINDS: Final = {"1024-page": (BATCH, True), "xtab-only": (BATCH, False), "small": (1, True)}
"""Kind of PAGE_DATA records -> pfns in each, whether these come with page contents."""

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


@dataclass(frozen=True, slots=True)
class True_:
    """One record as it was written."""

    layer: str
    type: str
    offset: int
    size: int


class Stream:
    """Writes one stream of about `size` bytes.

    Args:
        size: stream bytes, exact to one page-table entry with its page.
        kind: one of `KINDS`.
        checkpoints: Remus checkpoints; 0 for a plain migration.
        seed: of the page contents.
        note: called with every record.
    """

    def __init__(
        self, size: int, kind: str, checkpoints: int = 0, seed: int = 1, note: Callable[[True_], None] | None = None
    ) -> None:
        self.records: Counter[str] = Counter()
        """Records per ``layer TYPE``."""
        self.offset = 0
        self._size = size
        self._batch, self._with_contents = KINDS[kind]
        self._checkpoints = checkpoints
        self._note = note
        self._pool = memoryview(random.Random(seed).randbytes(POOL + BATCH * PAGE))
        self._batches = 0

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Iterate over the bytes."""
        yield from self._head()
        rounds = max(1, self._checkpoints)
        tail = sum(map(len, self._state(0))) + sum(map(len, self._emulator())) + 24
        self._retract(tail - 24)
        start = self.offset
        for number in range(rounds):
            yield from self._memory(start + (self._size - start) * (number + 1) // rounds - tail)
            yield from self._state(number)
            if self._checkpoints:
                yield from self._libxc("CHECKPOINT")
                yield from self._emulator()
                yield from self._libxl("CHECKPOINT_END")
        if not self._checkpoints:
            yield from self._libxc("END")
            yield from self._emulator()
            yield from self._libxl("END")
