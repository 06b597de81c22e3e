# SPDX-License-Identifier: GPL-2.0-or-later
"""The Wireshark plugin says of every capture what the core says: record by record, field by field, in any order.

What Wireshark cannot deliver is listed here, with the reason, and asserted.
"""

from __future__ import annotations

import random
import subprocess
from functools import cache

import pytest

from dissector.reader import read_events
from tests.captures.tools import tool
from tests.cross.lua_tools import WHOLE, differences, labels, list_cap, of_core, of_trees, summary
from tests.cross.tools import NAMES, is_capture, paths
from tests.wireshark import sharkd
from tests.wireshark.tshark import PLUGIN, available

IPV6_LENGTH_0 = "gro-ipv6-length-0"
"""Wireshark knows payload length 0 only with a jumbo payload option, not from segmentation offload."""

FILES = {path.name.partition(".")[0]: path for name in NAMES if is_capture(name) for path in paths(name)}
"""Every capture file; those of a ring buffer one by one."""

DISSECTED = [name for name in FILES if name != IPV6_LENGTH_0]

LARGE = {"xl-migrate-hvm", "hvm-colo-xl", "hvm-colo-xl-420", "hvm-remus-libxl", "pv-live-libxl"}
"""Their lists of pfns fill hundreds of MB of XML."""

END_UNSEEN = {"file-cut", "port-reuse", "ring-buffer_00001", "xl-receiver-rejects", "xl-source-fails"}
"""They end in page contents. Those took the fast path, which keeps no frame numbers: the last frame is left out."""

CUT = {"file-cut": "appears to have been cut short in the middle of a packet"}
"""What tshark rightly complains about."""

pytestmark = [
    pytest.mark.skipif(not PLUGIN.exists(), reason=f"{PLUGIN} is not there"),
    pytest.mark.parametrize("tshark", available(), ids=str),
]


@cache
def core(path, cap=WHOLE):
    """What the core says of one file; that a file is cut short is no matter of the plugin."""
    view = of_core(read_events(path), cap)
    view.notes = [note for note in view.notes if "capture.cut" not in note]
    return view


def plugin(tshark, path, *arguments, cap=WHOLE, **more):
    """What the plugin says of it."""
    allowed = CUT.get(path.name.partition(".")[0], "")
    return of_trees(tshark.trees(path, *arguments, *list_cap(cap), allowed=allowed, **more))


def without_end(name, found):
    """What is found, but for the one difference that a capture of `END_UNSEEN` has."""
    if name not in END_UNSEEN:
        return found
    rest = [text for text in found if not text.endswith("in the plugin None") or ": last_frame " not in text]
    assert len(found) == len(rest) + 1
    return rest


# -- two passes, as in a file that was loaded -------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISSECTED)
def test_two_passes(tshark, name):
    """On the first pass nothing is shown, and page contents take the fast path."""
    cap = 40 if name in LARGE else WHOLE
    path = FILES[name]
    found = differences(core(path, cap), plugin(tshark, path, "-2", cap=cap, display_filter="frame"))
    assert without_end(name, found) == []


@pytest.mark.parametrize("name", [name for name in DISSECTED if name not in LARGE])
def test_two_passes_with_trees_on_the_first(tshark, name):
    path = FILES[name]
    assert differences(core(path, 2), plugin(tshark, path, "-2", cap=2)) == []


@pytest.mark.parametrize("name", ["pv-live-libxl", "hvm-colo-xl"])
def test_whole_lists_of_large_captures(tshark, name):
    path = FILES[name]
    assert differences(core(path), plugin(tshark, path, "-2")) == []


def test_several_files_are_merged_by_mergecap(tshark, tmp_path):
    files = paths("ring-buffer")
    merged = tmp_path / "merged.pcap"
    subprocess.run([tool("mergecap"), "-F", "pcap", "-w", merged, *files], check=True, capture_output=True)
    found = plugin(tshark, merged, "-2", display_filter="frame")
    assert differences(of_core(read_events(*files)), found) == []


