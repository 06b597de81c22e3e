# SPDX-License-Identifier: GPL-2.0-or-later
"""The typer application: what is common to all verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from dissector.cli import PROGRAM, version
from dissector.cli.fields import fields
from dissector.cli.lua import lua
from dissector.cli.read import read
from dissector.cli.slim import slim
from dissector.cli.sniff import sniff
from dissector.cli.tap import tap
from dissector.cli.wireshark import wireshark

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(read)
app.command()(sniff)
app.command()(slim)
app.command()(lua)
app.command()(fields)
app.command(context_settings={"allow_interspersed_args": False})(tap)
app.add_typer(wireshark, name="wireshark")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version())
        raise typer.Exit


@app.callback()
def xendissect(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """See inside a Xen live migration.

    Reads captures of xl migrate, Remus and COLO (or save images) and shows every record of both directions, from the
    xl and libxl envelope down to each field of each libxc record.

    \b
    Examples:
      xendissect read migration.pcap             one line per record, a summary at the end
      xendissect read -v migration.pcap          every field and its meaning
      xendissect read --json migration.pcap.gz   one JSON object per event
      tcpdump -i xenbr0 -w - port 8002 | xendissect read -
      xendissect wireshark install               the same in Wireshark and tshark

    'xendissect read --help' lists the options and filters.
    """  # noqa: D301  click wants a real backspace there
