# SPDX-License-Identifier: GPL-2.0-or-later
"""From the tree of a packet (tshark -T json) to the events of :mod:`dissector.wire.events`.

Only the JSON form of tshark's output keeps the nesting: in EK the fields of all records of a frame lie side by side
under the same keys, and a JSON reader keeps the last of them (docs/pyshark.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dissector.pyshark_tools.found import WiresharkFinding, WiresharkGap, WiresharkRecord, WiresharkResync
from dissector.spec import BY_NAME
from dissector.spec.findings import RULES
from dissector.spec.model import Array, Bytes, Element, Field, Numbers, PfnList, StringPairs
from dissector.wire import codec
from dissector.wire.unit import unknown_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dissector.pyshark_tools.found import WiresharkEvent
    from dissector.spec.findings import Rule
    from dissector.spec.model import Record as Definition

Tree: TypeAlias = "Mapping[str, Any]"
Times: TypeAlias = "Callable[[int], int | None]"

_RULES: Final[Mapping[str, Rule]] = {rule.id: rule for rule in RULES}
_FRACTION: Final = re.compile(r"\.(\d{1,9})\d*")


def packet_events(packet: Any, *, times: Times | None = None) -> list[WiresharkEvent]:
    """Return the events of one pyshark packet that was made with :func:`pyshark_options`.

    Args:
        packet: a packet of pyshark's, from JSON.
        times: capture time (ns) of a frame; without it only the time of this packet's frame is known.
    """
    layers = [layer for layer in packet.layers if layer.layer_name == "xenmig"]
    # As tshark gave it: the accessors of pyshark lose the nesting of lists.
    roots = [one._all_fields for layer in layers for one in (layer, *layer.duplicate_layers)]
    return tree_events(roots, int(packet.number), frame_time(packet.sniff_timestamp), lambda: packet, times)


def tree_events(
    roots: list[Tree], frame: int, time: int | None, packet: Callable[[], Any], times: Times | None = None
) -> list[WiresharkEvent]:
    """Return the events of the trees of one frame."""
    reader = _Frame(frame, time, packet, times)
    return [event for root in roots for event in reader.events(root)]


def frame_time(shown: str) -> int | None:
    """Read ``frame.time_epoch``: seconds, or RFC 3339 from Wireshark 4.6 on."""
    fraction = match[1] if (match := _FRACTION.search(shown)) else ""
    whole = shown.partition(".")[0].removesuffix("Z")
    try:
        seconds = int(whole) if whole.isdigit() else int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))


# -- reading a tree --------------------------------------------------------------------------------------------------


def _many(tree: Tree, name: str) -> list[Any]:
    found = tree.get(name, [])
    return found if isinstance(found, list) else [found]


def _trees(tree: Tree, name: str) -> list[Tree]:
    """Return the children of the items of a name: in ``NAME_tree`` if the item has a value, else in ``NAME``."""
    below = _many(tree, f"{name}_tree")
    return below or [one if isinstance(one, dict) else {} for one in _many(tree, name)]


def _integer(tree: Tree, name: str) -> int | None:
    found = _many(tree, name)
    return int(found[0], 0) if found else None


def _certain(tree: Tree, name: str) -> int:
    return int(tree[name], 0)


def _text(shown: str) -> str:
    """Undo what the dissector does for Wireshark, whose texts end at a NUL."""
    return shown.replace("␀", "\0")


def definition_of(layer: str, name: str, type_id: int | None) -> Definition:
    """Return the definition of a record by what it is called."""
    return BY_NAME.get((layer, name)) or unknown_record(layer, type_id or 0)


@dataclass(slots=True)
class _Frame:
    """The frame that is read."""

    number: int
    time: int | None
    packet: Callable[[], Any]
    times: Times | None

    def at(self, frame: int) -> int | None:
        if frame == self.number and self.time is not None:
            return self.time
        return self.times(frame) if self.times is not None else None

    def events(self, root: Tree) -> Iterator[WiresharkEvent]:
        flow = _certain(root, "xenmig.flow")
        records = [
            self.record(flow, name, tree)
            for name in root
            for tree in _many(root, name)
            if isinstance(tree, dict) and "xenmig.offset" in tree
        ]
        yield from sorted(records, key=lambda record: record.offset)
        yield from self.notes(flow, root)

    def record(self, flow: int, prefix: str, tree: Tree) -> WiresharkRecord:
        type_id = _integer(tree, "xenmig.type_id")
        definition = definition_of(tree["xenmig.layer"], tree["xenmig.type"], type_id)
        first = _certain(tree, "xenmig.first_frame")
        last = _integer(tree, "xenmig.last_frame") or 0
        values = _elements(definition.body, tree, prefix)
        extra = _extra(tree, prefix)
        [lost] = _trees(tree, "xenmig.lost") or [{}]
        parts = zip(_many(lost, "xenmig.lost.offset"), _many(lost, "xenmig.lost.length"), strict=True)
        return WiresharkRecord(
            flow=flow,
            direction=tree["xenmig.direction"],
            layer=definition.layer,
            type=tree["xenmig.type"],
            type_id=type_id,
            offset=_certain(tree, "xenmig.offset"),
            size=_certain(tree, "xenmig.size"),
            body_length=_integer(tree, "xenmig.body_length"),
            time=self.at(first),
            time_end=self.at(last),
            first_frame=first,
            last_frame=last,
            complete=tree.get("xenmig.complete") in ("1", "True", True),
            lost=tuple((int(offset), int(length)) for offset, length in parts),
            definition=definition,
            order="little",
            body=b"",
            header_size=extra.get("header_size", 8),
            values={**values, **extra},
            lost_pfns=tuple(int(pfn, 0) for pfn in _many(lost, "xenmig.lost.pfn")),
            make_packet=self.packet,
        )

    def notes(self, flow: int, root: Tree) -> Iterator[WiresharkEvent]:
        for length, tree in zip(_many(root, "xenmig.gap.length"), _trees(root, "xenmig.gap.length"), strict=True):
            yield WiresharkGap(
                flow=flow,
                direction=tree["xenmig.gap.direction"],
                offset=_certain(tree, "xenmig.gap.offset"),
                length=int(length),
                reason=tree["xenmig.gap.reason"],
                time=self.time,
                frame=self.number,
                make_packet=self.packet,
            )
        skipped = _many(root, "xenmig.resync.skipped")
        for count, tree in zip(skipped, _trees(root, "xenmig.resync.skipped"), strict=True):
            yield WiresharkResync(
                flow=flow,
                direction=tree["xenmig.resync.direction"],
                offset=_certain(tree, "xenmig.resync.offset"),
                skipped=int(count),
                found=tree.get("xenmig.resync.found", ""),
                time=self.time,
                frame=self.number,
                make_packet=self.packet,
            )
        for id_, tree in zip(_many(root, "xenmig.finding"), _trees(root, "xenmig.finding"), strict=True):
            [expert] = _many(tree, "_ws.expert")
            yield WiresharkFinding(
                rule=_RULES[id_],
                text=expert["_ws.expert.message"],
                flow=flow,
                direction=tree.get("xenmig.finding.direction"),
                offset=_integer(tree, "xenmig.finding.offset"),
                time=self.time,
                frame=self.number,
                make_packet=self.packet,
            )


# -- bodies ----------------------------------------------------------------------------------------------------------


def _elements(elements: tuple[Element, ...], tree: Tree, prefix: str, *, blobs: bool = True) -> dict[str, Any]:
    """Return the ``fields`` of the JSON contract, of what is there; `blobs`: short runs of bytes, not only lengths."""
    values: dict[str, Any] = {}
    for element in elements:
        values.update(_element(element, tree, prefix, blobs=blobs))
        left = _integer(tree, f"{prefix}.{element.name}_rest")
        if left is not None:
            values[f"{element.name}_rest"] = left
    return values


def _element(element: Element, tree: Tree, prefix: str, *, blobs: bool) -> dict[str, Any]:
    name = f"{prefix}.{element.name}"
    match element:
        case Field() if name in tree:
            value = _certain(tree, name)
            names = {} if element.names is None else {f"{element.name}_name": codec.name_of(element.names, value)}
            return {element.name: value, **names}
        case Bytes(text=True) if name in tree:
            return {element.name: _text(tree[name]), **_members(element, tree, prefix)}
        case Bytes(text=False) if f"{name}_length" in tree:
            length = _certain(tree, f"{name}_length")
            small = blobs and name in tree and length <= codec.BLOB_SHOWN
            shown = {element.name: tree[name].replace(":", "")} if small else {}
            return {f"{element.name}_length": length, **shown, **_inside(element, tree, prefix)}
        case Array() if f"{name}_count" in tree:
            return {element.name: [_elements(element.items, one, name, blobs=blobs) for one in _trees(tree, name)]}
        case Numbers() if name in tree:
            return {element.name: [int(number, 0) for number in _many(tree, name)]}
        case StringPairs() if name in tree:
            pairs = _trees(tree, name)
            return {element.name: {_text(one[f"{name}.key"]): _text(one[f"{name}.value"]) for one in pairs}}
        case PfnList():
            return _pfn_list(element, tree, prefix)
    return {}


def _members(element: Bytes, tree: Tree, prefix: str) -> dict[str, Any]:
    """Return what is shown of a text in JSON, in the order of the definition."""
    numbers = {member.name for member in element.members if member.kind == "number"}
    names = [f"{element.name}_error", *(member.name for member in element.members)]
    shown = ((name, tree.get(f"{prefix}.{name}")) for name in names)
    return {name: int(text) if name in numbers else _text(text) for name, text in shown if text is not None}


def _inside(element: Bytes, tree: Tree, prefix: str) -> dict[str, Any]:
    """Return what is inside of bytes, where that is brief."""
    layouts = element.inside.layouts.values() if element.inside is not None else ()
    return {
        layout.key: _elements(layout.body, below, f"{prefix}.{layout.key}", blobs=False)
        for layout in layouts
        if layout.brief
        for below in _trees(tree, f"{prefix}.{layout.key}")
    }


def _pfn_list(element: PfnList, tree: Tree, prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    names = ["count"] if element.count is None else []
    for name in (*names, "first_pfn", "last_pfn", "data_pages"):
        value = _integer(tree, f"{prefix}.{name}")
        if value is not None:
            values[name] = value
    if f"{prefix}.types" in tree:
        counts = (one.partition("=") for one in tree[f"{prefix}.types"].split())
        values["types"] = {name: int(count) for name, _, count in counts}
    for below in _trees(tree, f"{prefix}.runs"):
        if f"{prefix}.{element.name}" in below:
            values[element.name] = [int(pfn, 0) for pfn in _many(below, f"{prefix}.{element.name}")]
    return values


def _extra(tree: Tree, prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if (size := _integer(tree, f"{prefix}.header_size")) is not None:
        values["header_size"] = size
    if f"{prefix}.stray" in tree:
        values["stray"] = tree[f"{prefix}.stray"].replace(":", "")
    if f"{prefix}.header_size_inferred" in tree:
        values["header_size_inferred"] = True
    return values
