# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables are closed, and their rows are those of stream.md 5.1 to 5.5."""

from __future__ import annotations

import struct

import pytest

from dissector.spec import ALL_RECORDS, libxc, libxl, xl
from dissector.wire.framer import Framer
from dissector.wire.limits import Limits
from dissector.wire.machine import (
    BACK_CHANNEL_ORDER,
    CHOICES,
    ENTRY,
    LAYER,
    MESSAGES,
    MODES,
    NEXT,
    RECORDS,
    RESYNC_STATE,
    REVERSE_STATES,
    Head,
    State,
)

ENDS = {State.DONE, State.LEGACY}


# -- closed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_every_state_is_read_in_exactly_one_way(state):
    assert sum(state in table for table in (MESSAGES, RECORDS, CHOICES)) + (state in ENDS) == 1


def test_rows_lead_to_states_that_exist_and_from_records_that_are_read_there():
    for (state, name), following in NEXT.items():
        assert isinstance(following, State)
        readable = [MESSAGES[state]] if state in MESSAGES else RECORDS[state].values()
        assert name in {record.name for record in readable}, (state, name)


def test_every_message_leads_on():
    for state, record in MESSAGES.items():
        assert (state, record.name) in NEXT


def test_every_state_can_be_reached():
    reached = {State.START, State.REVERSE_START, State.LEGACY}
    reached |= {state for rows, otherwise in CHOICES.values() for _, state in rows}
    reached |= {otherwise for _, otherwise in CHOICES.values() if otherwise is not None}
    reached |= set(NEXT.values()) | set(RESYNC_STATE.values())
    assert set(State) - reached == set()


def test_every_record_state_has_a_layer():
    assert set(LAYER) == set(RECORDS)
    for state, layer in LAYER.items():
        assert layer in {record.layer for record in RECORDS[state].values()}


def test_records_are_entered_under_their_own_number():
    for table in RECORDS.values():
        for number, record in table.items():
            assert record.type_id == number


def test_choices_are_not_ambiguous():
    """No row can hide a later one of the same state."""
    for rows, _ in CHOICES.values():
        texts = [what for what, _ in rows if isinstance(what, bytes)]
        heads = [what for what, _ in rows if isinstance(what, Head)]
        assert all(texts)
        for index, text in enumerate(texts):
            assert not any(later.startswith(text) or text.startswith(later) for later in texts[index + 1 :])
        assert len({head.type_id for head in heads}) == len(heads)


def test_modes_and_entries_are_choices_that_exist():
    for state, name in MODES:
        rows, otherwise = CHOICES[state]
        assert State[name] in {otherwise, *(following for _, following in rows)}
    assert set(ENTRY) <= {following for _, following in CHOICES[State.START][0]} | {State.LEGACY}


def test_reverse_states_stay_among_themselves():
    for (state, _), following in NEXT.items():
        if following is not State.DONE:
            assert (state in REVERSE_STATES) == (following in REVERSE_STATES)
    for state, (rows, otherwise) in CHOICES.items():
        if state is State.START:
            continue
        for following in (*(one for _, one in rows), otherwise):
            assert following is None or (following in REVERSE_STATES) == (state in REVERSE_STATES)


def test_every_record_can_begin_a_chain_after_a_loss():
    assert set(RESYNC_STATE) == {(r.layer, r.name) for r in ALL_RECORDS if r.type_id is not None}
    for (layer, name), state in RESYNC_STATE.items():
        if (layer, name) != ("libxl", "CHECKPOINT_STATE"):  # direction and state follow from its control_id
            assert name in {record.name for record in RECORDS[state].values()}, (layer, name)


def rec(type_id: int, body: bytes = b"") -> bytes:
    return struct.pack("<II", type_id, len(body)) + body + bytes(-len(body) % 8)


XL_HEADER = xl.XL_MAGIC + struct.pack("<IIII", 0x01020304, 3, 0, 6)
LEGACY_HEADER = xl.XL_MAGIC + struct.pack("<IIII", 0x01020304, 1, 0, 6)
OPTIONAL = b"\2\0\0\0{\0"
LIBXL = b"LibxlFmt" + struct.pack(">II", 2, 0)
IMAGE = b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, 0, 0, 0)
DOMAIN = struct.pack("<IHHII", 2, 12, 0, 4, 17)
TSC = rec(8, struct.pack("<IIQII", 0, 1, 1, 1, 0))
PAGES = rec(1, struct.pack("<IIQ", 1, 0, 0xF << 60))
NEW, SUSPENDED, READY, RESUMED = (rec(5, struct.pack("<I", number)) for number in range(4))
BANNER, XL_READY, GO, REPORT = (record.body[0].const for record in (xl.BANNER, xl.READY, xl.GO, xl.REPORT))

