# SPDX-License-Identifier: GPL-2.0-or-later
"""Several files, each an input of its own: whose output is whose."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from dissector.sinks.colour import printable

if TYPE_CHECKING:
    from dissector.cli.show import Show
    from dissector.sinks import Output, Sink


def processes(wanted: int | None) -> int:
    """Return how many files are read at a time: as many as asked for, or as there are processors for this process."""
    if wanted is not None:
        return wanted
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


class Named:
    """Makes the sinks of one file: ``"file"`` is in each JSON object, and a heading in front of lines.

    Args:
        show: Makes the sinks.
        name: Of the file, as it was given.
        heading: Whether there is one; the heading of any but the first file has an empty line in front.
        first: Whether it is the first file.
    """

    def __init__(self, show: Show, name: str, *, heading: bool, first: bool) -> None:
        self._show, self._name, self._heading, self._first = show, name, heading, first

    def __call__(self, output: Output) -> list[Sink]:
        """Make the sinks."""
        if self._show.as_json:
            return self._show(Tagged(output, self._name))
        if self._heading:
            output.write(f"{'' if self._first else chr(10)}==> {printable(self._name)} <==\n")
        return self._show(output)


class Tagged:
    """An output for whole lines of JSON objects, to each of which it adds the name of a file."""

    def __init__(self, output: Output, name: str) -> None:
        self._write = output.write
        shown = os.fsencode(name).decode("utf-8", "replace")
        self._begin = f'{{"file":{json.dumps(shown, ensure_ascii=False)},'

    def write(self, text: str, /) -> int:
        """Write whole lines."""
        if text:
            # In JSON lines there is no line end but the one behind an object.
            self._write(self._begin + text[1:-1].replace("\n{", "\n" + self._begin) + "\n")
        return len(text)
