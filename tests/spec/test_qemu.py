# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's save file begins with and is made of (QEMU migration/savevm.h)."""

from __future__ import annotations

from dissector.spec import libxl
from dissector.spec.qemu import INSIDE_EMULATOR_CONTEXT, QEMU, QEMU_MAGIC, QEMU_VERSION, SECTION_TYPE


def test_the_record_is_recognised_by_the_same_bytes():
    assert libxl.EMULATOR_CONTEXT.signature == (8, QEMU_MAGIC + QEMU_VERSION.to_bytes(4, "big"))
    assert list(INSIDE_EMULATOR_CONTEXT.layouts) == [QEMU_MAGIC]


def test_sections():
    assert SECTION_TYPE.values == {1: "START", 4: "FULL"}
    array = QEMU.body[2]
    assert array.scan.starts == b"\x04"
    assert array.scan.footer == 0x7E
    assert [element.name for element in array.items] == [
        "kind",
        "section_id",
        "idstr_size",
        "idstr",
        "instance_id",
        "version_id",
        "state",
    ]


def test_names_of_devices_have_the_right_characters():
    allowed = set(QEMU.body[2].scan.characters)
    for name in (b"0000:00:01.1/ide", b"mc146818rtc", b"cpu_common", b"/rom@etc/acpi/tables", b"i8042-aux dev"):
        assert set(name) <= allowed
    assert not set(b"\0\x7f\x80(){}") & allowed
