# SPDX-License-Identifier: GPL-2.0-or-later
"""Ground truth of a capture: true records, what of them is missing, and the JSON text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from captures.streams import Conversation, Half, Record, sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from captures.network import Link
    from captures.packets import Packet

Span = tuple[int, int]


def covered(packets: Sequence[Packet], flow: int, direction: str) -> list[Span]:
    """Stream ranges (start, stop) the captured frames carry, merged."""
    spans = sorted(
        (p.offset, p.offset + p.length) for p in packets if (p.flow, p.direction) == (flow, direction) and p.length
    )
    merged: list[Span] = []
    for start, stop in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def holes(spans: Sequence[Span], start: int, stop: int) -> list[Span]:
    """What of start..stop the spans leave out."""
    result = []
    for begin, end in spans:
        if begin > start:
            result.append((start, min(begin, stop)))
        start = max(start, end)
        if start >= stop:
            return result
    return [*result, (start, stop)] if start < stop else result


def head_size(record: Record) -> int:
    """Length of the part that must be whole to know the record: page data starts after the pfn list."""
    if "type_id" not in record:
        return int(record["size"])
    if record["type"] == "PAGE_DATA":
        return 16 + 8 * int(record["count"])
    return int(record.get("header_size", 8))


def relative(spans: Sequence[Span], base: int) -> list[list[int]]:
    """Make [offset, length] pairs for JSON."""
    return [[start - base, stop - start] for start, stop in spans]


def direction_truth(half: Half, spans: Sequence[Span] | None, base: int, clip: bool) -> dict[str, Any]:
    """Truth of one direction; ``spans`` is None when nothing can be missing."""
    end = len(half.data)
    if spans is None:
        spans = [(0, end)]
    if clip:
        end = spans[-1][1] if spans else base
    records = []
    for record in half.records:
        start, stop = record["offset"], record["offset"] + record["size"]
        if start < base or start >= end:
            continue
        entry = {**record, "offset": start - base}
        lost = holes(spans, start, stop)
        if lost:
            entry["lost"] = relative(lost, base)
        if lost and lost[0][0] < start + head_size(record):
            entry["head_lost"] = True
        if stop > end:
            entry["cut"] = True
        records.append(entry)
    missing = relative(holes(spans, base, end), base)
    result = {"bytes": end - base, "sha256": sha256(bytes(half.data[base:end])), "missing": missing}
    return {**result, "records": records}


def flow_truth(
    conversation: Conversation,
    link: Link,
    packets: Sequence[Packet],
    *,
    flow: int = 0,
    mode: str = "",
    start: str = "syn",
    clip: bool = False,
) -> dict[str, Any]:
    """Truth of one connection as its captured frames show it; ``clip``: the capture ends before the connection."""
    listener = link.receiver if link.opener == "forward" else link.sender
    result: dict[str, Any] = {
        "sender": link.sender.address,
        "receiver": link.receiver.address,
        "port": listener.port,
        "sender_port": link.sender.port,
        "receiver_port": link.receiver.port,
        "mode": mode or conversation.mode,
        "start": start,
        "end": "cut" if clip else link.close,
    }
    for direction in ("forward", "reverse"):
        half = conversation.half(direction)
        spans = covered(packets, flow, direction)
        base = 0
        if start == "mid-stream":
            mine = [p for p in packets if (p.flow, p.direction) == (flow, direction) and p.length]
            base = mine[0].offset if mine else len(half.data)
        result[direction] = direction_truth(half, spans, base, clip)
    return result


def file_truth(conversation: Conversation) -> dict[str, Any]:
    """Truth of a save image or bare stream file."""
    result: dict[str, Any] = {"mode": conversation.mode, "start": "file"}
    result["forward"] = direction_truth(conversation.forward, None, 0, False)
    return result


def text(value: Any, indent: int = 0) -> str:
    """JSON with one short object or list per line."""
    short = json.dumps(value)
    if len(short) + indent <= 160 or not isinstance(value, dict | list) or not value:
        return short
    pad, inner = " " * indent, " " * (indent + 1)
    if isinstance(value, list):
        if all(isinstance(item, int) for item in value):
            return short
        return "[\n" + ",\n".join(inner + text(item, indent + 1) for item in value) + f"\n{pad}]"
    if "layer" in value:
        return short
    rows = (f"{inner}{json.dumps(key)}: {text(item, indent + 1)}" for key, item in value.items())
    return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
