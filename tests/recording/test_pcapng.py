# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from dissector.recording.pcapng import (
    enhanced_packet,
    interface_description,
    interface_statistics,
    packet_of_pieces,
    section_header,
)
from dissector.sources.formats import PcapngFormat

if TYPE_CHECKING:
    from pathlib import Path

TIME = 1_795_383_310_123_456_789
DATA = bytes.fromhex("450000280001400040060000c0000201c0000202c0001f42000000010000000150100400000000000102030405")


def packets() -> bytes:
    return b"".join(
        [
            *enhanced_packet(0, TIME, DATA[:40], 40),
            *enhanced_packet(1, TIME + 1, memoryview(DATA)[:41], 1500),
            *enhanced_packet(0, TIME + 2, DATA[:42], 42, "a comment, ü"),
            *packet_of_pieces(1, TIME + 3, (DATA[:20], DATA[20:43]), "pieces"),
        ]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "written.pcapng"
    path.write_bytes(
        section_header(application="xendissect 1", system="Linux 6", comment="file comment")
        + interface_description(101, name="eth0", filter_text="port 8002", snap_length=262144)
        + interface_description(228, name="b")
        + packets()
        + interface_statistics(0, TIME + 9, started=TIME, received=12, dropped=3, dropped_by_interface=2)
        + interface_statistics(1, TIME + 9)
    )
    return path


def run(*argv: str | Path) -> str:
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_our_reader_gets_back_what_was_written(file):
    form, buffer = PcapngFormat(), memoryview(file.read_bytes())
    position = form.header(buffer)
    found = []
    while position < len(buffer):
        behind, packet = form.packet(buffer, position, len(buffer))
        assert behind > position
        position = behind
        if packet is not None:
            found.append((packet.time, packet.linktype, bytes(packet.data), packet.wire_length, packet.interface))
    assert found == [
        (TIME, 101, DATA[:40], 40, 0),
        (TIME + 1, 228, DATA[:41], 1500, 1),
        (TIME + 2, 101, DATA[:42], 42, 0),
        (TIME + 3, 228, DATA[:43], 43, 1),
    ]


def test_tshark_reads_times_lengths_comments_and_names(file):
    wanted = ("frame.time_epoch", "frame.cap_len", "frame.len", "frame.comment", "frame.interface_name")
    lines = run("tshark", "-n", "-r", file, "-T", "fields", *(word for name in wanted for word in ("-e", name)))
    assert [line.split("\t") for line in lines.splitlines()] == [
        ["1795383310.123456789", "40", "40", "", "eth0"],
        ["1795383310.123456790", "41", "1500", "", "b"],
        ["1795383310.123456791", "42", "42", "a comment, ü", "eth0"],
        ["1795383310.123456792", "43", "43", "pieces", "b"],
    ]


def test_capinfos_reads_the_options(file):
    text = " ".join(run("capinfos", file).split())
    for part in (
        "Capture oper-sys: Linux 6",
        "Capture application: xendissect 1",
        "Capture comment: file comment",
        "Number of interfaces in file: 2",
        "Name = eth0",
        "Filter string = port 8002",
        "Capture length = 262144",
        "Time precision = nanoseconds (9)",
        "Number of stat entries = 1",
    ):
        assert part in text, part


def test_drop_counters(file):
    # capinfos does not show them: the options are looked at as the specification lays them out.
    block = interface_statistics(0, TIME + 9, started=TIME, received=12, dropped=3, dropped_by_interface=2)
    options = {block[at : at + 2]: block[at + 4 : at + 12] for at in range(20, len(block) - 8, 12)}
    values = {int.from_bytes(code, "little"): value for code, value in options.items()}
    assert {code: int.from_bytes(values[code], "little") for code in (4, 5, 7)} == {4: 12, 5: 2, 7: 3}
    assert int.from_bytes(values[2][:4], "little") << 32 | int.from_bytes(values[2][4:], "little") == TIME


def test_editcap_copies_it(file, tmp_path):
    copy = tmp_path / "copy.pcapng"
    run("editcap", file, copy)
    assert run("capinfos", "-T", "-r", "-c", copy).split()[-1] == "4"


def test_without_any_option():
    form, buffer = PcapngFormat(), memoryview(section_header() + interface_description(1))
    assert form.header(buffer) == len(buffer)
    assert form.linktype == 1
