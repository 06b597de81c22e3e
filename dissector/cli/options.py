# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that verbs have in common: which records are shown, and how."""

from __future__ import annotations

from typing import Annotated

import typer

from dissector.cli.choices import ColourChoice, DirectionChoice, LayerChoice, TimeChoice


def complete_type(incomplete: str) -> list[str]:
    """Complete a record type for the shell, in the case that was begun with."""
    from dissector.cli.selection import type_names

    names = type_names()
    return [name.lower() for name in names] if incomplete[:1].islower() else names


Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        metavar="",
        help="every field with its meaning; -vv: a hex dump too",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object per line (docs/json.md)")]
Pfns = Annotated[bool, typer.Option("--pfns", help="whole pfn lists, not only where they begin and end")]
FlowNumbers = Annotated[
    list[int] | None, typer.Option("--flow", metavar="N", min=0, help="only this migration, #N in each line")
]
RecordTypes = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", autocompletion=complete_type, help="only records of this type"),
]
Layers = Annotated[
    list[LayerChoice] | None,
    typer.Option("--layer", metavar="xl|libxl|libxc", help="only records of this layer"),
]
Direction = Annotated[
    DirectionChoice | None,
    typer.Option("--direction", metavar="forward|reverse", help="only what the sender or the receiver sent"),
]
DisplayFilter = Annotated[
    str | None,
    typer.Option("-Y", "--filter", metavar="FILTER", help="only records that match (docs/display-filter.md)"),
]
Count = Annotated[int | None, typer.Option("-c", "--count", metavar="N", min=1, help="stop after N records")]
Time = Annotated[TimeChoice, typer.Option("--time", metavar="STYLE", help="first column: utc, relative, delta or none")]
Colour = Annotated[
    ColourChoice,
    typer.Option(
        "--color", "--colour", metavar="WHEN", help="auto (on a terminal, unless NO_COLOR is set), always or never"
    ),
]
NoSummary = Annotated[bool, typer.Option("-q", "--no-summary", help="no summary at the end")]
Strict = Annotated[bool, typer.Option("--strict", help="exit with status 1 if the stream has errors")]
MaxBody = Annotated[
    str | None, typer.Option("--max-body", metavar="SIZE", help="keep at most so much of one body, such as 64M")
]
Limit = Annotated[
    list[str] | None, typer.Option("--limit", metavar="NAME=SIZE", help="any other limit (dissector.wire.limits)")
]
