# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``xendissect``: one file per verb."""

from __future__ import annotations

import sys

from dissector import __version__

PROGRAM = "xendissect"


def main() -> None:
    """Run the command line; the entry point of the distribution."""
    if sys.argv[1:] == ["--version"]:
        # Scripts ask for the version on every start: no need to load the command line for that.
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return
    try:
        from dissector.cli.app import application
        from dissector.cli.arguments import with_values

        arguments = with_values(sys.argv[1:])
        application(arguments[0] if arguments else None)(arguments, prog_name=PROGRAM)
    except KeyboardInterrupt:
        sys.exit(130)
