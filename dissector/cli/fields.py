# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``fields``: lists the display-filter names of the Wireshark dissector."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dissector.cli.fail import fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dissector.filter_names import FilterName

_WIDE: Final = 120
"""Columns of a terminal that has room for whole names and for the sections; on others names are shortened."""


def fields(
    prefix: Annotated[
        str,
        typer.Argument(metavar="[PREFIX]", help="only names that begin so, such as page_data", show_default=False),
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="the reference page docs/fields.md")] = False,
) -> None:
    """List the display-filter names of Wireshark, tshark and pyshark, with type, meaning and section.

    \b
    Examples:
      xendissect fields
      xendissect fields page_data
      xendissect fields | grep pfn
    """  # noqa: D301  click wants a real backspace there
    from dissector.filter_names import ALL, EXPERTS, PROTOCOL

    word = prefix.lower().removeprefix(PROTOCOL).removeprefix(".")
    wanted = tuple(f"{PROTOCOL}.{layer}{word}" for layer in ("", "xl.", "libxl.", "libxc."))
    found = [field for field in (*ALL, *EXPERTS) if field.name.startswith(wanted)]
    if not found:
        fail(f"no field begins with {prefix!r}{_suggestion(prefix)}")
    if markdown:
        from dissector.filter_page import page

        sys.stdout.write(page(found))
    elif sys.stdout.isatty():
        _show(found)
    else:
        _print(found)


def _suggestion(prefix: str) -> str:
    """Name fields with that word elsewhere in their names."""
    from dissector.filter_fields import PREFIX, UnknownFieldError, find

    try:
        find(prefix)
    except UnknownFieldError as error:
        names = " or ".join(PREFIX + name for name in error.suggestions)
        return f" (did you mean {names}?)" if names else ""
    return " (only read -Y knows it)"


def _print(found: Sequence[FilterName]) -> None:
    """Print aligned columns, a name in each line: for grep, and for awk."""
    from dissector.filter_page import type_text

    name_width = max(len(field.name) for field in found)
    type_width = max(len(type_text(field)) for field in found)
    for field in found:
        section = f" (stream.md {field.section})" if field.section else ""
        sys.stdout.write(f"{field.name:{name_width}}  {type_text(field):{type_width}}  {field.meaning}{section}\n")


def _show(found: Sequence[FilterName]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from dissector.filter_page import type_text

    console = Console()
    wide = console.width >= _WIDE
    headed = {field.record.filter_name for field in found if field.record is not None and not field.path}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("Name", style="cyan", no_wrap=True)
    table.add_column("Type", no_wrap=True)
    table.add_column("Meaning", min_width=16)
    if wide:
        table.add_column("stream.md", no_wrap=True)
    record = found[0].record
    for field in found:
        if field.record is not record:
            table.add_section()
            record = field.record
        name = field.name
        if not wide and field.path and field.record is not None and field.record.filter_name in headed:
            name = f"  .{field.path}"
        cells = (name, type_text(field), field.meaning, field.section)
        table.add_row(*cells[: 4 if wide else 3])
    console.print(table)
