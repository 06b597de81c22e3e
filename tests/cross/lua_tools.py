# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Wireshark plugin shows of a capture, in the words of the core's events: both come out as the same `View`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dissector import filter_names
from dissector.sinks.loss import lost_pfns
from dissector.spec.model import Array, Bytes, Field, Flags, Numbers, StringPairs
from dissector.wire import codec
from dissector.wire.events import Finding, Gap, Record, Resync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dissector.wire.events import Event
    from tests.wireshark.tshark import Node

KEPT_OF_BLOB = 65536
"""Bytes of opaque state that the plugin keeps of a record."""

MOST_RUNS = 64
"""Runs of pfns that the plugin names."""


def list_cap(most: int) -> tuple[str, str]:
    """Options so that lists of pfns are shown up to `most` entries."""
    return "-o", f"xenmig.pfn_cap:{most}"


WHOLE = 0xFFFF_FFFF
"""As a cap: lists of pfns are not cut."""

_COMMON = ("direction", "layer", "type", "type_id", "offset", "size", "body_length", "first_frame", "last_frame")

Row = dict[str, Any]
Note = tuple[Any, ...]


@dataclass
class View:
    """Everything a capture is said to hold."""

    records: list[Row] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def sort(self) -> View:
        """Bring both into an order that does not depend on who says it."""
        self.records.sort(key=lambda row: (row["flow"], row["direction"], row["offset"], row["type"]))
        self.notes.sort(key=str)
        return self


def name(row: Row) -> str:
    """A record in a few words."""
    return f"{row['flow']} {row['direction']} {row['offset']} {row['layer']} {row['type']}"


def differences(core: View, lua: View, *, so_far: bool = False) -> list[str]:
    """What one has or says and the other does not.

    Args:
        core: what there is.
        lua: what the plugin shows.
        so_far: of a record that goes on behind the frame that shows it, the plugin need not know more than what came
            until then: neither its last frame nor, but what is lost by then, whether it is complete.
    """
    mine, theirs = ({name(row): row for row in view.records} for view in (core, lua))
    found = [f"only core: {key}" for key in mine.keys() - theirs.keys()]
    found += [f"only plugin: {key}" for key in theirs.keys() - mine.keys()]
    shown = Counter(name(row) for row in lua.records)
    found += [f"{count} times in the plugin: {key}" for key, count in shown.items() if count > 1]
    for key in mine.keys() & theirs.keys():
        one, other = mine[key], {**theirs[key], "shown": None}
        if so_far and one["last_frame"] > theirs[key]["shown"]:
            other |= _future(one, other)
        found += [f"{key}: {text}" for text in _unequal(one, other)]
    notes, shown_notes = Counter(core.notes), Counter(lua.notes)
    found += [f"only core: {note}" for note in (notes - shown_notes).elements()]
    found += [f"only plugin: {note}" for note in (shown_notes - notes).elements()]
    return sorted(found)


def _future(one: Row, other: Row) -> Row:
    """Of a record of the core, what cannot be known yet, if what the other says of that is no contradiction."""
    known = other["complete"] in (None, not other["lost_ranges"])
    known &= all(any(a <= c and c + d <= a + b for a, b in one["lost_ranges"]) for c, d in other["lost_ranges"])
    known &= set(other["lost_pfns"]) <= set(one["lost_pfns"])
    future = ("complete", "last_frame", "lost", "lost_ranges", "lost_pfns")
    return {what: one[what] for what in future} if known else {}


def summary(found: list[str]) -> list[str]:
    """Differences in few words: of records that the plugin lacks, the first of each direction and how many."""
    first: dict[tuple[str, str], list[tuple[int, str]]] = {}
    rest = []
    for text in found:
        match = re.fullmatch(r"only core: (\d+) (\w+) (\d+) (.*)", text)
        if match:
            first.setdefault((match[1], match[2]), []).append((int(match[3]), match[4]))
        else:
            rest.append(text)
    lines = []
    for (flow, direction), records in sorted(first.items()):
        at, what = min(records)
        lines.append(f"{flow} {direction}: {len(records)} from {what} at {at}")
    return lines + rest


def labels(node: Node, depth: int = 0) -> list[tuple[int, str]]:
    """All lines of a tree. (sharkd does not show the hidden message of an expert info, which its label repeats.)"""
    below = [line for child in node.children if child.name != "_ws.expert.message" for line in labels(child, depth + 1)]
    return [(depth, node.label), *below]


