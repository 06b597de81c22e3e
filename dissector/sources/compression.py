# SPDX-License-Identifier: GPL-2.0-or-later
"""gzip and zstd to bytes, piece by piece: bounded memory, and nothing before a damage is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE_BYTES: Final = 1 << 18
"""Most bytes that are decompressed at once."""
GZIP: Final = b"\x1f\x8b\x08"
"""First bytes of a gzip file."""


class DamagedError(Exception):
    """Compressed data cannot be decompressed any further."""


def decompressor(head: bytes) -> Callable[[Callable[[], bytes]], Iterator[bytes]] | None:
    """Choose by the first four bytes of a file; the decompressor must see them again. None: not compressed."""
    if head.startswith(GZIP):
        return gunzip
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return unzstd
    return None


def inflater() -> Any:
    """Return the module that decompresses gzip: zlib-ng where it is installed, else Python's own zlib.

    Both have the same interface, and say the same of damaged data to the last byte; zlib-ng is faster.
    """
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        import zlib

        return zlib
    return zlib_ng


def gunzip(
    read: Callable[[], bytes], begin: Any = None, keep: Callable[[Any, bytes], None] | None = None
) -> Iterator[bytes]:
    """Decompress the members of a gzip file piece by piece.

    Args:
        read: Gives the next compressed bytes, b"" at the end.
        begin: Copy of a decompressor that was given to `keep`: go on there, instead of at the beginning of a member.
        keep: Is told before each piece how the decompressor is then, and the compressed bytes that it takes next. Who
            wants to begin there again copies it at once.

    Raises:
        DamagedError: After the last good byte has been given.
    """
    zlib = inflater()
    data = read()
    while data:
        member, piece = zlib.decompressobj(31) if begin is None else begin, b""
        begin = None
        while not member.eof:
            # A full piece may have left output behind even when all input is used up.
            if not data and len(piece) < PIECE_BYTES and not (data := read()):
                raise DamagedError("the gzip data end too early")
            if keep is not None and data:
                keep(member, data)
            before = member.copy()
            try:
                piece = member.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                # What came before the bad byte within this call is lost with the exception: once more, byte by byte.
                for index in range(len(data)):
                    try:
                        yield before.decompress(data[index : index + 1])
                    except zlib.error:
                        break
                raise DamagedError(f"the gzip data are damaged ({error})") from error
            data = member.unused_data if member.eof else member.unconsumed_tail
            if piece:
                yield piece
        data = (data or read()).lstrip(b"\0")  # tapes and some writers pad with zeros


def unzstd(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Decompress the frames of a zstd file block by block: bounded memory, and nothing before a damage is lost.

    Args:
        read: Gives the next compressed bytes, b"" at the end.

    Raises:
        DamagedError: After the last good block has been given.
    """
    import zstandard

    data = bytearray()

    def take(count: int) -> bytes:
        while len(data) < count and (more := read()):
            data.extend(more)
        taken = bytes(data[:count])
        del data[:count]
        return taken

    def whole(count: int) -> bytes:
        taken = take(count)
        if len(taken) < count:
            raise DamagedError("the zstd data end too early")
        return taken

    while magic := take(4):
        if magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5:
            left = int.from_bytes(whole(4), "little")
            while left:
                left -= len(whole(min(left, PIECE_BYTES)))
            continue
        if magic != b"\x28\xb5\x2f\xfd":
            raise DamagedError("something else follows the zstd data")
        head = whole(1)
        content_size = (0 if not head[0] & 0x20 else 1, 2, 4, 8)[head[0] >> 6]
        head += whole((not head[0] & 0x20) + (0, 1, 2, 4)[head[0] & 3] + content_size)
        frame, last = zstandard.ZstdDecompressor().decompressobj(), False
        try:
            frame.decompress(magic + head)
            while not last:
                block = whole(3)
                word = int.from_bytes(block, "little")
                last, size = bool(word & 1), 1 if word >> 1 & 3 == 1 else word >> 3
                content = take(size)
                yield frame.decompress(block + content)
                if len(content) < size:
                    raise DamagedError("the zstd data end too early")
            if head[0] & 4:
                frame.decompress(whole(4))
        except zstandard.ZstdError as error:
            raise DamagedError(f"the zstd data are damaged ({error})") from error