def test_ipv6_payload_length_0_is_beyond_wireshark(tshark):
    path = FILES[IPV6_LENGTH_0]
    assert tshark.rows(path, ["frame.number"], "-Y", "_ws.malformed") != []
    everything = core(path)
    found = plugin(tshark, path, "-2")
    reverse = [row for row in everything.records if row["direction"] == "reverse"]
    assert [row["type"] for row in found.records if row["direction"] == "reverse"] == [row["type"] for row in reverse]


@pytest.mark.parametrize("name", DISSECTED)
def test_nothing_is_malformed(tshark, name):
    filter_ = '_ws.malformed || _ws.lua.error || _ws.expert.message contains "Lua Error"'
    ran = tshark.run(FILES[name], "-Y", filter_)
    assert ran.stdout == ""
    assert name in CUT or ran.complaints() == []


# -- one pass: Wireshark never says that a capture has ended ----------------------------------------------------------

ONE_PASS = {
    "colo-list-cut": [
        "0 reverse: 1 from libxc CHECKPOINT_DIRTY_PFN_LIST at 174",
        "only core: ('finding', 'reverse', 174, 'stream.record_cut', 'error')",
    ],
    "colo-list-last-16": [
        "0 reverse: 1 from libxc CHECKPOINT_DIRTY_PFN_LIST at 102",
        "only core: ('finding', 'reverse', 102, 'libxc.checkpoint_dirty_pfn_list.header', 'error')",
    ],
    "file-cut": [
        "only core: ('finding', 'forward', 165336, 'stream.record_cut', 'error')",
    ],
    "loss-handover": [
        "0 forward: 3 from libxc HVM_CONTEXT at 194128",
        "only core: ('gap', 'forward', 196928, 1448, 'lost')",
        "only core: ('resync', 'forward', 197376, 5248, 'libxl END')",
    ],
    "loss-in-pages": [
        "only core: ('gap', 'forward', 30408, 1448, 'lost')",
        "only core: ('gap', 'forward', 60816, 11584, 'lost')",
    ],
    "loss-libxl-head": [
        "0 forward: 9 from libxc HVM_CONTEXT at 202680",
        "only core: ('gap', 'forward', 205616, 1448, 'lost')",
        "only core: ('resync', 'forward', 205928, 5248, 'libxl CHECKPOINT_END')",
    ],
    "loss-list-head-colo": [
        "0 reverse: 10 from libxl CHECKPOINT_STATE at 150",
        "only core: ('gap', 'reverse', 102, 48, 'lost')",
        "only core: ('resync', 'reverse', 102, 48, 'libxl CHECKPOINT_STATE')",
    ],
    "loss-of-beginning": [
        "0 forward: 9 from libxc PAGE_DATA at 165336",
        "0 reverse: 3 from xl READY at 54",
        "only core: ('gap', 'forward', 0, 81088, 'lost')",
        "only core: ('gap', 'reverse', 0, 54, 'lost')",
        "only core: ('resync', 'forward', 0, 165336, 'libxc PAGE_DATA')",
        "only core: ('resync', 'reverse', 0, 54, 'xl READY')",
    ],
    "loss-page-data-head": [
        "0 forward: 8 from libxc PAGE_DATA at 231016",
        "only core: ('gap', 'forward', 214304, 1448, 'lost')",
        "only core: ('resync', 'forward', 214584, 16432, 'libxc PAGE_DATA')",
    ],
    "loss-tsc-head-remus": [
        "0 forward: 18 from libxc HVM_PARAMS at 201232",
        "only core: ('gap', 'forward', 196928, 1448, 'lost')",
        "only core: ('resync', 'forward', 197952, 3280, 'libxc HVM_PARAMS')",
    ],
    "mid-stream-colo": [
        "0 forward: 22 from libxc X86_TSC_INFO at 11848",
        "only core: ('resync', 'forward', 0, 11848, 'libxc X86_TSC_INFO')",
    ],
    "mid-stream-colo-list": [
        "0 forward: 23 from libxc PAGE_DATA at 0",
    ],
    "mid-stream-plain": [
        "0 forward: 9 from libxc PAGE_DATA at 94384",
        "only core: ('resync', 'forward', 0, 94384, 'libxc PAGE_DATA')",
    ],
    "nested-fake-stream": [
        "0 forward: 8 from libxc PAGE_DATA at 231016",
        "only core: ('gap', 'forward', 165072, 1448, 'lost')",
        "only core: ('resync', 'forward', 165336, 65680, 'libxc PAGE_DATA')",
    ],
    "port-reuse": [
        "only core: ('finding', 'forward', 1096, 'stream.record_cut', 'error')",
    ],
    "remus-hvm-xl": [
        "0 forward: 1 from libxc HVM_CONTEXT at 230320",
        "only core: ('finding', 'forward', 230320, 'stream.record_cut', 'error')",
    ],
    "ring-buffer_00001": [
        "only core: ('finding', 'forward', 1096, 'stream.record_cut', 'error')",
    ],
    "ring-buffer_00003": [
        "0 forward: 22 from libxc PAGE_DATA at 17640",
        "only core: ('resync', 'forward', 0, 17640, 'libxc PAGE_DATA')",
    ],
    "snap-1000": [
        "0 forward: 1 from xl GO at 197936",
        "only core: ('resync', 'forward', 197928, 8, 'xl GO')",
    ],
    "xl-receiver-rejects": [
        "only core: ('finding', 'forward', 1096, 'stream.record_cut', 'error')",
    ],
    "xl-source-fails": [
        "only core: ('finding', 'forward', 165336, 'stream.record_cut', 'error')",
    ],
}
"""What is known only when the capture is at its end, so not yet when tshark shows a frame after one pass.

Cut: the record that the capture, or the connection, cuts short. Hole: what waits behind a hole that is given up only
at the end (1 MiB of later data, or a second, would give it up before). Search: a place to go on that only the end of
the capture proves. Middle: less than 4 MiB of a connection captured from its middle."""


