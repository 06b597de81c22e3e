# SPDX-License-Identifier: GPL-2.0-or-later
"""The typer application: what is common to all verbs."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from dissector.cli import PROGRAM, version

VERBS: Final[dict[str, dict[str, Any]]] = {
    "read": {"short_help": "Show the records of captures and save images."},
    "check": {"short_help": "Say what is wrong with a migration, and how it ended."},
    "sniff": {"short_help": "Show the records of migrations on a link, live."},
    "tap": {
        "short_help": "Stand in for ssh, and record what passes.",
        "context_settings": {"allow_interspersed_args": False},
    },
    "slim": {"short_help": "Cut page contents or secrets out of a capture."},
    "fields": {"short_help": "List the display-filter names."},
    "wireshark": {"short_help": "Install the dissector in Wireshark, and check it."},
    "lua": {"short_help": "Write the Wireshark dissector to a file."},
}
"""Name of a verb, and of the module and the function in it -> what typer is to know besides; in the order of --help."""


class _Verbs(TyperGroup):
    """Lists verbs by their names and texts; what a verb is made of is imported when it is to run or to complete."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the verb that is first in `args`."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else _command(name), rest


def _command(name: str) -> Any:
    """Import a verb, and make the command that it is."""
    found = getattr(import_module(f"dissector.cli.{name}"), name)
    alone = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name, **VERBS[name])
    else:
        alone.command(name, **VERBS[name])(found)
    return get_group(alone).commands[name]


def application() -> typer.Typer:
    """Make the application."""
    app = typer.Typer(
        name=PROGRAM,
        cls=_Verbs,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for name, settings in VERBS.items():
        app.command(name, **settings)(_listed)
    app.callback()(xendissect)
    return app


def _listed() -> None:
    """Stand for a verb that was not imported."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version())
        raise typer.Exit


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
      xendissect check migration.pcap            what is wrong with it, and how it ended
      xendissect sniff -i xenbr0                 the same while it happens
      xl migrate -s 'xendissect tap -- ssh' guest host
      xendissect wireshark install               the same in Wireshark and tshark

    'xendissect COMMAND --help' lists the options of a command.
    """  # noqa: D301  click wants a real backspace there
