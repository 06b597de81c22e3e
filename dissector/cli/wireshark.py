# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs ``wireshark install``, ``uninstall`` and ``doctor``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dissector.cli.fail import fail

if TYPE_CHECKING:
    from dissector.wireshark.setup import Places

wireshark = typer.Typer(
    no_args_is_help=True,
    help="Put the dissector into Wireshark, take it out again, find out why it does not work.",
)

Everyone = Annotated[bool, typer.Option("--global", help="for all users of this computer (as administrator)")]
Force = Annotated[bool, typer.Option("--force", help="also what is not ours, or was changed by you")]


def _places(everyone: bool) -> Places:
    from dissector.wireshark import program
    from dissector.wireshark.setup import SetupError, places

    try:
        return places(program.folders(program.find("tshark")), everyone=everyone)
    except SetupError as error:
        fail(str(error))


@wireshark.command(short_help="Put plugin, profile and capture interfaces into Wireshark.")
def install(everyone: Everyone = False, force: Force = False) -> None:
    """Install the plugin, the profile "Xen migration" and the capture interfaces, or bring them up to date.

    Wireshark says where they go: for this user (the default), or for everyone. Files that xendissect did not write are
    left alone, and so are files of the profile that you changed. Start Wireshark anew, then choose the profile at the
    bottom right of its window; "Xen migration on ..." are among the interfaces.
    """
    from dissector.lua_writer import generate
    from dissector.wireshark import setup

    where = _places(everyone)
    try:
        lines = setup.install(where, generate(), force=force)
    except setup.SetupError as error:
        fail(str(error))
    for line in lines:
        sys.stdout.write(f"{line}\n")


@wireshark.command(short_help="Take them out again.")
def uninstall(everyone: Everyone = False, force: Force = False) -> None:
    """Remove plugin, profile and capture interfaces; only what xendissect installed and you did not change."""
    from dissector.wireshark import setup

    try:
        lines = setup.uninstall(_places(everyone), force=force)
    except setup.SetupError as error:
        fail(str(error))
    for line in lines or ["nothing to remove"]:
        sys.stdout.write(f"{line}\n")


@wireshark.command(short_help="Check that all of it works, and say how to mend it.")
def doctor() -> None:
    """Check that Wireshark has the dissector and that it works; say what is wrong and how to mend it.

    Exit status: 0 if all is well, 1 if something is wrong.
    """
    from dissector.lua_writer import generate
    from dissector.wireshark.doctor import examine

    wrong = False
    for check in examine(generate()):
        wrong = wrong or check.level == "wrong"
        sys.stdout.write(f"{check.level:5}  {check.text}\n")
        sys.stdout.flush()
    raise typer.Exit(int(wrong))
