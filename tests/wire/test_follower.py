# SPDX-License-Identifier: GPL-2.0-or-later
"""One direction: bytes and gaps in, events in stream order out, and never before they are settled."""

from __future__ import annotations

import struct

import pytest

from captures.guests import Guest, colo, hvm, plain
from captures.streams import BANNER
from dissector.wire.events import Finding, Gap, Record, Resync
from dissector.wire.events import Flow as FlowEvent
from dissector.wire.flow import Flow
from dissector.wire.follower import Follower
from dissector.wire.limits import Limits
from dissector.wire.machine import State

TALK = plain(Guest(pages=3, config=b"{}\0"), passes=((1,),))
FORWARD = bytes(TALK.forward.data)
REVERSE = bytes(TALK.reverse.data)
LIMITS = Limits()


class Rig:
    """A flow with its two followers, and what it emitted; bytes go to the first one."""

    def __init__(self, limits: Limits = LIMITS, start: str = "syn") -> None:
        self.events: list = []
        numbers = iter(range(9))
        self.flow = Flow(limits, self.events.append, lambda: next(numbers), (("a", 1), ("b", 2)))
        self.flow.start = start  # type: ignore[assignment]
        self.first, self.second = self.flow.followers

    def send(self, data: bytes, follower: Follower | None = None, settle: bool = True) -> None:
        follower = follower or self.first
        for start in range(0, len(data), 500):
            follower.data(memoryview(data)[start : start + 500], 1, 10)
        if settle:
            follower.settled(follower.position)

    def lose(self, count: int, follower: Follower | None = None) -> None:
        follower = follower or self.first
        start = follower.position
        follower.lost(start, start + count, "lost", 2, 20, 10)
        follower.gap(count, 2, 20)
        follower.settled(follower.position)

    def said(self) -> list[str]:
        lines = []
        for event in self.events:
            match event:
                case Record():
                    lost = f" lost {event.lost}" if event.lost else ""
                    lines.append(f"{event.direction} {event.layer} {event.type} {event.offset}+{event.size}{lost}")
                case Gap():
                    lines.append(f"{event.direction} gap {event.offset}+{event.length} {event.reason}")
                case Resync():
                    lines.append(f"{event.direction} resync {event.offset}+{event.skipped} {event.found}".strip())
                case Finding():
                    lines.append(f"{event.direction} {event.id} {event.offset}")
                case FlowEvent():
                    lines.append(f"flow {event.phase} {event.entry}")
        return lines


def true(half) -> list[str]:
    return [f"{half.direction} {r['layer']} {r['type']} {r['offset']}+{r['size']}" for r in half.records]


def test_records_of_a_stream():
    rig = Rig()
    rig.send(FORWARD)
    assert rig.said() == ["flow begin xl", *true(TALK.forward)]
    assert (rig.first.role, rig.second.role) == ("forward", "reverse")


def test_the_reverse_direction_may_be_first():
    rig = Rig()
    rig.send(REVERSE)
    rig.send(FORWARD, rig.second)
    assert rig.said() == ["flow begin xl", *true(TALK.reverse), *true(TALK.forward)]


def test_nothing_comes_out_before_it_is_settled():
    rig = Rig()
    rig.send(FORWARD, settle=False)
    assert rig.said() == ["flow begin xl"]
    rig.first.settled(48)
    assert rig.said() == ["flow begin xl", *true(TALK.forward)[:1]]
    rig.first.settled(49)
    assert len(rig.said()) == 2
    rig.first.settled(len(FORWARD))
    assert rig.said() == ["flow begin xl", *true(TALK.forward)]


def test_lost_ranges_are_clipped_to_their_records():
    pages = TALK.forward.records[9]
    assert pages["type"] == "PAGE_DATA"
    start = pages["offset"] + 1000
    rig = Rig()
    rig.send(FORWARD[:start])
    rig.lose(500)
    rig.send(FORWARD[start + 500 : start + 2000])
    rig.lose(7)
    rig.send(FORWARD[start + 2007 :])
    lines = rig.said()
    assert f"forward gap {start}+500 lost" in lines
    wanted = f"forward libxc PAGE_DATA {pages['offset']}+{pages['size']} lost (({start}, 500), ({start + 2000}, 7))"
    assert wanted in lines
    assert sum(" lost ((" in line for line in lines) == 1
    assert [line.split(" lost ((")[0] for line in lines if "gap" not in line][1:] == true(TALK.forward)


def test_adjacent_losses_are_one_range():
    start = TALK.forward.records[9]["offset"] + 1000
    rig = Rig()
    rig.send(FORWARD[:start])
    rig.lose(10)
    rig.lose(20)
    rig.send(FORWARD[start + 30 :])
    [record] = [event for event in rig.events if isinstance(event, Record) and event.lost]
    assert record.lost == ((start, 30),)


