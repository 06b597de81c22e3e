# SPDX-License-Identifier: GPL-2.0-or-later
"""The libxl layer: stream header and records (stream.md section 3)."""

from __future__ import annotations

from dissector.spec.model import Bytes, Enum, Field, Flags, Length, Record, StringPairs
from dissector.spec.qemu import INSIDE_EMULATOR_CONTEXT

OPTIONS = Flags("options", {0: "BIG_ENDIAN", 1: "LEGACY"}, "3.1")

EMULATOR_ID = Enum("emulator_id", {0: "unknown", 1: "QEMU traditional", 2: "QEMU upstream"}, "3.4")

CONTROL_ID = Enum(
    "control_id",
    {0: "NEW", 1: "SVM_SUSPENDED", 2: "SVM_READY", 3: "SVM_RESUMED"},
    "3.3",
)

LIBXL_IDENT = b"LibxlFmt"

STREAM_HEADER = Record(
    layer="libxl",
    name="STREAM_HEADER",
    meaning="first bytes of a libxl stream; once, forward only",
    section="3.1",
    length=Length(exact=(16,)),
    body=(
        Bytes("ident", "identifies a libxl stream", 8, const=LIBXL_IDENT),
        Field("version", 4, "stream version", const=2, order="big"),
        Field("options", 4, "bit 0: records are big endian", OPTIONS, hexadecimal=True, maximum=3, order="big"),
    ),
)

_EMULATOR = (
    Field("emulator_id", 4, "which device model wrote this", EMULATOR_ID, maximum=2),
    Field("index", 4, "always 0", reserved=True),
)

END = Record(
    layer="libxl",
    name="END",
    type_id=0,
    meaning="end of the libxl stream",
    section="3.3",
    length=Length(exact=(0,)),
)

LIBXC_CONTEXT = Record(
    layer="libxl",
    name="LIBXC_CONTEXT",
    type_id=1,
    meaning="hands the stream over to libxc",
    section="3.3, 3.7",
    length=Length(exact=(0,)),
)

EMULATOR_XENSTORE_DATA = Record(
    layer="libxl",
    name="EMULATOR_XENSTORE_DATA",
    type_id=2,
    meaning="xenstore keys of the device model, relative to its directory",
    section="3.5",
    length=Length(minimum=8),
    guests="HVM",
    body=(*_EMULATOR, StringPairs("xenstore_data", "key NUL value NUL pairs", secret=True)),
)

EMULATOR_CONTEXT = Record(
    layer="libxl",
    name="EMULATOR_CONTEXT",
    type_id=3,
    meaning="the device model's saved state",
    section="3.6",
    length=Length(minimum=8),
    guests="HVM",
    body=(*_EMULATOR, Bytes("emulator_ctx", "opaque save blob", secret=True, inside=INSIDE_EMULATOR_CONTEXT)),
    signature=(8, b"QEVM\0\0\0\x03"),
)

CHECKPOINT_END = Record(
    layer="libxl",
    name="CHECKPOINT_END",
    type_id=4,
    meaning="end of the libxl part of a checkpoint",
    section="3.3, 3.7",
    length=Length(exact=(0,)),
)

CHECKPOINT_STATE = Record(
    layer="libxl",
    name="CHECKPOINT_STATE",
    type_id=5,
    repeats=True,
    meaning="COLO checkpoint control",
    section="3.3, 5.3",
    length=Length(exact=(4,)),
    direction="both",
    since="4.7",
    body=(Field("control_id", 4, "step of the COLO checkpoint", CONTROL_ID, maximum=3),),
)

RECORDS: tuple[Record, ...] = (
    STREAM_HEADER,
    END,
    LIBXC_CONTEXT,
    EMULATOR_XENSTORE_DATA,
    EMULATOR_CONTEXT,
    CHECKPOINT_END,
    CHECKPOINT_STATE,
)
