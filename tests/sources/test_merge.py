# SPDX-License-Identifier: GPL-2.0-or-later
"""Several files in time order, as mergecap puts them."""

from __future__ import annotations

import os
import random
import resource
import shutil
import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissector.sources import capture, open_capture, runs
from dissector.sources.capture import CaptureFile, Chunk
from dissector.sources.formats import CaptureError

CAPTURES = Path(__file__).parents[2] / "captures"
if TYPE_CHECKING:
    from collections.abc import Iterable

Row = tuple[int, bytes]


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, but CI must run this test")
        pytest.skip(f"{name} is not installed")
    return path


def pcap(rows: list[Row]) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    return head + b"".join(
        struct.pack("<IIII", time // 10**9, time % 10**9, len(body), len(body)) + body for time, body in rows
    )


def opened(path: Path) -> CaptureFile:
    file = open_capture(path)
    assert isinstance(file, CaptureFile)
    return file


def consume(files: Iterable[CaptureFile]) -> tuple[list[Row], int]:
    """Take everything; the packets and how many of them came one by one."""
    found, single = [], 0
    for item in runs(files):
        if not isinstance(item, Chunk):
            found.append((item.time, bytes(item.data)))
            single += 1
            continue
        while True:
            try:
                behind, packet = item.format.packet(item.buffer, item.consumed, item.end)
            except CaptureError as error:
                item.abandon(str(error))
                break
            if behind == item.consumed:
                break
            item.consumed = behind
            if packet is not None:
                item.packets += 1
                found.append((packet.time, bytes(packet.data)))
    return found, single


def write(directory: Path, contents: list[list[Row]]) -> list[Path]:
    paths = [directory / f"file{number}.pcap" for number in range(len(contents))]
    for path, rows in zip(paths, contents, strict=True):
        path.write_bytes(pcap(rows))
    return paths


def rows(seed: int, times: range) -> list[Row]:
    source = random.Random(seed)
    return [(time, source.randbytes(source.randrange(1, 1500))) for time in times]


def test_no_file_and_one_file(tmp_path: Path) -> None:
    assert list(runs([])) == []
    [path] = write(tmp_path, [rows(1, range(3000))])
    assert consume([opened(path)]) == (rows(1, range(3000)), 0)


def test_ring_buffer_files_come_as_chunks_in_time_order(tmp_path: Path) -> None:
    parts = [rows(number, range(number * 2000, number * 2000 + 2000)) for number in range(3)]
    paths = write(tmp_path, parts)
    files = [opened(paths[number]) for number in (2, 0, 1)]
    found, single = consume(files)
    assert found == parts[0] + parts[1] + parts[2]
    assert single == 0
    assert [file.packets for file in files] == [2000] * 3
    assert [file.truncated for file in files] == [None] * 3


def test_overlapping_files_as_mergecap_merges_them(tmp_path: Path) -> None:
    parts = [rows(1, range(0, 6000, 3)), rows(2, range(4000, 16000, 3)), rows(3, range(10001, 10301, 3))]
    paths = write(tmp_path, parts)
    merged = tmp_path / "merged.pcap"
    subprocess.run([tool("mergecap"), "-F", "nsecpcap", "-w", merged, *paths], check=True, capture_output=True)
    files = [opened(path) for path in paths]
    found, single = consume(files)
    assert found == consume([opened(merged)])[0]
    assert 0 < single < len(found)
    assert [file.packets for file in files] == [len(part) for part in parts]


@pytest.mark.parametrize("kinds", [("pcap", "pcapng"), ("pcapng", "pcapng")])
def test_pcapng_files_keep_their_interfaces(kinds: tuple[str, str], tmp_path: Path) -> None:
    parts = [rows(1, range(0, 4_000_000, 3000)), rows(2, range(1_000_000, 7_000_000, 4000))]
    paths = []
    for path, kind in zip(write(tmp_path, parts), kinds, strict=True):
        paths.append(path.with_suffix("." + kind + "2"))
        subprocess.run([tool("editcap"), "-F", kind, path, paths[-1]], check=True, capture_output=True)
    found, _ = consume([opened(path) for path in paths])
    assert found == sorted(parts[0] + parts[1], key=lambda row: row[0])


def test_equal_times_keep_the_order_of_the_arguments(tmp_path: Path) -> None:
    parts = [[(5, b"a1"), (5, b"a2"), (6, b"a3")], [(5, b"b1"), (6, b"b2")], [(4, b"c1"), (5, b"c2")]]
    found, _ = consume([opened(path) for path in write(tmp_path, parts)])
    assert [body for _, body in found] == [b"c1", b"a1", b"a2", b"b1", b"c2", b"a3", b"b2"]


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=4), st.sampled_from([64, 200, 1 << 20]))
@settings(max_examples=100, deadline=None)
def test_any_files_any_buffer(times: list[list[int]], buffer_bytes: int) -> None:
    parts = [
        [(time, f"{number}.{index}".encode()) for index, time in enumerate(sorted(part))]
        for number, part in enumerate(times)
    ]
    with TemporaryDirectory() as directory, mock.patch.object(capture, "BUFFER_BYTES", buffer_bytes):
        files = [opened(path) for path in write(Path(directory), parts)]
        found, _ = consume(files)
    # Python's sort is stable: equal times stay in the order of the files.
    assert found == sorted((row for part in parts for row in part), key=lambda row: row[0])
    assert [file.packets for file in files] == [len(part) for part in parts]


def test_damage_and_cuts_end_their_file_only(tmp_path: Path) -> None:
    parts = [rows(1, range(0, 3000, 3)), rows(2, range(1000, 4000, 3)), rows(3, range(10, 3000, 3))]
    paths = write(tmp_path, parts)
    with paths[0].open("ab") as file:
        file.write(b"\xff" * 4000)
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    files = [opened(path) for path in paths]
    found, _ = consume(files)
    assert found == sorted(parts[0] + parts[1] + parts[2][:-1], key=lambda row: row[0])
    assert "damaged at byte" in str(files[0].truncated)
    assert files[1].truncated is None
    assert "cut in the middle of packet 997" in str(files[2].truncated)


def test_thousands_of_files_need_few_descriptors(tmp_path: Path) -> None:
    parts = [rows(number, range(number * 10, number * 10 + 3)) for number in range(300)]
    paths = write(tmp_path, parts)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, hard))
    try:
        found, single = consume(opened(path) for path in reversed(paths))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == [row for part in parts for row in part]
    assert single == 0


def test_ring_buffer_of_the_project_equals_mergecap(tmp_path: Path) -> None:
    paths = sorted(CAPTURES.glob("ring-buffer_*.pcap.gz"))
    assert paths
    merged = tmp_path / "merged.pcap"
    subprocess.run([tool("mergecap"), "-F", "nsecpcap", "-w", merged, *paths], check=True, capture_output=True)
    assert consume([opened(path) for path in reversed(paths)])[0] == consume([opened(merged)])[0]