@pytest.mark.parametrize("name", [name for name in DISSECTED if name not in LARGE])
def test_one_pass(tshark, name):
    found = differences(core(FILES[name], 2), plugin(tshark, FILES[name], cap=2), so_far=True)
    assert summary(found) == ONE_PASS.get(name, [])


# -- random access ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in DISSECTED if name not in LARGE - {"pv-live-libxl"}])
def test_frames_in_random_order(tshark, name):
    """As when somebody clicks about in a loaded file: each tree is the same as in order."""
    path = FILES[name]
    # Whether sharkd's first pass takes the fast path depends on its version; it matters only where the end is unseen.
    filters = ["frame", "xenmig"] if name in END_UNSEEN else ["frame"]
    in_order = []
    for shown in filters:
        trees = tshark.trees(path, "-2", display_filter=shown, allowed=CUT.get(name, ""))
        in_order.append({number: [labels(root) for root in roots] for number, roots in trees})
    count = len(tshark.run(path, "-T", "fields", "-e", "frame.number").stdout.split())
    frames = list(range(1, count + 1))
    random.Random(name).shuffle(frames)
    shown_by_sharkd = zip(frames, sharkd.trees(tshark, path, frames), strict=True)
    found = {number: [labels(root) for root in roots] for number, roots in shown_by_sharkd}
    assert any(found == {number: trees.get(number, []) for number in frames} for trees in in_order)


# -- preferences of Wireshark, and other ways to us -------------------------------------------------------------------

SAMPLES = (
    "xl-hvm-v3",
    "colo-header-16",
    "late-retransmission",
    "loss-page-data-head",
    "loss-list-head-colo",
    "mid-stream-colo",
    "sequence-wrap",
    "sll2",
    "xl-receiver-rejects",
)
SETTINGS = {
    "raw sequence numbers": ("-o", "tcp.relative_sequence_numbers:FALSE"),
    "no analysis": ("-o", "tcp.analyze_sequence_numbers:FALSE"),
    "no reassembly": ("-o", "tcp.desegment_tcp_streams:FALSE"),
    "subdissectors on error": ("-o", "tcp.no_subdissector_on_error:FALSE"),
    "heuristics first": ("-o", "tcp.try_heuristic_first:TRUE"),
    "Decode As": ("-d", "tcp.port==8002,xenmig"),
    "port preference": ("-o", "xenmig.ports:8002"),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", SAMPLES)
def test_settings(tshark, name, setting):
    path = FILES[name]
    shown = plugin(tshark, path, "-2", *SETTINGS[setting], cap=2, display_filter="frame")
    assert without_end(name, differences(core(path, 2), shown)) == []