def test_a_loss_over_a_border_belongs_to_both():
    first, second = TALK.forward.records[9:11]
    border = second["offset"]
    rig = Rig()
    rig.send(FORWARD[: border - 10])
    rig.lose(10)
    rig.send(FORWARD[border:])
    records = [event for event in rig.events if isinstance(event, Record)]
    assert [r.lost for r in records if r.lost] == [((border - 10, 10),)]
    assert first["type"] == second["type"] == "PAGE_DATA"


def test_head_lost_and_found_again():
    """The end of the stream is near: the chain up to GO is believed."""
    second, tsc = TALK.forward.records[10:12]
    rig = Rig()
    rig.send(FORWARD[: second["offset"]])
    rig.lose(8)
    rig.send(FORWARD[second["offset"] + 8 :])
    rig.first.end()
    lines = rig.said()
    assert f"forward resync {second['offset']}+{second['size']} libxc X86_TSC_INFO" in lines
    assert [line for line in lines if line.startswith(("forward lib", "forward xl"))] == [
        line for line in true(TALK.forward) if f" {second['offset']}+" not in line
    ]
    assert tsc["type"] == "X86_TSC_INFO"


def test_head_that_is_garbage():
    second = TALK.forward.records[10]
    at = second["offset"]
    rig = Rig()
    rig.send(FORWARD[:at] + b"\xee" * 8 + FORWARD[at + 8 :])
    rig.first.end()
    lines = rig.said()
    assert f"forward stream.framing {at}" in lines
    assert any(line.startswith(f"forward resync {at}+{second['size']} ") for line in lines)


def test_heads_are_not_looked_for_while_the_capture_falls_behind():
    """What begins before it has caught up is passed over, and said to be."""
    lost, passed, found = TALK.forward.records[10:13]
    rig = Rig()
    rig.send(FORWARD[: lost["offset"]])
    rig.lose(8)
    rig.flow.drops.behind = True
    rig.send(FORWARD[lost["offset"] + 8 : found["offset"]])
    rig.flow.drops.behind = False
    rig.send(FORWARD[found["offset"] :])
    rig.first.end()
    lines = rig.said()
    assert lines.count(f"forward limit.behind {lost['offset'] + 8}") == 1
    skipped = lost["size"] + passed["size"]
    assert f"forward resync {lost['offset']}+{skipped} {found['layer']} {found['type']}" in lines
    assert f"forward {passed['layer']} {passed['type']} {passed['offset']}+{passed['size']}" not in lines


def test_nothing_found_again_is_said_too():
    at = TALK.forward.records[10]["offset"]
    rig = Rig()
    rig.send(FORWARD[:at])
    rig.lose(8)
    rig.send(bytes(5000))
    rig.first.end()
    assert rig.said()[-1] == f"forward resync {at}+5008"


def test_cut_record():
    at = TALK.forward.records[9]["offset"] + 100
    rig = Rig()
    rig.send(FORWARD[:at])
    rig.first.end()
    size = TALK.forward.records[9]["size"]
    assert rig.said()[-2:] == [
        f"forward libxc PAGE_DATA {at - 100}+{size} lost (({at}, {size - 100}),)",
        f"forward stream.record_cut {at - 100}",
    ]


def test_something_else():
    rig = Rig()
    rig.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert not rig.flow.uninteresting
    rig.send(b"\x20")
    assert rig.flow.uninteresting
    assert rig.events == []


def test_text_in_both_directions():
    """A receiver may have a login shell that prints something before the banner; the sender waits for that."""
    rig = Rig()
    rig.send(b"GET / HTTP/1.1\r\n\r\n")
    assert not rig.flow.uninteresting
    rig.send(b"HTTP/1.1 404 Not Found\r\n\r\n", rig.second)
    assert rig.flow.uninteresting
    assert rig.events == []


def test_legacy():
    rig = Rig()
    rig.send(struct.pack("<QiQ", 0x1000, 16, 0) + bytes(400))
    rig.send(bytes(4000))
    rig.first.end()
    assert rig.said() == ["flow begin legacy", "forward stream.legacy 0"]


def test_reverse_bytes_of_another_protocol():
    """libvirt sends nothing back; somebody does."""
    rig = Rig()
    rig.send(FORWARD[:100])
    rig.send(b"whatever this may be", rig.second)
    rig.second.end()
    assert "reverse stream.reverse_unknown 0" in rig.said()
    assert [line for line in rig.said() if line.startswith("reverse resync 0+20")]


