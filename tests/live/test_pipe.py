# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures through pipes that bring them in any pieces: nothing waits, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from captures.files import Interface, Pcapng, pcap
from captures.packets import Packet
from dissector.live.pipe import Pipe
from dissector.live.source import LiveError
from tests.live.waiting import ready

PACKETS = [Packet(1000 * n, bytes([n]) * (60 + n)) for n in range(20)]
PCAP = pcap(PACKETS)


def pcapng():
    out = Pcapng()
    out.section(comment="x" * 100)
    out.interface(Interface(1))
    for packet in PACKETS:
        out.enhanced(packet)
    return bytes(out.out)


@pytest.fixture
def ends():
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):  # the test has closed it
            os.close(end)


@pytest.mark.parametrize("piece", [1 << 16, 40, 7])
@pytest.mark.parametrize("data", [PCAP, pcapng()], ids=["pcap", "pcapng"])
def test_pieces(data, piece, ends):
    pipe, found = Pipe(ends[0], "eth0"), []
    assert ready(pipe) == []
    begin = (
        int.from_bytes(data[4:8], "little") if data[:1] == b"\n" else 0
    )  # a section header comes in one piece, as its writer writes it
    os.write(ends[1], data[:begin])
    for start in range(begin, len(data), piece):
        os.write(ends[1], data[start : start + piece])
        found += ready(pipe)
    assert [data for data, _ in found] == [packet.data for packet in PACKETS]
    assert (pipe.linktype, pipe.began, pipe.ended) == (1, True, None)
    os.close(ends[1])
    assert ready(pipe) == []
    assert pipe.ended == "the end of the capture"
    assert ready(pipe) == []
    pipe.close()


def test_consumer_that_stops_early_gets_the_rest(ends):
    pipe = Pipe(ends[0], "eth0")
    os.write(ends[1], PCAP)
    for chunk in pipe.take():
        chunk.consumed, _ = chunk.format.packet(chunk.buffer, chunk.start, chunk.end)
        break
    os.write(ends[1], PCAP[24:])
    assert len(ready(pipe)) == 39


def test_cut_capture(ends):
    pipe = Pipe(ends[0], "eth0")
    os.write(ends[1], PCAP[:-5])
    os.close(ends[1])
    assert len(ready(pipe)) == 19
    assert "cut in the middle" in pipe.ended


def test_nothing(ends):
    pipe = Pipe(ends[0], "eth0")
    os.close(ends[1])
    assert ready(pipe) == []
    assert (pipe.ended, pipe.began, pipe.linktype) == ("nothing came", False, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"tcpdump: some text that is no capture", "eth0: no capture file"),
        (PCAP[:10], "eth0: ends inside its file header"),
        (b"LibxlFmt" + bytes(40), "eth0: a bare stream, no capture"),
        (PCAP[:20] + b"\x93\0\0\0" + bytes(40), "link type 147"),
    ],
)
def test_no_capture(data, reason, ends):
    pipe = Pipe(ends[0], "eth0")
    os.write(ends[1], data)
    os.close(ends[1])
    with pytest.raises(LiveError, match=reason):
        ready(pipe)
    assert reason in pipe.ended


def test_consumer_that_gives_up(ends):
    pipe = Pipe(ends[0], "eth0")
    os.write(ends[1], PCAP)
    with pytest.raises(LiveError, match="damaged"):
        for chunk in pipe.take():
            chunk.abandon("damaged")
    assert pipe.ended == "damaged"


def test_socket_whose_other_end_is_closed():
    one, other = socket.socketpair()
    with one:
        other.sendall(PCAP)
        other.close()
        pipe = Pipe(one.fileno(), "eth0")
        assert len(ready(pipe)) == 20
        assert pipe.ended == "the end of the capture"
