# SPDX-License-Identifier: GPL-2.0-or-later
"""Files, pipes and standard input to chunks of capture records or of stream bytes, decompressed on the way."""

from __future__ import annotations

import io
import os
import select
import stat
from typing import TYPE_CHECKING, Final, Self

from dissector.sources.compression import DamagedError, decompressor
from dissector.sources.errors import CaptureError
from dissector.sources.formats import MAX_RECORD, CaptureFormat, PcapFormat, PcapngFormat
from dissector.wire.frame import supported_linktype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUFFER_BYTES: Final = 1 << 20
MAX_BUFFER_BYTES: Final = MAX_RECORD + (1 << 16)
"""A buffer grows while a record does not fit, at most to this."""

CAPTURES: Final[dict[str, type[PcapFormat | PcapngFormat]]] = {"pcap": PcapFormat, "pcapng": PcapngFormat}
STREAMS: Final = ("xl", "libxl", "libxc")
MAGICS: Final = {
    b"\xd4\xc3\xb2\xa1": "pcap",
    b"\xa1\xb2\xc3\xd4": "pcap",
    b"\x4d\x3c\xb2\xa1": "pcap",
    b"\xa1\xb2\x3c\x4d": "pcap",
    b"\x34\xcd\xb2\xa1": "pcap",
    b"\xa1\xb2\xcd\x34": "pcap",
    b"\n\r\r\n": "pcapng",
    b"Xen saved domain": "xl",
    b"LibxlFmt": "libxl",
    b"\xff" * 8 + b"XENF": "libxc",
}
"""First bytes -> what `open_capture` calls it."""

FOREIGN: Final = {
    b"LinuxGuestRecord": "an image saved by xend (before Xen 4.5), which is not supported",
    b"XenSavedDomain\n": "an old XenServer image, which is not supported",
    b"XenSavedDomv2-\n": "an image saved by XAPI, which is not supported",
    b"libvirt-xml": "a libvirt save file; the Xen stream in it begins behind the XML",
    b"\x7fELF": "an ELF file",
    b"\xfd7zXZ\x00": "an xz file; decompress it first",
    b"BZh": "a bzip2 file; decompress it first",
    b"\x04\x22\x4d\x18": "an lz4 file; decompress it first",
    b"PK\x03\x04": "a zip file; unpack it first",
    b"\x89XENMIG\n": "an index; name the capture that it belongs to",
    b"snoop\x00\x00\x00": "a snoop capture; convert it with editcap",
}


HEAD_BYTES: Final = 32
"""First bytes that tell what a file is."""


class Chunk:
    """A stretch of a capture file in a reused buffer, valid until the next chunk is taken.

    It begins at a record and may end in the middle of one. The consumer reads complete records with `format.packet` (or
    a kernel), then writes how far it got into `consumed`; what is left over comes again, with more bytes behind it, at
    the start of the next chunk.

    Attributes:
        buffer: The bytes; records lie in buffer[start:end].
        start: Index of the first record.
        end: Index behind the last byte.
        format: Parser of the records; the same object for all chunks of a file.
        position: File offset (in the decompressed file) of buffer[start].
        consumed: Written by the consumer: index behind the last record it has taken. Initially `start`.
        packets: Written by the consumer if it likes: packets taken from this chunk, so that a cut packet has a number.
        reason: Why the consumer has given up on the file, see `abandon`.
        resume_at: Written by a consumer that passes over part of an uncompressed regular file: where a later record
            begins in it. What was left over is forgotten then.
    """

    __slots__ = ("buffer", "consumed", "end", "format", "packets", "position", "reason", "resume_at", "start")

    def __init__(self, buffer: memoryview, start: int, end: int, form: CaptureFormat, position: int) -> None:
        self.buffer, self.start, self.end, self.format, self.position = buffer, start, end, form, position
        self.consumed = start
        self.packets = 0
        self.reason: str | None = None
        self.resume_at: int | None = None

    def abandon(self, reason: str) -> None:
        """Give up the rest of this file: no more chunks follow, `CaptureFile.truncated` tells the reason."""
        self.reason = reason


