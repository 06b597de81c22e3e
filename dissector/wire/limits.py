# SPDX-License-Identifier: GPL-2.0-or-later
"""How much the engine may remember. Every limit that is hit is reported as a finding (``limit.*``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on memory and patience; all sizes in bytes."""

    padding: ClassVar[bool] = False
    """Whether padding of records is looked at, and kept if it is not zero."""
    max_body: int = 16 * MIB
    """Bytes of one body (or pfn list) that are kept."""
    max_flow_buffer: int = 16 * MIB
    """Bytes that wait behind a hole in one direction; also how far later data may run ahead of an open hole."""
    max_total_buffer: int = 64 * MIB
    """The same over all connections."""
    max_flows: int = 4096
    """TCP connections remembered at a time."""
    max_search: int = 16 * MIB
    """Bytes searched for a record head in a connection that is not known to be a migration."""
    max_holes: int = 4096
    """Open holes in one direction."""
    max_held: int = 1 << 16
    """Records of one direction that wait for an open hole before them to close."""
    max_lost: int = 4096
    """Lost ranges remembered for records that are not complete yet."""
    max_candidates: int = 16
    """Chains of record heads followed at a time while framing is lost."""
    max_fragment_bytes: int = 4 * MIB
    """IP fragments waiting for the rest of their datagram."""
    reorder_window: int = 1 * MIB
    """A hole that the peer acknowledged is lost once this much later data was seen."""
    loss_delay: int = 1_000_000_000
    """... or once this many nanoseconds of capture time have passed."""


@dataclass(frozen=True, slots=True)
class ThoroughLimits(Limits):
    """The same for who wants to judge padding too."""

    padding: ClassVar[bool] = True
