# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of a file again, from any place on: compressed ones without beginning at the beginning each time."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from dissector.sources.compression import DamagedError, decompressor, gunzip

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_BYTES: Final = 1 << 18
"""Most bytes that are given at once."""
MAX_POINTS: Final = 64
"""Decompressors kept, of about 100 KB each; one more, and every second one goes."""
EVERY: Final = 1 << 20
"""Bytes between two of them while there are few."""
_COMPRESSED: Final = 1 << 16


class Point(NamedTuple):
    """Where to begin in a gzip file.

    Attributes:
        position: Bytes of the decompressed file before it.
        taken: Bytes of the file itself that the decompressor has taken.
        state: Copy of the decompressor.
    """

    position: int
    taken: int
    state: Any


class Reentry:
    """A file that is read more than once.

    An uncompressed one is entered at the place that is asked for. In a gzip file decompressors are kept on the way, as
    they were, so that each part of it is decompressed once, and later only from the nearest of them. A zstd file is
    decompressed from its beginning.
    """

    def __init__(self, path: str) -> None:
        self.points: list[Point] = []
        """In their order."""
        self._path = path
        self._every = EVERY

    def blocks(self, position: int) -> Iterator[bytes]:
        """Yield the bytes of the decompressed file from a position on; they end where it ends or is damaged."""
        with Path(self._path).open("rb") as file:
            decompress = decompressor(file.read(4))
            if decompress is None:
                file.seek(position)
                while block := file.read(BLOCK_BYTES):
                    yield block
                return
            pieces = self._gzip(file, position) if decompress is gunzip else _from_beginning(file, decompress)
            try:
                for before, piece in pieces:
                    if before + len(piece) > position:
                        yield piece[max(0, position - before) :]
            except DamagedError:
                return

    def _gzip(self, file: IO[bytes], position: int) -> Iterator[tuple[int, bytes]]:
        number = bisect_right(self.points, position, key=lambda point: point.position) - 1
        at, taken, state = self.points[number] if number >= 0 else Point(0, 0, None)
        file.seek(taken)

        def keep(state: Any, data: bytes) -> None:
            if at - (self.points[-1].position if self.points else 0) >= self._every:
                self.points.append(Point(at, file.tell() - len(data), state.copy()))
                if len(self.points) > MAX_POINTS:
                    self.points = self.points[1::2]
                    self._every *= 2

        begin = None if state is None else state.copy()
        for piece in gunzip(partial(file.read, _COMPRESSED), begin, keep):
            before, at = at, at + len(piece)
            yield before, piece


def _from_beginning(file: IO[bytes], decompress: Any) -> Iterator[tuple[int, bytes]]:
    file.seek(0)
    at = 0
    for piece in decompress(partial(file.read, _COMPRESSED)):
        yield at, piece
        at += len(piece)
