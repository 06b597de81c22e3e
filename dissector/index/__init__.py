# SPDX-License-Identifier: GPL-2.0-or-later
"""The index beside a capture, ``FILE.xmi``: all its events, so that later commands need not read it (docs/index.md)."""

from __future__ import annotations

from dissector.index.blocks import NotIndexableError
from dissector.index.file import SUFFIX, IndexFile, IndexWriter, UnusableIndexError
from dissector.index.stamp import Stamp

__all__ = ["SUFFIX", "IndexFile", "IndexWriter", "NotIndexableError", "Stamp", "UnusableIndexError"]
