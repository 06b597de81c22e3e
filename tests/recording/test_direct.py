# SPDX-License-Identifier: GPL-2.0-or-later
"""Past the page cache into a file: the same bytes, wherever pieces begin and end."""

from __future__ import annotations

import errno
import mmap
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.recording import direct
from dissector.recording.direct import BLOCK, DirectFile
from tests.cross.tools import modest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("direct")


def opened(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return fd, DirectFile(fd)
    except OSError as error:
        os.close(fd)
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED, no O_DIRECT here: {error}")


SIZES = st.lists(
    st.one_of(st.integers(0, 3 * BLOCK), st.sampled_from([BLOCK, 8 * BLOCK, 5 * BLOCK - 1, 4 * BLOCK + 1])), max_size=8
)


def laid(data, offset):
    """Put bytes into memory as they will lie on the disk."""
    memory = memoryview(mmap.mmap(-1, len(data) + 2 * BLOCK))
    piece = memory[offset % BLOCK :][: len(data)]
    piece[:] = data
    return piece


@modest(100)
@given(st.lists(SIZES, max_size=5), st.integers(0, 3 * BLOCK), st.integers(0, 1 << 30))
def test_the_file_is_what_was_written(folder, writes, offset, seed):
    """Pieces that lie well, pieces that do not, and some that can not be looked at, between each other."""
    content = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "_ROOM", 4 * BLOCK)  # so that it has to be filled several times
        patch.setattr(direct, "_IN_PLACE", BLOCK)
        fd, file = opened(folder / "file")
        expected = content.randbytes(offset)
        os.write(fd, expected)
        for sizes in writes:
            pieces, begin = [], len(expected)
            for size in sizes:
                data = content.randbytes(size)
                way = content.randrange(4)
                pieces.append((data, memoryview(data), laid(data, len(expected)), laid(data, len(expected) + 1))[way])
                expected += data
            file.write(pieces, begin)
            assert os.lseek(fd, 0, os.SEEK_CUR) == offset
            assert os.pread(fd, len(expected) + 1, 0) == expected  # whoever reads it meanwhile sees all of it
        file.close()
        os.close(fd)
    assert (folder / "file").read_bytes() == expected


def test_whole_blocks_go_past_the_page_cache(folder, monkeypatch):
    fd, file = opened(folder / "file")
    ways = []
    pwrite = os.pwrite

    def noted(target, data, offset):
        ways.append((target == fd, len(data), offset))
        return pwrite(target, data, offset)

    monkeypatch.setattr(os, "pwrite", noted)
    file.write([b"1" * 100, b"2" * (3 * BLOCK)], 50)
    assert ways == [(True, BLOCK - 50, 50), (False, 2 * BLOCK, BLOCK), (True, 150, 3 * BLOCK)]
    ways.clear()
    file.write([b"3" * 100], 3 * BLOCK + 150)
    file.write([b"4" * 10_000], 3 * BLOCK - 10)  # less than a block before, two whole ones, a part of one
    assert ways[0] == (True, 100, 3 * BLOCK + 150)
    assert [usual for usual, *_ in ways[1:]] == [True, False, True]
    file.close()
    os.close(fd)


def test_what_lies_well_is_not_copied(folder, monkeypatch):
    fd, file = opened(folder / "file")
    written = []
    pwrite = os.pwrite

    def noted(target, data, offset):
        written.append(len(data))
        return pwrite(target, data, offset)

    monkeypatch.setattr(os, "pwrite", noted)
    content = random.Random(2).randbytes(40 * BLOCK)
    piece = laid(content, 700)
    view = file._view
    file.write([b"x" * 100, piece, b"y" * 100], 600)
    assert written == [100, BLOCK - 700, 39 * BLOCK, 700, 100]
    assert os.pread(fd, 1 << 20, 600) == b"x" * 100 + content + b"y" * 100
    assert bytes(view[700 : 700 + BLOCK]) != content[:BLOCK]
    file.close()
    os.close(fd)


@pytest.mark.parametrize("answer", ["refuses", "takes part", "takes nothing"])
def test_what_is_not_taken_goes_the_usual_way(folder, monkeypatch, answer):
    fd, file = opened(folder / "file")
    pwrite = os.pwrite

    def limited(target, data, offset):
        if target == fd:
            return pwrite(target, data, offset)
        if answer == "refuses":
            raise OSError(errno.EINVAL, "not aligned")
        return pwrite(fd, data[:1000], offset) if answer == "takes part" else 0

    monkeypatch.setattr(os, "pwrite", limited)
    content = random.Random(1).randbytes(5 * BLOCK + 5)
    file.write([content], 0)
    assert os.pread(fd, len(content) + 1, 0) == content
    assert file.refused == (answer == "refuses")
    file.close()
    os.close(fd)


def test_errors_are_told(folder, monkeypatch):
    fd, file = opened(folder / "file")

    def full(target, data, offset):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="full"):
        file.write([bytes(2 * BLOCK)], 0)
    file.close()
    os.close(fd)


def test_where_there_is_no_such_way(folder, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECT")
    fd = os.open(folder / "file", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="not implemented"):
        DirectFile(fd)
    os.close(fd)
