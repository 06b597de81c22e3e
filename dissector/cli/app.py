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
app.command(short_help="Show the records of captures and save images.")(read)
app.command(short_help="Show the records of migrations on a link, live.")(sniff)
app.command(
    short_help="Stand in for ssh, and record what passes.", context_settings={"allow_interspersed_args": False}
)(tap)
app.command(short_help="Cut page contents or secrets out of a capture.")(slim)
app.command(short_help="List the display-filter names.")(fields)
app.add_typer(wireshark, name="wireshark", short_help="Install the dissector in Wireshark, and check it.")
app.command(short_help="Write the Wireshark dissector to a file.")(lua)


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

    Shows every record of xl migrate, Remus and COLO in both directions, from the xl and libxl envelope down to each
    field of each libxc record: live on a link, from captures, from save images.

    \b
    Examples:
      xendissect read migration.pcap             one line per record, a summary at the end
      xendissect read -v migration.pcap          every field and its meaning
      xendissect read --json migration.pcap.gz   one JSON object per event
      xendissect sniff -i xenbr0                 the same while it happens
      xl migrate -s 'xendissect tap -- ssh' guest host
      xendissect wireshark install               the same in Wireshark and tshark

    'xendissect COMMAND --help' lists the options of a command.
    """  # noqa: D301  click wants a real backspace there
