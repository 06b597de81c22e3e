# SPDX-License-Identifier: GPL-2.0-or-later
"""The libxl layer against stream.md section 3."""

from __future__ import annotations

import pytest

from dissector.spec import libxl
from dissector.wire import codec

TYPES = {
    0: ("END", "forward"),
    1: ("LIBXC_CONTEXT", "forward"),
    2: ("EMULATOR_XENSTORE_DATA", "forward"),
    3: ("EMULATOR_CONTEXT", "forward"),
    4: ("CHECKPOINT_END", "forward"),
    5: ("CHECKPOINT_STATE", "both"),
}


def test_types():
    found = {r.type_id: (r.name, r.direction) for r in libxl.RECORDS if r.type_id is not None}
    assert found == TYPES


def test_stream_header_is_big_endian_whatever_the_records_are():
    body = b"LibxlFmt" + bytes.fromhex("0000000200000001")
    for order in ("little", "big"):
        fields = codec.decode(libxl.STREAM_HEADER, body, order, None)
        assert (fields["version"], fields["options"], fields["options_name"]) == (2, 1, "BIG_ENDIAN")


@pytest.mark.parametrize(
    ("control_id", "name"), [(0, "NEW"), (1, "SVM_SUSPENDED"), (2, "SVM_READY"), (3, "SVM_RESUMED")]
)
def test_checkpoint_states(control_id, name):
    wire = bytes.fromhex(f"05000000 04000000 0{control_id}000000 00000000")
    fields = codec.decode(libxl.CHECKPOINT_STATE, wire[8:12], "little", 4)
    assert fields == {"control_id": control_id, "control_id_name": name}


def test_emulator_records():
    sub = bytes.fromhex("02000000 00000000")
    context = codec.decode(libxl.EMULATOR_CONTEXT, sub + b"QEVM\0\0\0\3", "little", 16)
    assert context["emulator_id_name"] == "QEMU upstream"
    assert context["emulator_ctx"] == b"QEVM\0\0\0\3".hex()
    pairs = b"physmap/1/start_addr\0f0000000\0physmap/1/name\0\0"
    xenstore = codec.decode(libxl.EMULATOR_XENSTORE_DATA, sub + pairs, "little", 8 + len(pairs))
    assert xenstore["xenstore_data"] == {"physmap/1/start_addr": "f0000000", "physmap/1/name": ""}


@pytest.mark.parametrize(
    ("record", "allowed", "refused"),
    [
        (libxl.END, [0], [1, 8]),
        (libxl.CHECKPOINT_STATE, [4], [0, 3, 8]),
        (libxl.EMULATOR_CONTEXT, [8, 9, 24009], [0, 7]),
    ],
)
def test_lengths(record, allowed, refused):
    assert all(record.length.allows(n) for n in allowed)
    assert not any(record.length.allows(n) for n in refused)
