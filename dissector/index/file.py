# SPDX-License-Identifier: GPL-2.0-or-later
"""The index file: written beside the capture under another name and then renamed; checked as a whole before use.

Layout, little endian (docs/index.md)::

    magic 8, version 2, reserved 2, CRC-32 of everything behind the header 4, length of the file 8,
    position of the closing part 8, reserved 4, CRC-32 of the header up to here 4
    stamp: length 4, text
    blocks: records 4, bytes of packed heads 4, of bodies 4, of packed bodies 4, of packed rare things 4; these three
    closing part: where flows lie in the capture, zlib-compressed JSON
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, Self

from dissector.index.blocks import Packed, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dissector.index.stamp import Stamp
    from dissector.wire.events import ContentsSource, Event

SUFFIX: Final = ".xmi"
MAGIC: Final = b"\x89XENMIG\n"
VERSION: Final = 1
BLOCK_EVENTS: Final = 2048
BLOCK_BYTES: Final = 1 << 18
"""A block ends behind the event that reaches one of these."""

_HEADER: Final = struct.Struct("<8sHHIQQI")
_CRC: Final = struct.Struct("<I")
_BLOCK: Final = struct.Struct("<IIIII")
_HEADER_BYTES: Final = _HEADER.size + _CRC.size
_PIECE: Final = 1 << 20


class UnusableIndexError(Exception):
    """There is no index, or it cannot be used.

    Attributes:
        text: Why, for people; empty when that is nothing to speak of (there is none, or it is not fresh).
        foreign: The file is no index of ours: it must not be written over.
    """

    def __init__(self, text: str = "", *, foreign: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.foreign = foreign


class IndexWriter:
    """Writes the index of a capture while that is being read.

    Args:
        capture: Path of the capture; the index gets its mode, since it holds what the capture holds.
        stamp: Of the capture before reading.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, capture: str, stamp: Stamp) -> None:
        self._capture = capture
        self._path = capture + SUFFIX
        self._temporary = f"{self._path}.{os.urandom(4).hex()}.tmp"
        mode = stat.S_IMODE(os.stat(capture).st_mode) & 0o666  # noqa: PTH116  paths are texts here
        self._file = io.FileIO(
            os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w"
        )
        with contextlib.suppress(OSError):  # not every file system has modes
            os.fchmod(self._file.fileno(), mode)
        self._waiting: list[Event] = []
        self._bytes = 0
        self._crc = 0
        self._length = 0
        try:
            self._put(bytes(_HEADER_BYTES), counted=False)
            text = stamp.text()
            self._put(_CRC.pack(len(text)) + text)
        except OSError:
            self.abandon()
            raise

    def add(self, event: Event) -> None:
        """Take the next event.

        Raises:
            OSError: it cannot be written.
            NotIndexableError: see there.
        """
        self._waiting.append(event)
        self._bytes += len(getattr(event, "body", b""))
        if self._bytes >= BLOCK_BYTES or len(self._waiting) >= BLOCK_EVENTS:
            self._flush()

    def finish(self, places: Mapping[str, Any]) -> None:
        """All events were added: put the index into its place.

        Args:
            places: What `CaptureContents.dump` returned.

        Raises:
            OSError: it cannot be written.
            NotIndexableError: see there.
        """
        self._flush()
        closing = self._length
        self._put(zlib.compress(json.dumps(places, separators=(",", ":")).encode(), 1))
        header = _HEADER.pack(MAGIC, VERSION, 0, self._crc, self._length, closing, 0)
        self._file.seek(0)
        self._put(header + _CRC.pack(zlib.crc32(header)), counted=False)
        self._file.close()
        os.replace(self._temporary, self._path)  # noqa: PTH105

    def abandon(self) -> None:
        """Leave no index behind."""
        self._waiting.clear()
        self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)  # noqa: PTH108

    def _flush(self) -> None:
        if self._waiting:
            block = pack(self._waiting, self._capture)
            self._waiting.clear()
            self._bytes = 0
            parts = (block.heads, block.bodies, block.rare)
            sizes = (block.records, len(block.heads), block.body_bytes, len(block.bodies), len(block.rare))
            self._put(_BLOCK.pack(*sizes) + b"".join(parts))

    def _put(self, data: bytes, *, counted: bool = True) -> None:
        if counted:
            self._crc = zlib.crc32(data, self._crc)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]
        self._length += len(data)


