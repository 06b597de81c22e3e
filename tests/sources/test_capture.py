# SPDX-License-Identifier: GPL-2.0-or-later
"""Files, pipes and standard input, compressed by gzip and zstd themselves, cut and damaged."""

from __future__ import annotations

import fcntl
import gzip
import itertools
import os
import random
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dissector.sources import capture
from dissector.sources.capture import CaptureFile, StreamFile, open_capture
from dissector.sources.formats import MAX_RECORD, CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAPTURES = Path(__file__).parents[2] / "captures"
Row = tuple[int, bytes]


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, but CI must run this test")
        pytest.skip(f"{name} is not installed")
    return path


def pcap(sizes: list[int], linktype: int = 1, seed: int = 1) -> bytes:
    source = random.Random(seed)
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, linktype)
    # Half zeros, half noise, as guest memory is.
    bodies = [source.randbytes(size) if number % 2 else bytes(size) for number, size in enumerate(sizes)]
    return head + b"".join(
        struct.pack("<IIII", 1000 + number, 0, len(body), len(body)) + body for number, body in enumerate(bodies)
    )


def expected(contents: bytes) -> list[Row]:
    """Read a little-endian pcap the simplest way; a cut record is left out."""
    found, position = [], 24
    while position + 16 <= len(contents):
        seconds, _, captured, _ = struct.unpack_from("<IIII", contents, position)
        body = contents[position + 16 : position + 16 + captured]
        if len(body) < captured:
            break
        found.append((seconds * 10**9, body))
        position += 16 + captured
    return found


def packets(file: CaptureFile | StreamFile) -> Iterator[Row]:
    assert isinstance(file, CaptureFile)
    for chunk in file.chunks():
        assert chunk.position == chunk.format.origin + chunk.start
        while True:
            behind, packet = chunk.format.packet(chunk.buffer, chunk.consumed, chunk.end)
            if behind == chunk.consumed:
                break
            chunk.consumed = behind
            if packet is not None:
                chunk.packets += 1
                yield packet.time, bytes(packet.data)


SIZES = [60, 1514, 0, 65_000, 300_000, 3_000_000, 1, 1514, 1514]
PLAIN = pcap(SIZES)


def zstd(contents: bytes) -> bytes:
    return subprocess.run([tool("zstd"), "-q", "-c"], input=contents, capture_output=True, check=True).stdout


def gz(contents: bytes) -> bytes:
    return subprocess.run([tool("gzip"), "-c"], input=contents, capture_output=True, check=True).stdout


def skippable(contents: bytes) -> bytes:
    return b"\x53\x2a\x4d\x18" + struct.pack("<I", len(contents)) + contents


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda contents: contents,
    "gz": gz,
    "gz-members": lambda contents: gz(contents[:10]) + gz(contents[10:70_000]) + gz(b"") + gz(contents[70_000:]),
    "gz-padded": lambda contents: gz(contents) + bytes(1000),
    "zst": zstd,
    "zst-frames": lambda contents: zstd(contents[:1]) + zstd(contents[1:70_000]) + zstd(b"") + zstd(contents[70_000:]),
    "zst-skippable": lambda contents: skippable(b"abc") + zstd(contents) + skippable(bytes(300_000)),
    "zst-raw-blocks": lambda contents: zstandard.ZstdCompressor(level=1, write_checksum=True).compress(contents),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_storing_gives_the_same_packets(way: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(WAYS[way](PLAIN))
    with open_capture(path) as file:
        assert list(packets(file)) == expected(PLAIN)
        assert isinstance(file, CaptureFile)
        assert (file.truncated, file.packets, file.path) == (None, len(SIZES), str(path))
        assert (file.format.linktype, file.format.shape) == (1, "pcap<")


@pytest.mark.parametrize("way", WAYS)
def test_standard_input(way: str) -> None:
    script = (
        "from dissector.sources import open_capture\n"
        "file = open_capture('-')\n"
        "for chunk in file.chunks():\n"
        "    while True:\n"
        "        behind, packet = chunk.format.packet(chunk.buffer, chunk.consumed, chunk.end)\n"
        "        if behind == chunk.consumed:\n"
        "            break\n"
        "        chunk.consumed = behind\n"
        "        print(packet.time, len(packet.data), sum(packet.data))\n"
        "print(file.name, file.truncated)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], input=WAYS[way](PLAIN), capture_output=True, check=True, cwd=CAPTURES.parent
    )
    lines = [f"{time} {len(body)} {sum(body)}" for time, body in expected(PLAIN)]
    assert ran.stdout.decode().splitlines() == [*lines, "standard input None"]


@pytest.mark.parametrize("name", sorted(path.name for path in CAPTURES.glob("*.pcap*.[gz]*[tz]")))
def test_project_captures_as_tshark_reads_them(name: str) -> None:
    with open_capture(CAPTURES / name) as file:
        found = [(time, len(body)) for time, body in packets(file)]
    compressed = (CAPTURES / name).read_bytes()
    program = [tool("zstd" if name.endswith("zst") else "gzip"), "-dc"]
    contents = subprocess.run(program, input=compressed, capture_output=True, check=True).stdout
    command = [tool("tshark"), "-r", "-", "-n", "--disable-protocol", "eth", "--disable-protocol", "ip"]
    command += ["-d", "tcp.port==1-65535,data", "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.cap_len"]
    ran = subprocess.run(command, input=contents, capture_output=True, check=False)
    rows = [line.split("\t") for line in ran.stdout.decode().splitlines()]
    # Simple packet blocks have no time.
    assert found == [(int(time.replace(".", "") or "0"), int(captured)) for time, captured in rows]


def drained(pipe: int) -> bool:
    return not any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))


