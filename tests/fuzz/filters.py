# SPDX-License-Identifier: GPL-2.0-or-later
"""Display filters that nobody meant well: one error is allowed, and what compiles answers yes or no."""

from __future__ import annotations

import warnings

from dissector import filter_fields
from dissector.display_filter import FilterError, compile_filter
from dissector.spec import ALL_RECORDS
from tests import sample_events

RECORDS = [
    sample_events.page_data([1, 2, sample_events.XTAB | 3]),
    sample_events.checkpoint_state(2),
    sample_events.hvm_params((1, 2), (3, 4)),
    *(
        sample_events.record(one.layer, one.name, bytes(range(1, 101)), complete=False, lost=((2800, 4),), time=None)
        for one in ALL_RECORDS
    ),
]

VALUES = {"number": "0x10", "time": "2026-11-22T21:35:10.5Z", "bool": "true", "bytes": "0f:a0"}


def check(draw):
    """Compile a text, ask it about records, and compare it with itself in other words."""
    text = draw.rest()[:8000].decode("utf-8", "surrogateescape")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            matches = compile_filter(text)
        except FilterError as error:
            assert "\n" not in str(error)
            assert 0 <= error.position <= len(text)
            return
    if "~" in text or "matches" in text.lower():
        return  # a pattern may take for ever, which is up to who wrote it
    answers = [matches(record) for record in RECORDS]
    assert all(isinstance(answer, bool) for answer in answers)
    try:
        opposite, doubled = compile_filter(f"not ({text})"), compile_filter(f"({text}) and ({text})")
    except FilterError as error:
        assert "levels of parentheses" in str(error)
        return
    assert [opposite(record) for record in RECORDS] == [not answer for answer in answers]
    assert [doubled(record) for record in RECORDS] == answers


def seeds():
    """Give a comparison of each field, and what the documentation has."""
    for name, field in filter_fields.fields().items():
        value = VALUES.get(field.kind, '"a"')
        yield name.encode()
        if field.kind != "presence":
            yield f"{name} == {value}".encode()
            yield f"not {name} in {{{value}, {value}}}".encode()
    for text in (
        "libxc.page_data.count > 100 and not direction == reverse",
        'xl.config.config matches "a[b-c]+(d|e){2,3}"',
        "flow in {0, 2 .. 5} || size & 0xff >= 3",
        "((((offset))))",
        'type contains "PAGE" && time >= 1795383310.5',
        "complete != true",
    ):
        yield text.encode()
