# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the Wireshark dissector: the definitions of :mod:`dissector.spec` as Lua tables, and the parts that use them.

The result is one self-contained file. Its tables are generated; its parts (``templates/*.lua``) are static text in the
common subset of Lua 5.2 to 5.4, mirrors of the modules of :mod:`dissector.wire` and the display.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dissector import filter_names
from dissector.spec import ALL_RECORDS, findings, hvm, libxc, libxl, model, releases, rules, xl
from dissector.spec.conditions import CONDITIONS
from dissector.wire import machine, members
from dissector.wire.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dissector.spec.conditions import Condition
    from dissector.spec.findings import Rule

PURE = ("codec", "json", "values", "dirtylist", "framer", "resync", "follower", "check", "halfflow")
"""The parts that need no Wireshark, in the order they depend on each other."""
WIRESHARK = ("fields", "text", "streams", "show", "statistics", "main")
"""The parts that show what those find, likewise."""

Table: TypeAlias = "dict[str, Any]"

_LICENCE_LINE = "-- SPDX-License-Identifier: GPL-2.0-or-later\n"
_WIDTH = 118


class Raw(str):
    """Lua text that is written as it is."""

    __slots__ = ()


def quoted(value: str | bytes) -> str:
    """Return a Lua string literal of the same bytes."""
    raw = value.encode() if isinstance(value, str) else value
    text = ""
    for byte in raw:
        character = chr(byte)
        if character in '"\\':
            text += "\\" + character
        elif character == "\n":
            text += "\\n"
        elif 0x20 <= byte < 0x7F:
            text += character
        else:
            text += f"\\{byte:03d}"
    return f'"{text}"'


def literal(value: Any, indent: int = 0) -> str:
    """Return a value as Lua: dicts and sequences become tables, on one line where they fit."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str | bytes):
        return quoted(value)
    rows = list(_rows(value, indent + 1))
    line = "{ " + ", ".join(rows) + " }" if rows else "{}"
    if len(line) + 2 * indent <= _WIDTH - 20 and "\n" not in line:
        return line
    pad = "  " * (indent + 1)
    return "{\n" + "".join(f"{pad}{row},\n" for row in rows) + "  " * indent + "}"


def _rows(value: Any, indent: int) -> Iterable[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if item is None or item is False:
                continue
            name = key if isinstance(key, str) and key.isidentifier() and key not in _KEYWORDS else f"[{literal(key)}]"
            yield f"{name} = {literal(item, indent)}"
    else:
        for item in value:
            yield literal(item, indent)


_KEYWORDS = frozenset(("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in"))
_KEYWORDS |= frozenset(("local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"))


# -- definitions ---------------------------------------------------------------------------------------------------


def _names(names: model.Enum | model.Flags | None) -> Table | None:
    if names is None:
        return None
    kind = "enum" if isinstance(names, model.Enum) else "flags"
    return {"kind": kind, "values": names.values if isinstance(names, model.Enum) else names.bits}


def _names_by(by: model.NamesBy | None) -> Table | None:
    if by is None:
        return None
    names = {"/".join(map(str, values)): _names(names) for values, names in by.names.items()}
    return {"fields": by.fields, "names": names}


def _length(length: model.Length) -> Table:
    return {
        "minimum": length.minimum,
        "step": length.step,
        "maximum": length.maximum,
        "exact": length.exact,
        "tolerated": length.tolerated,
    }


def _layout(layout: model.Layout) -> Table:
    return {
        "key": layout.key,
        "meaning": layout.meaning,
        "brief": layout.brief,
        "length": _length(layout.length),
        "body": [_element(element) for element in layout.body],
    }


def _inside(choice: model.Choice | None) -> Table | None:
    if choice is None:
        return None
    layouts = [{"value": value, "layout": _layout(layout)} for value, layout in choice.layouts.items()]
    return {"by": choice.by, "field": choice.field or None, "layouts": layouts}


def _scan(scan: model.Scan | None) -> Table | None:
    if scan is None:
        return None
    return {
        "starts": dict.fromkeys(scan.starts, True),
        "characters": scan.characters,
        "footer": scan.footer,
        "footer_field": scan.footer_field,
        "behind": scan.behind,
    }


def _field(field: model.Field) -> Table:
    const = field.const
    return {
        "kind": "field",
        "name": field.name,
        "size": field.size,
        "order": None if field.order == "stream" else field.order,
        "const": None if const is None else const.to_bytes(field.size, "big"),
        "const_value": const if field.size < 8 else None,
        "maximum": field.maximum,
        "reserved": field.reserved,
        "hexadecimal": field.hexadecimal,
        "names": _names(field.names),
        "names_by": _names_by(field.names_by),
        "meaning": field.meaning,
    }


def _element(element: model.Element) -> Table:
    match element:
        case model.Field():
            return _field(element)
        case model.Bytes():
            return {
                "kind": "bytes",
                "name": element.name,
                "length": element.length,
                "const": element.const,
                "text": element.text,
                "meaning": element.meaning,
                "inside": _inside(element.inside),
                "members": [dataclasses.asdict(member) for member in element.members] or None,
            }
        case model.Array():
            items = [_element(item) for item in element.items]
            return {
                "kind": "array",
                "name": element.name,
                "count": element.count,
                "meaning": element.meaning,
                "last": None if element.last is None else {"name": element.last[0], "value": element.last[1]},
                "scan": _scan(element.scan),
                "items": items,
            }
        case model.PfnList():
            return {
                "kind": "pfns",
                "name": element.name,
                "count": element.count,
                "typed": element.typed,
                "meaning": element.meaning,
            }
        case model.Pages():
            return {"kind": "pages", "name": element.name, "pfns": element.pfns, "meaning": element.meaning}
        case model.StringPairs():
            return {"kind": "pairs", "name": element.name, "meaning": element.meaning}
        case model.Numbers():
            return {
                "kind": "numbers",
                "name": element.name,
                "size": element.size,
                "count": element.count,
                "hexadecimal": element.hexadecimal,
                "meaning": element.meaning,
            }
        case model.Skip():
            return {"kind": "skip", "name": "", "size": element.size}


def field_row(field: filter_names.FilterName) -> Table:
    """Return what is needed to register a display-filter field, its type as a name in Wireshark's ``ftypes``."""
    return {
        "name": field.name,
        "label": field.label,
        "type": field.type.removeprefix("FT_"),
        "base": field.base if field.base != "NONE" else None,
        "mask": field.mask,
        "width": field.width,
        "names": _names(field.names),
        "meaning": field.meaning,
        "section": field.section or None,
    }


def key(record: model.Record) -> str:
    """Return the name of a record in the Lua tables, such as ``libxc.PAGE_DATA``."""
    return f"{record.layer}.{record.name}"


def record_table(record: model.Record) -> Table:
    """Return the definition of a record as a Lua table."""
    signature = None
    if record.signature is not None:
        signature = {"at": record.signature[0], "text": record.signature[1]}
    return {
        "key": key(record),
        "layer": record.layer,
        "name": record.name,
        "type_id": record.type_id,
        "meaning": record.meaning,
        "section": record.section,
        "direction": record.direction,
        "guests": record.guests,
        "repeats": record.repeats,
        "once": record in machine.ONCE,
        "length": _length(record.length),
        "signature": signature,
        "body": [_element(element) for element in record.body],
    }


def _reference(record: model.Record) -> Raw:
    return Raw(f"RECORDS[{quoted(key(record))}]")


def _by_type() -> Table:
    found: dict[str, Table] = {"libxl": {}, "libxc": {}}
    for record in ALL_RECORDS:
        if record.type_id is not None:
            found[record.layer][Raw(record.type_id)] = _reference(record)
    return found


def _choices() -> Table:
    table: Table = {}
    for state, (rows, otherwise) in machine.CHOICES.items():
        choices: list[Table] = []
        for what, led_to in rows:
            if isinstance(what, machine.Head):
                choices.append({"type_id": what.type_id, "body_length": what.body_length, "state": led_to.name})
            else:
                choices.append({"text": what, "state": led_to.name})
        table[state.name] = {"rows": choices, "otherwise": otherwise.name if otherwise is not None else None}
    return table


def _nested(rows: Mapping[tuple[machine.State, str], Any]) -> Table:
    table: Table = {}
    for (state, name), value in rows.items():
        table.setdefault(state.name, {})[name] = value.name if isinstance(value, machine.State) else value
    return table


def _ordered(states: Iterable[machine.State]) -> Table:
    return {state.name: True for state in sorted(states)}


def machine_table() -> Table:
    """Return the protocol tables of :mod:`dissector.wire.machine`, states by name."""
    return {
        "MESSAGES": {state.name: _reference(record) for state, record in machine.MESSAGES.items()},
        "RECORDS": {
            state.name: {number: _reference(record) for number, record in table.items()}
            for state, table in machine.RECORDS.items()
        },
        "LAYER": {state.name: layer for state, layer in machine.LAYER.items()},
        "NEXT": _nested(machine.NEXT),
        "NEXT_BARE": _nested(machine.NEXT_BARE),
        "ENDS": _ordered(machine.ENDS),
        "CHOICES": _choices(),
        "REVERSE": _ordered(machine.REVERSE_STATES),
        "ONCE_STATES": _ordered(machine.ONCE_STATES),
        "BACK_CHANNEL_ORDER": machine.BACK_CHANNEL_ORDER,
        "ENTRY": {state.name: entry for state, entry in machine.ENTRY.items()},
        "MODES": _nested(machine.MODES),
        "RESYNC_STATE": {".".join(name): state.name for name, state in machine.RESYNC_STATE.items()},
    }


_RULE: Final = ("id", "severity", "text", "section", "number")
"""What of a rule the Wireshark dissector needs."""


def _rules() -> dict[str, Rule]:
    return {name: value for name, value in vars(findings).items() if isinstance(value, findings.Rule)}


def _found() -> list[Rule]:
    """Every rule that the plugin knows."""
    return [*_rules().values(), *(rule for rule in rules.RULES if not rule.beyond_wireshark)]


def condition_table(one: Condition) -> Table:
    """Return when a record breaks a rule as a Lua table."""
    return {
        "id": one.rule.id,
        "on": [key(record) for record in one.on],
        "field": one.field or None,
        "zero": one.zero or None,
        "ones": one.ones or None,
        "allowed": one.allowed,
        "forbidden": one.forbidden,
        "maximum": one.maximum,
        "tells": one.tells or None,
        "said": one.said.removesuffix("{}") or None,
        "length": None if one.length is None else _length(one.length),
        "behind": None if one.behind is None else key(one.behind),
        "when": one.when,
    }


def constants() -> Table:
    """Return the numbers and texts of the specification that the parts need by name."""
    return {
        "REC_LENGTH_MAX": libxc.REC_LENGTH_MAX,
        "PAGE_SIZE": libxc.PAGE_SIZE,
        "LARGEST_PAGE_DATA": libxc.LARGEST_PAGE_DATA,
        "MAX_BATCH_SIZE": libxc.MAX_BATCH_SIZE,
        "XL_MAGIC": xl.XL_MAGIC,
        "LIBXL_IDENT": libxl.LIBXL_IDENT,
        "STREAMV2": xl.STREAMV2,
        "OPTIONAL_RECORD": model.OPTIONAL_RECORD,
        "DATA_PAGE_TYPES": dict.fromkeys(sorted(libxc.DATA_PAGE_TYPES), True),
        "PAGE_TYPE": libxc.PAGE_TYPE.values,
        "HVM_PARAM": hvm.HVM_PARAM.values,
        "HVM_PARAMS_SENT": dict.fromkeys(sorted(releases.HVM_PARAMS_SENT), True),
        "HVM_SAVE_TYPE": hvm.HVM_SAVE_TYPE.values,
        "SECTION_LENGTHS": {
            code: [length for _, length in one.lengths] for code, one in releases.SECTION_LENGTHS.items()
        },
        "OPEN_SECTIONS": {
            code: {"minimum": one.minimum, "step": one.step, "said": str(one)}
            for code, one in releases.OPEN_SECTIONS.items()
        },
        "LAST_SECTION": releases.LAST_SECTION,
        "LONGEST_JSON": members.LONGEST,
        "LARGEST_MEMBER": members.LARGEST,
    }


def tables() -> Table:
    """Return everything that is generated, by the name of the local it becomes."""
    return {
        "RECORDS": {key(record): record_table(record) for record in ALL_RECORDS},
        "ALL_RECORDS": [_reference(record) for record in ALL_RECORDS],
        "BY_TYPE": _by_type(),
        "MACHINE": machine_table(),
        "LIMITS": dataclasses.asdict(Limits()),
        "RULES": {rule.id: {name: getattr(rule, name) for name in _RULE} for rule in _found()},
        "FINDING": {name: rule.id for name, rule in _rules().items()},
        "CONDITIONS": [condition_table(one) for one in CONDITIONS],
        "CONST": constants(),
        "FIELDS": [field_row(name) for name in filter_names.ALL],
    }


# -- the file --------------------------------------------------------------------------------------------------------


def _part(name: str) -> str:
    text = (resources.files("dissector") / "templates" / f"{name}.lua").read_text("utf-8")
    return text.removeprefix(_LICENCE_LINE).strip() + "\n"


@cache
def generate() -> str:
    """Return the whole text of ``xenmig.lua``."""
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    source = (resources.files("dissector") / "templates" / "xenmig.lua.j2").read_text("utf-8")
    written = {name: literal(value) for name, value in tables().items()}
    return environment.from_string(source).render(
        tables=written, part=_part, pure=PURE, rest=WIRESHARK, meanings=_TABLE_MEANINGS
    )


_TABLE_MEANINGS = {
    "RECORDS": "Every header, message and record of the stream, by layer and name, with its body.",
    "ALL_RECORDS": "The same in the order of the specification.",
    "BY_TYPE": "The same by layer and type number.",
    "MACHINE": "The protocol law: what is read in each state, and which state follows.",
    "LIMITS": "How much is remembered, in bytes unless the name says otherwise.",
    "RULES": "What may be found, by id.",
    "FINDING": "The ids by the names they have in the source.",
    "CONDITIONS": "When a record breaks a rule; see check.",
    "CONST": "Numbers and texts of the specification.",
    "FIELDS": "Every display-filter name.",
}
