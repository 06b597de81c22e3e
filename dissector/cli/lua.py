# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``lua``: writes the Wireshark dissector."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003  typer looks at the annotations when it runs
from typing import Annotated

import typer

from dissector.cli.fail import fail


def lua(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", allow_dash=True, help="write there; default: standard output"),
    ] = None,
) -> None:
    """Write the Wireshark dissector, a Lua file generated from the definitions.

    To have it in your Wireshark, 'xendissect wireshark install' is enough.

    \b
    Examples:
      xendissect lua -o xenmig.lua
      tshark -X lua_script:xenmig.lua -r migration.pcap -Y xenmig
    """  # noqa: D301  click wants a real backspace there
    from dissector.lua_writer import generate

    text = generate()
    if output is None or str(output) == "-":
        # The file is UTF-8 whatever the locale says.
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        return
    try:
        output.write_text(text, "utf-8", newline="\n")
    except OSError as error:
        fail(f"{output}: {error.strerror}")
