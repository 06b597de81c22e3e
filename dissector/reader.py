# SPDX-License-Identifier: GPL-2.0-or-later
"""Files in, events out: ties the sources to the engine."""

from __future__ import annotations

import os
import stat
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dissector.contents import CaptureContents, can_be_entered
from dissector.sources import CaptureError, CaptureFile, Chunk, StreamFile, open_capture, runs
from dissector.walk import Walk
from dissector.wire import legacy
from dissector.wire.engine import Engine
from dissector.wire.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dissector.sources.slim import Slim
    from dissector.walk import Recorder
    from dissector.wire.events import Event


class Reader:
    """Reads captures (pcap, pcapng, compressed or not, ``-`` for standard input) or one bare byte stream.

    Several captures are read in one go, in time order: a connection may go on from one file to the next.

    Args:
        paths: file names.
        as_format: ``pcap``, ``pcapng``, ``xl``, ``libxl`` or ``libxc`` to force what the input is taken for.
        limits: bounds on memory.
        skim: pass over page contents in the file, see :mod:`dissector.skim`; only in one uncompressed capture file.

    Raises:
        CaptureError: a file is missing, empty, or not what we read; with one line that says so.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        as_format: str | None = None,
        limits: Limits | None = None,
        skim: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.bytes_total: int | None = _total_size(paths)
        """Size of the input on disk; None when unknown (a pipe)."""
        self._paths = [os.fspath(path) for path in paths]
        self._as_format = as_format
        self.recorder: Recorder | None = None
        """Is shown every packet; set it before `events`."""
        self._files: list[CaptureFile | StreamFile] = []
        if not self._paths:
            raise CaptureError("", "no input")
        self.contents = CaptureContents(self._paths, as_format)
        """Where records read page contents again."""
        self.engine = Engine(self.limits, self.contents)
        first = self._open(self._paths[0])
        if isinstance(first, StreamFile) and len(self._paths) > 1:
            first.close()
            raise CaptureError(first.name, "a bare stream; bare streams are read one at a time")
        self._marking = can_be_entered(self._paths, first)
        self._skimmer = None
        if skim and self._marking and isinstance(first, CaptureFile) and first.seekable:
            from dissector.skim import Skimmer

            self._skimmer = Skimmer(first, self.engine)

    @property
    def is_stream(self) -> bool:
        """Whether the input is a bare stream, without packets."""
        return isinstance(self._files[0], StreamFile)

    @property
    def slim(self) -> Slim:
        """How page contents were cut out of the input, as far as its first file tells."""
        first = self._files[0]
        return first.format.slim if isinstance(first, CaptureFile) else ""

    @property
    def bytes_read(self) -> int:
        """Bytes of the files, compressed or not, that were read so far."""
        return sum(file.taken for file in self._files)

    def events(self) -> Iterator[Event]:
        """Yield all events of the input.

        Raises:
            CaptureError: the input breaks in a way that ends reading; everything before was yielded.
        """
        return chain.from_iterable(self.batches())

    def batches(self) -> Iterator[list[Event]]:
        """Yield all events of the input, those that became known together at once; errors as for `events`."""
        first = self._files[0]
        if isinstance(first, StreamFile):
            yield from self._stream(first)
        else:
            yield from self._captures(first)

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()

    def _open(self, path: str) -> CaptureFile | StreamFile:
        file = open_capture(path, as_format=self._as_format, recognise=legacy.identify)
        self._files.append(file)
        if isinstance(file, CaptureFile) and file.format.slim:
            self.engine.capture_slim()
        return file

    def _open_all(self, first: CaptureFile) -> Iterator[CaptureFile]:
        """Open file after file: a ring buffer may have more of them than there are descriptors."""
        yield first
        for path in self._paths[1:]:
            file = self._open(path)
            if isinstance(file, StreamFile):
                raise CaptureError(file.name, "a bare stream; bare streams are read one at a time")
            yield file

    def _captures(self, first: CaptureFile) -> Iterator[list[Event]]:
        engine = self.engine
        walk = Walk(engine, self.recorder)
        damage: CaptureError | None = None
        try:
            for run in runs(self._open_all(first)):
                if isinstance(run, Chunk):
                    if self._marking:
                        self.contents.mark(walk.number + 1, run.position, run.format, engine.fast)
                    yield from walk.chunk(run)
                    if self._skimmer is not None and run.reason is None and self._skimmer.consider(run):
                        walk.numbered = False
                else:
                    yield walk.packet(run)
        except CaptureError as error:
            if not walk.number:
                raise
            damage = error
        for file in self._files:
            if isinstance(file, CaptureFile):
                for mark in file.format.left_out:
                    engine.left_out(mark.key, mark.seq, mark.length, mark.ack, walk.number, mark.time)
            if file.truncated:
                yield engine.capture_cut(f"{file.name}: {file.truncated}")
        if self._skimmer is not None and self._skimmer.unseen:
            yield engine.capture_skimmed(self._skimmer.unseen, self.bytes_total or 0)
        yield engine.finish()
        if damage is not None:
            raise damage

    def _stream(self, file: StreamFile) -> Iterator[list[Event]]:
        stream = self.engine.open_stream(file.entry)
        for view in file.chunks():
            yield stream.data(view)
            if stream.skip > 1:
                passed = file.skip(stream.skip - 1)
                if passed:
                    stream.passed(passed)
        if file.truncated:
            yield self.engine.capture_cut(f"{file.name}: {file.truncated}")
        yield stream.finish()


def _total_size(paths: Sequence[str | os.PathLike[str]]) -> int | None:
    total = 0
    for path in paths:
        name = os.fspath(path)
        if name == "-":
            return None
        try:
            status = Path(name).stat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        total += status.st_size
    return total


def read_events(
    *paths: str | os.PathLike[str], as_format: str | None = None, limits: Limits | None = None
) -> Iterator[Event]:
    """Yield every event of the captures at `paths`, without any index; see :class:`Reader` for arguments and errors."""
    reader = Reader(paths, as_format=as_format, limits=limits)
    try:
        yield from reader.events()
    finally:
        reader.close()
