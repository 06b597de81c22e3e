# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection: which side sends, what the flow is called, how it ends; and its two half flows."""

from __future__ import annotations

import pytest

from captures.guests import Guest, colo, plain, remus
from captures.streams import BANNER
from dissector.spec.findings import SNAPLEN
from dissector.wire import events, flow
from dissector.wire.halfflow import IGNORE, LIMIT, NEXT_SEQ, Budget
from dissector.wire.limits import Limits

SMALL = Guest(pages=3, config=b"{}\0")
ENDS = (("192.0.2.1", 1111), ("192.0.2.2", 2222))


class Rig:
    """A flow and what it emitted."""

    def __init__(self) -> None:
        self.events: list = []
        self.numbers = iter(range(7, 99))
        self.flow = flow.Flow(Limits(), self.events.append, lambda: next(self.numbers), ENDS)
        self.flow.start = "syn"
        self.first, self.second = self.flow.followers

    def send(self, index: int, data: bytes) -> None:
        follower = self.flow.followers[index]
        follower.data(memoryview(data), 3, 30)
        follower.settled(follower.position)

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


TALKS = {
    "plain": plain(SMALL, passes=()),
    "libxl": plain(SMALL, "libxl", passes=()),
    "libxc": plain(SMALL, "libxc", passes=()),
    "remus": remus(SMALL, ((1,), ())),
    "colo": colo(SMALL, ((1,),), passes=()),
}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", TALKS)
def test_sender_is_found_by_content(name, swapped):
    talk = TALKS[name]
    rig = Rig()
    rig.send(int(swapped), bytes(talk.forward.data))
    if talk.reverse.data:
        rig.send(1 - swapped, bytes(talk.reverse.data))
    rig.flow.finish("fin")
    begin, end = rig.of(events.Flow)
    ends = ENDS[::-1] if swapped else ENDS
    for event in (begin, end):
        assert (event.sender, event.receiver, event.flow, event.start) == (*ends, 7, "syn")
        assert event.entry == {"libxl": "libxl", "libxc": "libxc"}.get(name, "xl")
    assert (begin.phase, begin.mode, begin.end) == ("begin", "unknown", None)
    assert (end.phase, end.mode, end.end) == ("end", talk.mode, "fin")


def test_the_banner_alone_tells_the_direction():
    rig = Rig()
    rig.send(0, BANNER)
    assert (rig.first.role, rig.second.role) == ("reverse", "forward")
    [begin] = rig.of(events.Flow)
    assert (begin.sender, begin.receiver) == ENDS[::-1]


def test_the_first_word_about_the_mode_counts():
    rig = Rig()
    rig.flow.note_mode("remus")
    rig.flow.note_mode("plain")
    assert rig.flow.mode == "remus"


def test_summary_follows_the_end_and_both_come_once():
    rig = Rig()
    rig.send(0, bytes(TALKS["plain"].forward.data))
    rig.flow.finish("rst")
    rig.flow.finish("capture end")
    assert [type(event) for event in rig.events[-2:]] == [events.Flow, events.Summary]
    assert rig.events[-2].end == "rst"
    assert len(rig.of(events.Summary)) == 1


def test_a_flow_that_is_no_migration_says_nothing():
    rig = Rig()
    for index in (0, 1):
        rig.send(index, b"SSH-2.0-OpenSSH_9.2\r\n")
    rig.flow.finish("fin")
    assert rig.flow.uninteresting
    assert rig.events == []


def test_early_events_get_flow_and_direction_later():
    rig = Rig()
    rig.flow.emit(events.Finding(SNAPLEN, "x", -2, "forward", 0))
    rig.flow.emit(events.Gap(-1, "forward", 0, 5, "lost", 1, 1))
    assert rig.events == []
    rig.send(1, bytes(TALKS["plain"].forward.data)[:60])
    begin, finding, gap = rig.events[:3]
    assert begin.phase == "begin"
    assert (finding.flow, finding.direction) == (7, "forward")
    assert (gap.flow, gap.direction) == (7, "reverse")


def test_early_events_are_bounded():
    rig = Rig()
    for number in range(10_000):
        rig.flow.emit(events.Gap(-1, "forward", number, 1, "lost", 1, 1))
    rig.send(1, bytes(TALKS["plain"].forward.data)[:60])
    assert len(rig.of(events.Gap)) < 10_000