@given(st.lists(st.integers(1, 5000), max_size=12), st.sampled_from(["plain", "gz", "zst", "pcapng"]))
@settings(max_examples=30, deadline=None)
def test_arbitrary_chunking_through_a_pipe(cuts: list[int], way: str) -> None:
    plain = pcap([60, 1514, 0, 7, 2000])
    if way == "pcapng":
        command = [tool("editcap"), "-F", "pcapng", "-", "-"]
        contents = subprocess.run(command, input=plain, capture_output=True, check=True).stdout
    else:
        contents = WAYS[way](plain)
    edges = sorted({0, len(contents), *(cut % len(contents) for cut in cuts)})
    reading, writing = os.pipe()

    def write() -> None:
        for start, end in itertools.pairwise(edges):
            os.write(writing, contents[start:end])
            for _ in range(200):
                if drained(reading):
                    break
                time.sleep(0.0005)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with open_capture(f"/dev/fd/{reading}") as file:
            found = list(packets(file))
    finally:
        writer.join()
        os.close(reading)
    assert found == expected(plain)


def test_live_pipe_gives_packets_at_once(tmp_path: Path) -> None:
    contents = pcap([100, 100, 100])
    os.mkfifo(tmp_path / "fifo")
    writing = os.open(tmp_path / "fifo", os.O_RDWR)  # both ways: opening it for reading must not wait
    os.write(writing, contents[:24])
    with open_capture(tmp_path / "fifo") as file:
        found = packets(file)
        for number in range(3):
            start = 24 + number * 116
            os.write(writing, contents[start : start + 50])
            os.write(writing, contents[start + 50 : start + 116])
            assert next(found) == expected(contents)[number]
        os.close(writing)
        assert list(found) == []


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (24 + 76, None),
        (24 + 76 + 9, "cut in the middle of packet 2 (not even its header)"),
        (24 + 76 + 16 + 37, "cut in the middle of packet 2 (37 of 1514 bytes)"),
        (24, None),
        (24 + 5, "cut in the middle of a packet (not even its header)"),
    ],
)
def test_cut_files_say_where(length: int, text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "file.pcap"
    path.write_bytes(PLAIN[:length])
    with open_capture(path) as file:
        assert list(packets(file)) == expected(PLAIN[:length])
        assert file.truncated == text


@pytest.mark.parametrize("way", ["gz", "zst"])
@pytest.mark.parametrize("share", [0.15, 0.3, 0.9, 0.999])
def test_cut_compressed_files_give_everything_before(way: str, share: float, tmp_path: Path) -> None:
    whole = WAYS[way](PLAIN)
    cut = whole[: int(len(whole) * share)]
    program = [tool("gzip" if way == "gz" else "zstd"), "-dc"]
    before = subprocess.run(program, input=cut, capture_output=True, check=False).stdout
    path = tmp_path / "file"
    path.write_bytes(cut)
    with open_capture(path) as file:
        found = list(packets(file))
        assert len(found) >= len(expected(before))
        assert found == expected(PLAIN)[: len(found)]
        assert file.truncated is not None
        assert f"the {'gzip' if way == 'gz' else 'zstd'} data end too early" in file.truncated


def test_damaged_gzip_gives_everything_before(tmp_path: Path) -> None:
    good = pcap([5000] * 100)
    # A member whose last deflate block is followed by an impossible one, and then a wrong checksum.
    damaged = bytearray(gz(good))
    damaged[-8] ^= 1
    path = tmp_path / "file"
    path.write_bytes(damaged)
    with open_capture(path) as file:
        assert list(packets(file)) == expected(good)
        assert file.truncated is not None
        assert "the gzip data are damaged" in file.truncated
    damaged = bytearray(gz(good))
    middle = len(damaged) // 2
    damaged[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(damaged)
    with open_capture(path) as file:
        found = list(packets(file))
        assert 40 < len(found) < 60
        assert found[:45] == expected(good)[:45]
        assert file.truncated is not None
        assert "damaged" in file.truncated or "end too early" in file.truncated


def test_damaged_zstd_gives_every_block_before(tmp_path: Path) -> None:
    good = pcap([5000] * 1000)
    damaged = bytearray(zstd(good))
    assert damaged[4] & 4, "zstd writes a checksum unless told not to"
    damaged[-1] ^= 1
    path = tmp_path / "file"
    path.write_bytes(damaged)
    with open_capture(path) as file:
        assert list(packets(file)) == expected(good)
        assert file.truncated is not None
        assert "the zstd data are damaged" in file.truncated
    path.write_bytes(zstd(good) + b"garbage")
    with open_capture(path) as file:
        assert list(packets(file)) == expected(good)
        assert file.truncated == "something else follows the zstd data"


XL = b"Xen saved domain, xl format\n \0 \r" + bytes(100)
LIBXC = b"\xff" * 8 + b"XENF" + bytes(100)


@pytest.mark.parametrize(
    ("contents", "entry"), [(XL, "xl"), (b"LibxlFmt" + bytes(100), "libxl"), (LIBXC, "libxc"), (LIBXC[:12], "libxc")]
)
@pytest.mark.parametrize("way", ["plain", "gz", "zst"])
def test_streams(contents: bytes, entry: str, way: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(WAYS[way](contents))
    with open_capture(path) as file:
        assert isinstance(file, StreamFile)
        assert file.entry == entry
        assert b"".join(bytes(view) for view in file.chunks()) == contents
        assert (file.position, file.truncated) == (len(contents), None)


def test_skip_seeks_in_plain_files_only(tmp_path: Path) -> None:
    contents = XL + random.Random(1).randbytes(5_000_000)
    path = tmp_path / "file"
    path.write_bytes(contents)
    with open_capture(path) as file:
        assert isinstance(file, StreamFile)
        assert file.skip(10) == 10
        chunks = file.chunks()
        first = bytes(next(chunks))
        assert first == contents[10 : file.position]
        assert file.skip(1_000_000) == 1_000_000
        at = file.position
        assert bytes(next(chunks)) == contents[at : file.position]
        assert file.skip(1 << 40) > 0
        assert file.position == len(contents)
        assert list(chunks) == []
    path.write_bytes(gz(contents))
    with open_capture(path) as file:
        assert isinstance(file, StreamFile)
        next(file.chunks())
        assert file.skip(10) == 0


def test_cut_compressed_stream(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gz(XL * 100)[:-12])
    with open_capture(path) as file:
        assert isinstance(file, StreamFile)
        assert sum(len(view) for view in file.chunks()) > 100
        assert file.truncated == "the gzip data end too early"


@pytest.mark.parametrize("kind", ["xl", "libxl", "libxc"])
def test_forced_stream(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whatever")
    file = open_capture(path, as_format=kind)
    assert isinstance(file, StreamFile)
    assert file.entry == kind


def test_forced_capture(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(PLAIN)
    assert isinstance(open_capture(path, as_format="pcap"), CaptureFile)
    with pytest.raises(CaptureError, match="no pcapng file: it begins with d4 c3 b2 a1"):
        open_capture(path, as_format="pcapng")
    with pytest.raises(ValueError, match="unknown format 'snoop'"):
        open_capture(path, as_format="snoop")


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        (b"", "empty file"),
        (gzip.compress(b"", mtime=0), "empty file"),
        (b"\x1f\x8b\x08", "the gzip data end too early"),
        (b"\x1f\x8b\x08\x00", "the gzip data end too early"),
        (b"LinuxGuestRecord" + bytes(9), "an image saved by xend (before Xen 4.5), which is not supported"),
        (b"XenSavedDomain\n\0", "an old XenServer image, which is not supported"),
        (b"XenSavedDomv2-\n\0", "an image saved by XAPI, which is not supported"),
        (b"libvirt-xml\n \0 \r", "a libvirt save file; the Xen stream in it begins behind the XML"),
        (b"\x7fELF\2", "an ELF file"),
        (b"hello, world", "no capture file or migration stream: first bytes 68 65 6c 6c 6f 2c 20 77 6f 72 6c 64"),
        (b"Xen saved", "no capture file or migration stream: first bytes 58 65 6e 20 73 61 76 65 64"),
        (PLAIN[:23], "ends inside its file header"),
        (pcap([60], linktype=105), "link type 105 is not supported"),
        (b"\n\r\r\n" + struct.pack("<I", 28) + bytes(20), "damaged at byte 0: a section without byte-order magic"),
    ],
)
def test_what_cannot_be_read(contents: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(contents)
    with pytest.raises(CaptureError) as caught:
        open_capture(path)
    assert str(caught.value) == f"{path}: {text}"
    assert caught.value.path == str(path)


def test_missing_and_directory(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"missing: no such file$"):
        open_capture(tmp_path / "missing")
    with pytest.raises(CaptureError, match=r": is a directory$"):
        open_capture(tmp_path)


def test_damaged_record_is_named_and_can_be_abandoned(tmp_path: Path) -> None:
    path = tmp_path / "file.pcap"
    path.write_bytes(PLAIN + struct.pack("<IIII", 1, 1, MAX_RECORD + 1, 1) + bytes(3_000_000))
    with open_capture(path) as file, pytest.raises(CaptureError) as caught:
        list(packets(file))
    assert str(caught.value) == f"{path}: damaged at byte {len(PLAIN)}: a packet of {MAX_RECORD + 1} bytes"
    with open_capture(path) as file:
        assert isinstance(file, CaptureFile)
        for chunk in file.chunks():
            chunk.abandon("enough")
        assert file.truncated == "enough"


def test_first_time_release_and_reopen(tmp_path: Path) -> None:
    path = tmp_path / "file.pcap"
    path.write_bytes(PLAIN)
    with open_capture(path) as file:
        assert isinstance(file, CaptureFile)
        assert file.first_time() == 1000 * 10**9
        assert file.first_time() == 1000 * 10**9
        assert next(packets(file)) == expected(PLAIN)[0]
    file = open_capture(path)
    assert isinstance(file, CaptureFile)
    file.release()
    assert file.first_time() == 1000 * 10**9
    file.release()
    assert list(packets(file)) == expected(PLAIN)
    path.write_bytes(PLAIN[:24])
    empty = open_capture(path)
    assert isinstance(empty, CaptureFile)
    assert empty.first_time() is None


def test_pipe_that_is_open_already():
    reading, writing = os.pipe()
    os.write(writing, pcap([60, 61]))
    with open_capture("eth0", descriptor=reading) as file:
        assert isinstance(file, CaptureFile)
        assert (file.name, file.ready) == ("eth0", 32 + 121)
        os.close(writing)
        for chunk in file.chunks():
            chunk.consumed = chunk.end
        assert file.ready == 0
        file.release()
    os.fstat(reading)
    os.close(reading)


# -- entering a file anywhere ------------------------------------------------------------------------------------------


def test_reading_on_at_another_place(tmp_path: Path) -> None:
    path = tmp_path / "plain.pcap"
    path.write_bytes(PLAIN)
    whole = expected(PLAIN)
    places = list(itertools.accumulate((16 + len(row[1]) for row in whole), initial=24))
    file = open_capture(path)
    assert isinstance(file, CaptureFile)
    assert file.seekable
    found, jumped = [], False
    with file:
        for chunk in file.chunks():
            assert chunk.position == chunk.format.origin + chunk.start
            if not jumped:
                assert file.peek(places[5], 100) == PLAIN[places[5] : places[5] + 100]
                chunk.resume_at, jumped = places[5], True
                continue
            while True:
                behind, packet = chunk.format.packet(chunk.buffer, chunk.consumed, chunk.end)
                if packet is None:
                    break
                chunk.consumed = behind
                found.append(bytes(packet.data))
    assert found == [row[1] for row in whole[5:]]
    assert file.truncated is None


@pytest.mark.parametrize("size", [100, 4096, 1 << 16])
def test_pieces(size: int, tmp_path: Path) -> None:
    path = tmp_path / "plain.pcap"
    path.write_bytes(pcap(SIZES[:4]))
    file = open_capture(path)
    assert isinstance(file, CaptureFile)
    file.piece = size
    with file:
        assert list(packets(file)) == expected(pcap(SIZES[:4]))


def test_a_compressed_file_cannot_be_entered(tmp_path: Path) -> None:
    path = tmp_path / "plain.pcap.gz"
    path.write_bytes(gz(PLAIN))
    file = open_capture(path)
    assert isinstance(file, CaptureFile)
    with file:
        assert not file.seekable


def test_what_is_a_capture() -> None:
    assert capture.is_capture(PLAIN[:4])
    assert capture.is_capture(b"\n\r\r\n")
    for head in (b"", b"Xen ", b"\x1f\x8b\x08\x00"):
        assert not capture.is_capture(head)
