# SPDX-License-Identifier: GPL-2.0-or-later
"""Standard input as a live source, from pipes and files."""

from __future__ import annotations

import os

import pytest

from dissector.live.source import Counters, LiveError
from dissector.live.standard_input import StandardInput
from tests.live.test_pipe import PCAP
from tests.live.waiting import ready, take


def test_stream_through_a_pipe():
    reading, writing = os.pipe()
    source = StandardInput(reading)
    assert (source.name, source.method, source.linktype, source.ended) == ("standard input", "stdin", None, None)
    assert source.fileno() == reading
    os.write(writing, PCAP[:200])
    begin = ready(source)
    os.write(writing, PCAP[200:])
    os.close(writing)
    assert len(begin + take(source)) == 20
    assert (source.linktype, source.ended) == (1, "the end of the capture")
    assert source.counters() == Counters(None, None)
    source.close()
    os.fstat(reading)  # it stays open
    os.close(reading)


def test_stop_takes_no_more():
    reading, writing = os.pipe()
    source = StandardInput(reading)
    os.write(writing, PCAP)
    source.stop()
    assert ready(source) == []
    assert source.ended == "stopped"
    source.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(("data", "reason"), [(PCAP, ""), (b"", "standard input: empty file")])
def test_file(data, reason, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with (tmp_path / "x").open("rb") as file:
        source = StandardInput(file.fileno())
        if reason:
            with pytest.raises(LiveError, match=reason):
                take(source)
        else:
            assert len(take(source)) == 20
        source.close()
