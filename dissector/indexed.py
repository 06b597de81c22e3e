# SPDX-License-Identifier: GPL-2.0-or-later
"""An input that is read, or whose index answers in its place; and making that index while reading."""

from __future__ import annotations

import contextlib
import os
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Protocol

from dissector.index import SUFFIX, IndexFile, IndexWriter, NotIndexableError, Stamp, UnusableIndexError
from dissector.sources import CaptureError
from dissector.wire.events import LostBytesError
from dissector.wire.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from dissector.contents import CaptureContents
    from dissector.reader import Reader
    from dissector.wire.events import Event

_BATCH: Final = 1024
"""Events of an index that are given at once."""


class Input(Protocol):
    """What gives the events of captures or of a bare stream."""

    bytes_total: int | None
    """Size of the input on disk; None when unknown (a pipe)."""

    @property
    def bytes_read(self) -> int:
        """Bytes of it that were read so far."""

    def events(self) -> Iterator[Event]:
        """Yield all events.

        Raises:
            CaptureError: the input breaks in a way that ends reading; everything before was yielded.
        """

    def batches(self) -> Iterator[list[Event]]:
        """Yield the same, those that became known together at once."""

    def close(self) -> None:
        """Close all files."""


def open_input(
    paths: Sequence[str | os.PathLike[str]],
    *,
    as_format: str | None = None,
    limits: Limits | None = None,
    index: bool | None = None,
    skim: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> Input:
    """Open an input: through its index where there is a fresh one.

    Args:
        paths: As for :class:`~dissector.reader.Reader`.
        as_format: Likewise.
        limits: Likewise.
        index: Make an index if there is no fresh one (True), use one that is there (None), or do neither (False).
        skim: Pass over page contents in the file, see :mod:`dissector.skim`. A fresh index answers better.
        note: Is told in one line each why an index is not used or not made. Reading goes on all the same.

    Raises:
        CaptureError: as for :class:`~dissector.reader.Reader`.
        ValueError: likewise.
    """
    limits = limits or Limits()
    names = [os.fspath(path) for path in paths]
    why_none = ""
    if index is not False and len(names) == 1 and (index or os.path.lexists(names[0] + SUFFIX)):
        stamp = Stamp.take(names[0], as_format, limits) if names[0] != "-" else None
        if stamp is not None:
            try:
                return IndexedInput(names[0], stamp)
            except UnusableIndexError as error:
                if error.text:
                    note(error.text)
                if index and skim:
                    note("no index: not everything is looked at with --skim")
                elif index and not error.foreign:
                    return IndexingInput(_reader(names, as_format, limits), names[0], stamp, note)
        elif index:
            why_none = "no index: the input is no regular file"
    elif index:
        why_none = "no index: only a single file has one"
    reader = _reader(names, as_format, limits, skim=skim)
    if why_none:  # of what can not be read, that is all there is to say
        note(why_none)
    return reader


def _reader(names: Sequence[str], as_format: str | None, limits: Limits, *, skim: bool = False) -> Reader:
    from dissector.reader import Reader  # what reads captures is not loaded where an index answers

    return Reader(names, as_format=as_format, limits=limits, skim=skim)


class IndexedInput:
    """A capture whose fresh index answers.

    Raises:
        UnusableIndexError: there is no such index.
    """

    def __init__(self, path: str, stamp: Stamp) -> None:
        self._index = IndexFile(path, stamp)
        self._source = IndexedContents(path, stamp, self._index.closing())
        self.bytes_total: int | None = stamp.size

    @property
    def bytes_read(self) -> int:
        """See `Input.bytes_read`."""
        return self.bytes_total or 0

    def events(self) -> Iterator[Event]:
        """See `Input.events`."""
        return chain.from_iterable(self.batches())

    def batches(self) -> Iterator[list[Event]]:
        """See `Input.batches`."""
        try:
            events = self._index.events(self._source)
            while batch := list(islice(events, _BATCH)):
                yield batch
        except UnusableIndexError as error:
            raise CaptureError("", error.text) from error

    def close(self) -> None:
        """See `Input.close`."""
        self._index.close()


class IndexedContents:
    """Reads stream bytes again from the capture, at the places that its index tells."""

    def __init__(self, path: str, stamp: Stamp, closing: bytes) -> None:
        self._path = path
        self._stamp = stamp
        self._closing = closing
        self._contents: CaptureContents | None = None

    def read(self, flow: int, direction: str, offset: int, length: int, frames: tuple[int, int]) -> bytes:
        """See `ContentsSource.read`."""
        if self._contents is None:
            from dissector.contents import CaptureContents

            self._contents = CaptureContents([self._path], self._stamp.as_format)
            self._contents.load(IndexFile.places(self._closing))
        if not self._stamp.holds(self._path):
            raise LostBytesError(f"{self._path} has changed, or is gone")
        return self._contents.read(flow, direction, offset, length, frames)


class IndexingInput:
    """A capture that is read, and gets its index on the way."""

    def __init__(self, reader: Reader, path: str, stamp: Stamp, note: Callable[[str], None]) -> None:
        self._reader = reader
        self._path = path
        self._stamp = stamp
        self._note = note
        self.bytes_total: int | None = reader.bytes_total

    @property
    def bytes_read(self) -> int:
        """See `Input.bytes_read`."""
        return self._reader.bytes_read

    def events(self) -> Iterator[Event]:
        """See `Input.events`."""
        with contextlib.closing(self.batches()) as batches:
            yield from chain.from_iterable(batches)

    def batches(self) -> Generator[list[Event]]:
        """See `Input.batches`."""
        writer = self._begin()
        complete = False
        try:
            for batch in self._reader.batches():
                if writer is not None:
                    try:
                        for event in batch:
                            writer.add(event)
                    except (OSError, NotIndexableError) as error:
                        self._give_up(writer, error)
                        writer = None
                yield batch
            complete = True
        finally:
            if writer is not None and not complete:
                writer.abandon()
                self._note("no index: the capture was not read to its end")
        if writer is not None:
            self._finish(writer)

    def close(self) -> None:
        """See `Input.close`."""
        self._reader.close()

    def _begin(self) -> IndexWriter | None:
        try:
            return IndexWriter(self._path, self._stamp)
        except OSError as error:
            self._note(f"no index: {self._path + SUFFIX}: {error.strerror or error}")
            return None

    def _finish(self, writer: IndexWriter) -> None:
        if Stamp.take(self._path, self._stamp.as_format, self._stamp.limits) != self._stamp:
            writer.abandon()
            self._note("no index: the capture changed while it was read")
            return
        try:
            writer.finish(self._reader.contents.dump())
        except (OSError, NotIndexableError) as error:
            self._give_up(writer, error)

    def _give_up(self, writer: IndexWriter, error: Exception) -> None:
        writer.abandon()
        self._note(f"no index: {error}")


def input_events(
    *paths: str | os.PathLike[str],
    as_format: str | None = None,
    limits: Limits | None = None,
    index: bool | None = None,
    skim: bool = False,
) -> Iterator[Event]:
    """Yield every event of the captures at `paths`; see :func:`open_input` for arguments and errors."""
    opened = open_input(paths, as_format=as_format, limits=limits, index=index, skim=skim)
    try:
        yield from opened.events()
    finally:
        opened.close()
