# SPDX-License-Identifier: GPL-2.0-or-later
"""From the options of a verb to the sinks that show what it finds."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from dissector.cli.choices import ColourChoice, TimeChoice
    from dissector.sinks import Output, Sink


@dataclass(frozen=True, slots=True)
class Show:
    """How records are shown on a stream.

    Called with what is written to, it makes the sinks: JSON; or lines or a tree, and a summary.
    """

    stdout: TextIO
    verbose: int
    as_json: bool
    pfns: bool
    time: TimeChoice
    colour: ColourChoice
    summary: bool

    def __call__(self, output: Output) -> list[Sink]:
        """Make the sinks."""
        if self.as_json:
            from dissector.sinks.jsonl import JsonSink

            return [JsonSink(output, pfns=self.pfns, deep=self.verbose > 0)]
        from dissector.sinks.colour import Palette, wants_colour

        palette = Palette(enabled=wants_colour(self.colour.value, self.stdout, os.environ))
        chosen: list[Sink] = []
        if self.verbose:
            from dissector.sinks.tree import TreeSink

            chosen.append(TreeSink(output, palette, time=self.time.value, pfns=self.pfns, dump=self.verbose > 1))
        else:
            from dissector.sinks.text import TextSink

            chosen.append(TextSink(output, palette, time=self.time.value, pfns=self.pfns, heading=self.stdout.isatty()))
        if self.summary:
            from dissector.sinks.summary import SummarySink

            chosen.append(SummarySink(output, palette))
        return chosen

    def prepare(self) -> None:
        """Choose the encoding: JSON is UTF-8 in any locale; text shows what the locale can not as escapes."""
        if isinstance(self.stdout, io.TextIOWrapper):
            if self.as_json:
                self.stdout.reconfigure(encoding="utf-8")
            else:
                self.stdout.reconfigure(errors="backslashreplace")
