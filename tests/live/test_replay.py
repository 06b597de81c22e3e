# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversations are played as they were: the same bytes, and each side when it is its turn."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from bench.stream import Stream
from tests.cross.tools import raw
from tests.live.conversations import Rebuilt, conversation, tcp, unrelated
from tests.live.link import Link, needs_namespaces
from tests.live.replay import Conversation, Flood, Manner, Play, plan, play
from tests.live.test_link import eavesdropper

SMALL = Conversation(b"abcdef", b"12", (("forward", 0, 4), ("reverse", 0, 2), ("forward", 4, 6)))


@pytest.fixture(scope="module")
def link():
    needs_namespaces()
    with Link() as made:
        yield made


def heard(ear, one, made=None):
    """Everything that a socket has seen of a play until now, put together like the packets of a capture."""
    ear.setblocking(False)
    ports = (one.opener_port, one.port) if one.what.opener == "forward" else (one.port, one.opener_port)
    made = made or Rebuilt(*ports, 0)
    while True:
        try:
            segment = tcp(raw(ear.recv(1 << 17), 0))
        except BlockingIOError:
            return made
        if segment is not None:
            made.take(segment)


def test_who_closes():
    ways = {
        (close, side): plan(SMALL._replace(close=close), Manner(), side, "listen")["close"]
        for close in ("forward", "reverse", "reset")
        for side in ("forward", "reverse")
    }
    assert list(ways.values()) == ["first", "second", "second", "first", "reset", "second"]


def test_turns_with_places_to_stop():
    manner = Manner(holds=(("forward", 4), ("reverse", 1)), stalls=(("forward", 5),))
    ours = [("forward", 0, 4), ("reverse", 0, 1), ("hold", 1, 1), ("reverse", 1, 2), ("hold", 4, 4)]
    assert plan(SMALL, manner, "forward", "listen")["turns"] == [*ours, ("forward", 4, 6)]
    theirs = [*ours, ("forward", 4, 5), ("hold", 5, 5), ("forward", 5, 6)]
    assert plan(SMALL, manner, "reverse", "listen")["turns"] == theirs


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", ["colo-header-16", "xl-hvm-v3", "remus-hvm-xl", "syn-by-receiver", "hvm-colo-xl"])
def test_the_link_carries_the_same_conversation(link, name, version):
    what = conversation(name)
    with link.receiver.call(eavesdropper) as ear, Play(link, what, version=version, port=0) as one:
        played = one.finish()
        seen = heard(ear, one)
    assert (played.forward, played.reverse) == (len(what.forward), len(what.reverse))
    assert (seen.opener, seen.close) == (what.opener, what.close)
    assert seen.data == {"forward": what.forward, "reverse": what.reverse}
    assert tuple(seen.turns) == what.turns


def test_several_at_once_and_something_else(link):
    whats = [conversation("colo-header-8"), conversation("remus-pv-libxl"), unrelated(), conversation("xl-pv64-v3")]
    with ExitStack() as stack:
        plays = [stack.enter_context(Play(link, what, port=0, version=4 + 2 * (n % 2))) for n, what in enumerate(whats)]
        assert len({one.port for one in plays}) == len(whats)
        for one, what in zip(plays, whats, strict=True):
            played = one.finish()
            assert (played.forward, played.reverse) == (len(what.forward), len(what.reverse))


def test_both_sides_stop_where_they_are_told_to(link):
    what = conversation("colo-header-16")
    direction, place, _ = what.turns[4]
    assert direction == "reverse"
    with (
        link.receiver.call(eavesdropper) as ear,
        Play(link, what, port=0, holds=(("reverse", place), ("forward", 5000))) as one,
    ):
        one.held()
        seen = heard(ear, one)
        assert len(seen.data["forward"]) == 5000
        one.release()
        one.held()
        assert len(heard(ear, one, seen).data["reverse"]) == place
        one.release()
        assert one.finish().reverse == len(what.reverse)


def test_a_reader_that_stalls_closes_the_window(link):
    data = bytes(1 << 20)
    what = Conversation(data, b"", (("forward", 0, len(data)),))
    with (
        link.receiver.call(eavesdropper) as ear,
        Play(link, what, port=0, receive_buffer=8192, stalls=(("forward", 1000),)) as one,
    ):
        one.held("reverse")
        while not closes_window(ear.recv(1 << 17), one.port):
            pass
        one.release("reverse")
        assert one.finish().forward == len(data)


def closes_window(frame, port):
    """Whether the receiver tells that it takes no more bytes for now."""
    window = frame[48:50]
    return frame[12:14] == b"\x08\x00" and frame[34:36] == port.to_bytes(2) and window == b"\0\0" and not frame[47] & 6


def test_small_writes_become_small_segments(link):
    with link.receiver.call(eavesdropper) as ear:
        one = play(link, SMALL, port=0, write=1)
        ear.setblocking(False)
        sizes = {}
        while True:
            try:
                segment = tcp(raw(ear.recv(1 << 17), 0))
            except BlockingIOError:
                break
            if segment is not None and one.port in segment[:2] and segment.payload:
                sizes.setdefault((segment.source_port, segment.seq), len(segment.payload))  # once, if sent again
    assert list(sizes.values()) == [1] * 8


def test_a_flood_is_the_stream_of_the_bench(link):
    stream = Stream(8 << 20, "1024-page", 3)
    size = sum(map(len, stream.pieces()))
    played = play(link, Flood(8 << 20, checkpoints=3, port=0))
    assert played.forward == size
    assert played.records == stream.records
    assert played.seconds > 0


def test_a_side_that_is_gone_is_noticed(link):
    with Play(link, SMALL, port=0, holds=(("forward", 4),), timeout=5) as one:
        one.held()
        one._sides["forward"].kill()
        one.release("reverse")
        with pytest.raises(RuntimeError, match="said ''"):
            one.finish()


def test_a_port_that_is_taken_is_noticed(link):
    with link.receiver.call(socket.socket) as other:
        other.bind((link.receiver.ipv4, 0))
        other.listen()
        with pytest.raises(RuntimeError, match="said ''"), Play(link, SMALL, port=other.getsockname()[1]):
            pass
