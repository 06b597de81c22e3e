# SPDX-License-Identifier: GPL-2.0-or-later
"""The live loop, with sources that say what they are told to."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from captures.files import pcap
from captures.packets import Packet
from dissector import watch as module
from dissector.live.source import Counters, LiveError
from dissector.recording.files import CaptureWriter
from dissector.recording.recording import Recording
from dissector.recording.rotation import Limits
from dissector.sources import Chunk
from dissector.sources.formats import PcapFormat
from dissector.watch import Watch
from dissector.wire.events import Finding, Flow, Gap, Record, Total
from tests.cross.tools import events as true_events
from tests.cross.tools import key, packets

NAME = "xl-hvm-v3"
OTHER = "xl-migrate-hvm"
"""Between other hosts."""


def frames(name=NAME):
    """Packets of a capture."""
    return [Packet(raw.time, raw.data, raw.linktype, raw.wire_length) for raw in packets(name)]


class Fake:
    """A source that gives a capture in pieces; after the last it ends, or goes on without a word.

    Attributes:
        asked: Where in the pieces the counters were asked for.
        given: Pieces that were given, and taken in full.
    """

    def __init__(self, pieces, *, name="eth0", method="ring", ended="it is over", counts=(), error=None):
        self.name, self.method, self.ended, self.linktype = name, method, None, 1
        self.given, self.asked, self.stopped, self.closed = 0, [], 0, 0
        self.filled = 0.0
        self._pieces, self._end, self._error = list(pieces), ended, error
        self._counts = list(counts)
        self._form = PcapFormat(name)
        self._form.header(memoryview(pcap(frames()[:1])))
        self._reading, self._writing = os.pipe()
        os.write(self._writing, b"x")

    def fileno(self):
        return self._reading

    def take(self):
        while self._pieces and self.ended is None:
            piece = self._pieces.pop(0)
            if callable(piece):
                piece = piece()
                if piece is None:
                    continue
            if piece is None:  # nothing more for now
                return
            data = memoryview(pcap([*frames()[:1], *piece]))[24 + 16 + len(frames()[0].data) :]
            chunk = Chunk(data, 0, len(data), self._form, 0)
            yield chunk
            assert chunk.consumed == len(data)
            self.given += 1
        if self.stopped or self._end:
            self.ended = self.ended or ("stopped" if self.stopped else self._end)
        elif not self._pieces:
            os.read(self._reading, 1)  # nothing to wait for any more
            self._pieces = [None]
        if self._error is not None and not self.stopped:
            raise LiveError(self._error)

    def counters(self):
        self.asked.append(self.given)
        return (
            self._counts.pop(0) if len(self._counts) > 1 else self._counts[0] if self._counts else Counters(None, None)
        )

    def fills(self, share):
        return self.filled > share

    def stop(self):
        self.stopped += 1
        os.write(self._writing, b"x")

    def close(self):
        if not self.closed:
            os.close(self._reading)
            os.close(self._writing)
        self.closed += 1


def cut(found, size=20):
    return [found[start : start + size] for start in range(0, len(found), size)]


def watched(*sources, each=None, recording=None, **options):
    """Run it to the end; events in one list."""
    watch = Watch(sources, **options)
    found = []
    try:
        if recording is not None:
            watch.recording = recording(watch)
        for events in watch.events():
            found += events
            if each is not None:
                each(watch, events)
    finally:
        if watch.recording is not None:
            watch.recording.finish(5)
        watch.close()
    assert all(source.closed for source in sources)
    return watch, found


def plain(events):
    """Events without what a live capture adds to the total."""
    return [replace(event, received=None, dropped=None) if isinstance(event, Total) else event for event in events]


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


# -- packets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("name", [NAME, "colo-header-16"])
def test_the_events_of_the_file(name, size):
    watch, found = watched(Fake(cut(frames(name), size), method="stdin"))
    assert found == list(true_events(name))
    assert (watch.frames, watch.ending, watch.trouble) == (len(packets(name)), "it is over", None)


@pytest.mark.parametrize("method", ["ring", "dumpcap", "stdin"])
def test_nothing_is_lost_when_a_tick_falls_between_two_chunks(monkeypatch, method):
    monkeypatch.setattr(module, "TICK", 0.0)
    source = Fake(cut(frames(), 3), method=method)
    _, found = watched(source)
    assert plain(found) == list(true_events(NAME))
    assert len(source.asked) > 10


def test_ticks_come_without_packets(monkeypatch):
    monkeypatch.setattr(module, "TICK", 0.01)
    ticks = []

    def each(watch, events):
        ticks.append(events)
        if len(ticks) == 5:
            watch.stop("enough")

    watch, _ = watched(Fake([], ended=None), each=each)
    assert ticks[:5] == [[]] * 5
    assert watch.ending == "enough"


def test_several_sources():
    one, other = Fake(cut(frames(OTHER)), method="stdin"), Fake(cut(frames()), name="eth1", method="stdin")
    _, found = watched(one, other)
    flows = {event.sender: event.flow for event in of(Flow, found) if event.phase == "begin"}
    assert len(flows) == 2
    for name in (NAME, OTHER):
        true = true_events(name)
        number = flows[of(Flow, true)[0].sender]
        mine = [key(event) for event in of(Record, found) if event.flow == number]
        assert mine == [key(event) for event in of(Record, true)]
    assert of(Total, found)[0].frames == len(packets(NAME)) + len(packets(OTHER))


def test_a_busy_source_leaves_time_for_the_other(monkeypatch):
    monkeypatch.setattr(module, "TICK", 60.0)
    monkeypatch.setattr(module, "TURN", 0.0)
    order = []
    one = Fake([lambda: order.append("one"), frames()[:1]] * 5)
    other = Fake([lambda: order.append("other"), frames()[:1]] * 5, name="eth1")
    watched(one, other)
    assert order[:6] == ["one", "other"] * 3


def test_the_end_of_one_source_is_not_that_of_the_other():
    one = Fake([[]], method="stdin", ended="short")
    two = Fake([[], None, frames()], name="eth1", method="stdin", ended="long")
    watch, found = watched(one, two)
    assert watch.ending == "long"
    assert len(of(Record, found)) == len(of(Record, true_events(NAME)))


# -- ends -------------------------------------------------------------------------------------------------------------


def test_duration():
    began = time.monotonic()
    watch, _ = watched(Fake([], ended=None), duration=0.05)
    assert watch.ending == "0.05 s have passed"
    assert 0.05 <= time.monotonic() - began < 5


def test_packets():
    source = Fake(cut(frames(), 5), ended=None)
    watch, _ = watched(source, packets=12)
    assert watch.ending == "15 packets are captured"
    assert source.stopped == 1
    assert watch.frames == len(packets(NAME))  # what came before the capture was stopped is shown


def test_stop_from_a_signal_handler(monkeypatch):
    monkeypatch.setattr(module, "TICK", 60.0)
    source = Fake([], ended=None)
    watch = Watch([source])
    before = signal.signal(signal.SIGUSR1, lambda *_: watch.stop("told to"))
    try:
        timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        timer.start()
        assert of(Total, [event for events in watch.events() for event in events])
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
        watch.close()
    assert (watch.ending, source.stopped, source.closed) == ("told to", 1, 1)
    watch.stop("once more")  # after the end: no harm
    assert watch.ending == "told to"


def test_stop_before_the_first_packet():
    watch, found = watched(Fake(cut(frames()), ended=None), each=None, duration=0)
    assert watch.ending == "0 s have passed"
    assert len(of(Record, found)) == len(of(Record, true_events(NAME)))


def test_a_source_that_does_not_stop_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    source = Fake([])
    source._pieces = Endless()
    watch, found = watched(source, each=lambda watch, _: watch.stop("enough"), packets=50)
    assert watch.ending
    assert of(Total, found)
    assert watch.frames > 0


class Endless(list):
    def __bool__(self):
        return True

    def pop(self, _=0):
        return frames()[:1]


def test_a_source_that_breaks():
    watch, found = watched(Fake(cut(frames()), error="eth0: broken", ended=None))
    assert (watch.trouble, watch.ending) == ("eth0: broken", "eth0: broken")
    assert len(of(Record, found)) == len(of(Record, true_events(NAME)))


def test_an_interface_that_disappears_is_trouble_and_the_end_of_a_pipe_is_none():
    assert watched(Fake([], ended="the interface eth0 disappeared"))[0].trouble == "the interface eth0 disappeared"
    assert watched(Fake([], method="stdin", ended="the end of the capture"))[0].trouble is None
    assert watched(Fake([], ended=None), duration=0)[0].trouble is None


def test_one_of_two_sources_breaks():
    told = []
    broken = Fake([], error="eth0: broken", ended=None)
    fine = Fake([frames(), None, []], name="eth1", method="stdin")
    watch, found = watched(broken, fine, each=lambda watch, _: told.append(watch.trouble))
    assert (watch.trouble, watch.ending) == ("eth0: broken", "it is over")
    assert told[-1] == "eth0: broken"
    assert len(of(Record, found)) == len(of(Record, true_events(NAME)))


def test_a_damaged_packet_ends_a_source():
    bad = Packet(0, b"", 1, 0)
    source = Fake([frames(), [bad]])
    form = source._form
    take = form.packet

    def packet(buffer, position, end):
        if end - position == 16:
            raise module_error("damaged at byte 99")
        return take(buffer, position, end)

    form.packet = packet
    source.take = lambda: through(source)
    watch, _ = watched(source, duration=5)
    assert watch.trouble == "damaged at byte 99"


def module_error(text):
    from dissector.sources import CaptureError

    return CaptureError("", text)


def through(source):
    """As a pipe does: a chunk that was given up is the end."""
    for piece in source._pieces:
        data = memoryview(pcap(piece)[24:])
        chunk = Chunk(data, 0, len(data), source._form, 0)
        yield chunk
        if chunk.reason is not None:
            raise LiveError(chunk.reason)


# -- counters and what they prove -------------------------------------------------------------------------------------


def gappy():
    """The capture without one packet in the middle that was acknowledged, with the times of when it is taken."""
    found = frames()
    large = [n for n, packet in enumerate(found) if len(packet.data) > 1000]
    hole = large[len(large) // 2]
    return lambda: timed(found[:hole]), lambda: timed(found[hole + 1 :])


def timed(found):
    """The packets with times of now, all the same."""
    begin = time.time_ns() // 1000 * 1000
    return [replace(packet, time=begin) for packet in found]


@pytest.mark.parametrize(
    ("method", "counts", "cause"),
    [
        ("ring", [Counters(10, 0)], "wire"),
        ("ring", [Counters(10, 0), Counters(20, 1)], "capture"),
        ("tcpdump", [Counters(20, 1)], "capture"),
        ("tcpdump", [Counters(20, 0)], None),
        ("tcpdump", [Counters(None, None)], None),
        ("stdin", [Counters(None, None)], None),
        ("ssh", [Counters(20, 1)], None),
    ],
)
def test_who_lost_it(monkeypatch, method, counts, cause):
    monkeypatch.setattr(module, "TICK", 0.0)
    before, after = gappy()
    _, found = watched(Fake([before, None, after], method=method, counts=counts))
    assert [gap.cause for gap in of(Gap, found)] == [cause]


def test_dumpcap_tells_at_its_end_only():
    before, after = gappy()
    source = Fake([before, after], method="dumpcap", counts=[Counters(None, None)] * 3 + [Counters(90, 7)])
    source.counters = lambda: Counters(90, 7) if source.ended else Counters(None, None)
    watch, found = watched(source)
    assert (watch.received, watch.dropped) == (90, 7)
    assert [(one.id, one.text.split()[3]) for one in of(Finding, found) if one.id == "capture.dropped"] == [
        ("capture.dropped", "7")
    ]
    assert all(gap.cause in (None, "capture") for gap in of(Gap, found))


def test_counters_are_read_before_the_chunk_that_shows_the_hole():
    source = Fake(cut(frames()), counts=[Counters(5, 0)])
    watched(source)
    assert source.asked[: source.given] == list(range(source.given))


def test_totals():
    watch, found = watched(Fake([frames()], counts=[Counters(100, 0)]), Fake([], name="b", counts=[Counters(11, 3)]))
    assert (watch.received, watch.dropped) == (111, 3)
    total = of(Total, found)[0]
    assert (total.received, total.dropped) == (111, 3)
    assert [one.id for one in of(Finding, found) if one.id.startswith("capture")] == ["capture.dropped"]
    watch, found = watched(Fake([frames()], counts=[Counters(100, 0)]), Fake([], name="b", method="stdin"))
    assert (watch.received, watch.dropped) == (None, None)
    assert of(Total, found)[0].dropped is None


def test_before_any_reading_nothing_is_known():
    watch = Watch([Fake([])])
    assert (watch.received, watch.dropped, watch.frames) == (None, None, 0)
    watch.close()


def test_the_engine_is_asked_when_a_migration_is_quiet(monkeypatch):
    monkeypatch.setattr(module, "TICK", 0.0)
    monkeypatch.setattr(module, "QUIET", 0.0)
    asked, other = [], frames("two-migrations-and-noise")[-1:]
    source = Fake([frames()[:200], *([None, other] * 5)])
    watch = Watch([source])
    monkeypatch.setattr(watch.engine, "quiet", lambda seconds: asked.append(seconds) or [])
    for _ in watch.events():
        pass
    watch.close()
    assert asked
    assert all(seconds >= 0 for seconds in asked)


# -- a file -----------------------------------------------------------------------------------------------------------


def recorder(path, **options):
    return lambda watch: Recording(CaptureWriter(path, when_full="drop", **options), watch.engine)


def test_the_file_has_every_packet_and_what_was_counted(tmp_path):
    path = tmp_path / "x.pcapng"
    source = Fake(cut(frames()), counts=[Counters(500, 7, 2)], ended=None)
    source._form.interface_name = lambda number: "eth0"
    watch, _ = watched(source, recording=recorder(path), duration=0.05)
    assert watch.trouble is None
    assert watch.recording.writer.packets == len(packets(NAME))
    data = path.read_bytes()
    for code, value in ((4, 500), (5, 2), (7, 7)):  # isb_ifrecv, isb_ifdrop, isb_osdrop
        assert code.to_bytes(2, "little") + b"\x08\0" + value.to_bytes(8, "little") in data


def test_a_limit_of_the_file_ends_the_capture(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "TICK", 0.0)
    source = Fake([*cut(frames())], ended=None)
    watch, _ = watched(source, recording=recorder(tmp_path / "x.pcapng", autostop=Limits(packets=12)))
    assert (watch.ending, watch.trouble) == ("12 packets are written", None)
    assert watch.recording.writer.packets == 12


def test_time_limits_of_the_file_hold_without_packets(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "TICK", 0.01)
    watch, _ = watched(Fake([], ended=None), recording=recorder(tmp_path / "x", autostop=Limits(seconds=0.05)))
    assert watch.ending == "0.05 s have passed"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="NO /dev/full")  # noqa: PTH110
def test_a_full_disk_ends_the_capture(monkeypatch):
    monkeypatch.setattr(module, "TICK", 0.01)
    watch, found = watched(Fake([frames()], ended=None), recording=recorder("/dev/full"))
    assert watch.trouble == f"/dev/full: {os.strerror(errno.ENOSPC)}"
    assert watch.ending == watch.trouble
    assert len(of(Record, found)) == len(of(Record, true_events(NAME)))
