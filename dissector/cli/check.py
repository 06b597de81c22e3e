# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``check``: what is wrong with a migration, where, by which rule, and how it ended."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path  # noqa: TC003  typer looks at the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from dissector.cli import options  # noqa: TC001  likewise
from dissector.cli.choices import ColourChoice, FormatChoice
from dissector.cli.fail import fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dissector.check.releases import Target
    from dissector.sinks import Output, Sink
    from dissector.wire.events import Event
    from dissector.wire.limits import Limits

ForXen = Annotated[
    str | None,
    typer.Option(
        "--for-xen", metavar="X.Y", help="also say what a receiver of this release would reject, such as 4.13"
    ),
]


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", allow_dash=True, help="pcap, pcapng, save image, stream; - for standard input"),
    ] = None,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            metavar="",
            help="why each rule matters, and the bytes of the place; -vv: of more places",
        ),
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="findings as JSON, one object per line (docs/json.md)")
    ] = False,
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="ID", help="explain a rule by its id or number, and stop")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="list all rules as a Markdown table, and stop")] = False,
    for_xen: ForXen = None,
    strict: Annotated[bool, typer.Option("--strict", help="warnings make the exit status 1 too")] = False,
    as_format: Annotated[
        FormatChoice | None,
        typer.Option("--as", metavar="FORMAT", help="take the input for pcap, pcapng, xl, libxl or libxc"),
    ] = None,
    colour: options.Colour = ColourChoice.AUTO,
    max_body: options.MaxBody = None,
    limit: options.Limit = None,
) -> None:
    """Say what is wrong with a migration, where, by which rule, and how it ended.

    Checks every record of both directions of plain migrations, Remus and COLO, and save images, against what Xen's own
    receiver accepts (error), what Xen's writers never do or only verify-stream-v2 minds (warn), and what is worth
    knowing (note). What was not captured is held against nobody. docs/check.md lists the rules.

    \b
    Examples:
      xendissect check migration.pcap
      xendissect check -v migration.pcap          with the reasons and the bytes
      xendissect check --for-xen 4.13 guest.save  would an old receiver take it?
      xendissect check --json migration.pcap | jq -r 'select(.severity == "error") | .id'
      xendissect check --explain libxc.page_data.length
      ssh host cat migration.pcap | xendissect check -

    Exit status: 0 if no error was found; 1 if one was (with --strict: or a warning); 2 if the input cannot be read, 130
    after Ctrl-C.
    """  # noqa: D301  click wants a real backspace there
    if explain is not None or rules:
        typer.echo(_explained(explain) if explain is not None else table(), nl=explain is not None)
        raise typer.Exit
    if not files:
        fail("give a capture, a save image, or - for standard input")
    from dissector.check.releases import Target
    from dissector.cli.pump import ERRORS, WARNINGS_TOO, Plan, pump
    from dissector.cli.sizes import parse_limits
    from dissector.indexed import open_input
    from dissector.sources import CaptureError

    try:
        target = Target.parse(for_xen) if for_xen is not None else None
        limits = looking_at_padding(parse_limits(limit or (), max_body))
        reader = open_input(
            [str(path) for path in files], as_format=as_format and as_format.value, limits=limits, index=False
        )
    except (ValueError, CaptureError) as error:
        fail(str(error))
    sinks = Sinks(verbose, as_json, colour)
    sinks.prepare()
    plan = Plan(sinks.selection, sinks, judged=WARNINGS_TOO if strict else ERRORS, through=checking(target))
    raise typer.Exit(pump(reader, plan, sys.stdout))


def looking_at_padding(limits: Limits) -> Limits:
    """Return limits with which the engine looks at padding, too."""
    from dissector.wire.limits import ThoroughLimits

    return ThoroughLimits(**asdict(limits))


def checking(target: Target | None) -> Callable[[Iterator[list[Event]]], Iterator[list[Event]]]:
    """Return what passes events through a new checker and puts its findings among them."""
    # Now, not with the first event: a live capture gives up its privileges before that, and perhaps its modules.
    from functools import partial

    from dissector.check.checker import Checker, checked

    return partial(checked, checker=Checker(target))


class Sinks:
    """Makes the sinks of a check: JSON of the findings; or the text."""

    def __init__(self, verbose: int, as_json: bool, colour: ColourChoice) -> None:
        self._verbose = verbose
        self._as_json = as_json
        self._colour = colour

    def selection(self, event: Event) -> bool:
        """Take findings only for JSON, everything for text."""
        from dissector.wire.events import Finding

        return not self._as_json or isinstance(event, Finding)

    def __call__(self, output: Output) -> list[Sink]:
        """Make the sinks."""
        if self._as_json:
            from dissector.sinks.jsonl import JsonSink

            return [JsonSink(output)]
        return [text_sink(output, self._colour, self._verbose)]

    def prepare(self) -> None:
        """Choose the encoding of standard output."""
        from dissector.cli.choices import TimeChoice
        from dissector.cli.show import Show

        Show(sys.stdout, 0, self._as_json, False, TimeChoice.NONE, self._colour, summary=False).prepare()


def text_sink(output: Output, colour: ColourChoice, verbose: int, *, separate: bool = False) -> Sink:
    """Make the sink that writes what was found as text, as wide as the terminal is."""
    import os
    import shutil

    from dissector.sinks.check import CheckSink
    from dissector.sinks.colour import Palette, wants_colour

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    palette = Palette(enabled=wants_colour(colour.value, sys.stdout, os.environ))
    return CheckSink(output, palette, verbose=verbose, width=width, separate=separate)


def _explained(name: str) -> str:
    """Explain a rule, or all rules with a number."""
    from dissector.spec.rules import BY_ID, NOT_REPORTED

    numbered = (rule for rule in BY_ID.values() if rule.number is not None and str(rule.number) == name)
    found = [BY_ID[name]] if name in BY_ID else list(numbered)
    for unreported, why in NOT_REPORTED.items():
        if name == str(unreported):
            fail(f"there is no rule {name!r} here: {why}, and not reported")
    if not found:
        import difflib

        close = difflib.get_close_matches(name, BY_ID, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else "; --rules lists them"
        fail(f"there is no rule {name!r}{hint}")
    blocks = []
    for rule in found:
        rows = [rule.id, f"  severity  {rule.severity}", f"  says      {rule.says}"]
        rows += [f"  {label:<9} {text}" for label, text in (("why", rule.why), ("releases", rule.releases)) if text]
        if rule.beyond_wireshark:
            rows.append(f"  wireshark not there: {rule.beyond_wireshark}")
        if rule.section:
            number = f"rule {rule.number}, " if rule.number is not None else ""
            rows.append(f"  where     {number}section {rule.section} of the format description")
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks)


def table() -> str:
    """Return all rules as a Markdown table, in the order of their numbers; those without one at the end."""
    from dissector.spec.rules import BY_ID

    rows = ["| Rule | Id | Severity | Says | Why, and which releases | Wireshark |", "|---|---|---|---|---|---|"]
    for rule in sorted(BY_ID.values(), key=lambda one: (one.number is None, one.number or 0)):
        why = " ".join(text for text in (rule.why, rule.releases and f"Releases: {rule.releases}.") if text)
        number = "" if rule.number is None else str(rule.number)
        wireshark = f"no: {rule.beyond_wireshark}" if rule.beyond_wireshark else "yes"
        cells = (number, f"`{rule.id}`", rule.severity, rule.says, why, wireshark)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
