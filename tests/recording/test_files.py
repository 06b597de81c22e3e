# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dissector.recording.files import ROOM_BYTES, CaptureWriter
from dissector.recording.pcapng import enhanced_packet
from dissector.recording.rotation import Limits
from dissector.sources import open_capture, runs

if TYPE_CHECKING:
    from dissector.recording.files import WhenFull

SECOND = 1_000_000_000
START = 1_795_383_310 * SECOND


def packet(number: int, size: int = 100, interface: int = 0, time: int | None = None) -> tuple:
    at = START + number if time is None else time
    return enhanced_packet(interface, at, number.to_bytes(4, "big") + bytes(size - 4), size)


def numbers(*paths: Path | str) -> list[int]:
    """The packets of files, read by our own reader."""
    found = []
    for path in paths:
        file = open_capture(str(path))
        for run in runs([file]):
            position = run.start
            while position < run.end:
                behind, one = run.format.packet(run.buffer, position, run.end)
                if behind == position:
                    break
                position = behind
                if one is not None:
                    found.append(int.from_bytes(one.data[:4], "big"))
            run.consumed = position
        assert file.truncated is None, file.truncated
        file.close()
    return found


def write(writer: CaptureWriter, count: int, first: int = 0, size: int = 100) -> None:
    for number in range(first, first + count):
        writer.write(packet(number, size), 1, START + number)


