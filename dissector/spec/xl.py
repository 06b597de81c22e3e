# SPDX-License-Identifier: GPL-2.0-or-later
"""The xl layer: header, configuration and the fixed messages of both directions (stream.md section 2)."""

from __future__ import annotations

from dissector.spec.model import Bytes, Direction, Enum, Field, Flags, Length, Member, Record

MANDATORY_FLAGS = Flags("mandatory_flags", {0: "JSON", 1: "STREAMv2"}, "2.2")

BYTEORDER = Enum("byteorder", {0x01020304: "native order of the reader", 0x04030201: "other order"}, "2.2")

LIBXL_ERROR = Enum(
    "libxl_error",
    {
        0: "guest started",
        1: "NONSPECIFIC",
        2: "VERSION",
        3: "FAIL",
        4: "NI",
        5: "NOMEM",
        6: "INVAL",
        7: "BADFAIL",
        8: "GUEST_TIMEDOUT",
        9: "TIMEDOUT",
        10: "NOPARAVIRT",
        11: "NOT_READY",
        12: "OSEVENT_REG_FAIL",
        13: "BUFFERFULL",
        14: "UNKNOWN_CHILD",
        15: "LOCK_FAIL",
        16: "JSON_CONFIG_EMPTY",
        17: "DEVICE_EXISTS",
        18: "CHECKPOINT_DEVOPS_DOES_NOT_MATCH",
        19: "CHECKPOINT_DEVICE_NOT_SUPPORTED",
        20: "VNUMA_CONFIG_INVALID",
        21: "DOMAIN_NOTFOUND",
        22: "ABORTED",
        23: "NOTFOUND",
        24: "DOMAIN_DESTROYED",
        25: "FEATURE_REMOVED",
        26: "PROTOCOL_ERROR_QMP",
        27: "UNKNOWN_QMP_ERROR",
        28: "QMP_GENERIC_ERROR",
        29: "QMP_COMMAND_NOT_FOUND",
        30: "QMP_DEVICE_NOT_ACTIVE",
        31: "QMP_DEVICE_NOT_FOUND",
        32: "QEMU_API",
        255: "no correct GO received",
    },
    "2.1, 9.8",
)

XL_MAGIC = b"Xen saved domain, xl format\n \x00 \r"
STREAMV2 = 1 << 1

SAVE_FILE_HEADER = Record(
    layer="xl",
    name="SAVE_FILE_HEADER",
    meaning="first bytes of an xl stream or save file",
    section="2.2",
    length=Length(exact=(48,)),
    body=(
        Bytes("magic", "identifies an xl stream", 32, const=XL_MAGIC),
        Field("byteorder", 4, "0x01020304 in the sender's own order", BYTEORDER, hexadecimal=True),
        Field("mandatory_flags", 4, "what a reader must understand", MANDATORY_FLAGS, hexadecimal=True, maximum=3),
        Field("optional_flags", 4, "always 0; readers ignore it", reserved=True, hexadecimal=True),
        Field("optional_data_len", 4, "bytes of optional data that follow"),
    ),
)

_MEMBERS = (
    Member("guest_name", ("c_info", "name"), "text", "name of the guest"),
    Member("guest_type", ("c_info", "type"), "text", "hvm, pv or pvh"),
    Member("guest_uuid", ("c_info", "uuid"), "text", "UUID of the guest"),
    Member("max_vcpus", ("b_info", "max_vcpus"), "number", "virtual cpus"),
    Member("max_memkb", ("b_info", "max_memkb"), "number", "most memory, KiB"),
    Member("target_memkb", ("b_info", "target_memkb"), "number", "memory it is to have, KiB"),
)

CONFIG = Record(
    layer="xl",
    name="CONFIG",
    meaning="optional data: the guest's configuration (libxl_domain_config as JSON since 4.5, xl.cfg text before)",
    section="2.3",
    body=(
        Field("config_len", 4, "bytes of configuration, the trailing NUL included"),
        Bytes("config", "configuration text", "config_len", text=True, secret=True, members=_MEMBERS),
        Bytes("surplus", "bytes that readers skip", secret=True),
    ),
)


def _message(name: str, text: bytes, meaning: str, direction: Direction = "reverse") -> Record:
    return Record(
        layer="xl",
        name=name,
        meaning=meaning,
        section="2.1",
        direction=direction,
        length=Length(exact=(len(text),)),
        body=(Bytes("text", "fixed text", len(text), const=text, text=True),),
    )


BANNER = _message(
    "BANNER",
    b"xl migration receiver ready, send binary domain data.\n",
    "receiver is up; the first payload of every xl migration",
)
READY = _message("READY", b"domain received, ready to unpause\0", "the domain was received and built")
GO = _message(
    "GO",
    b"domain is yours, you are cleared to unpause\0",
    "forward: the receiver may start the guest; reverse: permission for the sender to resume its own copy",
    "both",
)
REPORT = _message("REPORT", b"my copy unpause results are as follows\0", "a status byte follows")

REPORT_STATUS = Record(
    layer="xl",
    name="REPORT_STATUS",
    meaning="how starting the guest at the receiver went",
    section="2.1",
    direction="reverse",
    length=Length(exact=(1,)),
    body=(Field("status", 1, "0, or a negated libxl error code", LIBXL_ERROR),),
)

RECORDS: tuple[Record, ...] = (SAVE_FILE_HEADER, CONFIG, BANNER, READY, GO, REPORT, REPORT_STATUS)
