# SPDX-License-Identifier: GPL-2.0-or-later
"""Slim captures for the cross-checks: how they are made, read again and compared with what they were made of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from captures.files import pcap
from captures.packets import Packet
from dissector.reader import Reader
from dissector.recording.files import CaptureWriter
from dissector.recording.recording import Recording, section_comment
from dissector.sinks.jsonl import event_object
from dissector.sources import Chunk, open_capture, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from dissector.sources import Packet as Captured
    from dissector.wire.limits import Limits
    from tests.cross.tools import RawPacket

Way = Literal["", "cut", "heads"]
WAYS: tuple[Way, ...] = ("cut", "heads")
FRAMES = {"frame", "frames", "first_frame", "last_frame"}


def slimmed(
    sources: Sequence[Path], target: Path, how: Way = "cut", *, scrub: bool = False, limits: Limits | None = None
) -> Recording:
    """Make a capture slim as the verb does, in this process."""
    reader = Reader(sources, limits=limits)
    writer = CaptureWriter(target, comment=section_comment(how, scrub=scrub))
    recording = Recording(writer, reader.engine, slim=how, scrub=scrub)
    reader.recorder = recording.recorder
    try:
        for _ in reader.events():
            pass
    finally:
        reader.close()
        recording.finish()
    assert writer.failed is None
    return recording


def written(packets: Iterable[RawPacket], path: Path) -> Path:
    """Write packets into a capture file with nanoseconds."""
    path.write_bytes(pcap([Packet(p.time, p.data, p.linktype, p.wire_length) for p in packets], nanos=True))
    return path


def captured(*paths: Path) -> list[Captured]:
    """All packets of captures, with what their comments say."""
    found = []
    for run in runs([open_capture(path) for path in paths]):
        if not isinstance(run, Chunk):
            found.append(run._replace(data=memoryview(bytes(run.data))))
            continue
        while run.consumed < run.end:
            behind, packet = run.format.packet(run.buffer, run.consumed, run.end)
            if behind == run.consumed:
                break
            run.consumed = behind
            if packet is not None:
                found.append(packet._replace(data=memoryview(bytes(packet.data))))
    return found


def objects(*paths: Path, frames: bool = True, limits: Limits | None = None) -> list[dict[str, Any]]:
    """What our reader says of captures, but for what tells that they are slim.

    Args:
        paths: the files.
        frames: keep frame numbers; without, the number of frames and of passed-over connections is left out too.
        limits: for the reader.
    """
    reader = Reader(paths, limits=limits)
    try:
        events = list(reader.events())
    finally:
        reader.close()
    found = [event_object(event, pfns=True) for event in events if getattr(event, "id", "") != "capture.slim"]
    slim = len(events) - len(found)
    total = next(one for one in reversed(found) if one["event"] == "summary" and one["scope"] == "input")
    total["findings"]["note"] -= slim
    if not frames:
        del total["frames"]
        found = [_without_frames(one) for one in found]
    return found


def _without_frames(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_frames(one) for key, one in value.items() if key not in FRAMES}
    if isinstance(value, list):
        return [_without_frames(one) for one in value]
    return value


def unlike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[str]:
    """Where two lists of events differ, the first three places."""
    found = [f"{len(one)} and {len(other)} events"] if len(one) != len(other) else []
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            keys = [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]
            what = " ".join(str(mine.get(key)) for key in ("event", "direction", "type", "offset"))
            found.append(
                f"{what}: " + ", ".join(f"{key} {mine.get(key)!r:.80}, {theirs.get(key)!r:.80}" for key in keys)
            )
    return found[:4]


def shape(value: Any) -> Any:
    """What a record's fields look like: keys and types, but no values."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return re.sub(r"[^\W]", "x", value) if isinstance(value, str) else type(value).__name__