def capinfos(path: Path, *options: str) -> str:
    return subprocess.run(
        ["capinfos", *options, str(path)], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_one_file(tmp_path):
    path = tmp_path / "one.pcapng"
    writer = CaptureWriter(path, application="xendissect", comment="why")
    assert [writer.interface(1, "eth0", "tcp", 96), writer.interface(101)] == [0, 1]
    buffer = bytearray(b"".join(packet(7)))
    assert writer.write([memoryview(buffer)], 1, START)
    buffer[:] = bytes(len(buffer))  # the caller's memory is free at once
    kept = list(packet(8, interface=1))
    assert writer.write(kept, 1, START + 1, copy=False)
    writer.statistics(0, received=5, dropped=1)
    writer.close()
    writer.close()
    assert (writer.failed, writer.stopped, writer.packets, writer.dropped) == (None, None, 2, 0)
    assert numbers(path) == [7, 8]
    text = capinfos(path)
    assert "Capture comment:     why" in text
    assert "Number of packets = 1" in text
    assert text.count("Number of stat entries = 1") == 2


def test_what_can_not_be_opened_is_told_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        CaptureWriter(tmp_path / "no" / "such.pcapng")
    with pytest.raises(ValueError, match="ring"):
        CaptureWriter("-", ring=Limits(packets=1))


def test_a_reader_of_the_growing_file_sees_a_packet_soon(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    writer = CaptureWriter(fifo)
    writer.interface(1)
    writer.write(packet(5), 1, START)
    got = b""
    while b"\0\0\0\5" + bytes(96) not in got:  # read() waits: nothing is closed or flushed meanwhile
        got += os.read(reader, 65536)
    writer.close()
    os.close(reader)


@pytest.mark.parametrize(
    ("ring", "packets_of_files"),
    [
        (Limits(packets=4), [4, 4, 2]),
        (Limits(packets=4, files=2), [4, 2]),
        (Limits(size=1000), [7, 3]),
        (Limits(seconds=3.0), [3, 3, 3, 1]),
        (Limits(seconds=3.0, packets=2), [2, 2, 2, 2, 2]),
    ],
)
def test_rings(tmp_path, ring, packets_of_files):
    writer = CaptureWriter(tmp_path / "ring.pcapng", ring=ring)
    writer.interface(1, "a")
    writer.interface(101, "b")
    for number in range(10):
        time = START + number * SECOND
        writer.write(packet(number, interface=number % 2, time=time), 1, time)
    writer.close()
    assert writer.failed is None
    written = sorted(tmp_path.iterdir())
    assert all(re.fullmatch(r"ring_\d{5}_\d{14}\.pcapng", path.name) for path in written)
    assert int(written[-1].name[5:10]) == writer.files
    assert [len(numbers(path)) for path in written] == packets_of_files
    assert numbers(*written) == list(range(10))[-sum(packets_of_files) :]
    assert "Number of interfaces in file: 2" in capinfos(written[-1])
    assert str(written[-1]) == writer.path


def test_how_many_packets_may_come_in_one_call(tmp_path):
    writer = CaptureWriter(tmp_path / "a.pcapng", ring=Limits(packets=4), autostop=Limits(packets=6))
    writer.interface(1)
    seen = []
    number = 0
    while writer.left:
        seen.append(writer.left)
        run = [part for one in range(number, number + writer.left) for part in packet(one)]
        number += writer.left
        assert writer.write(run, writer.left, START)
    writer.close()
    assert seen == [4, 2]
    assert [len(numbers(path)) for path in sorted(tmp_path.iterdir())] == [4, 2]
    assert CaptureWriter(tmp_path / "b.pcapng").left is None


@pytest.mark.parametrize("size", [1, 100_000, 1_000_000])
def test_a_file_of_limited_size_becomes_larger_by_one_packet(tmp_path, size):
    packets, largest = 3000, 1500
    writer = CaptureWriter(tmp_path / "a.pcapng", ring=Limits(size=size))
    writer.interface(1)
    number = 0
    while number < packets:
        run = range(number, min(packets, number + writer.left))
        number = run.stop
        assert writer.write([part for one in run for part in packet(one, largest)], len(run), START)
    writer.close()
    assert writer.failed is None
    written = sorted(tmp_path.iterdir())
    assert numbers(*written) == list(range(packets))
    sizes = [path.stat().st_size for path in written]
    ends = 400 + largest  # section, interface and statistics; the last packet
    assert all(size <= one + 400 for one in sizes[:-1])
    assert all(one <= size + ends for one in sizes)


@pytest.mark.parametrize(
    ("autostop", "ring", "kept", "why"),
    [
        (Limits(packets=3), None, 3, "3 packets are written"),
        (Limits(size=1000), None, 7, "1 kB are written"),
        (Limits(seconds=4.0), None, 4, "4 s have passed"),
        (Limits(files=2), Limits(packets=3), 6, "2 files are written"),
    ],
)
def test_autostop(tmp_path, autostop, ring, kept, why):
    writer = CaptureWriter(tmp_path / "a.pcapng", autostop=autostop, ring=ring)
    writer.interface(1)
    taken = [writer.write(packet(number), 1, START + number * SECOND) for number in range(10)]
    writer.close()
    assert taken == [True] * kept + [False] * (10 - kept)
    assert (writer.stopped, writer.packets, writer.dropped) == (why, kept, 10 - kept)
    assert numbers(*sorted(tmp_path.iterdir())) == list(range(kept))


def test_time_passes_without_packets(tmp_path):
    writer = CaptureWriter(tmp_path / "a.pcapng", autostop=Limits(seconds=2.0))
    assert writer.write((), 0, START)
    assert not writer.write((), 0, START + 2 * SECOND)
    assert writer.stopped
    writer.close()


def stuck(tmp_path: Path, when_full: WhenFull, queue_bytes: int = 1 << 20) -> tuple[CaptureWriter, int]:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    writer = CaptureWriter(fifo, when_full=when_full, queue_bytes=queue_bytes)
    writer.interface(1)
    return writer, reader


def read_all(reader: int) -> bytes:
    with os.fdopen(reader, "rb") as stream:
        return stream.read()


@pytest.mark.parametrize("when_full", ["drop", "stop"])
def test_a_full_queue_holds_nobody_up(tmp_path, when_full):
    writer, reader = stuck(tmp_path, when_full)
    taken = [writer.write(packet(number, 60_000), 1, START) for number in range(100)]
    assert taken[0]
    assert not taken[-1]
    assert 0.9 < writer.filled <= 1
    assert writer.dropped == taken.count(False)
    assert bool(writer.stopped) == (when_full == "stop")
    got: list[bytes] = []
    reading = threading.Thread(target=lambda: got.append(read_all(reader)))
    reading.start()
    writer.close(packet(1000))
    reading.join()
    whole = tmp_path / "whole.pcapng"
    whole.write_bytes(got[0])
    assert numbers(whole) == [number for number, one in enumerate(taken) if one] + [1000]


@pytest.mark.parametrize("size", [ROOM_BYTES // 4, ROOM_BYTES - 100])
def test_lent_buffers_are_used_again(tmp_path, size):
    """Whether what is in them is copied because it is little, or written from there."""
    path = tmp_path / "lent.pcapng"
    writer = CaptureWriter(path, queue_bytes=4 * ROOM_BYTES)
    writer.interface(1)
    lent = set()
    for number in range(40):
        room = writer.lend()
        lent.add(id(room.obj))
        data = b"".join(packet(number, size))
        room[: len(data)] = data
        assert writer.write_lent(room, len(data), 1, START)
    writer.close()
    assert numbers(path) == list(range(40))
    assert len(lent) <= 6  # those in the queue, the one being written, and the one being filled


def test_lent_buffers_that_are_not_taken_come_back(tmp_path):
    writer, reader = stuck(tmp_path, "drop", 3 * ROOM_BYTES)
    lent, taken = set(), []
    for number in range(20):
        room = writer.lend()
        lent.add(id(room.obj))
        data = b"".join(packet(number, ROOM_BYTES - 100))
        room[: len(data)] = data
        taken.append(writer.write_lent(room, len(data), 1, START))
    assert taken[0]
    assert not taken[-1]
    assert len(lent) <= taken.count(True) + 1
    got: list[bytes] = []
    reading = threading.Thread(target=lambda: got.append(read_all(reader)))
    reading.start()
    writer.close()
    reading.join()
    whole = tmp_path / "whole.pcapng"
    whole.write_bytes(got[0])
    assert numbers(whole) == [number for number, one in enumerate(taken) if one]


def test_waiting_for_room(tmp_path):
    writer, reader = stuck(tmp_path, "wait")
    writing = threading.Thread(target=write, args=(writer, 200, 0, 60_000))
    writing.start()
    got: list[bytes] = []
    reading = threading.Thread(target=lambda: got.append(read_all(reader)))
    reading.start()
    writing.join()
    writer.close()
    reading.join()
    whole = tmp_path / "whole.pcapng"
    whole.write_bytes(got[0])
    assert numbers(whole) == list(range(200))


def test_giving_up_at_the_end(tmp_path):
    writer, reader = stuck(tmp_path, "stop")
    write(writer, 10, size=60_000)
    writer.close(patience=0.05)
    assert writer.failed == f"{tmp_path / 'fifo'}: nobody reads it"
    os.close(reader)


def test_a_reader_that_goes_away(tmp_path):
    writer, reader = stuck(tmp_path, "wait")
    os.close(reader)
    write(writer, 100, size=60_000)  # does not wait for ever
    writer.close()
    assert writer.failed == f"{tmp_path / 'fifo'}: Broken pipe"


def test_full_device():
    writer = CaptureWriter("/dev/full")
    writer.interface(1)
    write(writer, 50, size=60_000)
    writer.close()
    assert writer.failed == "/dev/full: No space left on device"


def test_a_file_that_may_not_grow_ends_behind_a_packet(tmp_path):
    path = tmp_path / "cut.pcapng"
    code = (
        "import resource, sys\n"
        "from dissector.recording import files\n"
        "from tests.recording.test_files import packet, write\n"
        "files.PIECE_BYTES = 100_000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "writer = files.CaptureWriter(sys.argv[1])\n"
        "writer.interface(1)\n"
        "write(writer, 30, size=50_000)\n"
        "writer.close(packet(99))\n"
        "print(writer.failed)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=root, timeout=60
    )
    assert done.stdout == f"{path}: File too large\n"
    found = numbers(path)
    assert found[:-1] == list(range(len(found) - 1))
    assert len(found) > 10
    assert found[-1] == 99


def test_standard_output():
    root = Path(__file__).parents[2]
    code = (
        "from tests.recording.test_files import CaptureWriter, write\n"
        "writer = CaptureWriter('-')\nwriter.interface(1, 'x')\nwrite(writer, 5)\nwriter.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=root, timeout=60)
    shown = subprocess.run(
        ["tshark", "-n", "-r", "-"], input=done.stdout, capture_output=True, check=True, timeout=60
    ).stdout
    assert len(shown.splitlines()) == 5
