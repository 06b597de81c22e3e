# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged captures never make the Wireshark plugin fail, in any Wireshark at hand (see tests/wireshark/tshark.py)."""

from __future__ import annotations

import random
import subprocess
import zlib
from functools import cache
from itertools import count, product

import pytest

from tests.captures.tools import tool
from tests.cross.tools import paths, truth
from tests.wireshark.tshark import PLUGIN, available

NAMES = (
    "xl-hvm-v3",
    "xl-pv64-v3",
    "xl-pv32-v2",
    "xl-hvm-xenstore",
    "big-endian",
    "colo-header-8",
    "colo-header-16",
    "remus-hvm-xl",
    "remus-pv-libxl",
    "libxc-bare",
    "mtu-576",
    "sequence-wrap",
    "reorder-and-overlap",
    "unknown-records",
)
"""Each way to start a stream, each mode, kind of guest and form of the back channel's lists."""

RATES = ("0.00002", "0.0005", "0.005", "0.05")
"""Shares of damaged bytes: from a few of a capture to some in nearly every record head."""

DAMAGE = {
    **{f"everywhere-{rate}": ["-E", rate] for rate in RATES},
    **{f"behind-headers-{rate}": ["-E", rate, "-o", "54"] for rate in RATES},
    **{f"snap-{length}": ["-s", length] for length in ("68", "74", "130", "1200")},
    "snap-300-damaged": ["-s", "300", "-E", "0.01", "-o", "54"],
    "few-lost": [],
    "many-lost": [],
}
LOST = {"few-lost": 0.03, "many-lost": 0.3}
"""Share of frames left out."""

TWO_PASS = ("-2", "-Y", "frame", "-V")
INVISIBLE = (
    "-Y",
    '_ws.lua.error || _ws.expert.message contains "Lua Error"',
    "-T",
    "fields",
    "-e",
    "_ws.expert.message",
)
"""As Wireshark reads a file: no tree is shown. Any output is an error."""

TIME_LIMIT = 60.0
"""Seconds; a run takes well under one on a quiet machine."""

CASES = [(number, name, damage) for number, (name, damage) in zip(count(), product(NAMES, DAMAGE))]

pytestmark = pytest.mark.skipif(not PLUGIN.exists(), reason=f"{PLUGIN} is not there")


def decode_as(name):
    """Options so that our dissector gets all segments, even those that its heuristic would leave to others."""
    ports = {flow["receiver_port"] for flow in truth(name)["flows"]}
    return [word for port in sorted(ports) for word in ("-d", f"tcp.port=={port},xenmig")]


@cache
def frames(name):
    """Frames of a capture."""
    return truth(name)["frames"]


def damaged(name, damage, folder):
    """Make a damaged copy of a capture."""
    seed = zlib.crc32(f"{name} {damage}".encode()) >> 1
    lost = []
    if share := LOST.get(damage):
        chosen = random.Random(seed)
        lost = [str(number) for number in range(1, frames(name) + 1) if chosen.random() < share]
    [source] = paths(name)
    target = folder / "damaged.pcap"
    words = [tool("editcap"), "--seed", str(seed), *DAMAGE[damage], str(source), str(target), *lost]
    subprocess.run(words, check=True, capture_output=True)
    return target


@pytest.mark.parametrize("tshark", available(), ids=str)
@pytest.mark.parametrize(("number", "name", "damage"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_damage_never_makes_the_plugin_fail(tshark, number, name, damage, tmp_path):
    path = damaged(name, damage, tmp_path)
    other = [("-V", *decode_as(name)), INVISIBLE, (*TWO_PASS, *decode_as(name))][number % 3]
    for mode in (TWO_PASS, other):
        ran = tshark.run(path, *mode, timeout=TIME_LIMIT)
        assert ran.complaints() == []
        if mode is INVISIBLE:
            assert ran.stdout == ""


def test_there_are_enough_cases():
    assert len(CASES) >= 200


@pytest.mark.parametrize("tshark", available(), ids=str)
def test_the_damage_leaves_something_to_dissect(tshark, tmp_path):
    path = damaged("xl-hvm-v3", "behind-headers-0.0005", tmp_path)
    assert len(tshark.rows(path, ["xenmig.type"], "-2", "-Y", 'xenmig.type == "PAGE_DATA"')) > 0
