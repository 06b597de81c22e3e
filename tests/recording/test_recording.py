# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.recording.recording import SCRUBBED_COMMENT, Recording, section_comment
from dissector.recording.slim import SlimRecorder
from dissector.recording.whole import WholeRecorder
from dissector.sources.slim import SECTION_COMMENTS, section_slim
from dissector.wire.engine import Engine
from tests.cross.slim_tools import slimmed
from tests.cross.tools import paths


class Writer:
    """Where nothing is written."""

    left = None

    def __init__(self):
        self.closed = None

    def close(self, parts=(), *, patience=None):
        self.closed = (list(parts), patience)


@pytest.mark.parametrize(("slim", "scrub", "kind"), [
    ("", False, WholeRecorder), ("", True, SlimRecorder), ("cut", False, SlimRecorder), ("heads", True, SlimRecorder),
])  # fmt: skip
def test_which_recorder(slim, scrub, kind):
    recording = Recording(Writer(), Engine(), slim=slim, scrub=scrub)
    assert type(recording.recorder) is kind
    recording.finish(7)
    assert recording.writer.closed == ([], 7)
    assert recording.fragments == 0
    assert recording.removed() == ([("page contents, and bytes of no known record", 0)] if scrub else [])


@pytest.mark.parametrize("slim", ["", "cut", "heads"])
def test_comment_of_the_section(slim):
    assert section_comment(slim, scrub=False) == SECTION_COMMENTS.get(slim, "")
    assert section_comment(slim, scrub=True).splitlines()[-1] == SCRUBBED_COMMENT
    assert section_slim(section_comment(slim, scrub=True)) == slim


def test_what_was_removed_is_counted(tmp_path):
    """Every blanked byte once, page contents last; in a capture with everything, and with fragments."""
    recording = slimmed(paths("xl-hvm-xenstore"), tmp_path / "x", "", scrub=True)
    removed = recording.removed()
    assert [name for name, _ in removed[:-1]] == sorted(name for name, _ in removed[:-1])
    assert dict(removed).keys() >= {
        "xl.config.config",
        "libxc.hvm_context.section.data",
        "libxl.emulator_context.emulator_ctx",
        "libxl.emulator_xenstore_data.xenstore_data",
    }
    assert removed[-1][1] > 48 * 4096 - 8 * 4096
    assert slimmed(paths("fragments-ipv4"), tmp_path / "y", "", scrub=True).fragments > 100
