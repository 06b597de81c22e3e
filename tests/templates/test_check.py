# SPDX-License-Identifier: GPL-2.0-or-later
"""check.lua finds in records what :mod:`dissector.check` finds: rule, place and words."""

from __future__ import annotations

import random
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.check.checker import Checker
from dissector.lua_writer import generate, key
from dissector.reader import Reader
from dissector.spec import BY_NAME, rules
from dissector.wire.events import Flow, Gap, Record
from tests.check.broken import TABLE
from tests.check.scripts import LIMITS, colo_hvm, engine_batches, hvm, image, pv, remus_hvm, stream_batches
from tests.cross.tools import NAMES, modest, paths

VERSIONS = ("lua52", "lua54")
JUDGED = {rule.id for rule in rules.RULES if not rule.beyond_wireshark}
GOOD = {"hvm": hvm, "pv": pv, "image": image, "remus": remus_hvm, "colo": colo_hvm}

DRIVER = b"""
local parts = ...
local driver = {}

function driver.flow()
  local flow = { checked = parts.check.session(), followers = {} }
  for _, role in ipairs({ "forward", "reverse" }) do
    flow.followers[role] = { flow = flow, role = role, begun = false, lost = {} }
  end
  return flow
end

function driver.begun(flow, role)
  flow.followers[role].begun = true
end

function driver.lost(flow, role, start, stop)
  local lost = flow.followers[role].lost
  lost[#lost + 1] = { start, stop }
end

-- Judge a record; what is found in it or, because of it, in another one.
function driver.judge(flow, role, known, layer, unit)
  unit.record = parts.RECORDS[known]
  if not unit.record then
    unit.record = { key = layer .. ".UNKNOWN", layer = layer, name = "UNKNOWN", guests = "any", body = {} }
  end
  flow.units = flow.units or {}
  flow.units[#flow.units + 1] = unit
  parts.check.unit(flow.followers[role], unit)
end

function driver.found(flow)
  local all = {}
  for _, unit in ipairs(flow.units or {}) do
    for _, found in ipairs(unit.found or {}) do
      all[#all + 1] = table.concat({ found.id, string.format("%d", found.offset), found.text }, "|")
    end
  end
  return table.concat(all, "\\n")
end

return driver
"""


class Judge:
    """check.lua in one version of Lua."""

    def __init__(self, version):
        runtime = import_module(f"lupa.{version}").LuaRuntime(encoding="latin-1")
        self.table = runtime.table_from
        self.driver = runtime.execute(DRIVER, runtime.execute(generate().encode()))

    def findings(self, events):
        """What is found in the records among events, as lines."""
        flows = {}
        for event in events:
            if isinstance(event, Flow) and event.phase == "begin":
                flows[event.flow] = self.driver.flow()
                for role in ("forward", "reverse") if event.start == "file" else event.begun:
                    self.driver.begun(flows[event.flow], role)
            elif isinstance(event, Gap):
                self.driver.lost(flows[event.flow], event.direction, event.offset, event.offset + event.length)
            elif isinstance(event, Record):
                self._judge(flows[event.flow], event)
        return sorted(line for flow in flows.values() for line in self.driver.found(flow).splitlines())

    def _judge(self, flow, record):
        unit = {
            "name": record.type,
            "type_id": record.type_id,
            "offset": record.offset,
            "size": record.size,
            "body_length": record.body_length,
            "order": record.order,
            "first_frame": record.first_frame,
            "body": record.body.decode("latin-1"),
            "header_size": record.header_size,
        }
        if record.complete is False:
            last = record.lost[-1][0] if record.lost else record.offset
            unit["cut_at"] = last
        known = key(record.definition) if record.definition in BY_NAME.values() else ""
        self.driver.judge(flow, record.direction, known, record.layer, self.table(unit))


@pytest.fixture(scope="module", params=VERSIONS)
def judge(request):
    return Judge(request.param)


def core(events):
    """What the core finds with records (not at the end), but for the rules that the plugin leaves out."""
    checker = Checker()
    found = [one for event in events for one in checker.feed(event) if isinstance(event, Record)]
    return sorted(f"{one.id}|{one.offset}|{one.text}" for one in found if one.id in JUDGED)


def events_of(script):
    if script.items and all(item.direction == "forward" for item in script.items):
        batches = stream_batches(script.forward(), script.items[0].layer)
    else:
        batches = engine_batches(script.packets())
    return [event for batch in batches for event in batch]


@pytest.mark.parametrize("row", TABLE, ids=[f"{row.id}-{row.make.__name__}" for row in TABLE])
def test_broken_migrations(judge, row):
    events = events_of(row.make()[0])
    assert judge.findings(events) == core(events)


def test_every_rule_that_is_judged_is_broken_by_one_of_them():
    seen = {line.partition("|")[0] for row in TABLE for line in core(events_of(row.make()[0]))}
    assert seen == JUDGED


@pytest.mark.parametrize("name", GOOD)
def test_good_migrations(judge, name):
    assert judge.findings(events_of(GOOD[name]())) == []


@pytest.mark.parametrize("name", NAMES)
def test_captures(judge, name):
    reader = Reader(paths(name), limits=LIMITS)
    try:
        events = [event for batch in reader.batches() for event in batch]
    finally:
        reader.close()
    assert judge.findings(events) == core(events)


BYTES = (0, 1, 2, 0x7F, 0x80, 0xFF)


def changed(name, seed, changes):
    """A migration with bytes of its records changed, and records left out, repeated or put elsewhere."""
    chance = random.Random(seed)
    script = GOOD[name]()
    for _ in range(changes):
        item, other = chance.choice(script.items), chance.choice(script.items)
        action = chance.randrange(10)
        if action == 0 and len(script.items) > 1:
            script.remove(item)
        elif action == 1:
            script.insert(other, bytes(item.data), other.direction)
        else:
            at = chance.randrange(min(len(item.data), 120))
            item.data[at] = chance.choice((*BYTES, item.data[at] ^ 1 << chance.randrange(8)))
    return script


@modest(60)
@given(name=st.sampled_from(sorted(GOOD)), seed=st.integers(0, 1 << 32), changes=st.integers(1, 12))
def test_changed_at_random(judge, name, seed, changes):
    events = events_of(changed(name, seed, changes))
    assert judge.findings(events) == core(events)
