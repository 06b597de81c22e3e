# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of every kind in, the same events out; and what is said of files that are none."""

from __future__ import annotations

import contextlib
import gc
import gzip
import os
import random
import select
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import zstandard

from captures.files import Interface, Pcapng, pcap
from captures.guests import Guest
from captures.guests import plain as plain_migration
from captures.make import produce
from captures.network import Link, converse
from captures.packets import Packet, travel
from captures.table import CASES
from dissector.reader import Reader, read_events
from dissector.sources import CaptureError
from dissector.wire.events import Finding, Flow, Gap, LostBytesError, Record, Summary, Total
from dissector.wire.limits import Limits

ROOT = Path(__file__).parents[1]
CAPTURES = ROOT / "captures"


class ReopenedError(Exception):
    """Something that can be read only once was opened again."""


def content(case):
    """The only file of a synthetic case before compression."""
    [data] = produce(CASES[case])[0].values()
    return data


PLAIN = content("xl-pvh")


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.pcap"
    path.write_bytes(PLAIN)
    return path


def read(*paths, **options):
    return list(read_events(*paths, **options))


def records(found):
    return [event for event in found if isinstance(event, Record)]


def findings(found):
    return [event.id for event in found if isinstance(event, Finding)]


def pcap_packets(data):
    """Packets of a little-endian microsecond pcap file, as (begin, end) in it."""
    at = 24
    places = []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        places.append((at, at + 16 + length))
        at += 16 + length
    return places


def as_pcapng(data):
    writer = Pcapng()
    writer.section()
    writer.interface(Interface())
    for start, stop in pcap_packets(data):
        seconds, micros, _, wire = struct.unpack_from("<4I", data, start)
        writer.enhanced(Packet(seconds * 10**9 + micros * 1000, data[start + 16 : stop], wire_length=wire))
    return bytes(writer.out)


# -- formats -----------------------------------------------------------------------------------------------------------

