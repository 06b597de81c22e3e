# SPDX-License-Identifier: GPL-2.0-or-later
"""Good migrations changed in one place at random: no exception, bounded memory, and the right finding where it belongs.

A number of changes of each migration, the same ones on every run. XENDISSECT_EXPLORE=N makes it N times as many,
XENDISSECT_SEED=TEXT other ones.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from functools import partial

import pytest

from dissector.spec.rules import BY_ID
from dissector.wire.limits import MIB, ThoroughLimits
from tests.check.scripts import LIMITS, engine_batches, findings_in, stream_batches
from tests.cross.faults import FAULTS, anything, goods

EXPLORE = max(1, int(os.environ.get("XENDISSECT_EXPLORE", "0")))
SEED = os.environ.get("XENDISSECT_SEED", "0")
GOOD = {good.name: good for good in goods()}
LARGE = 1 << 20
"""Bytes of a migration from which on it is changed less often."""
CHANGES, CHANGES_LARGE = 40, 4
BREAKS = 16
"""Migrations in which a fault is tried."""
TIGHT = ThoroughLimits(max_body=MIB, max_flow_buffer=MIB, max_total_buffer=2 * MIB, max_search=2 * MIB)
MEMORY = 3 * MIB
"""What engine and checker may hold at these limits, besides what they are given."""
POINTS_BACK = {
    "libxc.checkpoint_dirty_pfn_list.resent",  # at the list, when its checkpoint is over
    "libxc.checkpoint.plain",  # at the CHECKPOINT, when the receiver says READY
    "xl.banner_first",
    "stream.reverse_unknown",
}
"""Rules that a later record decides about an earlier one; endings and releases stand where the last record is."""


def said(script):
    """Findings of a migration over a connection, or of a bare stream."""
    return findings_in(sender(script, LIMITS)())


def sender(script, limits):
    """Return what gives all bytes of a migration to an engine, and its events back."""
    if script.close != "file":
        return partial(engine_batches, script.packets(), limits)
    entry = {"xl": "xl", "libxl": "libxl"}.get(script.items[0].layer, "libxc")
    return partial(stream_batches, script.forward(), entry, limits)


def size(good):
    return sum(len(item.data) for item in good.items)


def seeds(good, number):
    """Generators for some changes."""
    changes = (CHANGES_LARGE if size(good) > LARGE else CHANGES) if number is None else number
    return [random.Random(f"{SEED} {good.name} {n}") for n in range(changes * EXPLORE)]


@pytest.mark.parametrize("name", GOOD)
def test_good_as_it_is(name):
    """What was taken apart and sent again is the same migration."""
    found = said(GOOD[name].script())
    assert [(one.id, one.text) for one in found if one.severity != "note"] == []


@pytest.mark.parametrize("name", GOOD)
def test_anything(name):
    """It ends once, as each does; and nothing is said against what comes before the change."""
    good = GOOD[name]
    for rng in seeds(good, None):
        script = good.script()
        what, direction, place = anything(script, rng)
        found = said(script) if script.items else []
        flows = {one.flow for one in found if one.flow is not None}
        endings = [one.flow for one in found if one.id.startswith("ending.")]
        assert sorted(endings) == sorted(flows), what
        early = [
            (one.id, one.offset, one.text)
            for one in found
            if one.direction == direction and one.offset is not None and one.offset < place and one.severity != "note"
            if one.id not in POINTS_BACK and not one.id.startswith(("ending.", "release."))
        ]
        assert early == [], (what, place)


@pytest.mark.parametrize("fault", FAULTS, ids=[one.name for one in FAULTS])
def test_fault_is_found_in_the_record_that_was_changed(fault):
    broken = []
    for good in GOOD.values():
        for rng in seeds(good, 1 if size(good) > LARGE else 3):
            script = good.script()
            item = fault.breaks(script, rng)
            if item is not None:
                broken.append((good.name, script, item))
    assert broken
    random.Random(f"{SEED} {fault.name}").shuffle(broken)
    missed = []
    for name, script, item in broken[: BREAKS * EXPLORE]:
        found = said(script)
        start = script.place(item)
        end = start + max(1, len(item.data))
        mine = [one for one in found if one.id in fault.ids and one.direction == item.direction]
        if not any(one.offset is not None and start <= one.offset < end for one in mine):
            wrong = [(one.id, one.direction, one.offset) for one in found if one.severity == "error"]
            missed.append((name, item.type, start, end, bytes(item.data[:24]).hex(" "), wrong))
    assert missed == []


@pytest.mark.parametrize("name", [name for name, good in GOOD.items() if size(good) <= LARGE])
def test_memory(name):
    """Whatever a length claims: at tight limits little is kept."""
    good = GOOD[name]
    for rng in seeds(good, 4):
        script = good.script()
        what, *_ = anything(script, rng)
        if not script.items:
            continue
        send = sender(script, TIGHT)
        tracemalloc.start()
        findings_in(send())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MEMORY, (what, peak)


def test_every_rule_that_a_receiver_enforces_is_broken_by_a_fault():
    """But for those that need another kind of damage; each of them is in ``tests/check/broken.py``."""
    broken = {BY_ID[id_].number for one in FAULTS for id_ in one.ids if id_ in BY_ID}
    errors = {rule.number for rule in BY_ID.values() if rule.severity == "error" and rule.number is not None}
    assert errors - broken == {87, 93, 96}
