# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``xendissect``: one file per verb."""

from __future__ import annotations

import os
import sys

from dissector import __version__
from dissector.wire.kernel import kernel_name

PROGRAM = "xendissect"
_KERNELS = {"c": "C kernel", "python": "Python kernel"}


def version() -> str:
    """Return what ``--version`` prints.

    Raises:
        ImportError: XENDISSECT_KERNEL asks for a kernel that is not there.
    """
    return f"{PROGRAM} {__version__} ({_KERNELS[kernel_name()]})"


def main() -> None:
    """Run the command line; the entry point of the distribution."""
    _open_what_is_closed()
    try:
        text = version()
    except ImportError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        sys.exit(2)
    if sys.argv[1:] == ["--version"]:
        # Scripts ask for the version on every start: no need to load the command line for that.
        sys.stdout.write(f"{text}\n")
        return
    try:
        from dissector.cli.app import application
        from dissector.cli.arguments import with_values

        arguments = with_values(sys.argv[1:])
        application(arguments[0] if arguments else None)(arguments, prog_name=PROGRAM)
    except KeyboardInterrupt:
        sys.exit(130)


def _open_what_is_closed() -> None:
    """Put /dev/null where there is no standard stream: nothing else that is opened may get its descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
