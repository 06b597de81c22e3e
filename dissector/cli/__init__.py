# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``xendissect``: one file per verb."""

from __future__ import annotations

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
        from dissector.cli.app import app
        from dissector.cli.arguments import with_values

        app(with_values(sys.argv[1:]), prog_name=PROGRAM)
    except KeyboardInterrupt:
        sys.exit(130)
