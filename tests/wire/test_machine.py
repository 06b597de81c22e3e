# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables are closed, and say what stream.md 5.1 and 5.2 say."""

from __future__ import annotations

import pytest

from dissector.spec import ALL_RECORDS
from dissector.wire.machine import (
    BACK_CHANNEL_ORDER,
    CHOICES,
    ENTRY,
    LAYER,
    MESSAGES,
    MODES,
    NEXT,
    NORMAL_ENDS,
    RECORDS,
    RESYNC_STATE,
    REVERSE_STATES,
    Head,
    State,
)

ROWS = """
LIBXL_HEADER STREAM_HEADER -> LIBXL
LIBXL LIBXC_CONTEXT -> IMAGE_HEADER
LIBXL EMULATOR_XENSTORE_DATA -> LIBXL
LIBXL EMULATOR_CONTEXT -> LIBXL
LIBXL END -> AFTER_END
IMAGE_HEADER IMAGE_HEADER -> DOMAIN_HEADER
DOMAIN_HEADER DOMAIN_HEADER -> LIBXC
LIBXC PAGE_DATA -> LIBXC
LIBXC END -> LIBXL
LIBXC CHECKPOINT -> AFTER_CHECKPOINT
CHECKPOINT EMULATOR_CONTEXT -> CHECKPOINT
CHECKPOINT CHECKPOINT_END -> AFTER_CHECKPOINT_END
CHECKPOINT_STATE CHECKPOINT_STATE -> LIBXC
GO GO -> DONE
BANNER BANNER -> AFTER_BANNER
READY READY -> REPORT
REPORT REPORT -> STATUS
STATUS REPORT_STATUS -> AFTER_STATUS
PERMISSION GO -> DONE
BACK_CHANNEL CHECKPOINT_STATE -> BACK_CHANNEL
BACK_CHANNEL CHECKPOINT_DIRTY_PFN_LIST -> BACK_CHANNEL
"""


@pytest.mark.parametrize("row", ROWS.strip().splitlines())
def test_rows_of_the_specification(row):
    before, after = row.split(" -> ")
    state, record = before.split()
    assert NEXT.get((State[state], record), State[state]) is State[after]


def test_every_state_has_one_reader():
    for state in State:
        readers = [state in table for table in (MESSAGES, RECORDS, CHOICES)]
        assert sum(readers) == (0 if state in (State.DONE, State.LEGACY) else 1), state


def test_rows_only_for_what_a_state_reads():
    for state, name in NEXT:
        readable = {record.name for record in RECORDS.get(state, {}).values()}
        if state in MESSAGES:
            readable.add(MESSAGES[state].name)
        assert name in readable, (state, name)


def test_every_state_can_be_reached():
    reached = {State.START, State.REVERSE_START, State.LEGACY, *RESYNC_STATE.values(), *NEXT.values()}
    for rows, otherwise in CHOICES.values():
        reached |= {state for _, state in rows}
        if otherwise is not None:
            reached.add(otherwise)
    assert reached == set(State)


def test_choices_look_at_eight_bytes_or_a_text():
    for rows, _ in CHOICES.values():
        for what, _ in rows:
            assert isinstance(what, Head | bytes)


def test_record_states_have_a_layer():
    assert set(LAYER) == set(RECORDS)


def test_directions_do_not_mix():
    for (state, _), after in NEXT.items():
        if after is not State.DONE:
            assert (state in REVERSE_STATES) == (after in REVERSE_STATES)


def test_modes_and_entries():
    assert set(MODES.values()) == {"plain", "remus", "colo"}
    assert set(ENTRY.values()) == {"xl", "libxl", "libxc", "legacy"}
    for choice, state in MODES:
        assert choice in CHOICES
        assert State[state]


def test_back_channel_goes_round():
    step, seen = 2, []
    for _ in range(4):
        seen.append(step)
        step = BACK_CHANNEL_ORDER[step]
    assert seen == [2, 3, 1, -1]
    assert step == 2


def test_every_record_can_be_found_again():
    for record in ALL_RECORDS:
        assert record.type_id is None or (record.layer, record.name) in RESYNC_STATE


def test_normal_ends_are_states_between_records():
    assert {State.DONE, State.AFTER_END, State.AFTER_CHECKPOINT_END} <= NORMAL_ENDS
