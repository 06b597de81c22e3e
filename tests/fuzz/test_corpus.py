# SPDX-License-Identifier: GPL-2.0-or-later
"""Every input that once found a bug, and some to begin with, without a fuzzer: nothing but what is documented."""

from __future__ import annotations

import random
import tracemalloc
from itertools import islice

import pytest

from tests.fuzz.targets import CORPUS, TARGETS, load
from tests.wire.kernels import need_c

FOUND = sorted(path for path in CORPUS.rglob("*") if path.is_file())
BOUND = 48 << 20
"""Bytes that an input of a few KiB may take: three whole readings of a file, buffers and all."""


def test_each_corpus_has_its_target():
    assert {path.parent.name for path in FOUND} <= set(TARGETS)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_found(path):
    need_c()
    check, _ = load(path.parent.name)
    check(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name):
    """Good input passes every check; and so does some that is a little damaged."""
    need_c()
    check, seeds = load(name)
    rng = random.Random(name)
    some = list(seeds())
    assert len(some) > 5
    for seed in some[:: len(some) // 30 + 1]:
        check(seed)
        data = bytearray(seed)
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
        check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_memory(name):
    need_c()
    check, seeds = load(name)
    inputs = [*islice(seeds(), 3), *(path.read_bytes() for path in FOUND if path.parent.name == name)]
    for data in inputs:
        check(data)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            check(data)
            assert tracemalloc.get_traced_memory()[1] - before < BOUND
        finally:
            tracemalloc.stop()
