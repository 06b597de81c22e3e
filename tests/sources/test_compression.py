# SPDX-License-Identifier: GPL-2.0-or-later
"""Two libraries that decompress gzip must say the same of any bytes, and decompressors begin again where they were."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from zlib_ng import zlib_ng

from dissector.sources import compression

if TYPE_CHECKING:
    from collections.abc import Callable

_SOURCE = random.Random(1)
MEMORY = b"".join(
    [bytes(5000), _SOURCE.randbytes(3000), b"the same words again and again " * 300, _SOURCE.randbytes(40) * 100] * 4
)
"""Zeros, noise, text and repetitions, as guest memory has them."""


def read_of(contents: bytes, size: int) -> Callable[[], bytes]:
    source = iter([contents[start : start + size] for start in range(0, len(contents), size)])
    return lambda: next(source, b"")


def taken(decompress: Callable[..., Any], contents: bytes, size: int, **more: Any) -> tuple[bytes, str | None]:
    found = bytearray()
    try:
        for piece in decompress(read_of(contents, size), **more):
            found += piece
    except compression.DamagedError as error:
        return bytes(found), str(error)
    return bytes(found), None


@pytest.fixture(params=[zlib, zlib_ng], ids=["zlib", "zlib-ng"])
def library(request, monkeypatch):
    monkeypatch.setattr(compression, "inflater", lambda: request.param)
    return request.param


def test_which_library():
    assert compression.inflater() is zlib_ng
    code = (
        "import sys; sys.modules['zlib_ng'] = None\n"
        "from dissector.sources import compression\n"
        "print(compression.inflater().__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("zlib\n", "")


def test_what_is_compressed():
    assert compression.decompressor(gzip.compress(b"")[:4]) is compression.gunzip
    assert compression.decompressor(zstandard.compress(b"")[:4]) is compression.unzstd
    assert compression.decompressor(b"\x53\x2a\x4d\x18") is compression.unzstd
    for head in (b"", b"\x1f\x8b", b"\xd4\xc3\xb2\xa1", b"\x1f\x8b\x07\0"):
        assert compression.decompressor(head) is None


@pytest.mark.usefixtures("library")
def test_damaged_checksum_and_cut():
    whole = gzip.compress(MEMORY)
    wrong = bytearray(whole)
    wrong[-8] ^= 1
    found, error = taken(compression.gunzip, bytes(wrong), 1000)
    assert found == MEMORY
    assert error is not None
    assert "incorrect data check" in error
    found, error = taken(compression.gunzip, whole[: len(whole) // 2], 1000)
    assert MEMORY.startswith(found)
    assert len(found) > 5000
    assert error == "the gzip data end too early"


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """gzip data of all block types, changed, cut, or with something put in or left out."""
    level, strategy = draw(st.sampled_from([0, 1, 6, 9])), draw(st.integers(0, 4))
    maker = zlib.compressobj(level, 8, 31, draw(st.sampled_from([1, 8])), strategy)
    first = draw(st.integers(0, len(MEMORY) - 1))
    contents = maker.compress(MEMORY[first : first + draw(st.integers(0, 30_000))])
    contents += maker.flush(draw(st.sampled_from([zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH])))
    contents += (
        maker.compress(MEMORY[:3000]) + maker.flush() + draw(st.sampled_from([b"", bytes(9), gzip.compress(b"a")]))
    )
    changed = bytearray(contents)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(changed) - 1))
        match draw(st.sampled_from(["bit", "byte", "cut", "out", "in"])):
            case "bit":
                changed[place] ^= 1 << draw(st.integers(0, 7))
            case "byte":
                changed[place] = draw(st.integers(0, 255))
            case "cut":
                del changed[max(place, 1) :]
            case "out":
                del changed[max(place, 1) : place + draw(st.integers(1, 40))]
            case "in":
                changed[place:place] = draw(st.binary(max_size=40))
    return bytes(changed)


@given(damaged(), st.sampled_from([1, 7, 1000, 1 << 16]))
@settings(max_examples=150, deadline=None)
def test_both_libraries_say_the_same_of_any_bytes(contents, size):
    with pytest.MonkeyPatch.context() as patch:
        answers = []
        for library in (zlib, zlib_ng):
            patch.setattr(compression, "inflater", lambda library=library: library)
            answers.append(taken(compression.gunzip, contents, size))
    assert answers[0] == answers[1]


@given(
    damaged(), st.sampled_from([300, 5000, 1 << 16]), st.sampled_from([zlib, zlib_ng]), st.sampled_from([200, 1 << 18])
)
@settings(max_examples=100, deadline=None)
def test_going_on_where_a_decompressor_was(contents, size, library, piece_bytes):
    kept: list[tuple[int, int, Any]] = []
    given_out, place = bytearray(), 0

    def read() -> bytes:
        nonlocal place
        data = contents[place : place + size]
        place += len(data)
        return data

    def keep(state: Any, data: bytes) -> None:
        kept.append((len(given_out), place - len(data), state.copy()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "inflater", lambda: library)
        patch.setattr(compression, "PIECE_BYTES", piece_bytes)
        error = None
        try:
            for piece in compression.gunzip(read, keep=keep):
                given_out += piece
        except compression.DamagedError as damage:
            error = str(damage)
        assert (bytes(given_out), error) == taken(compression.gunzip, contents, size)
        for position, behind, state in kept[:: max(1, len(kept) // 8)]:
            found = taken(compression.gunzip, contents[behind:], size, begin=state)
            assert found == (bytes(given_out[position:]), error)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
@pytest.mark.usefixtures("library")
def test_decompression_is_bounded(compress: Callable[[bytes], bytes]) -> None:
    contents = compress(bytes(64 << 20))
    decompress = compression.decompressor(contents[:4])
    assert decompress is not None
    sizes = [len(piece) for piece in decompress(read_of(contents, len(contents)))]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= compression.PIECE_BYTES


@given(st.binary(max_size=400), st.data())
@settings(max_examples=200, deadline=None)
def test_any_compressed_bytes_give_data_or_damage(garbage: bytes, data: st.DataObject) -> None:
    decompress, good = data.draw(
        st.sampled_from(
            [
                (compression.gunzip, gzip.compress(MEMORY[4900:7900])),
                (compression.unzstd, zstandard.compress(MEMORY[4900:7900])),
            ]
        )
    )
    changed = bytearray(good if data.draw(st.booleans()) else good[:10] + garbage)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    taken(decompress, bytes(changed), data.draw(st.integers(1, 100)))