F4, F7, F8, R5 = State.LIBXL, State.LIBXC, State.CHECKPOINT, State.BACK_CHANNEL
ROWS = {
    "F0 Xen saved": (State.START, b"Xen saved domain"[:12], State.XL_HEADER),
    "F0 LibxlFmt": (State.START, b"LibxlFmt\0\0\0\2", State.LIBXL_HEADER),
    "F0 8xFF XENF": (State.START, b"\xff" * 8 + b"XENF", State.IMAGE_HEADER),
    "F1": (State.XL_HEADER, XL_HEADER, State.XL_CONFIG),
    "F2 STREAMv2": (State.XL_HEADER, XL_HEADER + OPTIONAL, State.LIBXL_HEADER),
    "F2 legacy": (State.XL_HEADER, LEGACY_HEADER + OPTIONAL, State.LEGACY),
    "F3": (State.LIBXL_HEADER, LIBXL, F4),
    "F4 1": (F4, rec(1), State.IMAGE_HEADER),
    "F4 2": (F4, rec(2, bytes(8)), F4),
    "F4 3": (F4, rec(3, bytes(8)), F4),
    "F4 0": (F4, rec(0), State.AFTER_END),
    "F5": (State.IMAGE_HEADER, IMAGE, State.DOMAIN_HEADER),
    "F6": (State.DOMAIN_HEADER, DOMAIN, F7),
    "F7 0": (F7, rec(0), F4),
    "F7 0x0e": (F7, rec(0x0E), State.AFTER_CHECKPOINT),
    "F7 0x0e, then libxl": (F7, rec(0x0E) + rec(3, bytes(8)), F8),
    **{
        f"F7 {record.type_id:#04x}": (F7, rec(record.type_id, bytes(record.length.exact[0])), F7)
        for record in (
            libxc.X86_PV_INFO,
            libxc.X86_PV_VCPU_BASIC,
            libxc.SHARED_INFO,
            libxc.VERIFY,
            libxc.STATIC_DATA_END,
        )
    },
    "F7 0x01": (F7, PAGES, F7),
    "F7 0x08": (F7, TSC, F7),
    "F8 2": (F8, rec(2, bytes(8)), F8),
    "F8 3": (F8, rec(3, bytes(8)), F8),
    "F8 4": (F8, rec(4), State.AFTER_CHECKPOINT_END),
    "F8a type 5, length 4": (State.AFTER_CHECKPOINT_END, NEW[:8], State.CHECKPOINT_STATE),
    "F8a else": (State.AFTER_CHECKPOINT_END, TSC[:8], F7),
    "F8a else, PAGE_DATA": (State.AFTER_CHECKPOINT_END, PAGES[:8], F7),
    "F8b 0": (State.CHECKPOINT_STATE, NEW, F7),
    "F9": (State.AFTER_END, GO[:15], State.GO),
    "F10": (State.GO, GO, State.DONE),
    "R0": (State.START, BANNER, State.AFTER_BANNER),
    "R0, role known": (State.REVERSE_START, BANNER, State.AFTER_BANNER),
    "R1 d": (State.AFTER_BANNER, XL_READY[:8], State.READY),
    "R1 0x05": (State.AFTER_BANNER, READY[:8], R5),
    "R2": (State.READY, XL_READY, State.REPORT),
    "R3 REPORT": (State.REPORT, REPORT, State.STATUS),
    "R3 STATUS": (State.STATUS, b"\0", State.AFTER_STATUS),
    "R3 0": (State.REPORT, REPORT + b"\0", State.AFTER_STATUS),
    "R4": (State.AFTER_STATUS, GO, State.DONE),
    "R5 to R8": (R5, READY + RESUMED + SUSPENDED + rec(0x0F, struct.pack("<Q", 4)) + READY, R5),
}


@pytest.mark.parametrize("row", ROWS)
def test_row(row):
    state, data, following = ROWS[row]
    framer = Framer(state, 0, Limits())
    framer.data(memoryview(data), 1, None)
    assert not framer.failed
    assert framer.state is following
    assert framer.findings == [] or row == "F2 legacy"


ERRORS = {
    "F4 4": (F4, rec(4)),
    "F4 5": (F4, NEW),
    "F4 6": (F4, rec(6)),
    "F7 0x0f": (F7, rec(0x0F)),
    "F7 0x13": (F7, rec(0x13)),
    "F8 0": (F8, rec(0)),
    "F8 1": (F8, rec(1)),
    "F8 5": (F8, NEW),
    "more bytes after F10": (State.GO, GO + b"x"),
    "bytes after F9": (State.AFTER_END, bytes(16)),
}


@pytest.mark.parametrize("row", ERRORS)
def test_what_is_an_error_is_a_finding_and_no_exception(row):
    state, data = ERRORS[row]
    framer = Framer(state, 0, Limits())
    framer.data(memoryview(data), 1, None)
    assert framer.failed or any(rule.severity in ("error", "warn") for rule, _, _ in framer.findings)


MODE_ROWS = {
    "libxc END": (F7, rec(0), "plain"),
    "CHECKPOINT_END, then type 5": (F8, rec(4) + NEW, "colo"),
    "CHECKPOINT_END, then something else": (F8, rec(4) + TSC, "remus"),
    "reverse 0x05": (State.START, BANNER + READY, "colo"),
    "reverse domain received": (State.START, BANNER + XL_READY, "plain"),
    "nothing of these yet": (F7, TSC + PAGES, ""),
    "a checkpoint whose end is not there yet": (F7, rec(0x0E) + rec(3, bytes(8)), ""),
    "4.6: END after checkpoints": (F8, rec(4) + rec(0), "remus"),
}


@pytest.mark.parametrize("row", MODE_ROWS)
def test_mode(row):
    """stream.md 5.5."""
    state, data, mode = MODE_ROWS[row]
    framer = Framer(state, 0, Limits())
    framer.data(memoryview(data), 1, None)
    assert framer.mode == mode


def test_order_of_the_back_channel():
    """READY 2, RESUMED 3, SUSPENDED 1, list (stream.md 5.2)."""
    step, seen = 2, []
    for _ in range(8):
        seen.append(step)
        step = BACK_CHANNEL_ORDER[step]
    assert seen == [2, 3, 1, -1] * 2


def test_libxl_types_by_state():
    assert set(RECORDS[F4]) == {0, 1, 2, 3}
    assert set(RECORDS[F8]) == {2, 3, 4}
    assert set(RECORDS[State.CHECKPOINT_STATE]) == {5}
    assert set(RECORDS[R5]) == {5, 0x0F}
    assert set(RECORDS[F7]) == set(range(0x13)) - {0x0F}
    assert libxl.CHECKPOINT_STATE in RECORDS[R5].values()
