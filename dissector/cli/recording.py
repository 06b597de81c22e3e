# SPDX-License-Identifier: GPL-2.0-or-later
"""What the options of ``sniff`` and ``slim`` say about the file to write."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dissector import __version__
from dissector.cli import PROGRAM
from dissector.cli.choices import SlimChoice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dissector.recording.files import WhenFull
    from dissector.recording.recording import Recording
    from dissector.recording.rotation import Limits
    from dissector.sources.slim import Slim
    from dissector.wire.engine import Engine

QUEUE_BYTES: Final = 256 << 20
"""What may wait for a disk that is busy for a moment: 2 s at 1 Gbit/s."""
WAYS: Final[dict[SlimChoice | None, Slim]] = {
    None: "",
    SlimChoice.CUT: "cut",
    SlimChoice.HEADS: "heads",
    SlimChoice.NONE: "",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to write.

    Attributes:
        path: Its name, "-" for standard output; None: no file, only the limits hold.
        ring: When to go on to the next file.
        autostop: When to stop.
        slim: How page contents are cut out.
        scrub: Whether the guest's data are blanked.
        filter_text: Capture filter, written into the file.
    """

    path: str | None
    ring: Limits | None = None
    autostop: Limits | None = None
    slim: Slim = ""
    scrub: bool = False
    filter_text: str = ""

    def open(self, engine: Engine, verb: str, when_full: WhenFull) -> Recording:
        """Create the file.

        Raises:
            OSError: it can not be made.
        """
        from dissector.recording.files import CaptureWriter
        from dissector.recording.recording import Recording, section_comment

        writer = CaptureWriter(
            self.path or "-",
            ring=self.ring,
            autostop=self.autostop,
            application=f"{PROGRAM} {__version__} {verb}",
            comment=section_comment(self.slim, scrub=self.scrub),
            when_full=when_full,
            queue_bytes=QUEUE_BYTES,
        )
        return Recording(writer, engine, slim=self.slim, scrub=self.scrub, filter_text=self.filter_text)


def wanted(
    path: Path | None,
    ring: Sequence[str],
    autostop: Sequence[str],
    slim: SlimChoice | None,
    capture_filter: str | None,
    *,
    scrub: bool,
) -> Wanted:
    """Check the options of ``sniff``.

    Raises:
        ValueError: they make no sense; one line that says why.
    """
    from dissector.recording.rotation import parse_autostop, parse_ring

    limits = parse_ring(ring), parse_autostop(autostop)
    if path is None:
        for given, option in ((limits[0], "-b"), (WAYS[slim], "--slim"), (scrub, "--scrub")):
            if given:
                raise ValueError(f"{option} needs -w FILE")
        if limits[1] is not None and (limits[1].size or limits[1].files):
            raise ValueError("-a filesize and files need -w FILE")
    elif str(path) == "-":
        if limits[0] is not None:
            raise ValueError("a ring of files can not be written to standard output")
        if sys.stdout.isatty():
            raise ValueError("-w -: standard output is a terminal")
    return Wanted(None if path is None else str(path), *limits, WAYS[slim], scrub, capture_filter or "")


def removal_lines(recording: Recording) -> list[str]:
    """Say what was blanked, a line for each kind of element."""
    lines = [f"blanked {count:>14,} bytes  {name}" for name, count in recording.removed()]
    if recording.fragments:
        lines.append(
            f"{recording.fragments:,} IP fragments were cut to their headers: they can not be judged one by one"
        )
    return lines
