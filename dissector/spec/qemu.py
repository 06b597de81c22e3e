# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be told of a QEMU save file without knowing QEMU's devices (payloads.md 3.2 to 3.4). All big endian.

Sections do not say how long they are: where the next one begins is found by what sections begin with.
"""

from __future__ import annotations

from dissector.spec.model import Array, Bytes, Choice, Enum, Field, Layout, Length, Scan

_LETTERS = b"abcdefghijklmnopqrstuvwxyz"

QEMU_MAGIC = b"QEVM"
QEMU_VERSION = 3

SECTION_TYPE = Enum("section_type", {1: "START", 4: "FULL"}, "payloads 3.2")

QEMU = Layout(
    "QEMU",
    "save file of QEMU",
    "payloads 3.2 to 3.4",
    (
        Bytes("magic", "ASCII QEVM", 4, const=QEMU_MAGIC),
        Field("version", 4, "version of the format, 3", order="big"),
        Array(
            "device",
            "sections",
            (
                Field("kind", 1, "what begins here", SECTION_TYPE, order="big"),
                Field("section_id", 4, "number of the section", maximum=4095, order="big"),
                Field("idstr_size", 1, "bytes of the name", order="big"),
                Bytes("idstr", "name: path of the device and kind of state", "idstr_size", text=True),
                Field("instance_id", 4, "which one of several", order="big"),
                Field("version_id", 4, "version of the device's state", maximum=255, order="big"),
                Bytes("state", "state of the device, up to the next section (inferred)"),
            ),
            scan=Scan(
                starts=b"\x04",  # what Xen's QEMU writes; others would be found where they are not
                characters=_LETTERS + _LETTERS.upper() + b"0123456789_.:/@ -",
                footer=0x7E,
                footer_field="section_id",
                behind=1,
            ),
        ),
        Field("eof", 1, "0: end of the file", const=0, order="big"),
    ),
    Length(minimum=9),
    brief=True,
)

INSIDE_EMULATOR_CONTEXT = Choice("prefix", {QEMU_MAGIC: QEMU})
