# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``xendissect``: one file per verb."""

from __future__ import annotations

import gc
import io
import os
import sys

from dissector import __version__
from dissector.wire.kernel import kernel_name

PROGRAM = "xendissect"
_NEW_OBJECTS = 50_000
"""Objects made until Python looks for cycles among them. Importing makes some thousands, and none of them in vain."""
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
    _buffer_output()
    gc.set_threshold(_NEW_OBJECTS)
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

        application()(with_values(sys.argv[1:]), prog_name=PROGRAM)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # or Python looks at every object once more on its way out


def _buffer_output() -> None:
    """Put a buffer before a standard output without one (PYTHONUNBUFFERED, python -u).

    Without it Python forgets the rest of a text when a signal interrupts its writing; who shows something flushes.
    """
    stdout = sys.stdout
    raw = getattr(stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=stdout.encoding, errors=stdout.errors, line_buffering=stdout.isatty()
        )


def _open_what_is_closed() -> None:
    """Put /dev/null where there is no standard stream: nothing else that is opened may get its descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
