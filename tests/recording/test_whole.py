# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dissector.reader import Reader
from dissector.recording.files import CaptureWriter
from dissector.recording.recording import Recording, section_comment
from dissector.recording.whole import WholeRecorder
from tests.cross.slim_tools import captured, slimmed
from tests.cross.tools import paths


def copied(sources, target):
    reader = Reader(sources)
    recording = Recording(CaptureWriter(target, comment=section_comment(reader.slim, scrub=False)), reader.engine)
    assert isinstance(recording.recorder, WholeRecorder)
    reader.recorder = recording.recorder
    for _ in reader.events():
        pass
    reader.close()
    recording.finish()
    return [(p.time, p.linktype, bytes(p.data), p.wire_length, p.left_out) for p in captured(target)]


def packets(*files):
    return [(p.time, p.linktype, bytes(p.data), p.wire_length, p.left_out) for p in captured(*files)]


def test_every_packet_is_kept(tmp_path):
    for name in ("xl-hvm-v3", "two-migrations-and-noise", "ring-buffer", "snap-128", "pcapng-two-interfaces", "vlan"):
        assert copied(paths(name), tmp_path / name) == packets(*paths(name))


def test_marks_of_a_slim_capture_are_kept(tmp_path):
    slimmed(paths("xl-hvm-v3"), tmp_path / "slim", "heads")
    found = copied([tmp_path / "slim"], tmp_path / "copy")
    assert any(marks for *_, marks in found)
    assert found == packets(tmp_path / "slim")
