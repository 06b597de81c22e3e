# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from scapy.layers.inet import IP, TCP
from scapy.utils import RawPcapNgReader

from dissector.recording.files import CaptureWriter
from dissector.recording.rotation import Limits
from dissector.tap.bystander import Crowd, Ended, Passed, Taken
from dissector.tap.recorder import Conversation, Recorder

if TYPE_CHECKING:
    from pathlib import Path


def streams(path: Path) -> list[bytes]:
    """Both directions of a capture, by scapy."""
    found = [b"", b""]
    for data, _ in RawPcapNgReader(str(path)):
        packet = IP(data)
        found[packet.src == "192.0.2.2"] += bytes(packet[TCP].payload)[: packet.len - 20 - 4 * packet[TCP].dataofs]
    return found


def record(path: Path, notices: list[str], chunks: int = 30, **options: object) -> Recorder:
    recorder = Recorder(lambda: CaptureWriter(path, when_full="stop", **options), notices.append, name="cat")
    crowd = Crowd([recorder])
    recorder.start()
    for number in range(chunks):
        crowd.passed(0, bytes([number]) * 100_000)
        crowd.taken(0, 100_000)
        crowd.passed(1, bytes([number]) * 3)
        crowd.taken(1, 3)
    crowd.ended(0, broken=False)
    crowd.ended(1, broken=False)
    assert recorder.close()
    return recorder


def test_both_streams_are_in_the_file(tmp_path):
    notices: list[str] = []
    path = tmp_path / "a.pcapng"
    recorder = record(path, notices)
    assert recorder.gave_up is None
    assert notices == [f"recording to {path}"]
    assert streams(path) == [b"".join(bytes([n]) * size for n in range(30)) for size in (100_000, 3)]


def test_no_file(tmp_path):
    notices: list[str] = []
    recorder = record(tmp_path / "no" / "a.pcapng", notices)
    assert recorder.gave_up
    assert notices == [
        f"nothing is recorded, the transfer goes on: {tmp_path / 'no' / 'a.pcapng'}: {os.strerror(errno.ENOENT)}"
    ]


def test_the_comment_of_a_recording_that_stopped(tmp_path):
    notices: list[str] = []
    path = tmp_path / "a.pcapng"
    record(path, notices, autostop=Limits(packets=20))
    assert len(notices) == 2
    assert "recording stopped behind byte " in notices[1]
    assert notices[1].endswith(": 20 packets are written") or " packets are written" in notices[1]
    assert b"xendissect tap: recording stopped behind byte " in path.read_bytes()


def test_full_disk():
    notices: list[str] = []
    recorder = Recorder(lambda: CaptureWriter("/dev/full", when_full="stop"), notices.append)
    crowd = Crowd([recorder])
    recorder.start()
    while recorder.gave_up is None:
        crowd.passed(0, bytes(1000))
    assert recorder.close()
    assert not crowd.watching or recorder.gave_up
    assert "/dev/full: No space left on device" in notices[-1]


def test_a_broken_direction_is_a_reset_only_when_bytes_were_left():
    for left, flags in ((1, ["FA", "A", "RA"]), (0, ["FA", "A", "FA", "A"])):
        conversation = Conversation(40000)
        conversation.open(0)
        conversation.step(Passed(1, 0, b"12345"))
        conversation.step(Taken(2, 0, 5 - left))
        assert conversation.step(Ended(3, 0, broken=True)) == []
        assert conversation.step(Passed(4, 1, b"more"))
        assert conversation.step(Taken(5, 1, 4))
        frames = conversation.step(Ended(6, 1, broken=False))
        assert [str(IP(frame.head)[TCP].flags) for frame in frames] == flags
        assert IP(frames[0].head).src == "192.0.2.2"
        assert IP(frames[-1].head).src == "192.0.2.2"


def test_bytes_left_in_a_pipe_were_not_taken():
    conversation = Conversation(1)
    conversation.open(0)
    conversation.step(Passed(1, 0, b"abcd"))
    conversation.step(Taken(2, 0, 4))
    conversation.step(Ended(3, 0, True, 1))
    assert str(IP(conversation.step(Ended(4, 1, False))[-1].head)[TCP].flags) == "RA"


def test_both_directions_broken():
    conversation = Conversation(40000)
    conversation.open(0)
    conversation.step(Passed(1, 0, b"12345"))
    conversation.step(Passed(1, 1, b"12345"))
    assert conversation.step(Ended(2, 1, broken=True)) == []
    assert str(IP(conversation.step(Ended(3, 0, broken=True))[0].head)[TCP].flags) == "RA"