class IndexFile:
    """The fresh index of a capture. Nothing in it was used before all of it was checked.

    Args:
        capture: Path of the capture.
        stamp: Of the capture now.

    Raises:
        UnusableIndexError: see there.
    """

    def __init__(self, capture: str, stamp: Stamp) -> None:
        self._capture = capture
        self._name = capture + SUFFIX
        try:
            self._file = io.FileIO(os.open(self._name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except FileNotFoundError:
            raise UnusableIndexError from None
        except OSError as error:  # whatever it is, it is not ours to replace
            raise UnusableIndexError(f"{self._name}: {error.strerror}, not used", foreign=True) from error
        try:
            self._start, self._closing, self._end = self._check(stamp)
        except OSError as error:
            self.close()
            raise UnusableIndexError(f"{self._name}: {error.strerror}, not used") from error
        except UnusableIndexError:
            self.close()
            raise

    def events(self, source: ContentsSource | None) -> Iterator[Event]:
        """Yield all events.

        Args:
            source: Where the records read page contents again.

        Raises:
            UnusableIndexError: it changed since it was checked.
        """
        position = self._start
        try:
            while position < self._closing:
                records, heads, body_bytes, bodies, rare = _BLOCK.unpack(self._read(position, _BLOCK.size))
                position += _BLOCK.size
                parts = self._read(position, heads + bodies + rare)
                position += len(parts)
                packed = Packed(
                    records, parts[:heads], body_bytes, parts[heads : heads + bodies], parts[heads + bodies :]
                )
                yield from unpack(packed, self._capture, source)
        except (OSError, ValueError, LookupError, TypeError, struct.error, zlib.error) as error:
            raise UnusableIndexError(f"{self._name}: damaged; remove it") from error

    def closing(self) -> bytes:
        """Return the closing part, packed."""
        return self._read(self._closing, self._end - self._closing)

    @staticmethod
    def places(closing: bytes) -> Any:
        """Unpack the closing part: what `CaptureContents.load` takes."""
        return json.loads(zlib.decompress(closing))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check(self, stamp: Stamp) -> tuple[int, int, int]:
        """Return where blocks, the closing part and the file end."""
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnusableIndexError(f"{self._name}: no regular file, not used", foreign=True)
        raw = self._read(0, _HEADER_BYTES)
        if status.st_size and not raw.startswith(MAGIC):
            raise UnusableIndexError(f"{self._name}: no index of xendissect, left alone", foreign=True)
        if len(raw) < _HEADER_BYTES:
            raise self._damaged()
        _, version, _, crc, length, closing, _ = _HEADER.unpack_from(raw)
        if _CRC.unpack_from(raw, _HEADER.size)[0] != zlib.crc32(raw[: _HEADER.size]):
            raise self._damaged()
        if version != VERSION:
            raise UnusableIndexError(f"{self._name}: of another version of xendissect, not used")
        if status.st_uid not in (os.geteuid(), stamp.owner, 0):
            raise UnusableIndexError(f"{self._name}: belongs to another user than the capture, not used")
        if length != status.st_size:
            raise self._damaged()
        raw = self._read(_HEADER_BYTES, _CRC.size)
        start = _HEADER_BYTES + _CRC.size + (_CRC.unpack(raw)[0] if len(raw) == _CRC.size else 0)
        if not start <= closing <= length:
            raise self._damaged()
        if self._read(_HEADER_BYTES + _CRC.size, start - _HEADER_BYTES - _CRC.size) != stamp.text():
            raise UnusableIndexError
        if self._whole_crc(length) != crc:
            raise self._damaged()
        return start, closing, length

    def _damaged(self) -> UnusableIndexError:
        return UnusableIndexError(f"{self._name}: damaged, not used")

    def _whole_crc(self, length: int) -> int:
        position, crc = _HEADER_BYTES, 0
        while position < length and (piece := self._read(position, min(_PIECE, length - position))):
            crc = zlib.crc32(piece, crc)
            position += len(piece)
        return crc

    def _read(self, position: int, count: int) -> bytes:
        """Read `count` bytes, fewer where the file ends."""
        found = b""
        while len(found) < count and (
            piece := os.pread(self._file.fileno(), count - len(found), position + len(found))
        ):
            found = found + piece if found else piece
        return found