def test_every_event_names_the_flow():
    rig = Rig()
    rig.send(0, bytes(TALKS["colo"].forward.data))
    rig.send(1, bytes(TALKS["colo"].reverse.data))
    rig.flow.finish("fin")
    assert {event.flow for event in rig.events} == {7}


# -- with half flows --------------------------------------------------------------------------------------------------

KEY = bytes(12)


def connection() -> tuple[Rig, flow.Connection]:
    rig = Rig()
    made = flow.Connection(KEY, rig.flow, Limits(), Budget())
    for half in made.halves:
        half.start(1000)
    made.publish()
    return rig, made


def feed(made: flow.Connection, index: int, start: int, data: bytes) -> None:
    made.catch_up()
    made.halves[index].segment((1000 + start) & 0xFFFF_FFFF, memoryview(data), len(data), -1, 1, 1)
    made.publish()


def test_what_the_kernel_passed_is_accounted_for():
    forward = bytes(TALKS["plain"].forward.data)
    pages = TALKS["plain"].find("PAGE_DATA")
    contents = pages["offset"] + 16 + 24
    rig, made = connection()
    feed(made, 0, 0, forward[:contents])
    fast = made.halves[0].fast
    assert fast[LIMIT] == fast[NEXT_SEQ] + 3 * 4096
    fast[NEXT_SEQ] += 9000
    feed(made, 0, contents + 9000, forward[contents + 9000 :])
    made.finish("fin")
    assert [r.size for r in rig.of(events.Record) if r.type == "PAGE_DATA"] == [pages["size"]]
    assert all(record.complete for record in rig.of(events.Record))
    assert len(rig.of(events.Record)) == len(TALKS["plain"].forward.records)


def test_what_was_passed_last_counts_though_nobody_told_of_it():
    forward = bytes(TALKS["plain"].forward.data)
    contents = TALKS["plain"].find("PAGE_DATA")["offset"] + 16 + 24
    rig, made = connection()
    feed(made, 0, 0, forward[:contents])
    made.halves[0].fast[NEXT_SEQ] += 9000
    made.finish("capture end")
    [summary] = rig.of(events.Summary)
    assert summary.bytes == {"forward": contents + 9000, "reverse": 0}


def test_nothing_may_be_passed_while_data_wait():
    forward = bytes(TALKS["plain"].forward.data)
    contents = TALKS["plain"].find("PAGE_DATA")["offset"] + 16 + 24
    _, made = connection()
    feed(made, 0, 0, forward[:contents])
    feed(made, 0, contents + 20_000, b"x")
    assert made.halves[0].waiting
    assert made.halves[0].fast[LIMIT] == 0


def test_a_half_that_has_not_begun_may_not_be_passed():
    rig = Rig()
    made = flow.Connection(KEY, rig.flow, Limits(), Budget())
    made.publish()
    assert [half.fast[LIMIT] for half in made.halves] == [0, 0]


def test_everything_may_be_passed_once_it_is_no_migration():
    _, made = connection()
    for index in (0, 1):
        feed(made, index, 0, b"SSH-2.0-OpenSSH_9.2\r\n")
    assert [half.fast[LIMIT] for half in made.halves] == [IGNORE, IGNORE]


def test_everything_may_be_passed_after_the_end():
    _, made = connection()
    feed(made, 0, 0, bytes(TALKS["plain"].forward.data))
    made.finish("fin")
    assert [half.fast[LIMIT] for half in made.halves] == [IGNORE, IGNORE]


def test_peer_acknowledgement_is_that_of_the_other_half():
    _, made = connection()
    made.halves[0].fast[2] = 11
    made.halves[1].fast[2] = 22
    assert (made.peer_ack(0), made.peer_ack(1)) == (22, 11)


def test_holes_are_lost_at_the_end():
    forward = bytes(TALKS["plain"].forward.data)
    rig, made = connection()
    feed(made, 0, 0, forward[:40])
    feed(made, 0, 60, forward[60:])
    made.finish("capture end")
    assert [(gap.offset, gap.length, gap.reason) for gap in rig.of(events.Gap)] == [(40, 20, "capture end")]


def test_the_end_says_which_last_bytes_are_missing():
    forward = bytes(TALKS["plain"].forward.data)
    for fin, short in ((len(forward), ()), (len(forward) + 5, ("forward",))):
        rig, made = connection()
        feed(made, 0, 0, forward)
        made.halves[0].fin = fin
        made.finish("fin")
        assert rig.of(events.Flow)[-1].short == short
