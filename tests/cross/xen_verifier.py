# SPDX-License-Identifier: GPL-2.0-or-later
"""Xen's own verify-stream-v2 inside this process: the script as it is installed, with bytes in place of its input."""

from __future__ import annotations

import importlib.util
import io
import sys
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from tests.captures.tools import tool

if TYPE_CHECKING:
    from types import ModuleType

CODES = {"": 0, "Stream Error": 1, "Script Error": 2}
"""What it says before a traceback, and its exit code (stream.md section 7)."""


@cache
def script() -> ModuleType:
    """Load verify-stream-v2 and the modules of Xen that it takes."""
    path = tool("verify-stream-v2")
    library = str(Path(path).parent.parent / "lib/python")
    loader = SourceFileLoader("verify_stream_v2", path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, library)
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = keep
        sys.path.remove(library)
    return module


def verdict(data: bytes, form: str) -> tuple[int, str]:
    """Return its exit code, and the last line of its complaint (``RecordError: Zero length HVM context``)."""
    module = script()
    said: list[str] = []
    module.err = said.append  # type: ignore[attr-defined]
    module.fin = io.BytesIO(data)  # type: ignore[attr-defined]
    code: int = module.read_stream(form)
    complaint = said[1].strip().splitlines()[-1].removeprefix("xen.migration.verify.") if code else ""
    return code, complaint
