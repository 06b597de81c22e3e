# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture file that is written while its packets are dissected: which recorder, and what it says in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dissector.recording.batch import Batch
from dissector.recording.scrubbing import Scrubbed
from dissector.recording.slim import Plain, SlimRecorder
from dissector.recording.whole import WholeRecorder
from dissector.sources.slim import SECTION_COMMENTS

if TYPE_CHECKING:
    from dissector.recording.files import CaptureWriter
    from dissector.sources.slim import Slim
    from dissector.wire.engine import Engine

SCRUBBED_COMMENT: Final = "xendissect scrubbed: the guest's data are replaced by fillers"
_REST: Final = "page contents, and bytes of no known record"


def section_comment(slim: Slim, *, scrub: bool) -> str:
    """Return the text for the file header of a capture that is recorded so."""
    lines = [SECTION_COMMENTS[slim]] if slim else []
    return "\n".join([*lines, SCRUBBED_COMMENT] if scrub else lines)


def recorder_for(engine: Engine, batch: Batch, slim: Slim, *, scrub: bool) -> SlimRecorder | WholeRecorder:
    """Choose the recorder."""
    if scrub:
        return SlimRecorder(engine, batch, Scrubbed(batch), slim)
    return SlimRecorder(engine, batch, Plain(batch), slim) if slim else WholeRecorder(batch)


class Recording:
    """Packets of an engine on their way into a file.

    Args:
        writer: writes the file; its header should have `section_comment`.
        engine: dissects the packets; no packet has been given to it.
        slim: how page contents are cut out; empty: not at all.
        scrub: blank what belongs to the guest.
        filter_text: capture filter, for the descriptions of interfaces.

    Attributes:
        recorder: Takes the packets (:class:`dissector.walk.Recorder`).
        batch: Counts them, and knows the numbers of the interfaces.
    """

    def __init__(
        self, writer: CaptureWriter, engine: Engine, *, slim: Slim = "", scrub: bool = False, filter_text: str = ""
    ) -> None:
        self.writer = writer
        self.batch = Batch(writer, filter_text)
        self.recorder = recorder_for(engine, self.batch, slim, scrub=scrub)

    def finish(self, patience: float | None = None) -> None:
        """Write everything that waits, after the engine finished, and close the file; see `CaptureWriter.close`."""
        self.writer.close(self.recorder.finish(), patience=patience)

    def removed(self) -> list[tuple[str, int]]:
        """Say what was blanked: element by element, in bytes; page contents come last."""
        scrubbed = self._scrubbed
        if scrubbed is None:
            return []
        counts = scrubbed.removed
        return [*sorted((name, count) for name, count in counts.items() if name and count), (_REST, counts[""])]

    @property
    def fragments(self) -> int:
        """IP fragments of which only the headers were kept, since they can not be judged."""
        return self._scrubbed.fragments if self._scrubbed is not None else 0

    @property
    def _scrubbed(self) -> Scrubbed | None:
        output = self.recorder.output if isinstance(self.recorder, SlimRecorder) else None
        return output if isinstance(output, Scrubbed) else None