def _unequal(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(f"{path}.{what}", one.get(what), other.get(what)) for what in one.keys() | other.keys()]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other else [f"{path[1:]} {_short(one)}, in the plugin {_short(other)}"]
    return [text for where, *pair in pairs for text in _unequal(*pair, where)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}…"


# -- the core ---------------------------------------------------------------------------


def of_core(events: Iterable[Event], cap: int = WHOLE) -> View:
    """View of the core's events, lists of pfns cut to `cap` entries."""
    view = View()
    for event in events:
        match event:
            case Record():
                view.records.append(_core_row(event, cap))
            case Gap():
                view.notes.append(("gap", event.direction, event.offset, event.length, event.reason))
            case Resync():
                view.notes.append(("resync", event.direction, event.offset, event.skipped, event.found))
            case Finding():
                view.notes.append(("finding", event.direction, event.offset, event.id, event.severity))
    return view.sort()


def _core_row(record: Record, cap: int) -> Row:
    row = {what: getattr(record, what) for what in ("flow", *_COMMON, "complete")}
    row["lost"] = sum(length for _, length in record.lost)
    row["lost_ranges"] = list(record.lost)
    row["lost_pfns"] = lost_pfns(record) or []
    row["fields"] = fields = _core_fields(record)
    for path, value in list(fields.items()):
        if isinstance(value, list) and value and isinstance(value[0], int) and not isinstance(value, Several):
            fields |= {path: value[:cap], "runs": _runs(value)}
    return row


def _runs(pfns: list[int]) -> list[tuple[int, int]]:
    """The first runs of pfns that follow each other."""
    runs: list[tuple[int, int]] = []
    for pfn in pfns:
        if runs and runs[-1][1] + 1 == pfn:
            runs[-1] = (runs[-1][0], pfn)
        elif len(runs) == MOST_RUNS:
            break
        else:
            runs.append((pfn, pfn))
    return runs


def _core_fields(record: Record) -> Row:
    """All that the JSON contract has (`read --json -v --pfns`) with whole blobs; names of numbers are left out."""
    found = codec.decode(record.definition, record.body, record.order, record.body_length, pfns=True, deep=True)
    nodes = codec.walk(record.definition, record.body, record.order)
    return _whole({**found, **record.extra}, nodes, record.order)


def _whole(values: Row, nodes: Iterable[codec.Node], order: codec.ByteOrder) -> Row:
    """Leave out ``NAME_name``; text as Wireshark can show it, without NUL; all bytes of blobs, which may lie in lists.

    What is inside of a blob is an item of its own in Wireshark, of which there could be several: a list of one.
    """
    found = dict(values)
    for node in nodes:
        element, name = node.element, node.element.name
        match element:
            case Bytes(text=True):
                for text in (name, *(one.name for one in element.members if one.kind == "text")):
                    if text in found:
                        found[text] = _shown(found[text])
            case Bytes() if node.size:
                found[name] = node.value[:KEPT_OF_BLOB].hex()
                if node.layout is not None and node.layout.key in found:
                    key = node.layout.key
                    found[key] = [_whole(found[key], codec.inside(node, order), order)]
            case Array():
                rows = zip(found[name], node.value, strict=True)
                found[name] = [_whole(row, item, order) for row, item in rows]
            case Numbers():
                found[name] = Several(found[name])
            case StringPairs():
                found[name] = {_shown(key): _shown(text) for key, text in found[name].items()}
            case Field():
                found.pop(f"{name}_name", None)
    return found


class Several(list[int]):
    """Values of one field that is there several times (and no list of pfns)."""


def _shown(text: str) -> str:
    return text.replace("\0", "␀")


# -- the plugin ---------------------------------------------------------------------------

_ROOT = re.compile(r", (forward|reverse), stream offset (-?\d+)$")


_NOTES = {
    "xenmig.gap.length": ("gap", ("direction", "offset", "reason")),
    "xenmig.resync.skipped": ("resync", ("direction", "offset", "found")),
    "xenmig.finding": ("finding", ("direction", "offset", "severity")),
}
"""Name of the item of a note: what it is, and the names of its children."""


def of_trees(trees: Iterable[tuple[int, list[Node]]]) -> View:
    """View of what `Tshark.trees` found, or another program that makes trees of the same form."""
    view = View()
    for frame, roots in trees:
        for root in roots:
            _add_root(view, root, frame)
    return view.sort()


