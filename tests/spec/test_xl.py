# SPDX-License-Identifier: GPL-2.0-or-later
"""The xl layer against stream.md section 2, written out again here as literal tables."""

from __future__ import annotations

import struct

import pytest

from dissector.spec import xl
from dissector.wire import codec

MESSAGES = {
    "BANNER": (b"xl migration receiver ready, send binary domain data.\n", 54, "reverse"),
    "READY": (b"domain received, ready to unpause\0", 34, "reverse"),
    "GO": (b"domain is yours, you are cleared to unpause\0", 44, "both"),
    "REPORT": (b"my copy unpause results are as follows\0", 39, "reverse"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_fixed_messages(name):
    text, size, direction = MESSAGES[name]
    record = getattr(xl, name)
    assert len(text) == size
    assert record.body[0].const == text
    assert record.length.exact == (size,)
    assert record.direction == direction


def test_header_layout():
    magic = bytes.fromhex("58656e20736176656420646f6d61696e2c20786c20666f726d61740a2000200d")
    body = magic + struct.pack("<IIII", 0x01020304, 3, 0, 1004)
    assert len(body) == 48
    fields = codec.decode(xl.SAVE_FILE_HEADER, body, "little", None)
    assert fields["byteorder"] == 0x01020304
    assert fields["mandatory_flags"] == 3
    assert fields["mandatory_flags_name"] == "JSON, STREAMv2"
    assert fields["optional_flags"] == 0
    assert fields["optional_data_len"] == 1004
    assert xl.SAVE_FILE_HEADER.body[0].const == magic


def test_config_with_surplus():
    fields = codec.decode(xl.CONFIG, struct.pack("<I", 3) + b"{}\0surplus", "little", None)
    assert fields["config_len"] == 3
    assert fields["config"] == "{}"
    assert bytes.fromhex(fields["surplus"]) == b"surplus"


def test_status_names():
    values = xl.LIBXL_ERROR.values
    assert set(values) == {*range(33), 255}
    assert [values[n] for n in (1, 3, 6, 16, 22, 32)] == [
        "NONSPECIFIC",
        "FAIL",
        "INVAL",
        "JSON_CONFIG_EMPTY",
        "ABORTED",
        "QEMU_API",
    ]