SHELL = b"Last login: Mon Nov 23 on pts/0\r\n\x1b[1mbash: warning: setlocale\x1b[0m \xc3\xa4\n"


@pytest.mark.parametrize("size", [1, 7, 30, 500])
def test_text_before_the_banner(size):
    """What a login shell prints: the source gives up, and the connection is a migration that failed all the same."""
    rig = Rig()
    stream = SHELL + BANNER
    for start in range(0, len(stream), size):
        rig.first.data(memoryview(stream)[start : start + size], 1, 10)
    rig.first.end()
    assert rig.said() == [
        "flow begin xl",
        "reverse xl.message 0",
        f"reverse resync 0+{len(SHELL)} xl BANNER",
        f"reverse xl BANNER {len(SHELL)}+{len(BANNER)}",
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" * 100,
        b"SSH-2.0-OpenSSH_9.2p1\r\n" + bytes(range(256)) * 9,
        b"\x16\x03\x01" + SHELL,
        SHELL * 40 + BANNER,
    ],
)
def test_other_protocols_are_given_up_soon(data):
    rig = Rig()
    rig.send(data)
    assert rig.flow.uninteresting
    rig.first.end()
    assert rig.said() == []


@pytest.mark.parametrize("banner", [b"", BANNER])
def test_text_of_the_receiver_while_the_sender_goes_on(banner):
    rig = Rig()
    rig.send(SHELL)
    rig.send(FORWARD, rig.second)
    rig.send(banner)
    rig.first.end()
    said = rig.said()
    assert said.count("reverse stream.reverse_unknown 0") == 1
    assert (f"reverse xl BANNER {len(SHELL)}+{len(BANNER)}" in said) == bool(banner)
    assert true(TALK.forward)[-1] in said


def test_early_gaps_wait_until_the_direction_is_known():
    """The banner is lost; READY tells what this direction is."""
    rig = Rig()
    rig.lose(54)
    assert rig.events == []
    rig.send(FORWARD, rig.second)
    rig.send(REVERSE[54:])
    rig.first.end()
    lines = rig.said()
    assert lines[:2] == ["flow begin xl", "reverse gap 0+54 lost"]
    assert [line for line in lines if line.startswith("reverse xl")] == true(TALK.reverse)[1:]
    assert rig.events[1].flow == 0


def test_skip_is_what_nobody_needs():
    rig = Rig()
    rig.send(FORWARD[: TALK.forward.records[9]["offset"] + 16 + 24])
    assert rig.first.skip == 3 * 4096
    rig.first.advance(4000)
    assert (rig.first.skip, rig.first.position) == (3 * 4096 - 4000, TALK.forward.records[9]["offset"] + 40 + 4000)


def test_nothing_is_skipped_while_searching():
    rig = Rig()
    rig.send(FORWARD[: TALK.forward.records[9]["offset"]])
    rig.lose(8)
    assert rig.first.skip == 0


def test_lost_range_before_the_last_of_too_many_is_not_forgotten():
    """The snap length makes bytes lost at once, while an older hole is still open."""
    rig = Rig(Limits(max_lost=1))
    start = TALK.forward.records[9]["offset"] + 40
    rig.send(FORWARD[:start])
    rig.first.gap(5, 1, 1)
    rig.first.lost(start + 100, start + 105, "snaplen", 1, 1, None)
    rig.first.gap(100, 1, 1)
    rig.first.lost(start, start + 5, "lost", 1, 1, None)
    rig.send(FORWARD[start + 105 :])
    [record] = [event for event in rig.events if isinstance(event, Record) and event.lost]
    assert record.lost == ((start, 105),)


def test_lost_ranges_are_bounded_and_that_is_said():
    limits = Limits(max_lost=3)
    rig = Rig(limits)
    start = TALK.forward.records[9]["offset"] + 40
    rig.send(FORWARD[:start])
    at = start
    for _ in range(6):
        rig.first.lost(at, at + 5, "lost", 1, 1, None)
        rig.first.gap(5, 1, 1)
        rig.first.data(memoryview(FORWARD)[at + 5 : at + 10], 1, 1)
        at += 10
    rig.send(FORWARD[at:])
    [record] = [event for event in rig.events if isinstance(event, Record) and event.lost]
    assert len(record.lost) <= 3
    assert record.lost[-1][0] + record.lost[-1][1] == start + 55
    assert sum("limit.lost_ranges" in line for line in rig.said()) == 1


