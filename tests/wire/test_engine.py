# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of any number of connections: handshakes, ends, port reuse, strangers, limits."""

from __future__ import annotations

import random
import struct

import pytest

from captures.guests import Guest, colo, plain, save
from dissector.wire.engine import Engine
from dissector.wire.events import Finding, Flow, Gap, Record, Summary, Total
from dissector.wire.limits import Limits
from tests.cross import tools
from tests.cross.tools import ACK, DIRECTIONS, FIN, PSH, RST, SYN

SMALL = Guest(pages=3, config=b"{}\0")
TALK = plain(SMALL, passes=((1,),))
OTHER = {"forward": "reverse", "reverse": "forward"}
SECOND = 1_000_000_000


def ports(number: int) -> dict[str, bytes]:
    """Ports of the number-th connection between the same hosts."""
    pair = struct.pack(">HH", 30_000 + number, 8002)
    return {"forward": pair, "reverse": pair[2:] + pair[:2]}


class Net:
    """An engine and TCP connections that talk to it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.engine = Engine(limits)
        self.events: list = []
        self.number = 0
        self.time = 0

    def frame(
        self, direction: str, seq: int, ack: int, flags: int, payload: bytes = b"", flow: int = 0, after: int = 1000
    ) -> list:
        self.number += 1
        self.time += after
        data = tools.frame(direction, seq, ack, flags, payload, ports(flow)[direction])
        found = self.engine.packet(self.number, self.time, 1, data, len(data))
        self.events += found
        return found

    def handshake(self, opener: str = "forward", isns: tuple[int, int] = (100, 500), flow: int = 0) -> None:
        isn = dict(zip(DIRECTIONS, isns, strict=True))
        back = OTHER[opener]
        self.frame(opener, isn[opener], 0, SYN, flow=flow)
        self.frame(back, isn[back], isn[opener] + 1, SYN | ACK, flow=flow)
        self.frame(opener, isn[opener] + 1, isn[back] + 1, ACK, flow=flow)

    def talk(self, talk=TALK, isns: tuple[int, int] = (100, 500), flow: int = 0, size: int = 1000) -> dict[str, int]:
        """Send all turns; the next sequence number of each direction."""
        following = {"forward": isns[0] + 1, "reverse": isns[1] + 1}
        base = dict(following)
        for turn in talk.turns:
            data = bytes(talk.half(turn.direction).data)
            for start in range(turn.start, turn.end, size):
                piece = data[start : min(turn.end, start + size)]
                ack = following[OTHER[turn.direction]]
                self.frame(turn.direction, base[turn.direction] + start, ack, ACK | PSH, piece, flow)
                following[turn.direction] = base[turn.direction] + start + len(piece)
        return following

    def close(self, following: dict[str, int], first: str = "forward", flow: int = 0) -> None:
        back = OTHER[first]
        self.frame(first, following[first], following[back], FIN | ACK, flow=flow)
        self.frame(back, following[back], following[first] + 1, FIN | ACK, flow=flow)
        self.frame(first, following[first] + 1, following[back] + 1, ACK, flow=flow)

    def finish(self) -> None:
        self.events += self.engine.finish()

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    def flows(self) -> list[tuple]:
        return [(e.flow, e.phase, e.start, e.mode, e.end) for e in self.of(Flow)]

    def records(self, flow: int = 0) -> dict[str, list]:
        found = tools.by_direction([event for event in self.of(Record) if event.flow == flow])
        return {direction: [tools.key(record) for record in found[direction]] for direction in DIRECTIONS}


def true(talk=TALK) -> dict[str, list]:
    return {d: [tools.key(record) for record in talk.half(d).records] for d in DIRECTIONS}


# -- beginnings and ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", DIRECTIONS)
@pytest.mark.parametrize("opener", DIRECTIONS)
def test_whole_connection(opener, first):
    net = Net()
    net.handshake(opener)
    net.close(net.talk(), first)
    assert net.flows() == [(0, "begin", "syn", "unknown", None), (0, "end", "syn", "plain", "fin")]
    assert net.records() == true()
    assert net.of(Flow)[0].sender == ("192.0.2.1", 30_000)
    net.finish()
    assert net.of(Total) == [Total(net.number, 1, 0, {})]


def test_end_is_told_with_the_last_fin_not_at_the_end_of_the_capture():
    net = Net()
    net.handshake()
    net.close(net.talk())
    assert len(net.of(Summary)) == 1


def test_end_is_told_though_bytes_were_not_captured():
    """Everything up to the FIN was acknowledged: what is missing is missing in the capture."""
    net = Net()
    net.handshake()
    data = bytes(TALK.forward.data)
    net.frame("forward", 101, 501, ACK, data[:500])
    net.frame("forward", 101 + 700, 501, ACK, data[700:])
    net.close({"forward": 101 + len(data), "reverse": 501})
    net.frame("forward", 5, 0, SYN, flow=1, after=10 * SECOND)
    assert net.flows()[-1][-1] == "fin"
    assert [(gap.offset, gap.length, gap.reason) for gap in net.of(Gap)] == [(500, 200, "lost")]


def test_fin_with_the_last_data():
    net = Net()
    net.handshake()
    data = bytes(TALK.forward.data)
    net.frame("forward", 101, 501, ACK | FIN | PSH, data)
    net.frame("reverse", 501, 102 + len(data), ACK | FIN)
    net.frame("forward", 102 + len(data), 502, ACK)
    assert net.records()["forward"] == true()["forward"]
    assert net.flows()[-1][-1] == "fin"


def test_reset():
    net = Net()
    net.handshake()
    following = net.talk()
    net.frame("reverse", following["reverse"], following["forward"], RST | ACK)
    net.finish()
    assert net.flows()[-1] == (0, "end", "syn", "plain", "rst")
    assert net.records() == true()


def test_packets_that_follow_a_reset_still_count():
    """A capture may show them in another order than they were sent."""
    net = Net()
    net.handshake()
    data = bytes(TALK.forward.data)
    net.frame("forward", 101, 501, ACK, data[:1000])
    net.frame("reverse", 501, 1101, RST | ACK)
    net.frame("forward", 1101, 501, ACK, data[1000:])
    net.finish()
    assert net.records()["forward"] == true()["forward"]


def test_reset_is_told_after_a_while():
    net = Net()
    net.handshake()
    following = net.talk()
    net.frame("forward", following["forward"], following["reverse"], RST | ACK)
    net.frame("forward", 5, 0, SYN, flow=1, after=10 * SECOND)
    assert net.flows()[-1] == (0, "end", "syn", "plain", "rst")


def test_capture_ends():
    net = Net()
    net.handshake()
    net.talk()
    net.finish()
    assert net.flows()[-1] == (0, "end", "syn", "plain", "capture end")


def test_data_with_the_syn():
    """TCP fast open."""
    net = Net()
    data = bytes(TALK.forward.data)
    net.frame("forward", 100, 0, SYN, data[:50])
    net.frame("reverse", 500, 151, SYN | ACK)
    net.frame("forward", 151, 501, ACK, data[50:])
    net.finish()
    assert net.records()["forward"] == true()["forward"]
    assert net.flows()[0][2] == "syn"


def test_only_the_syn_ack_was_captured():
    net = Net()
    net.frame("reverse", 500, 101, SYN | ACK)
    net.talk()
    net.finish()
    assert net.records() == true()
    assert net.flows()[0][2] == "syn"


def test_repeated_handshake_changes_nothing():
    net = Net()
    net.frame("forward", 100, 0, SYN)
    net.frame("forward", 100, 0, SYN)
    net.frame("reverse", 500, 101, SYN | ACK)
    net.frame("reverse", 500, 101, SYN | ACK)
    net.talk()
    net.frame("reverse", 500, 101, SYN | ACK)
    net.finish()
    assert net.records() == true()
    assert len(net.flows()) == 2


def test_mid_stream():
    """Offsets count from the first captured byte of each direction; the records are those of the stream."""
    talk = plain(Guest(pages=30), passes=((1, 2, 3), (4, 5)))
    data = bytes(talk.forward.data)
    pages = talk.find("PAGE_DATA", 1)
    begin = pages["offset"] - 5000
    net = Net()
    for start in range(begin, len(data), 1000):
        net.frame("forward", 7_000 + start, 1, ACK, data[start : start + 1000])
    net.finish()
    assert net.flows()[0] == (0, "begin", "mid-stream", "unknown", None)
    wanted = [(*key[:2], key[2] - begin, key[3]) for key in true(talk)["forward"] if key[2] >= pages["offset"]]
    assert net.records()["forward"] == wanted


def test_acknowledgement_only_is_no_migration():
    net = Net()
    net.frame("forward", 7, 9, ACK)
    net.frame("reverse", 9, 7, ACK)
    net.finish()
    assert net.events == [Total(2, 0, 0, {})]


# -- several connections ----------------------------------------------------------------------------------------------


def test_flows_are_numbered_as_they_are_found():
    net = Net()
    for flow in (0, 1):
        net.handshake(flow=flow)
    net.close(net.talk(flow=1), flow=1)
    net.close(net.talk(flow=0), flow=0)
    assert [event.sender[1] for event in net.of(Flow) if event.phase == "begin"] == [30_001, 30_000]
    assert net.records(0) == net.records(1) == true()


def test_interleaved_connections():
    talks = [TALK, colo(SMALL, ((1,), (2,)), passes=())]
    scripts = []
    for flow, talk in enumerate(talks):
        net = Net()
        calls: list = []
        net.frame = lambda *a, calls=calls, **k: calls.append((a, k))  # type: ignore[method-assign]
        net.handshake(flow=flow)
        net.talk(talk, flow=flow, size=300)
        scripts.append(calls)
    net = Net()
    while any(scripts):
        for script in scripts:
            if script:
                args, more = script.pop(0)
                net.frame(*args, **more)
    net.finish()
    found = [net.records(0), net.records(1)]
    assert found in ([true(talks[0]), true(talks[1])], [true(talks[1]), true(talks[0])])


def test_port_reuse_without_an_end():
    net = Net()
    net.handshake()
    data = bytes(TALK.forward.data)
    net.frame("forward", 101, 501, ACK, data[:2000])
    net.handshake(isns=(90_000, 70_000))
    net.close(net.talk(isns=(90_000, 70_000)))
    assert [end for *_, end in net.flows() if end] == ["new connection", "fin"]
    assert net.records(1) == true()
    assert net.records(0)["forward"] == [key for key in true()["forward"] if key[2] < 2000]


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_port_reuse_after_an_end(end):
    net = Net()
    net.handshake()
    following = net.talk()
    if end == "fin":
        net.close(following)
    else:
        net.frame("forward", following["forward"], following["reverse"], RST | ACK)
    net.handshake(isns=(1, 2))
    net.talk(isns=(1, 2))
    net.finish()
    assert net.records(0) == net.records(1) == true()
    assert [e.end for e in net.of(Flow) if e.phase == "end"] == [end, "capture end"]


def test_port_reuse_after_something_else():
    """The 4-tuple was of no interest before."""
    net = Net()
    net.handshake()
    net.frame("forward", 101, 501, ACK, b"GET / HTTP/1.1\r\n\r\n")
    net.handshake(isns=(5000, 6000))
    net.talk(isns=(5000, 6000))
    net.finish()
    assert net.records() == true()
    assert net.of(Total)[0].other_connections == 1


def test_port_reuse_with_the_syn_of_the_other_side():
    net = Net()
    net.handshake()
    net.talk()
    net.handshake("reverse", isns=(40_000, 60_000))
    net.talk(isns=(40_000, 60_000))
    net.finish()
    assert net.records(0) == net.records(1) == true()


def test_late_packets_of_a_closed_connection_open_nothing():
    net = Net()
    net.handshake()
    following = net.talk()
    net.close(following)
    net.frame("forward", 101, 501, ACK, bytes(TALK.forward.data)[:500])
    net.frame("reverse", following["reverse"], following["forward"] + 1, RST)
    net.finish()
    assert len(net.flows()) == 2


def test_other_connections_are_counted_and_ignored():
    net = Net()
    for flow in range(3):
        net.handshake(flow=flow)
        net.frame("forward", 101, 501, ACK, b"SSH-2.0-OpenSSH_9.2p1\r\n", flow)
        net.frame("reverse", 501, 123, ACK, b"SSH-2.0-OpenSSH_9.2p1\r\n", flow)
    net.finish()
    assert net.events == [Total(net.number, 0, 3, {})]


def test_connection_of_no_interest_is_idle():
    net = Net()
    net.handshake()
    key = tools.ADDRESSES["forward"] + ports(0)["forward"]
    assert not net.engine.idle(key)
    net.frame("reverse", 501, 101, ACK, b"SSH-2.0-OpenSSH_9.2p1\r\n")
    assert not net.engine.idle(key)  # text, behind which a banner may follow, unless the other side says something too
    net.frame("forward", 101, 501, ACK, b"SSH-2.0-OpenSSH_9.2p1\r\n")
    assert net.engine.idle(key)


# -- limits and odd input ---------------------------------------------------------------------------------------------


def test_flows_are_capped_and_that_is_said():
    net = Net(Limits(max_flows=3))
    for flow in range(6):
        net.handshake(flow=flow)
        net.frame("forward", 101, 501, ACK, bytes(TALK.forward.data)[:700], flow)
    assert [e.id for e in net.of(Finding) if e.id.startswith("limit")] == ["limit.flows"] * 3
    assert [(e.flow, e.end) for e in net.of(Flow) if e.phase == "end"] == [(0, "limit"), (1, "limit"), (2, "limit")]


def test_connections_that_are_no_migration_make_room_first():
    net = Net(Limits(max_flows=2))
    net.handshake(flow=0)
    net.frame("forward", 101, 501, ACK, bytes(TALK.forward.data)[:700], 0)
    for flow in range(1, 9):
        net.handshake(flow=flow)
    assert [e.end for e in net.of(Flow)] == [None]


def test_unknown_link_type_is_said_once():
    engine = Engine()
    found = [event for number in range(1, 4) for event in engine.packet(number, 1, 147, b"whatever", 8)]
    assert [(event.id, event.frame) for event in found] == [("capture.linktype", 1)]
    assert "147" in found[0].text
    assert engine.finish() == [Total(3, 0, 0, {"warn": 1})]


def test_broken_frames_are_counted():
    net = Net()
    net.handshake()
    data = tools.frame("forward", 101, 501, ACK, b"x")
    for cut in (15, 33, 40):
        net.number += 1
        net.events += net.engine.packet(net.number, 1, 1, data[:cut], len(data))
    net.finish()
    [one] = net.of(Finding)
    assert (one.id, "3 frames" in one.text) == ("capture.malformed", True)


def test_capture_cut_is_said():
    engine = Engine()
    [one] = engine.capture_cut("x.pcap: cut in the middle of packet 9")
    assert (one.id, one.text) == ("capture.cut", "x.pcap: cut in the middle of packet 9")


def test_frames_without_a_time():
    """pcapng simple packet blocks have none."""
    engine = Engine()
    found: list = []
    data = bytes(TALK.forward.data)
    frames = [tools.frame("forward", 100, 0, SYN), tools.frame("forward", 101, 0, ACK, data[:1000])]
    frames += [tools.frame("forward", 3101, 0, ACK, data[3000:]), tools.frame("reverse", 1, 101 + len(data), ACK)]
    for number, frame in enumerate(frames, 1):
        found += engine.packet(number, None, 1, frame, len(frame))
    found += engine.finish()
    records = [event for event in found if isinstance(event, Record)]
    assert records
    assert all(record.time is None for record in records)


def test_empty_capture():
    assert Engine().finish() == [Total(0, 0, 0, {})]


# -- live captures ----------------------------------------------------------------------------------------------------


def test_progress_says_how_far_announced_migrations_are():
    net = Net()
    net.handshake()
    assert net.engine.progress() == []
    following = net.talk()
    assert net.engine.progress() == [
        (0, "forward", following["forward"] - 101),
        (0, "reverse", following["reverse"] - 501),
    ]
    net.close(following)
    assert net.engine.progress() == []


def test_a_reset_is_told_when_nothing_more_comes():
    net = Net()
    net.handshake()
    following = net.talk()
    net.frame("reverse", following["reverse"], following["forward"], RST | ACK)
    assert net.engine.quiet(1.9) == []
    ends = [event for event in net.engine.quiet(2.1) if isinstance(event, Flow)]
    assert [(end.phase, end.end) for end in ends] == [("end", "rst")]
    assert net.engine.quiet(9) == []


def test_a_hole_is_given_up_when_nothing_more_comes():
    """Quiet in real time does what packets with such times would do."""
    net = Net()
    net.handshake()
    data = bytes(TALK.forward.data)
    net.frame("forward", 101, 501, ACK, data[:-700])
    net.frame("forward", 101 + len(data) - 500, 501, ACK, data[-500:])
    net.frame("reverse", 501, 101 + len(data), ACK)
    assert not net.of(Gap)
    assert not [event for event in net.engine.quiet(0.001) if isinstance(event, Gap)]
    gaps = [event for event in net.engine.quiet(3600) if isinstance(event, Gap)]
    assert [(gap.offset, gap.length) for gap in gaps] == [(len(data) - 700, 200)]
    records = net.records()["forward"]
    net.finish()
    assert len(net.records()["forward"]) >= len(records)


def test_quiet_changes_nothing_where_nothing_is_missing():
    net = Net()
    net.handshake()
    following = net.talk()
    assert net.engine.quiet(3600) == []
    net.close(following)
    assert net.records() == true()
    assert Engine().quiet(10) == []


def test_segments_count_where_something_may_come_of_them():
    net = Net()
    net.handshake()
    assert net.engine.segments == 3
    net.handshake(flow=1)
    for number in range(40):
        net.frame("forward", 101 + 1350 * number, 501, ACK, b"GET / HTTP/1.1 " * 90, flow=1)
        net.frame("reverse", 501 + 1350 * number, 501, ACK, b"200 OK HTTP/1.1" * 90, flow=1)
    before = net.engine.segments
    net.frame("forward", 101 + 1350 * 40, 501, ACK, b"GET / HTTP/1.1 ", flow=1)
    assert net.engine.segments == before


def test_what_the_capture_dropped():
    net = Net()
    (found,) = net.engine.capture_dropped(17)
    assert (found.id, found.severity) == ("capture.dropped", "warn")
    assert "lost 17 packets" in found.text
    net.finish()
    assert net.of(Total)[0].findings == {"warn": 1}


@pytest.mark.parametrize(("counted", "dropped", "cause"), [(0, 0, None), (1, 0, "wire"), (1, 1, "capture")])
def test_gaps_say_who_lost_the_bytes(counted, dropped, cause):
    net = Net()
    net.engine.drops.counted = bool(counted)
    net.handshake()
    data = bytes(TALK.forward.data)
    net.frame("forward", 101, 501, ACK, data[:500])
    if dropped:
        net.engine.drops.add(net.time, net.time + SECOND)
    net.frame("forward", 101 + 700, 501, ACK, data[700:])
    net.close({"forward": 101 + len(data), "reverse": 501})
    net.finish()
    assert [gap.cause for gap in net.of(Gap)] == [cause]


# -- bare streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 5000, 1 << 20])
def test_bare_stream(size):
    talk = save(SMALL, "libxl")
    data = bytes(talk.forward.data)
    engine = Engine()
    stream = engine.open_stream("libxl")
    found: list = []
    for start in range(0, len(data), size):
        found += stream.data(memoryview(data)[start : start + size])
    found += stream.finish()
    records = [event for event in found if isinstance(event, Record)]
    assert [tools.key(record) for record in records] == true(talk)["forward"]
    assert all((r.time, r.first_frame, r.last_frame, r.complete) == (None, 0, 0, True) for r in records)
    flows = [event for event in found if isinstance(event, Flow)]
    assert [(f.phase, f.start, f.sender, f.end) for f in flows] == [
        ("begin", "file", ("", 0), None),
        ("end", "file", ("", 0), "end of file"),
    ]


def test_bare_stream_may_be_seeked_over():
    talk = save(Guest(pages=100), "libxc")
    data = bytes(talk.forward.data)
    engine = Engine()
    stream = engine.open_stream("libxc")
    found: list = []
    at, read = 0, 0
    while at < len(data):
        found += stream.data(memoryview(data)[at : at + 1000])
        read += len(data[at : at + 1000])
        at += 1000
        if stream.skip > 1 and at < len(data):
            stream.passed(stream.skip - 1)
            at = engine_position(stream)
    found += stream.finish()
    records = [event for event in found if isinstance(event, Record)]
    assert [tools.key(record) for record in records] == true(talk)["forward"]
    assert read < len(data) / 10


def engine_position(stream) -> int:
    return stream._follower.position


def test_bare_stream_that_is_cut():
    data = bytes(save(SMALL).forward.data)
    stream = Engine().open_stream("xl")
    found = stream.data(memoryview(data)[:-300]) + stream.finish()
    records = [event for event in found if isinstance(event, Record)]
    assert not records[-1].complete
    assert "stream.record_cut" in [event.id for event in found if isinstance(event, Finding)]


# -- slim captures ----------------------------------------------------------------------------------------------------


def test_a_slim_capture_is_told_once():
    engine = Engine()
    engine.capture_slim()
    engine.capture_slim()
    assert [event.id for event in engine.finish() if isinstance(event, Finding)] == ["capture.slim"]


def test_marks_of_left_out_packets_invent_nothing():
    """Whatever they say, whenever: the same records, with no other bytes in them."""
    rng = random.Random(7)
    for _ in range(30):
        net = Net()
        net.engine.capture_slim()
        data = bytes(TALK.forward.data)
        net.frame("forward", 0, 0, SYN)
        net.frame("reverse", 0, 1, SYN | ACK)
        at = 0
        while at < len(data):
            for _ in range(rng.randrange(4)):
                key = tools.ADDRESSES["forward"] + rng.choice((ports(0)["forward"], ports(1)["forward"]))
                seq = rng.choice((at, at + 1, at + 2, 0, 0xFFFF_FFFF, rng.randrange(1 << 32)))
                length = rng.choice((0, 1, 100, 1 << 16, 1 << 62))
                net.engine.left_out(key, seq, length, rng.choice((-1, 0, at, rng.randrange(1 << 32))), 1, None)
            end = at + rng.randrange(1, 1449)
            net.frame("forward", 1 + at, 1, ACK, data[at:end])
            at = end
        net.events += net.engine.finish()
        true = {(one["type"], one["offset"], one["size"]) for one in TALK.forward.records}
        found = [event for event in net.events if isinstance(event, Record) and event.direction == "forward"]
        for record in found:
            assert (record.type, record.offset, record.size) in true
            assert record.type == "PAGE_DATA" or record.complete