FORMS = {
    "pcap": lambda data: data,
    "pcap.gz": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "pcap.zst": lambda data: zstandard.compress(data),
    "pcapng": as_pcapng,
    "pcapng.gz": lambda data: gzip.compress(as_pcapng(data)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_events(form, plain, tmp_path):
    path = tmp_path / "other"  # no suffix: the contents decide
    path.write_bytes(FORMS[form](PLAIN))
    assert read(path) == read(plain)
    assert findings(read(path)) == []


def test_format_forced(plain, tmp_path):
    assert read(plain, as_format="pcap") == read(plain)
    with pytest.raises(CaptureError):
        read(plain, as_format="pcapng")
    with pytest.raises(ValueError, match="tiff"):
        Reader([plain], as_format="tiff")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_several_files_in_any_order(order, plain, tmp_path):
    places = pcap_packets(PLAIN)
    cuts = [0, len(places) // 3, 2 * len(places) // 3, len(places)]
    paths = []
    for part in range(3):
        paths.append(tmp_path / f"part{part}.pcap")
        chosen = places[cuts[part] : cuts[part + 1]]
        paths[-1].write_bytes(PLAIN[:24] + b"".join(PLAIN[start:stop] for start, stop in chosen))
    assert read(*(paths[part] for part in order)) == read(plain)


def test_files_of_different_form_and_interleaved(plain, tmp_path):
    """One file per direction, as from two taps."""
    places = pcap_packets(PLAIN)
    sender = bytes([192, 0, 2, 1])
    forward = [place for place in places if PLAIN[place[0] + 16 + 26 : place[0] + 16 + 30] == sender]
    back = [place for place in places if place not in forward]
    one, two = (PLAIN[:24] + b"".join(PLAIN[start:stop] for start, stop in chosen) for chosen in (forward, back))
    (tmp_path / "forward.pcap.gz").write_bytes(gzip.compress(one))
    (tmp_path / "back.pcapng").write_bytes(as_pcapng(two))
    assert read(tmp_path / "back.pcapng", tmp_path / "forward.pcap.gz") == read(plain)


# -- standard input ----------------------------------------------------------------------------------------------------

LISTENER = """
import sys
from dissector.reader import Reader
from dissector.wire.events import Record

reader = Reader(sys.argv[1:])
assert reader.bytes_total is None
for event in reader.events():
    if isinstance(event, Record):
        print(event.layer, event.type, event.offset, event.size, flush=True)
"""


class Listener:
    """Our reader in a process of its own, on a pipe that the test holds."""

    def __init__(self) -> None:
        end, self.pipe = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", LISTENER, "-"],
            stdin=end,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(end)
        self._rest = b""

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.pipe, data) :]

    def line(self) -> str:
        """The next line it prints; the time limit only ends a test that fails."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.process.stdout], [], [], 60)
            assert ready, "nothing came while the pipe is open"
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            assert piece, "it ended while the pipe is open"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def close(self) -> list[str]:
        """Close the pipe; the lines that come then."""
        os.close(self.pipe)
        self.pipe = -1
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return (self._rest + output).decode().splitlines()

    def abandon(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.abandon()


def expected_lines(path):
    return [f"{one.layer} {one.type} {one.offset} {one.size}" for one in records(read(path))]


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_events_appear_while_the_pipe_is_open(form, listener, plain):
    """Packet after packet: what a record needs to be whole is there, so it is told, whatever may still come."""
    data = FORMS[form](PLAIN)
    wanted = expected_lines(plain)
    half = len(data) // 2
    listener.write(data[:half])
    seen = [listener.line() for _ in range(8)]
    assert seen == wanted[:8]
    assert listener.process.poll() is None
    listener.write(data[half:])
    assert seen + listener.close() == wanted


def test_first_record_with_the_first_packets(listener, plain):
    """The banner is there before the second payload packet is written."""
    places = pcap_packets(PLAIN)
    banner = next(i for i, (start, stop) in enumerate(places) if b"migration receiver" in PLAIN[start:stop])
    listener.write(PLAIN[: places[banner][1]])
    assert listener.line() == "xl BANNER 0 54"
    listener.write(PLAIN[places[banner][1] :])
    assert listener.close() == expected_lines(plain)[1:]


def test_compressed_standard_input(listener, plain):
    listener.write(gzip.compress(PLAIN))
    assert listener.close() == expected_lines(plain)


def test_image_on_standard_input(listener, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(content("save-image"))
    listener.write(path.read_bytes())
    assert listener.close() == expected_lines(path)


# -- bare streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "entry"), [("save-image", "xl"), ("libxl-file", "libxl"), ("libxc-file", "libxc"), ("converted", "libxl")]
)
@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_bare_stream(case, entry, forced, compressed, tmp_path):
    path = tmp_path / "image"
    data = content(case)
    path.write_bytes(gzip.compress(data) if compressed else data)
    found = read(path, as_format=entry if forced else None)
    assert isinstance(found[0], Flow)
    assert (found[0].entry, found[0].start, found[0].sender) == (entry, "file", ("", 0))
    assert records(found)[-1].offset + records(found)[-1].size == len(data)
    assert {(one.time, one.first_frame, one.last_frame, one.direction) for one in records(found)} == {
        (None, 0, 0, "forward")
    }
    assert findings(found) == []


def test_stream_forced_to_another_entry(tmp_path):
    """Whether the user's word counts or the bytes do: entry and records must agree."""
    path = tmp_path / "image"
    path.write_bytes(content("save-image"))
    found = read(path, as_format="libxc")
    begin = found[0]
    assert isinstance(begin, Flow)
    assert begin.entry == records(found)[0].layer


@pytest.mark.parametrize("rest", [b"x", bytes(4096), b"\0\0\0\1" + bytes(20)])
def test_bytes_behind_a_bare_libxc_stream_are_no_libxl_records(rest, tmp_path):
    path = tmp_path / "image"
    stream = content("libxc-file")
    path.write_bytes(stream)
    clean = [record.type for record in records(read(path))]
    path.write_bytes(stream + rest)
    found = read(path)
    assert [record.type for record in records(found)] == clean
    [trailing] = [event for event in found if isinstance(event, Finding)]
    assert (trailing.id, trailing.offset) == ("stream.trailing", len(stream))


def test_bare_streams_are_read_one_at_a_time(plain, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(content("save-image"))
    with pytest.raises(CaptureError, match="one at a time"):
        Reader([path, plain])
    with pytest.raises(CaptureError, match="one at a time"):
        read(plain, path)


def test_cut_image(tmp_path):
    data = content("libxc-file")
    path = tmp_path / "image"
    path.write_bytes(data[:-200])
    found = read(path)
    last = records(found)[-1]
    assert not last.complete
    assert sum(last.lost[-1]) == last.offset + last.size
    assert "stream.record_cut" in findings(found)


def test_image_in_cut_compression(tmp_path):
    path = tmp_path / "image.gz"
    path.write_bytes(gzip.compress(content("libxc-file"))[:-500])
    found = read(path)
    assert "capture.cut" in findings(found)
    assert records(found)


@pytest.mark.parametrize(
    ("case", "word"),
    [
        ("legacy-libxc-hvm64", "64-bit toolstack, HVM"),
        ("legacy-linux-guest-record", "LinuxGuestRecord"),
        ("legacy-xl-45", "STREAMv2"),
    ],
)
def test_legacy_files_are_named(case, word, tmp_path):
    path = tmp_path / "old"
    path.write_bytes(content(case))
    found = read(path)
    [finding] = [event for event in found if isinstance(event, Finding)]
    assert finding.id == "stream.legacy"
    assert word in finding.text
    assert "convert-legacy-stream" in finding.text
    [summary] = [event for event in found if isinstance(event, Summary)]
    assert summary.outcome == "legacy stream, not decoded" or case == "legacy-xl-45"


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [0, 3, 15, 16, 17, 900])
def test_truncated_file(there, plain, tmp_path):
    """Cut inside a packet: the cut is told, and everything before is."""
    places = pcap_packets(PLAIN)
    start = next(start for start, stop in places[len(places) // 2 :] if stop - start > 1000)
    whole = tmp_path / "whole.pcap"
    whole.write_bytes(PLAIN[:start])
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(PLAIN[: start + there])
    found = read(cut)
    if not there:
        assert "capture.cut" not in findings(found)
        return
    assert findings(found).count("capture.cut") == 1
    [finding] = [event for event in found if isinstance(event, Finding) and event.id == "capture.cut"]
    assert str(cut) in finding.text
    assert f"packet {places.index((start, next(b for a, b in places if a == start))) + 1}" in finding.text
    assert [event for event in found if event is not finding][:-2] == read(whole)[:-2]
    assert records(found) == records(read(whole))


def test_damaged_record_header(plain, tmp_path):
    """A length that no packet has: reading this file ends there, with all before."""
    places = pcap_packets(PLAIN)
    start = places[len(places) // 2][0]
    data = bytearray(PLAIN)
    data[start + 8 : start + 12] = b"\xff\xff\xff\x7f"
    path = tmp_path / "damaged.pcap"
    path.write_bytes(data)
    whole = tmp_path / "whole.pcap"
    whole.write_bytes(PLAIN[:start])
    found = read(path)
    assert findings(found).count("capture.cut") == 1
    assert records(found) == records(read(whole))
    assert isinstance(found[-1], Total)
    assert found[-1].frames == len(places) // 2


def test_damage_in_one_of_several_files(plain, tmp_path):
    """The others are read to their end."""
    places = pcap_packets(PLAIN)
    middle = places[len(places) // 2][0]
    first = tmp_path / "first.pcap"
    first.write_bytes(PLAIN[:middle] + b"\x01\x02\x03")
    second = tmp_path / "second.pcap"
    second.write_bytes(PLAIN[:24] + PLAIN[middle:])
    found = read(second, first)
    assert records(found) == records(read(plain))
    assert findings(found) == ["capture.cut"]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gz", "zst"])
def test_cut_compression(compress, plain, tmp_path):
    """Bytes that do not compress, so that a part of them is there."""
    data = PLAIN + pcap([Packet(number, random.Random(number).randbytes(60_000)) for number in range(6)])[24:]
    path = tmp_path / "cut"
    path.write_bytes(compress(data)[:-20_000])
    found = read(path)
    assert findings(found) == ["capture.cut"]
    assert records(found) == records(read(plain))


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (random.Random(7).randbytes(5000), "first bytes"),
        (b"hello, world\n", "first bytes"),
        (PLAIN[:20], "file header"),
        (gzip.compress(b"", mtime=0), "empty"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147), "link type 147"),
    ],
)
def test_unreadable(data, words, tmp_path):
    path = tmp_path / "input"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CaptureError, match=words) as caught:
        read(path)
    assert str(caught.value).count(str(path)) == 1
    assert "\n" not in str(caught.value)


def test_directory_and_nothing(tmp_path):
    with pytest.raises(CaptureError, match="is a directory"):
        Reader([tmp_path])
    with pytest.raises(CaptureError, match="no input"):
        Reader([])


def test_the_second_file_is_missing(plain, tmp_path):
    with pytest.raises(CaptureError, match="no such file"):
        read(plain, tmp_path / "missing")


def test_capture_without_packets(tmp_path):
    path = tmp_path / "none.pcap"
    path.write_bytes(PLAIN[:24])
    assert read(path) == [Total(0, 0, 0, {})]


def test_unknown_link_type_of_one_interface(plain, tmp_path):
    """In pcapng the other interfaces count: the frames are left out, and it is said once."""
    writer = Pcapng()
    writer.section()
    writer.interface(Interface())
    writer.interface(Interface(linktype=147))
    for index, (start, stop) in enumerate(pcap_packets(PLAIN)):
        seconds, micros = struct.unpack_from("<2I", PLAIN, start)
        time = seconds * 10**9 + micros * 1000
        writer.enhanced(Packet(time, PLAIN[start + 16 : stop]))
        if index % 10 == 5:
            writer.enhanced(Packet(time, b"foreign", interface=1))
    path = tmp_path / "mixed.pcapng"
    path.write_bytes(writer.out)
    found = read(path)
    assert findings(found) == ["capture.linktype"]
    [finding] = [event for event in found if isinstance(event, Finding)]
    assert (finding.frame, "147" in finding.text) == (7, True)
    wanted = [(one.type, one.offset, one.size) for one in records(read(plain))]
    assert [(one.type, one.offset, one.size) for one in records(found)] == wanted


# -- progress and limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_progress_reaches_the_end(form, tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(FORMS[form](PLAIN))
    reader = Reader([path])
    assert reader.bytes_total == path.stat().st_size
    before = 0
    for _ in reader.events():
        assert before <= reader.bytes_read <= reader.bytes_total
        before = reader.bytes_read
    assert reader.bytes_read == reader.bytes_total
    reader.close()
    assert reader.bytes_read == reader.bytes_total


def test_progress_over_several_files_and_images(plain, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(content("save-image"))
    for paths in ([image], [plain, CAPTURES / "xl-hvm-v3.pcap.gz"]):
        reader = Reader(paths)
        assert reader.bytes_total == sum(path.stat().st_size for path in paths)
        list(reader.events())
        assert reader.bytes_read == reader.bytes_total
        reader.close()


def test_limits_are_passed_through(plain):
    assert "limit.body" not in findings(read(plain))
    found = read(plain, limits=Limits(max_body=200))
    assert "limit.body" in findings(found)
    assert max(len(one.body) for one in records(found)) <= 200
    assert [(one.type, one.offset, one.size) for one in records(found)] == [
        (one.type, one.offset, one.size) for one in records(read(plain))
    ]


def test_records_of_a_capture_can_be_read_again(plain):
    page_data = next(one for one in read(plain) if isinstance(one, Record) and one.type == "PAGE_DATA")
    assert len(page_data.whole_body()) == page_data.body_length


def small_capture(filling, isn=1000, start=10**18):
    """Packets of a guest of ten pages full of one byte value; nothing closes the connection."""
    link = Link(close="none", isn_sender=isn, isn_receiver=isn + 7, start=start)
    guest = Guest(pages=10, contents=lambda pfn, generation: bytes([filling]) * 4096)
    return travel(converse(plain_migration(guest, passes=()), link), link, None)


def page_data(*paths):
    return [one for one in records(read(*paths)) if one.type == "PAGE_DATA"]


def test_contents_of_the_second_connection_on_the_same_ports(tmp_path):
    path = tmp_path / "reuse.pcap"
    path.write_bytes(pcap([*small_capture(0x11), *small_capture(0x22, 1 << 31, 2 * 10**18)]))
    assert [one.page(3)[:1] for one in page_data(path)] == [b"\x11", b"\x22"]


def test_contents_where_sequence_numbers_of_both_connections_overlap(tmp_path):
    """Bytes of another connection are never handed out as this one's."""
    path = tmp_path / "reuse.pcap"
    path.write_bytes(pcap([*small_capture(0x11), *small_capture(0x22, 1500, 2 * 10**18)]))
    assert [one.page(3)[:1] for one in page_data(path)] == [b"\x11", b"\x22"]


def test_a_pipe_with_a_name_cannot_be_read_again(monkeypatch):
    """As from a shell's process substitution: opening it again would wait for ever, or find it empty."""
    end, writing = os.pipe()
    data = pcap(small_capture(0x11))
    assert len(data) < 1 << 16, "it fits into a pipe"
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(data)
    [record] = page_data(f"/dev/fd/{end}")
    os.close(end)

    def reopen(*_, **__):
        raise ReopenedError

    monkeypatch.setattr("dissector.contents.open_capture", reopen)
    with pytest.raises(LostBytesError, match="cannot be read again"):
        record.page(3)


def test_a_reader_that_cannot_be_made_leaves_no_file_open(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(content("save-image"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        with contextlib.suppress(CaptureError):
            Reader([path, path])
        gc.collect()
    assert caught == []


def test_events_end_with_the_total_and_nothing_is_lost(plain):
    found = read(plain)
    assert isinstance(found[-1], Total)
    assert [event.phase for event in found if isinstance(event, Flow)] == ["begin", "end"]
    assert not [event for event in found if isinstance(event, Gap)]
