# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``read``: captures and save images to lines, trees or JSON."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path  # noqa: TC003  typer looks at the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from dissector.cli.choices import ColourChoice, DirectionChoice, FormatChoice, LayerChoice, TimeChoice
from dissector.cli.fail import fail

if TYPE_CHECKING:
    from dissector.sinks import Output, Sink


def complete_type(incomplete: str) -> list[str]:
    """Complete a record type for the shell, in the case that was begun with."""
    from dissector.cli.selection import type_names

    names = type_names()
    return [name.lower() for name in names] if incomplete[:1].islower() else names


def read(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", allow_dash=True, help="pcap, pcapng, save image; - for standard input"),
    ],
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            metavar="",
            help="every field with its meaning; -vv: a hex dump too",
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line (docs/json.md)")] = False,
    pfns: Annotated[bool, typer.Option("--pfns", help="whole pfn lists, not only where they begin and end")] = False,
    flow: Annotated[
        list[int] | None, typer.Option("--flow", metavar="N", min=0, help="only this migration, #N in each line")
    ] = None,
    record_type: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", autocompletion=complete_type, help="only records of this type"),
    ] = None,
    layer: Annotated[
        list[LayerChoice] | None,
        typer.Option("--layer", metavar="xl|libxl|libxc", help="only records of this layer"),
    ] = None,
    direction: Annotated[
        DirectionChoice | None,
        typer.Option("--direction", metavar="forward|reverse", help="only what the sender or the receiver sent"),
    ] = None,
    display_filter: Annotated[
        str | None,
        typer.Option("-Y", "--filter", metavar="FILTER", help="only records that match (docs/display-filter.md)"),
    ] = None,
    count: Annotated[int | None, typer.Option("-c", "--count", metavar="N", min=1, help="stop after N records")] = None,
    as_format: Annotated[
        FormatChoice | None,
        typer.Option("--as", metavar="FORMAT", help="take the input for pcap, pcapng, xl, libxl or libxc"),
    ] = None,
    time: Annotated[
        TimeChoice, typer.Option("--time", metavar="STYLE", help="first column: utc, relative, delta or none")
    ] = TimeChoice.UTC,
    colour: Annotated[
        ColourChoice,
        typer.Option(
            "--color", "--colour", metavar="WHEN", help="auto (on a terminal, unless NO_COLOR is set), always or never"
        ),
    ] = ColourChoice.AUTO,
    no_summary: Annotated[bool, typer.Option("-q", "--no-summary", help="no summary at the end")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit with status 1 if the stream has errors")] = False,
    max_body: Annotated[
        str | None, typer.Option("--max-body", metavar="SIZE", help="keep at most so much of one body, such as 64M")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="NAME=SIZE", help="any other limit (dissector.wire.limits)")
    ] = None,
) -> None:
    """Show the records of a live migration, from captures or save images.

    Several files are read as one in time order, so a migration may go on from one file to the next. Compressed files
    (.gz, .zst) are read as they are. Which connection is a migration and who sends is found by content; ports do not
    matter.

    \b
    Examples:
      xendissect read migration.pcap
      xendissect read -v --type domain_header --type hvm_params migration.pcap
      xendissect read -Y 'libxc.page_data.count < 1024 and frame > 5000' migration.pcap
      xendissect read --json migration.pcapng.gz | jq 'select(.type == "PAGE_DATA")'
      xendissect read ring.pcap0 ring.pcap1 ring.pcap2
      xl save guest /dev/stdout | xendissect read -

    Exit status: 0 if all was read, 1 with --strict if the stream has errors, 2 if the input cannot be read, 130 after
    Ctrl-C.
    """  # noqa: D301  click wants a real backspace there
    from dissector.cli.pump import Plan, pump
    from dissector.cli.selection import Selection, canonical_types
    from dissector.cli.sizes import parse_limits
    from dissector.reader import Reader
    from dissector.sources import CaptureError

    stdout = sys.stdout

    def sinks(output: Output) -> list[Sink]:
        if as_json:
            from dissector.sinks.jsonl import JsonSink

            return [JsonSink(output, pfns=pfns)]
        from dissector.sinks.colour import Palette, wants_colour

        palette = Palette(enabled=wants_colour(colour.value, stdout, os.environ))
        chosen: list[Sink] = []
        if verbose:
            from dissector.sinks.tree import TreeSink

            chosen.append(TreeSink(output, palette, time=time.value, pfns=pfns, dump=verbose > 1))
        else:
            from dissector.sinks.text import TextSink

            chosen.append(TextSink(output, palette, time=time.value, pfns=pfns, heading=stdout.isatty()))
        if not no_summary:
            from dissector.sinks.summary import SummarySink

            chosen.append(SummarySink(output, palette))
        return chosen

    try:
        limits = parse_limits(limit or (), max_body)
        selection = Selection(
            flows=flow or (),
            types=canonical_types(record_type or ()),
            layers=[choice.value for choice in layer or ()],
            direction=direction.value if direction else None,
            display_filter=display_filter,
        )
        reader = Reader([str(path) for path in files], as_format=as_format and as_format.value, limits=limits)
    except (ValueError, CaptureError) as error:
        fail(str(error))
    if isinstance(stdout, io.TextIOWrapper):
        # JSON is UTF-8 whatever the locale says; text shows what the locale can not as escapes.
        stdout.reconfigure(encoding="utf-8") if as_json else stdout.reconfigure(errors="backslashreplace")
    plan = Plan(selection, sinks, count=count, strict=strict, at_once=any(str(path) == "-" for path in files))
    raise typer.Exit(pump(reader, plan, stdout))
