# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference page of all display-filter names (docs/fields.md)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from dissector import filter_names
from dissector.spec.model import Enum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dissector.filter_names import FilterName

_HEAD: Final = """\
# Display-filter names

Every name that Wireshark, tshark and pyshark know once the dissector is installed ([wireshark.md](wireshark.md)).
`xenmig` alone is any packet of a migration. `xendissect fields` lists the names too; `xendissect read -Y` and the JSON
output have the same ones ([display-filter.md](display-filter.md), [json.md](json.md)).

Generated: `xendissect fields --markdown > docs/fields.md`. "§" is the section of the stream's specification.
"""


_EXPERTS: Final = """\
## Expert infos

They stand in Analyze > Expert Information. `xenmig.finding` has the id of a finding as text.
"""

_NAMED: Final = """\
In Wireshark names of values are written in quotes: `xenmig.libxl.checkpoint_state.control_id == "SVM_READY"`. Each bit
is a field of its own: `xenmig.xl.save_file_header.mandatory_flags.streamv2`.
"""


def page(fields: Sequence[FilterName]) -> str:
    """Return the page about some fields, as Markdown."""
    return "\n".join((_HEAD, *_sections(fields), *_values(fields), *_ours(fields)))


def type_text(field: FilterName) -> str:
    """Return the type as Wireshark calls it, with how numbers are shown where that is not decimal."""
    if field.mask is not None:
        return f"{field.type}, bit {field.mask.bit_length() - 1}"
    return f"{field.type}, hex" if field.base == "HEX" else field.type


def _sections(fields: Iterable[FilterName]) -> Iterator[str]:
    for (record, expert), group in groupby(fields, lambda field: (field.record, field in filter_names.EXPERTS)):
        if record is None:
            yield _EXPERTS if expert else "## Every record\n"
        else:
            yield f"## {record.layer} {record.name}\n"
            number = "" if record.type_id is None or record.name == "UNKNOWN" else f" Record type {record.type_id:#x}."
            yield f"{record.meaning[0].upper()}{record.meaning[1:]} (§ {record.section}).{number}\n"
        yield _table(("Name", "Type", "Meaning", "§"), (_row(field) for field in group))


def _row(field: FilterName) -> tuple[str, ...]:
    meaning = field.meaning
    if field.names is not None and field.mask is None:
        meaning += f" ([values](#{_title(field).lower().replace(' ', '-')}))"
    return f"`{field.name}`", type_text(field), meaning, field.section


def _title(field: FilterName) -> str:
    layer = f"{field.record.layer} " if field.record is not None else ""
    return f"Values of {layer}{field.names.name}" if field.names is not None else ""


def _values(fields: Iterable[FilterName]) -> Iterator[str]:
    """Yield the words of each enumeration, once."""
    found = {_title(field): field.names for field in fields if field.names is not None}
    if found:
        yield f"## Named values\n\n{_NAMED}\n"
    for title, names in found.items():
        what = "Value" if isinstance(names, Enum) else "Bit"
        words = names.values if isinstance(names, Enum) else names.bits
        yield f"### {title}\n"
        yield _table((what, "Name"), ((_number(value), f"`{word}`") for value, word in words.items()))


def _number(value: int) -> str:
    return f"{value:#x}" if value > 0xFFFF else str(value)


def _ours(fields: Sequence[FilterName]) -> Iterator[str]:
    if len(fields) < len(filter_names.ALL):
        return
    yield "## Only in `xendissect read -Y`\n"
    plain = {name: instead for name, instead in filter_names.ONLY_OURS.items() if not name.endswith("_name")}
    rows = [(f"`{name}`", instead if " of the " in instead else f"`{instead}`") for name, instead in plain.items()]
    rows.append(("`…_name` of a field with named values", '`… == "NAME"`'))
    yield _table(("Name", "In Wireshark"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
