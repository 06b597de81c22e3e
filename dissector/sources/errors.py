# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong with an input."""

from __future__ import annotations


class CaptureError(Exception):
    """A capture cannot be read (any further); one clear line that names the file.

    Attributes:
        path: The file as the user named it; empty when bytes were parsed that came from no file.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}" if path else text)
        self.path = path