def _add_root(view: View, root: Node, frame: int) -> None:
    match = _ROOT.search(root.label)
    assert match, root.label
    direction = match.group(1)
    for node in root.children:
        if "xenmig.offset" in node:
            row = _row(node)
            row["flow"] = int(root["xenmig.flow"][0])
            assert row["direction"] == direction
            row["shown"] = frame
            view.records.append(row)
        elif node.name in _NOTES:
            what, children = _NOTES[node.name]
            values = [node.show, *(_one(node, f"xenmig.{what}.{child}") for child in children)]
            first, *rest = [int(node.show) if what != "finding" else node.show, *values[1:]]
            assert rest[0] == direction
            view.notes.append((what, *rest[:2], first, *(rest[2:] if rest[2] is not None else [""])))
        else:
            assert node.name in {"xenmig.flow", "xenmig.mode", "xenmig.entry", "xenmig.contents", "_ws.expert"}, (
                node.name
            )


def _value(name: str, shown: str) -> Any:
    """A value in the type of its field."""
    kind = filter_names.BY_NAME[name].type
    if kind == "FT_STRING":
        return shown
    if kind == "FT_BOOLEAN":
        return {"0": False, "1": True, "False": False, "True": True}[shown]
    return shown.replace(":", "") if kind == "FT_BYTES" else int(shown, 0)


def _one(node: Node, name: str) -> Any:
    """Value of a child that is there at most once."""
    values = node.get(name, [])
    assert len(values) <= 1, (name, values)
    return _value(name, values[0]) if values else None


def _row(node: Node) -> Row:
    row: Row = {what: _one(node, f"xenmig.{what}") for what in _COMMON}
    row["complete"] = _one(node, "xenmig.complete")
    row["lost"] = _one(node, "xenmig.lost") or 0
    row["lost_ranges"], row["lost_pfns"] = [], []
    for child in node.children:
        if child.name == "xenmig.lost":
            offsets, lengths = (map(int, child[f"xenmig.lost.{what}"]) for what in ("offset", "length"))
            row["lost_ranges"] = list(zip(offsets, lengths, strict=True))
            row["lost_pfns"] = [int(pfn, 16) for pfn in child.get("xenmig.lost.pfn", [])]
    row["fields"] = _fields(node, node.name)
    return row


def _fields(node: Node, prefix: str) -> Row:
    found: Row = {}
    counts: dict[str, int] = {}
    for child in node.children:
        if not child.name.startswith(f"{prefix}."):
            continue
        path = child.name.removeprefix(f"{prefix}.")
        known = filter_names.BY_NAME[child.name]
        if known.type == "FT_NONE":
            found.setdefault(path, []).append(_fields(child, child.name))
        elif path == "runs":
            _list(found, child, prefix)
        elif path == "types":
            found[path] = _types(child)
        elif f"{child.name}.key" in child:
            found.setdefault(path, {})[child[f"{child.name}.key"][0]] = child[f"{child.name}.value"][0]
        elif path.endswith("_count") and f"{prefix}.{path.removesuffix('_count')}" in filter_names.BY_NAME:
            counts[path.removesuffix("_count")] = int(child.show)
        elif path in found:  # one of several numbers
            if not isinstance(found[path], Several):
                found[path] = Several([found[path]])
            found[path].append(_value(child.name, child.show))
        else:
            found[path] = _value(child.name, child.show)
            if isinstance(known.names, Flags):
                _bits(child, known.names)
    for path, count in counts.items():
        assert len(found.setdefault(path, [])) == count
    return found


def _list(found: Row, node: Node, prefix: str) -> None:
    [name] = {child.name for child in node.children}
    found[name.removeprefix(f"{prefix}.")] = [_value(name, shown) for shown in node[name]]
    spans = [text.partition("-") for text in node.show.partition(" and ")[0].split()]
    found["runs"] = [(int(first, 16), int(last or first, 16)) for first, _, last in spans]


def _types(node: Node) -> Row:
    counts = {kind: int(count) for kind, _, count in (text.partition("=") for text in node.show.split())}
    beside = {child.name.rpartition(".")[2].upper(): int(child.show) for child in node.children}
    assert beside == {kind: count for kind, count in counts.items() if not kind.startswith("0x")}
    return counts


def _bits(node: Node, names: Flags) -> None:
    value = _value(node.name, node.show)
    bits = {child.name.rpartition(".")[2]: _value(child.name, child.show) for child in node.children}
    assert bits == {word.lower(): bool(value >> bit & 1) for bit, word in names.bits.items()}
