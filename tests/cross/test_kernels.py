# SPDX-License-Identifier: GPL-2.0-or-later
"""Every capture gives the same JSON with either fast-forward kernel, byte for byte."""

from __future__ import annotations

import io

import pytest

from dissector.reader import Reader
from dissector.sinks.jsonl import JsonSink
from dissector.wire.kernel import VARIABLE, kernel_name
from tests.cross import tools
from tests.wire.kernels import need_c

PLAIN = [name for name in tools.NAMES if tools.is_capture(name)]


def json_of(name):
    reader, out = Reader(tools.paths(name)), io.StringIO()
    sink = JsonSink(out, pfns=True)
    try:
        for event in reader.events():
            sink.write(event)
        sink.close()
    finally:
        reader.close()
    return out.getvalue()


@pytest.mark.parametrize("name", PLAIN)
def test_same_json(name, monkeypatch):
    need_c()
    found = {}
    for kernel in ("c", "python"):
        monkeypatch.setenv(VARIABLE, kernel)
        assert kernel_name() == kernel
        found[kernel] = json_of(name)
    assert found["c"] == found["python"]
    assert found["c"].count("\n") > 2