def test_snap_length_is_said_once():
    rig = Rig()
    start = TALK.forward.records[9]["offset"] + 40
    rig.send(FORWARD[:start])
    for _ in range(3):
        rig.first.lost(rig.first.position, rig.first.position + 5, "snaplen", 1, 1, None)
        rig.first.gap(5, 1, 1)
        rig.send(FORWARD[rig.first.position : rig.first.position + 5])
    assert sum("capture.snaplen" in line for line in rig.said()) == 1


def test_mid_stream_search_gives_up():
    rig = Rig(Limits(max_search=10_000), start="mid-stream")
    rig.send(bytes(20_000))
    assert rig.flow.uninteresting or rig.first.ignored


@pytest.mark.parametrize("start", ["syn", "mid-stream"])
def test_what_is_lost_is_not_searched(start):
    """A hole may be longer than a search: behind it the records are found all the same."""
    rig = Rig(Limits(max_search=30_000), start=start)
    if start == "mid-stream":
        rig.send(bytes(2000))
    rig.lose(50_000)
    rig.send(bytes(900))
    rig.lose(50_000)
    rig.send(FORWARD[1000:])
    rig.first.end()
    assert any("libxc PAGE_DATA" in line for line in rig.said())


@pytest.mark.parametrize("header", [8, 16, 12])
def test_back_channel(header):
    talk = colo(hvm(pages=6), ((1, 5), (), (3,)), header)
    rig = Rig()
    rig.send(bytes(talk.reverse.data))
    rig.first.end()
    assert [line for line in rig.said() if " lib" in line and "header" not in line] == true(talk.reverse)[1:]


def test_beginning_state_can_be_given():
    flow = Flow(LIMITS, lambda event: None, lambda: 0)
    follower = Follower(flow, LIMITS, State.REVERSE_START)
    follower.data(memoryview(BANNER), 1, 1)
    assert follower.role == "reverse"


def test_end_is_final():
    rig = Rig()
    rig.send(FORWARD[:100])
    rig.first.end()
    count = len(rig.events)
    rig.send(FORWARD[100:])
    rig.lose(50)
    rig.first.end()
    assert len(rig.events) == count


def test_the_middle_of_a_stream_is_no_legacy_stream():
    """The capture starts with the last two pfns of a list: small numbers, as a legacy stream begins with."""
    talk = plain(Guest(pages=200), passes=((1, 2, 3), (4, 5)))
    data = bytes(talk.forward.data)
    start = talk.find("PAGE_DATA")["offset"] + 16 + 8 * 198
    rig = Rig(start="mid-stream")
    rig.send(data[start:])
    rig.first.end()
    assert [line for line in rig.said() if "legacy" in line] == []
    assert [line.rsplit(" ", 1)[0] for line in rig.said() if " lib" in line][-2:] == [
        "forward libxl EMULATOR_CONTEXT",
        "forward libxl END",
    ]


def test_only_the_end_of_a_migration_was_captured():
    """READY, GO, REPORT and STATUS, nothing else: their texts leave no doubt."""
    rig = Rig(start="mid-stream")
    rig.send(REVERSE[54:])
    rig.first.end()
    rig.flow.finish("fin")
    assert [line for line in rig.said() if line.startswith("reverse xl")] == [
        "reverse xl READY 0+34",
        "reverse xl REPORT 34+39",
        "reverse xl REPORT_STATUS 73+1",
    ]


@pytest.mark.parametrize(("stray", "first"), [(8, 4), (4, 0x400)])
def test_list_in_which_framing_was_found_again_has_the_header_of_the_lists_before(stray, first):
    """The chain that is taken does not know it, and is in the middle of the list when it is taken."""

    def state(number: int) -> bytes:
        return struct.pack("<IIII", 5, 4, number, 0)

    def pfns(count: int) -> bytes:
        numbers = struct.pack(f"<{count}Q", *range(first, first + count))
        return struct.pack("<II", 15, 8 * count) + bytes(stray) + numbers

    begin, rest = BANNER + state(1) + pfns(3) + state(2) + state(3), state(2) + state(3)
    rig = Rig()
    rig.send(begin + bytes([0x99] * 32) + state(1) + pfns(396) + rest)
    at = len(begin) + 32 + 16
    size = 8 + stray + 8 * 396
    assert [line for line in rig.said() if line.startswith("reverse lib") and "+" in line][-4:] == [
        f"reverse libxl CHECKPOINT_STATE {at - 16}+16",
        f"reverse libxc CHECKPOINT_DIRTY_PFN_LIST {at}+{size}",
        f"reverse libxl CHECKPOINT_STATE {at + size}+16",
        f"reverse libxl CHECKPOINT_STATE {at + size + 16}+16",
    ]
    record = [event for event in rig.events if isinstance(event, Record)][-3]
    assert (record.fields["first_pfn"], record.fields["last_pfn"]) == (first, first + 395)
