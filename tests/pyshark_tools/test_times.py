# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from tests.cross.tools import packets, paths

pytest.importorskip("pyshark")

from dissector.pyshark_tools.times import FrameTimes


@pytest.mark.parametrize("name", ["vlan", "pcapng-two-sections", "pcap-ns-zstd", "file-cut"])
def test_times_of_all_frames(name):
    [path] = paths(name)
    times = FrameTimes(str(path))
    wanted = [packet.time for packet in packets(name)]
    assert times(0) is None
    assert times(len(wanted)) == wanted[-1]
    assert [times(frame) for frame in range(1, len(wanted) + 1)] == wanted
    assert times(len(wanted) + 1) is None
    times.close()


def test_file_that_only_wireshark_reads(tmp_path):
    path = tmp_path / "x.snoop"
    path.write_bytes(b"snoop\0\0\0\0\0\0\2\0\0\0\4")
    assert FrameTimes(str(path))(1) is None
