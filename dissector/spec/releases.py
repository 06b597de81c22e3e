# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between Xen releases, as data (stream.md sections 8 and 9.5, payloads.md 1.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dissector.spec.model import Length

Release: TypeAlias = tuple[int, int]
"""Major and minor number."""

FIRST: Release = (4, 6)
"""The first release with this stream format."""
LATEST: Release = (4, 22)
"""The latest release that is known here."""

HVM_PARAMS_SENT: dict[int, tuple[Release, Release | None]] = {
    **dict.fromkeys((1, 5, 6, 9, 12, 17, 19, 27, 28, 29, 32, 33, 34), (FIRST, None)),
    4: (FIRST, (4, 13)),
    15: (FIRST, (4, 8)),
    36: ((4, 7), None),
    37: ((4, 9), None),
    38: ((4, 10), None),
}
"""Index of an HVM parameter -> the first and last release that sends it; None: still."""
HVM_PARAMS = 39
"""HVM_NR_PARAMS: no release has a parameter of this index or a higher one (stream.md 9.5)."""

RECORD_LENGTH_MAX_BEFORE_410 = 8 << 20
"""REC_LENGTH_MAX of 4.6 to 4.9."""


@dataclass(frozen=True, slots=True)
class SectionLength:
    """Lengths of one kind of HVM_CONTEXT section, in the order of the releases that have them (payloads.md 1.3).

    Attributes:
        lengths: (first release with this length, length).
        strict: Receivers before this release want exactly their own length; None: all of them do.
        since_point: Point releases of older lines that have the last length too: (major, minor) -> first such point.
    """

    lengths: tuple[tuple[Release, int], ...]
    strict: Release | None = None
    since_point: dict[Release, int] = field(default_factory=dict)


def _only(length: int) -> SectionLength:
    return SectionLength(((FIRST, length),))


SECTION_LENGTHS: dict[int, SectionLength] = {
    1: _only(24),
    2: SectionLength(((FIRST, 1024), ((4, 7), 1032)), FIRST),
    3: _only(8),
    4: _only(400),
    5: SectionLength(((FIRST, 24), ((4, 21), 32)), FIRST, {(4, 18): 5, (4, 19): 2, (4, 20): 1}),
    6: _only(1024),
    7: _only(16),
    8: _only(8),
    9: _only(8),
    10: _only(56),
    11: SectionLength(((FIRST, 16), ((4, 14), 24)), (4, 14)),
    12: _only(1048),
    13: _only(8),
    14: _only(240),
    15: SectionLength(((FIRST, 32),), FIRST),
    17: SectionLength(((FIRST, 8), ((4, 7), 16), ((4, 13), 216)), FIRST),
    18: SectionLength(((FIRST, 24), ((4, 10), 32)), FIRST),
    19: _only(8),
}
"""Typecode -> its lengths. Of those that grew, a receiver fills up a shorter one and refuses a longer one."""

XSAVE_SECTION, MSR_SECTION, LAST_SECTION = 16, 20, 20
OPEN_SECTIONS: dict[int, Length] = {XSAVE_SECTION: Length(minimum=600), MSR_SECTION: Length(minimum=24, step=16)}
"""Typecode -> the lengths it may have, where these depend on the guest (payloads.md 1.3)."""

MSRS_SENT: dict[int, Release] = {
    0x140: (4, 10),
    0x48: (4, 11),
    0xC0011027: (4, 12),
    0xC0011019: (4, 12),
    0xC001101A: (4, 12),
    0xC001101B: (4, 12),
    0xD90: (4, 13),
    0xDA0: (4, 13),
    0xC001011F: (4, 17),
    0x6E1: (4, 20),
}
"""MSR in a CPU_MSR section -> since when every Xen sends and knows it (payloads.md 1.4); vendors' code was earlier."""

CPUID_LEAVES_MAX: tuple[tuple[Release, int], ...] = (((4, 13), 114), ((4, 16), 119), ((4, 17), 120))
"""(first release, most entries of a CPUID policy that it takes) (payloads.md 2.1)."""
CPUID_EXTENDED: tuple[tuple[Release, int], ...] = (((4, 13), 0x8000_001C), ((4, 16), 0x8000_0021))
"""(first release, highest extended leaf that it takes) (payloads.md 2.1)."""
CPUID_FEATURES: tuple[tuple[Release, int], ...] = (((4, 13), 1), ((4, 17), 2))
"""(first release, highest subleaf of leaf 7 that it takes) (payloads.md 2.1)."""

TSC_MODE_3_GONE: Release = (4, 12)
QEMU_TRADITIONAL_GONE: Release = (4, 21)
STREAM_V3: Release = (4, 14)
LONG_RECORDS: Release = (4, 10)
EMPTY_PARAMS_TOLERATED: Release = (4, 9)
EMPTY_VCPU_TOLERATED: Release = (4, 11)
VERIFY_BROKEN: tuple[Release, Release] = ((4, 7), (4, 15))
TWO_MSR_POLICIES: Release = (4, 15)
"""Since when the MSR policy has two entries, and a receiver takes more than one."""
LONG_LIST_HEADER: Release = (4, 18)
COLO: Release = (4, 7)
