# SPDX-License-Identifier: GPL-2.0-or-later
"""Any stretch of a file, in any order: compressed or not, whole, cut or damaged."""

from __future__ import annotations

import gzip
import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dissector.sources import reentry
from dissector.sources.reentry import Reentry

MIB = 1 << 20


def contents(size):
    source = random.Random(size)
    block = b"".join(source.choice([bytes(700), source.randbytes(300), b"words and " * 60]) for _ in range(500))
    return b"".join(block[shift:] + bytes([shift % 256]) for shift in range(size // len(block) + 1))[:size]


CONTENTS = contents(3 * MIB)
WAYS = {
    "plain": lambda data: data,
    "gz": lambda data: gzip.compress(data, 1),
    "members": lambda data: b"".join(
        gzip.compress(data[at : at + MIB // 2], 1) for at in range(0, len(data), MIB // 2)
    ),
    "zst": zstandard.compress,
}


def some(source, position, length):
    found = bytearray()
    for block in source.blocks(position):
        assert block
        found += block
        if len(found) >= length:
            break
    return bytes(found[:length])


@pytest.fixture(scope="module", params=WAYS)
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "file"
    path.write_bytes(WAYS[request.param](CONTENTS))
    return path


@given(places=st.lists(st.tuples(st.integers(0, 3 * MIB + 10), st.integers(0, MIB)), max_size=6), data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_stretch_in_any_order(path, places, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reentry, "EVERY", data.draw(st.sampled_from([1, 100_000, MIB])))
        patch.setattr(reentry, "MAX_POINTS", data.draw(st.sampled_from([1, 4, 64])))
        source = Reentry(str(path))
        for position, length in places:
            assert some(source, position, length) == CONTENTS[position : position + length]
            assert len(source.points) <= reentry.MAX_POINTS


def test_only_once_from_the_beginning(tmp_path, monkeypatch):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(CONTENTS, 1))
    taken = []
    decompress = reentry.gunzip

    def counted(read, begin, keep):
        for piece in decompress(read, begin, keep):
            taken[-1] += len(piece)
            yield piece

    monkeypatch.setattr(reentry, "gunzip", counted)
    monkeypatch.setattr(reentry, "decompressor", lambda head: counted)
    source = Reentry(str(path))
    for position in (3 * MIB - 1000, 2 * MIB, 5 * MIB // 2, 1000, MIB + 1):
        taken.append(0)
        assert some(source, position, 10) == CONTENTS[position : position + 10]
    assert taken[0] > 2 * MIB
    assert max(taken[1:]) < 2 * MIB  # the distance of points and two pieces
    assert [point.position // MIB for point in source.points] == [1, 2]


def test_points_get_rarer(tmp_path, monkeypatch):
    monkeypatch.setattr(reentry, "EVERY", 1 << 16)
    monkeypatch.setattr(reentry, "MAX_POINTS", 4)
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(CONTENTS, 1))
    source = Reentry(str(path))
    assert b"".join(source.blocks(0)) == CONTENTS
    places = [point.position for point in source.points]
    assert 2 <= len(places) <= 4
    assert places == sorted(places)
    assert places[-1] > MIB
    assert b"".join(source.blocks(places[-1] - 1)) == CONTENTS[places[-1] - 1 :]


@pytest.mark.parametrize("way", ["gz", "members", "zst"])
def test_damaged_and_cut_files_end_where_they_end(way, tmp_path):
    whole = WAYS[way](CONTENTS)
    changed = bytearray(whole)
    middle = len(whole) // 2
    changed[middle : middle + 64] = bytes(range(64))
    for damaged in (whole[: len(whole) * 2 // 3], bytes(changed)):
        path = tmp_path / "file"
        path.write_bytes(damaged)
        source = Reentry(str(path))
        first = b"".join(source.blocks(0))
        assert len(first) > 100_000
        assert b"".join(source.blocks(0)) == first
        assert b"".join(source.blocks(len(first) // 2)) == first[len(first) // 2 :]
        assert b"".join(source.blocks(len(first))) == b""
