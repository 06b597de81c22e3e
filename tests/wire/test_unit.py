# SPDX-License-Identifier: GPL-2.0-or-later
"""What a definition says about how to collect it."""

from __future__ import annotations

from dissector.spec import ALL_RECORDS, libxc, libxl, xl
from dissector.wire.codec import list_plan
from dissector.wire.unit import Unit, identifying_bytes, unknown_record


def test_only_page_data_has_a_list_before_contents():
    plans = {record.name: list_plan(record) for record in ALL_RECORDS if list_plan(record)}
    assert plans == {"PAGE_DATA": (8, 0, 4)}


def test_identifying_bytes_are_those_of_the_specification():
    assert identifying_bytes(libxl.STREAM_HEADER) == ((0, b"LibxlFmt"),)
    assert identifying_bytes(libxc.IMAGE_HEADER) == ((0, b"\xff" * 8), (8, b"XENF"))
    assert identifying_bytes(xl.SAVE_FILE_HEADER) == ((0, b"Xen saved domain, xl format\n \0 \r"),)
    assert identifying_bytes(libxc.DOMAIN_HEADER) == ()
    assert identifying_bytes(xl.GO) == ((0, b"domain is yours, you are cleared to unpause\0"),)


def test_unknown_record_keeps_layer_and_number():
    record = unknown_record("libxc", 0x80000013)
    assert (record.layer, record.name, record.type_id) == ("libxc", "UNKNOWN", 0x80000013)
    assert record.length.allows(12345)
    assert unknown_record("libxc", 0x80000013) is record


def test_end_of_a_unit():
    unit = Unit(libxc.END, 0, 100, 8, 0, "little", 1, None)
    assert unit.end == 108