class CaptureFile:
    """One pcap or pcapng file, possibly compressed, possibly a pipe. Made by `open_capture`.

    Attributes:
        path: As the user named it; "-" is standard input.
        name: For messages: the path, or "standard input".
        format: The file's format; `format.linktype` is known for pcap, and for pcapng as soon as the interface blocks
            have been seen.
        packets: What the consumer has reported in `Chunk.packets` so far.
        truncated: After the last chunk: why the file did not end behind a packet; None when it did.
        piece: Most bytes that are read at once.
    """

    format: CaptureFormat
    _buffer: memoryview
    _start: int
    _end: int

    def __init__(self, source: Source, kind: str, buffer: bytearray, end: int) -> None:
        self.path, self.name = source.path, source.name
        self.packets = 0
        self.truncated: str | None = None
        self.piece = MAX_BUFFER_BYTES
        self._kind = kind
        self._source: Source | None = source
        self._read_header(source, buffer, end)

    def chunks(self) -> Iterator[Chunk]:
        """Iterate over the file; see `Chunk` for the give and take. On a pipe a chunk comes as soon as bytes arrive.

        Raises:
            CaptureError: A record is larger than MAX_RECORD, or reading failed.
        """
        self._reopen()
        unseen = self._end > self._start
        while True:
            if unseen:
                position = self.format.origin + self._start
                chunk = Chunk(self._buffer, self._start, self._end, self.format, position)
                yield chunk
                self._start = chunk.consumed
                self.packets += chunk.packets
                if chunk.reason is not None:
                    self.truncated = chunk.reason
                    return
                if chunk.resume_at is not None and self._source is not None:
                    self._source.seek(chunk.resume_at)
                    self.format.origin, self._start, self._end = chunk.resume_at, 0, 0
            if not self._read():
                break
            unseen = True
        self.truncated = self._describe_end()
        self._buffer = memoryview(b"")  # hundreds of ring-buffer files may be kept by their reader

    def first_time(self) -> int | None:
        """Give the capture time (ns) of the first packet without consuming it; None when there is no packet."""
        self._reopen()
        while True:
            try:
                behind, packet = self.format.packet(self._buffer, self._start, self._end)
            except CaptureError:  # the consumer of the chunks meets it again and reports it
                return None
            if packet is not None:
                return packet.time
            if behind > self._start:
                self._start = behind
            elif not self._read():
                return None

    @property
    def taken(self) -> int:
        """Bytes of the file itself, compressed or not, that were read so far; 0 on a pipe."""
        return self._source.taken if self._source is not None else 0

    @property
    def seekable(self) -> bool:
        """Whether this is an uncompressed regular file: `Chunk.resume_at` and `peek` work."""
        return self._source is not None and self._source.seekable

    def peek(self, position: int, count: int) -> bytes:
        """Return up to `count` bytes from a file position; what `chunks` gives next does not change.

        Raises:
            CaptureError: The operating system reports an error.
        """
        return self._source.peek(position, count) if self._source is not None else b""

    @property
    def ready(self) -> int:
        """Bytes that are in the buffer: behind opening, the first chunk comes without reading if there are any."""
        return self._end - self._start

    def release(self) -> None:
        """Close a regular file and drop the buffer until `chunks` begins; nothing happens to a pipe."""
        if self._source is not None and self._source.regular and self.path != "-":
            self._source.close()
            self._source = None
            self._buffer = memoryview(b"")

    def close(self) -> None:
        """Close the file."""
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _reopen(self) -> None:
        if self._source is None:
            self._source = Source(self.path)
            self._read_header(self._source, bytearray(BUFFER_BYTES), 0)

    def _read_header(self, source: Source, buffer: bytearray, end: int) -> None:
        self.format = CAPTURES[self._kind](self.name)
        self._buffer, self._start, self._end = memoryview(buffer), 0, end
        while (used := self.format.header(self._buffer[: self._end])) is None:
            if not self._read():
                raise CaptureError(self.name, source.damage or "ends inside its file header")
        self._start = used
        linktype = self.format.linktype
        if linktype is not None and not supported_linktype(linktype):
            raise CaptureError(self.name, f"link type {linktype} is not supported")

    def _read(self) -> int:
        """Move the left-over to the front and read more behind it; the number of bytes read, 0 at the end."""
        buffer, start, end = self._buffer, self._start, self._end
        if start:
            buffer[: end - start] = buffer[start:end]
            self.format.origin += start
            self._start, self._end = 0, end - start
        elif end == len(buffer):
            if end == MAX_BUFFER_BYTES:
                raise CaptureError(
                    self.name, f"damaged at byte {self.format.origin}: a record of more than {end} bytes"
                )
            self._buffer = memoryview(bytearray(min(2 * end, MAX_BUFFER_BYTES)))
            self._buffer[:end] = buffer
        count = self._source.readinto(self._buffer[self._end : self._end + self.piece]) if self._source else 0
        self._end += count
        return count

    def _describe_end(self) -> str | None:
        texts = [self._source.damage] if self._source and self._source.damage else []
        if self._end > self._start:
            number = f"packet {self.packets + 1}" if self.packets else "a packet"
            there = self.format.cut(self._buffer, self._start, self._end)
            texts.append(f"cut in the middle of {number} ({there})")
        return "; ".join(texts) or None


