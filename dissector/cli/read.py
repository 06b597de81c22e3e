# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``read``: captures and save images to lines, trees or JSON."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path  # noqa: TC003  typer looks at the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from dissector.cli import options  # noqa: TC001  likewise
from dissector.cli.choices import ColourChoice, FormatChoice, TimeChoice
from dissector.cli.fail import fail, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from dissector.sinks import Output, Sink


def read(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", allow_dash=True, help="pcap, pcapng, save image; - for standard input"),
    ],
    verbose: options.Verbose = 0,
    as_json: options.AsJson = False,
    pfns: options.Pfns = False,
    flow: options.FlowNumbers = None,
    record_type: options.RecordTypes = None,
    layer: options.Layers = None,
    direction: options.Direction = None,
    display_filter: options.DisplayFilter = None,
    count: options.Count = None,
    as_format: Annotated[
        FormatChoice | None,
        typer.Option("--as", metavar="FORMAT", help="take the input for pcap, pcapng, xl, libxl or libxc"),
    ] = None,
    time: options.Time = TimeChoice.UTC,
    colour: options.Colour = ColourChoice.AUTO,
    no_summary: options.NoSummary = False,
    strict: options.Strict = False,
    index: Annotated[
        bool | None,
        typer.Option(
            "--index/--no-index",
            show_default=False,
            help="make FILE.xmi, so that later commands need not read FILE; or do not use it (docs/index.md)",
        ),
    ] = None,
    skim: Annotated[
        bool,
        typer.Option("--skim", help="pass over page contents in the file; losses there stay unknown (docs/skim.md)"),
    ] = False,
    each: Annotated[
        bool, typer.Option("--each", help="take each FILE for itself, several at a time (docs/performance.md)")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", metavar="N", min=1, help="with --each: so many files at a time"),
    ] = None,
    max_body: options.MaxBody = None,
    limit: options.Limit = None,
) -> None:
    """Show the records of a live migration, from captures or save images.

    Several files are read as one in time order, so a migration may go on from one file to the next. With --each every
    FILE is taken for itself: the output is what a command of its own for each of them gives, one after the other.
    Compressed files (.gz, .zst) are read as they are. Which connection is a migration and who sends is found by
    content; ports do not matter.

    \b
    Examples:
      xendissect read migration.pcap
      xendissect read -v --type domain_header --type hvm_params migration.pcap
      xendissect read -Y 'libxc.page_data.count < 1024 and frame > 5000' migration.pcap
      xendissect read --json migration.pcapng.gz | jq 'select(.type == "PAGE_DATA")'
      xendissect read ring.pcap0 ring.pcap1 ring.pcap2
      xendissect read --each --json host1.pcap.gz host2.pcap.gz | jq 'select(.scope == "flow") | [.file, .outcome]'
      xl save guest /dev/stdout | xendissect read -

    Exit status: 0 if all was read, 1 with --strict if the stream has errors, 2 if the input cannot be read, 130 after
    Ctrl-C.
    """  # noqa: D301  click wants a real backspace there
    from dissector.cli.pump import ERRORS, NOTHING, TROUBLE, Plan, die_of_broken_pipe, pump
    from dissector.cli.selection import selection_of
    from dissector.cli.show import Show
    from dissector.cli.sizes import parse_limits
    from dissector.indexed import open_input
    from dissector.sources import CaptureError

    stdout = sys.stdout
    show = Show(stdout, verbose, as_json, pfns, time, colour, summary=not no_summary)
    try:
        limits = parse_limits(limit or (), max_body)
        selection = selection_of(flow, record_type, layer, direction, display_filter)
    except ValueError as error:
        fail(str(error))
    if jobs is not None and not each:
        fail("-j goes with --each: several files without it are one input")

    def shown(names: list[str], sinks: Callable[[Output], Sequence[Sink]], stream: TextIO) -> int:
        try:
            reader = open_input(
                names,
                as_format=as_format and as_format.value,
                limits=limits,
                index=index,
                skim=skim,
                note=tell,
            )
        except (ValueError, CaptureError) as error:
            tell(str(error))
            return TROUBLE
        plan = Plan(selection.wanted, sinks, count=count, judged=ERRORS if strict else NOTHING, at_once="-" in names)
        return pump(reader, plan, stream)

    names = [str(path) for path in files]
    show.prepare()
    if not each:
        raise typer.Exit(shown(names, show, stdout))

    import dissector.reader  # noqa: F401  once, and not in each process
    from dissector.cli.each import Named, processes
    from dissector.cli.turns import in_turn

    tasks = [
        (name, partial(shown, [name], Named(show, name, heading=len(names) > 1, first=not number)))
        for number, name in enumerate(names)
    ]
    try:
        status = in_turn(tasks, processes(jobs), stdout, sys.stderr)
    except BrokenPipeError:
        die_of_broken_pipe()
    except OSError as error:  # no room for what waits for its turn, or for one more process
        fail(f"--each: {error.strerror or error}")
    raise typer.Exit(status)
