# SPDX-License-Identifier: GPL-2.0-or-later
"""What our engine hands out, put together again, is the stream that was sent, and Xen's own verifier accepts it.

Records of known length (PAGE_DATA) are read again from the capture, so this proves `Record.whole_body` as well.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache

import pytest

import dissector
from dissector.wire.events import Flow, Record
from tests.captures.tools import verify_stream
from tests.cross.tools import NAMES, paths, truth, wire_bytes

REJECTED = {
    "xl-hvm-xenstore": "not NUL terminated",  # known limit under Python 3: any EMULATOR_XENSTORE_DATA with contents
    "unknown-records": "Unrecognised",  # of optional records too
    "big-endian": "",  # it reads every stream as little endian
}
"""Streams that are well-formed, but not for verify-stream-v2 (stream.md section 7, last table), and what it says."""


def complete(name):
    """Whether every forward byte of a whole, decoded stream is in the capture."""
    flows = truth(name)["flows"]
    whole = all(not flow["forward"]["missing"] and flow["start"] != "mid-stream" for flow in flows)
    cut = any("cut" in record for flow in flows for record in flow["forward"]["records"])
    return whole and not cut and "legacy" not in truth(name)


WHOLE = [name for name in NAMES if complete(name)]
PLAIN = [
    name for name in WHOLE if {flow["mode"] for flow in truth(name)["flows"]} == {"plain"} and name not in REJECTED
]
CHECKPOINTED = [
    name
    for name in WHOLE
    # remus-46-end: a stream of Xen 4.6 with checkpoints is no plain one either
    if {flow["mode"] for flow in truth(name)["flows"]} <= {"remus", "colo"}
]


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
    """Uncompressed copies: records are found there without reading from the beginning each time."""
    folder = tmp_path_factory.mktemp("copies")

    @cache
    def copy(name):
        found = []
        for path in paths(name):
            if path.suffix != ".gz":
                found.append(path)
                continue
            found.append(folder / path.stem)
            found[-1].write_bytes(gzip.decompress(path.read_bytes()))
        return found

    return copy


def rebuilt(found):
    """Entry and forward stream of each flow."""
    entries: dict[int, str] = {}
    streams: dict[int, bytearray] = {}
    for event in dissector.events(*found):
        if isinstance(event, Flow) and event.phase == "begin":
            entries[event.flow] = event.entry
            streams[event.flow] = bytearray()
        elif isinstance(event, Record) and event.direction == "forward":
            stream = streams[event.flow]
            assert event.offset == len(stream), "records must follow each other without a hole"
            stream += wire_bytes(event)
            assert len(stream) == event.offset + event.size
    return [(entries[flow], bytes(stream)) for flow, stream in streams.items()]


@pytest.mark.parametrize("name", WHOLE)
def test_records_together_are_the_true_stream(name, copies):
    sums = [hashlib.sha256(stream).hexdigest() for _, stream in rebuilt(copies(name))]
    assert sorted(sums) == sorted(flow["forward"]["sha256"] for flow in truth(name)["flows"])


@pytest.mark.parametrize("name", PLAIN)
def test_xen_accepts_what_we_deliver(name, copies, tmp_path):
    found = rebuilt(copies(name))
    assert len(found) == len(truth(name)["flows"])
    for entry, stream in found:
        assert verify_stream(stream, entry, tmp_path) == ""


@pytest.mark.parametrize(("name", "text"), REJECTED.items())
def test_known_limits_of_the_verifier(name, text, copies, tmp_path):
    [(entry, stream)] = rebuilt(copies(name))
    complaint = verify_stream(stream, entry, tmp_path)
    assert complaint
    assert text in complaint


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_the_verifier_knows_no_checkpoints(name, copies, tmp_path):
    for entry, stream in rebuilt(copies(name)):
        assert verify_stream(stream, entry, tmp_path)


def test_the_real_ones_are_among_them():
    assert {"xl-migrate-hvm", "pv-live-libxl"} <= set(PLAIN)
    assert {"hvm-colo-xl", "hvm-remus-libxl"} <= {*CHECKPOINTED, *(set(NAMES) - set(WHOLE))}
    assert len(PLAIN) > 20