class StreamFile:
    """The bare bytes of a migration stream: a save image, or one side of a connection. Made by `open_capture`.

    Attributes:
        path: As in `CaptureFile`.
        name: As in `CaptureFile`.
        entry: Where the stream begins: "xl", "libxl" or "libxc".
        position: Offset (in the decompressed file) of the next byte that `chunks` will give.
        truncated: After the last chunk: text when compressed data were damaged or cut, else None.
    """

    def __init__(self, source: Source, entry: str, buffer: bytearray, end: int) -> None:
        self.path, self.name, self.entry = source.path, source.name, entry
        self.position = 0
        self.truncated: str | None = None
        self._source = source
        self._buffer = memoryview(buffer)
        self._ready = self._buffer[:end]

    def chunks(self) -> Iterator[memoryview]:
        """Iterate over the bytes; each view is valid until the next is taken."""
        while True:
            if ready := self._ready:
                self._ready = ready[:0]
                self.position += len(ready)
                yield ready
            if not (count := self._source.readinto(self._buffer)):
                break
            self._ready = self._buffer[:count]
        self.truncated = self._source.damage

    @property
    def taken(self) -> int:
        """Bytes of the file itself, compressed or not, that were read so far; 0 on a pipe."""
        return self._source.taken

    def skip(self, count: int) -> int:
        """Seek over `count` bytes from `position`; the bytes skipped: 0 if this is no regular uncompressed file."""
        if not self._source.seekable:
            return 0
        ready = min(count, len(self._ready))
        self._ready = self._ready[ready:]
        skipped = ready + self._source.skip(count - ready)
        self.position += skipped
        return skipped

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_capture(
    path: str | os.PathLike[str],
    *,
    as_format: str | None = None,
    recognise: Callable[[bytes], str] | None = None,
    descriptor: int | None = None,
) -> CaptureFile | StreamFile:
    """Open a file or "-" and decide by its first bytes (after decompression) what it is.

    Args:
        path: A file, a named pipe, or "-" for standard input.
        as_format: "pcap", "pcapng", "xl", "libxl" or "libxc": do not decide, take it for this.
        recognise: Given up to 32 first bytes, names the legacy stream that begins so; empty for none. Such a file is
            opened as a stream with entry "legacy".
        descriptor: Of a pipe that is open already, and stays so; `path` is its name in messages.

    Raises:
        CaptureError: Missing, a directory, empty, not a capture or stream, or of an unknown link type.
        ValueError: `as_format` is none of these.
    """
    if as_format is not None and as_format not in CAPTURES and as_format not in STREAMS:
        raise ValueError(f"unknown format {as_format!r}")
    source = Source(os.fspath(path), descriptor)
    buffer, end, kind = bytearray(BUFFER_BYTES), 0, None
    try:
        while kind is None:
            count = source.readinto(memoryview(buffer)[end:])
            end += count
            head = bytes(buffer[: min(end, HEAD_BYTES)])
            kind = _identify(source, head, as_format, recognise, complete=not count)
        if kind in CAPTURES:
            return CaptureFile(source, kind, buffer, end)
        return StreamFile(source, kind, buffer, end)
    except BaseException:
        source.close()
        raise


def is_capture(head: bytes) -> bool:
    """Tell whether a file that begins so is an uncompressed pcap or pcapng file."""
    return MAGICS.get(head[:4]) in CAPTURES


