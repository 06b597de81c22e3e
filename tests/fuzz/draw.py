# SPDX-License-Identifier: GPL-2.0-or-later
"""Choices made from the bytes that a fuzzer gives: the same in a fuzzing run and when a corpus is replayed."""

from __future__ import annotations


class Draw:
    """Takes choices from the front of some bytes; behind their end everything is 0."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def __bool__(self):
        return self._at < len(self._data)

    def take(self, count):
        """Give up to so many bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def rest(self):
        """Give all that is left."""
        return self.take(len(self._data))

    def number(self, size):
        """Give an unsigned integer of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def below(self, limit):
        """Give an integer from 0 to below `limit`, at most 256."""
        return self.number(1) % limit

    def pick(self, choices):
        """Give one of some choices."""
        return choices[self.below(len(choices))]
