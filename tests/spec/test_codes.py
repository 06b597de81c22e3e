# SPDX-License-Identifier: GPL-2.0-or-later
"""Status bytes in words (stream.md 2.1, 9.8)."""

from __future__ import annotations

import pytest

from dissector.spec.codes import describe_status


@pytest.mark.parametrize(
    ("status", "words"),
    [(3, "ERROR_FAIL"), (6, "ERROR_INVAL"), (32, "ERROR_QEMU_API"), (255, "no correct GO received"), (77, "status 77")],
)
def test_status(status, words):
    assert describe_status(status) == words
