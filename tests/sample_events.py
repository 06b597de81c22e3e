# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as the engine makes them, built by hand: what the sinks and the display filter are tested with."""

from __future__ import annotations

import io
import struct
from typing import Any

from dissector.spec import BY_NAME, findings, libxc
from dissector.wire.events import Finding, Flow, Gap, Record, Resync, Summary, Total
from dissector.wire.unit import unknown_record

TIME = 1_795_383_310_123_456_789
"""2026-11-22T21:35:10.123456789Z"""

XTAB = 0xF << 60


def record(layer: str, name: str, body: bytes = b"", /, **changed: Any) -> Record:
    """A complete little-endian record at offset 2794, sent in frames 8 and 9."""
    definition = BY_NAME[layer, name]
    framed = definition.type_id is not None
    values: dict[str, Any] = {
        "flow": 0,
        "direction": "reverse" if definition.direction == "reverse" else "forward",
        "layer": layer,
        "type": name,
        "type_id": definition.type_id,
        "offset": 2794,
        "size": 8 + (len(body) + 7 & ~7) if framed else len(body),
        "body_length": len(body) if framed else None,
        "time": TIME,
        "time_end": TIME + 1_500_000_000,
        "first_frame": 8,
        "last_frame": 9,
        "complete": True,
        "lost": (),
        "definition": definition,
        "order": "little",
        "body": body,
        "header_size": 8 if framed else 0,
    }
    return Record(**values | changed)


def page_data(entries: list[int], **changed: Any) -> Record:
    """A PAGE_DATA with these pfn entries, type bits included; page contents are never kept."""
    body = struct.pack(f"<II{len(entries)}Q", len(entries), 0, *entries)
    pages = sum(entry >> 60 in libxc.DATA_PAGE_TYPES for entry in entries)
    length = len(body) + 4096 * pages
    return record("libxc", "PAGE_DATA", body, **{"size": 8 + length, "body_length": length} | changed)


def checkpoint_state(control_id: int, **changed: Any) -> Record:
    return record("libxl", "CHECKPOINT_STATE", struct.pack("<I", control_id), **{"direction": "reverse"} | changed)


def hvm_params(*params: tuple[int, int]) -> Record:
    body = struct.pack("<II", len(params), 0) + b"".join(struct.pack("<QQ", *param) for param in params)
    return record("libxc", "HVM_PARAMS", body)


def dirty_list(pfns: list[int], header_size: int = 8) -> Record:
    body = struct.pack(f"<{len(pfns)}Q", *pfns)
    extra: dict[str, Any] = {"header_size": header_size}
    if header_size > 8:
        extra = {"stray": "00" * (header_size - 8), **extra}
    size = header_size + len(body)
    return record("libxc", "CHECKPOINT_DIRTY_PFN_LIST", body, size=size, header_size=header_size, extra=extra)


def unknown(type_id: int = 0x80000013, body: bytes = b"abc") -> Record:
    return record(
        "libxc",
        "END",
        body,
        type="UNKNOWN",
        type_id=type_id,
        definition=unknown_record("libxc", type_id),
    )


BEGIN = Flow(0, "begin", ("192.0.2.1", 44210), ("192.0.2.2", 8002), "syn", "xl", "unknown", TIME, 4)
END = Flow(0, "end", ("192.0.2.1", 44210), ("192.0.2.2", 8002), "syn", "xl", "colo", TIME, 99, "rst")
GAP = Gap(0, "forward", 5000, 2896, "lost", TIME, 12)
RESYNC = Resync(0, "forward", 5000, 12345, "libxc PAGE_DATA", TIME, 14)
FINDING = Finding(findings.DIRTY_HEADER, "list with a 16-byte header", 0, "reverse", 102, TIME, 20)
SUMMARY = Summary(
    flow=0,
    mode="colo",
    entry="xl",
    guest="x86 HVM",
    xen="4.17",
    version=3,
    bytes={"forward": 8_399_290, "reverse": 1_766},
    records={"xl BANNER": 1, "libxl CHECKPOINT_STATE": 18, "libxc PAGE_DATA": 1024},
    incomplete=1,
    passes=6,
    checkpoints=5,
    pages=2018,
    lost={"forward": 2896, "reverse": 0},
    skipped={"forward": 12345, "reverse": 0},
    seconds=0.75,
    findings={"error": 1, "warn": 0, "note": 2},
    outcome="connection lost after 5 checkpoints",
)
TOTAL = Total(frames=7102, flows=1, other_connections=3, findings={"error": 1})


def output(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(stream.encoding)