def _identify(
    source: Source, head: bytes, as_format: str | None, recognise: Callable[[bytes], str] | None, *, complete: bool
) -> str | None:
    """Say what first bytes belong to; None: they may be the beginning of a magic."""
    if not head:
        raise CaptureError(source.name, source.damage or "empty file")
    if as_format is not None:
        return as_format
    for magic, kind in MAGICS.items():
        if head.startswith(magic):
            return kind
    if recognise is not None and recognise(head):
        return "legacy"
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise CaptureError(source.name, what)
    short = recognise is not None and len(head) < HEAD_BYTES
    if not complete and (short or any(magic.startswith(head) for magic in (*MAGICS, *FOREIGN))):
        return None
    raise CaptureError(source.name, f"no capture file or migration stream: first bytes {head[:16].hex(' ')}")


class Source:
    """The bytes of a file, decompressed if it is a gzip or zstd file.

    Attributes:
        path: As the user named it.
        name: The same for messages.
        regular: A regular file, not a pipe or device.
        seekable: Regular and not compressed: `skip` works.
        damage: Text, once compressed data turned out to be damaged or cut; no more bytes follow.
    """

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        self.path = path
        self.name = "standard input" if path == "-" else path
        self.damage: str | None = None
        if path == "-" and descriptor is None:
            descriptor = 0
        if path == "-" and os.isatty(descriptor or 0):
            raise CaptureError(self.name, "is a terminal; pipe a capture or a stream into it")
        try:
            self._file = io.FileIO(path if descriptor is None else descriptor, closefd=descriptor is None)
        except OSError as error:
            raise CaptureError(self.name, _os_text(error)) from error
        status = os.fstat(self._file.fileno())
        self.regular = stat.S_ISREG(status.st_mode) and descriptor in (None, 0)
        self._size = status.st_size
        head = b""
        while len(head) < 4 and (more := self._read()):
            head += more
        self._pieces = self._decompressed(head)
        self._pending = memoryview(head if self._pieces is None else b"")
        self.seekable = self.regular and self._pieces is None

    @property
    def taken(self) -> int:
        """Bytes of the file itself, compressed or not, that were read so far; 0 on a pipe."""
        if not self.regular:
            return 0
        return self._size if self._file.closed else self._file.tell()

    def readinto(self, buffer: memoryview) -> int:
        """Read at most len(buffer) bytes, as soon as any are there; 0 at the end.

        Raises:
            CaptureError: The operating system reports an error.
        """
        if not self._pending:
            if self._pieces is None:
                return self._system_read(buffer)
            try:
                self._pending = memoryview(next(self._pieces, b""))
            except DamagedError as error:
                self.damage = str(error)
        count = min(len(self._pending), len(buffer))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def skip(self, count: int) -> int:
        """Seek over at most `count` bytes; the number of bytes skipped."""
        pending = min(count, len(self._pending))
        self._pending = self._pending[pending:]
        ahead = os.fstat(self._file.fileno()).st_size - self._file.tell()
        beyond = max(0, min(count - pending, ahead))
        self._file.seek(beyond, os.SEEK_CUR)
        return pending + beyond

    def seek(self, position: int) -> None:
        """Read on at a position of a file for which `seekable` is true."""
        self._pending = memoryview(b"")
        self._file.seek(position)

    def peek(self, position: int, count: int) -> bytes:
        """Return up to `count` bytes from a position of such a file, and read on where reading was.

        Raises:
            CaptureError: The operating system reports an error.
        """
        try:
            return os.pread(self._file.fileno(), count, position)
        except OSError as error:
            raise CaptureError(self.name, _os_text(error)) from error

    def close(self) -> None:
        """Close the file (standard input stays open)."""
        self._file.close()

    def _read(self) -> bytes:
        piece = bytearray(1 << 16)
        return bytes(piece[: self._system_read(memoryview(piece))])

    def _system_read(self, buffer: memoryview) -> int:
        """Do one read of the operating system: a pipe gives what it has."""
        try:
            while (count := self._file.readinto(buffer)) is None:  # somebody made our standard input non-blocking
                select.select([self._file], [], [])
        except OSError as error:
            raise CaptureError(self.name, _os_text(error)) from error
        return count

    def _decompressed(self, head: bytes) -> Iterator[bytes] | None:
        """Choose the decompressor, which must see the head again; None: not compressed."""

        def read() -> bytes:
            nonlocal head
            given, head = head or self._read(), b""
            return given

        decompress = decompressor(head)
        return None if decompress is None else filter(None, decompress(read))


def _os_text(error: OSError) -> str:
    """Say what the operating system said, in the words of a sentence that begins with the file name."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a directory"
    return f"cannot be read: {error.strerror or error}"
