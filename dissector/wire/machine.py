# SPDX-License-Identifier: GPL-2.0-or-later
"""The protocol law as tables: what is read in each state, and which state follows (stream.md section 5).

Everything that decides which layer owns the next byte lives here; :mod:`dissector.wire.framer` only executes it.
A state reads one of three things:

* ``MESSAGES``: a header or message of known size,
* ``RECORDS``: a record header and body; the table says which types belong here,
* ``CHOICES``: nothing yet; the next bytes, left in place, decide which state it really is.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import TYPE_CHECKING, Literal, NamedTuple

from dissector.spec import libxc, libxl, xl

if TYPE_CHECKING:
    from dissector.spec.model import Record


class State(IntEnum):
    """Where one direction of a stream is; F and R numbers are those of stream.md 5.1 and 5.2."""

    START = auto()  # F0, R0
    XL_HEADER = auto()  # F1
    XL_CONFIG = auto()  # F2
    LIBXL_HEADER = auto()  # F3
    LIBXL = auto()  # F4
    IMAGE_HEADER = auto()  # F5
    DOMAIN_HEADER = auto()  # F6
    LIBXC = auto()  # F7
    AFTER_CHECKPOINT = auto()  # between F7 and F8: a bare libxc stream goes on with libxc
    CHECKPOINT = auto()  # F8
    AFTER_CHECKPOINT_END = auto()  # F8a
    CHECKPOINT_STATE = auto()  # F8b
    AFTER_END = auto()  # F9
    GO = auto()  # F10
    DONE = auto()
    LEGACY = auto()  # FL
    LIBXL_RESYNCED = auto()  # F4 or F8, not known which after losing framing
    REVERSE_START = auto()  # R0, role already known
    BANNER = auto()  # R0
    AFTER_BANNER = auto()  # R1
    READY = auto()  # R2
    REPORT = auto()  # R3
    STATUS = auto()  # R3
    AFTER_STATUS = auto()
    PERMISSION = auto()  # R4
    BACK_CHANNEL = auto()  # R5 to R8


class Head(NamedTuple):
    """A record header to compare with; a body_length of None matches any."""

    type_id: int
    body_length: int | None


Role = Literal["forward", "reverse"]

MESSAGES: dict[State, Record] = {
    State.XL_HEADER: xl.SAVE_FILE_HEADER,
    State.XL_CONFIG: xl.CONFIG,
    State.LIBXL_HEADER: libxl.STREAM_HEADER,
    State.IMAGE_HEADER: libxc.IMAGE_HEADER,
    State.DOMAIN_HEADER: libxc.DOMAIN_HEADER,
    State.GO: xl.GO,
    State.BANNER: xl.BANNER,
    State.READY: xl.READY,
    State.REPORT: xl.REPORT,
    State.STATUS: xl.REPORT_STATUS,
    State.PERMISSION: xl.GO,
}

_LIBXL_PLAIN = (libxl.END, libxl.LIBXC_CONTEXT, libxl.EMULATOR_XENSTORE_DATA, libxl.EMULATOR_CONTEXT)
_LIBXL_CHECKPOINT = (libxl.EMULATOR_XENSTORE_DATA, libxl.EMULATOR_CONTEXT, libxl.CHECKPOINT_END)


def _by_type(*records: Record) -> dict[int, Record]:
    return {record.type_id: record for record in records if record.type_id is not None}


RECORDS: dict[State, dict[int, Record]] = {
    State.LIBXL: _by_type(*_LIBXL_PLAIN),
    State.LIBXC: _by_type(*(record for record in libxc.RECORDS if record.direction == "forward")),
    State.CHECKPOINT: _by_type(*_LIBXL_CHECKPOINT),
    State.CHECKPOINT_STATE: _by_type(libxl.CHECKPOINT_STATE),
    State.LIBXL_RESYNCED: _by_type(*_LIBXL_PLAIN, *_LIBXL_CHECKPOINT),
    State.BACK_CHANNEL: _by_type(libxl.CHECKPOINT_STATE, libxc.CHECKPOINT_DIRTY_PFN_LIST),
}

LAYER: dict[State, Literal["libxl", "libxc"]] = {
    State.LIBXL: "libxl",
    State.LIBXC: "libxc",
    State.CHECKPOINT: "libxl",
    State.CHECKPOINT_STATE: "libxl",
    State.LIBXL_RESYNCED: "libxl",
    State.BACK_CHANNEL: "libxl",
}
"""Which layer a record of unknown type is counted to."""

NEXT: dict[tuple[State, str], State] = {
    (State.XL_HEADER, "SAVE_FILE_HEADER"): State.XL_CONFIG,
    (State.XL_CONFIG, "CONFIG"): State.LIBXL_HEADER,
    (State.LIBXL_HEADER, "STREAM_HEADER"): State.LIBXL,
    (State.LIBXL, "LIBXC_CONTEXT"): State.IMAGE_HEADER,
    (State.LIBXL, "END"): State.AFTER_END,
    (State.IMAGE_HEADER, "IMAGE_HEADER"): State.DOMAIN_HEADER,
    (State.DOMAIN_HEADER, "DOMAIN_HEADER"): State.LIBXC,
    (State.LIBXC, "END"): State.LIBXL,
    (State.LIBXC, "CHECKPOINT"): State.AFTER_CHECKPOINT,
    (State.CHECKPOINT, "CHECKPOINT_END"): State.AFTER_CHECKPOINT_END,
    (State.CHECKPOINT_STATE, "CHECKPOINT_STATE"): State.LIBXC,
    (State.LIBXL_RESYNCED, "LIBXC_CONTEXT"): State.IMAGE_HEADER,
    (State.LIBXL_RESYNCED, "END"): State.AFTER_END,
    (State.LIBXL_RESYNCED, "CHECKPOINT_END"): State.AFTER_CHECKPOINT_END,
    (State.GO, "GO"): State.DONE,
    (State.BANNER, "BANNER"): State.AFTER_BANNER,
    (State.READY, "READY"): State.REPORT,
    (State.REPORT, "REPORT"): State.STATUS,
    (State.STATUS, "REPORT_STATUS"): State.AFTER_STATUS,
    (State.PERMISSION, "GO"): State.DONE,
}
"""(state, what was read) -> next state; a record without a row here leaves the state as it is."""

NEXT_BARE: dict[tuple[State, str], State] = {(State.LIBXC, "END"): State.DONE}
"""Rows that stand in for those of `NEXT` in a stream that is known to begin with an image header."""

CHOICES: dict[State, tuple[tuple[tuple[bytes | Head, State], ...], State | None]] = {
    State.START: (
        (
            (xl.XL_MAGIC[:12], State.XL_HEADER),
            (libxl.LIBXL_IDENT, State.LIBXL_HEADER),
            (b"\xff" * 8 + b"XENF", State.IMAGE_HEADER),
            (b"xl migration", State.BANNER),
        ),
        None,
    ),
    State.AFTER_CHECKPOINT: (
        (
            (Head(libxl.EMULATOR_XENSTORE_DATA.type_id or 0, None), State.CHECKPOINT),
            (Head(libxl.EMULATOR_CONTEXT.type_id or 0, None), State.CHECKPOINT),
            (Head(libxl.CHECKPOINT_END.type_id or 0, None), State.CHECKPOINT),
            (Head(libxc.PAGE_DATA.type_id or 0, None), State.LIBXC),
            (Head(libxc.X86_TSC_INFO.type_id or 0, 24), State.LIBXC),
        ),
        State.CHECKPOINT,
    ),
    State.AFTER_CHECKPOINT_END: (
        ((Head(libxl.CHECKPOINT_STATE.type_id or 0, 4), State.CHECKPOINT_STATE),),
        State.LIBXC,
    ),
    State.AFTER_END: (((b"domain is yours", State.GO),), None),
    State.REVERSE_START: (
        (
            (b"xl migration", State.BANNER),
            (Head(libxl.CHECKPOINT_STATE.type_id or 0, 4), State.BACK_CHANNEL),
        ),
        None,
    ),
    State.AFTER_BANNER: (((b"d", State.READY),), State.BACK_CHANNEL),
    State.AFTER_STATUS: (((b"domain is yours", State.PERMISSION),), None),
}
"""state -> ((bytes or record header at this place, the state it means), ...), what it is otherwise (None: not ours)."""

REVERSE_STATES = frozenset(
    {
        State.REVERSE_START,
        State.BANNER,
        State.AFTER_BANNER,
        State.READY,
        State.REPORT,
        State.STATUS,
        State.AFTER_STATUS,
        State.PERMISSION,
        State.BACK_CHANNEL,
    }
)

ONCE_STATES = frozenset({State.XL_HEADER, State.LIBXL_HEADER, State.IMAGE_HEADER})
ONCE: frozenset[Record] = frozenset(
    {
        libxl.LIBXC_CONTEXT,
        libxc.X86_PV_INFO,
        libxc.X86_PV_P2M_FRAMES,
        libxc.STATIC_DATA_END,
        libxc.X86_CPUID_POLICY,
        libxc.X86_MSR_POLICY,
    }
)
"""What comes once, before the first PAGE_DATA (stream.md 3.7, 4.7): behind that it can only lie in guest memory."""

BACK_CHANNEL_ORDER: dict[int, int] = {2: 3, 3: 1, 1: -1, -1: 2}
"""R5 to R8 by control_id, -1 for a dirty list: READY, RESUMED, SUSPENDED, list, READY ... A strict framer insists."""

ENTRY: dict[State, str] = {
    State.XL_HEADER: "xl",
    State.BANNER: "xl",
    State.LIBXL_HEADER: "libxl",
    State.IMAGE_HEADER: "libxc",
    State.LEGACY: "legacy",
}
"""What the stream is called by the state that START or REVERSE_START led to."""

FORCED: dict[str, State] = {name: state for state, name in ENTRY.items() if state in ONCE_STATES}
"""What the sender's stream begins with, by what it is called."""

MODES: dict[tuple[State, str], Literal["plain", "remus", "colo"]] = {
    (State.AFTER_CHECKPOINT_END, "CHECKPOINT_STATE"): "colo",
    (State.AFTER_CHECKPOINT_END, "LIBXC"): "remus",
    (State.AFTER_BANNER, "READY"): "plain",
    (State.AFTER_BANNER, "BACK_CHANNEL"): "colo",
    (State.REVERSE_START, "BACK_CHANNEL"): "colo",
}
"""(choice, the state it led to) -> what that says about the mode (stream.md 5.5)."""

ENDS = frozenset({State.AFTER_END, State.AFTER_STATUS, State.DONE})
"""States behind which nothing has to come: bytes that they do not know are no part of the stream."""

RESYNC_STATE: dict[tuple[str, str], State] = {
    **{("libxc", record.name): State.LIBXC for record in libxc.RECORDS if record.type_id is not None},
    **{("libxl", record.name): State.LIBXL_RESYNCED for record in libxl.RECORDS if record.type_id is not None},
    ("libxc", "CHECKPOINT_DIRTY_PFN_LIST"): State.BACK_CHANNEL,
}
"""In which state a chain of records that begins with this one is read after losing framing."""
