# SPDX-License-Identifier: GPL-2.0-or-later
"""Every field of a record with its value, name and meaning, as Wireshark's middle pane shows them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from dissector.sinks import OneByOne
from dissector.sinks.clock import TimeStyle, rfc3339
from dissector.sinks.colour import Palette, printable
from dissector.sinks.hexdump import hexdump
from dissector.sinks.loss import lost_bytes, lost_pfns
from dissector.sinks.pfns import runs, wrapped
from dissector.sinks.text import TextSink, utf8_stream
from dissector.spec import BY_NAME
from dissector.spec.libxc import PFN_MASK
from dissector.spec.model import RECORD_HEADER, Array, Bytes, Field, Numbers, PfnList, Skip, StringPairs
from dissector.wire import codec, events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dissector.sinks import Output
    from dissector.spec.model import Enum, Flags
    from dissector.wire.codec import ByteOrder, Node
    from dissector.wire.events import Event

INDENT: Final = 4
NAME_WIDTH: Final = 20
VALUE_WIDTH: Final = 34
BYTES_SHOWN: Final = 16
PFN_LINES: Final = 4
"""Lines of pfn runs shown without --pfns."""


class TreeSink(OneByOne):
    """Writes the line of each event and below the line of a record its fields."""

    def __init__(
        self,
        stream: Output,
        palette: Palette,
        *,
        time: TimeStyle = "utc",
        pfns: bool = False,
        dump: bool = False,
    ) -> None:
        self._lines = TextSink(stream, palette, time=time)
        self._write = stream.write
        self._paint = palette.paint
        self._pfns = pfns
        self._dump = dump
        self._ascii = not utf8_stream(stream)

    def write(self, event: Event) -> None:
        """Write an event."""
        self._lines.write(event)
        if isinstance(event, events.Record):
            self._record(event)

    def close(self) -> None:
        """Write what was held back."""
        self._lines.close()

    def _row(self, depth: int, name: str, value: str, meaning: str = "") -> None:
        value = printable(value)
        if self._ascii:
            value = value.encode("ascii", "backslashreplace").decode()
        indent = " " * (INDENT * depth)
        left = self._paint("name", name) + " " * max(1, NAME_WIDTH - len(name))
        right = " " * max(2, VALUE_WIDTH - len(value)) + self._paint("meaning", meaning) if meaning else ""
        self._write(f"{indent}{left}{value}{right}\n")

    def _record(self, record: events.Record) -> None:
        definition = record.definition
        filter_name = definition.filter_name if (record.layer, record.type) in BY_NAME else "xenmig.type_id"
        self._row(1, record.type, definition.meaning, f"{filter_name} (stream.md {definition.section})")
        self._row(1, "evidence", self._evidence(record))
        if record.complete is False:
            self._lost(record)
        if record.type_id is not None:
            kind, length = RECORD_HEADER
            self._row(1, kind.name, f"{record.type_id:#x} {record.type}", kind.meaning)
            self._row(1, length.name, f"{record.body_length:,}", length.meaning)
        for name, value in record.extra.items():
            self._row(1, name, str(value))
        nodes = list(codec.walk(definition, record.body, record.order))
        if record.body_length is not None and len(record.body) < record.body_length:  # who knows what is inside
            nodes = [node._replace(layout=None) for node in nodes]
        self._structure(1, nodes, record.order)
        if self._dump and record.body:
            kept = len(record.body)
            whole = record.body_length if record.body_length is not None else record.size
            self._row(1, "bytes", f"{kept:,} of {whole:,}" if kept < whole else f"{kept:,}")
            for line in hexdump(record.body, record.offset + record.header_size):
                self._write(f"{' ' * 2 * INDENT}{self._paint('dim', line)}\n")
        self._write("\n")

    def _evidence(self, record: events.Record) -> str:
        said = []
        if record.first_frame:
            last = f"-{record.last_frame}" if record.last_frame != record.first_frame else ""
            said.append(f"frame{'s' if last else ''} {record.first_frame}{last}")
        begin, end = rfc3339(record.time), rfc3339(record.time_end)
        if begin:
            said.append(begin if end is None or end == begin else f"{begin} to {end}")
        said.append(f"{record.direction} stream bytes {record.offset}-{record.offset + record.size - 1}")
        return ", ".join(said)

    def _lost(self, record: events.Record) -> None:
        ranges = ", ".join(f"{length} at {offset}" for offset, length in record.lost)
        said = f"{lost_bytes(record)} bytes: {ranges}" if ranges else "the stream ends inside this record"
        self._row(1, "lost", said)
        pages = lost_pfns(record)
        if pages is None:
            self._row(1, "pages not whole", "unknown, part of the pfn list is missing")
        elif pages:
            self._lines_below(1, "pages not whole", wrapped((f"{pfn:#x}" for pfn in pages), 80))

    def _lines_below(self, depth: int, name: str, lines: Iterator[str]) -> None:
        for number, line in enumerate(lines):
            self._row(depth, "" if number else name, line)

    def _structure(self, depth: int, nodes: Iterable[Node], order: ByteOrder) -> None:
        """Write the elements of one structure; the names of a value may depend on those before it."""
        seen: dict[str, int] = {}
        for node in nodes:
            element = node.element
            if isinstance(element, Field):
                names = codec.names_among(element, seen)
                self._row(depth, element.name, number_text(element, names, node.value), element.meaning)
                seen[element.name] = node.value
            else:
                self._node(depth, node, order)

    def _node(self, depth: int, node: Node, order: ByteOrder) -> None:
        element = node.element
        match element:
            case Bytes():
                self._bytes(depth, element, node.value)
                self._inside(depth, node, order)
            case Numbers():
                texts = (f"{value:#x}" if element.hexadecimal else str(value) for value in node.value)
                self._lines_below(depth, element.name, wrapped(texts, 80))
            case PfnList():
                self._pfn_list(depth, element, node.value, order)
            case Array():
                self._row(depth, element.name, f"{len(node.value)} entries", element.meaning)
                for number, item in enumerate(node.value):
                    self._item(depth + 1, f"[{number}]", item, order)
            case StringPairs():
                self._row(depth, element.name, f"{len(node.value)} pairs", element.meaning)
                for key, value in node.value:
                    self._row(depth + 1, _text(key), _text(value))

    def _item(self, depth: int, name: str, item: Sequence[Node], order: ByteOrder) -> None:
        """Write one structure of a list on one line, and below it what has more to say."""
        cells = [_cell(node) for node in item if node.layout is None and not isinstance(node.element, Skip)]
        self._row(depth, name, ", ".join(cells))
        seen: dict[str, int] = {}
        for node in item:
            self._inside(depth, node, order)
            if isinstance(node.element, Field):
                if node.element.names_by is not None:
                    names = codec.names_among(node.element, seen)
                    said = codec.name_of(names, node.value) if names is not None else ""
                    self._lines_below(depth + 1, node.element.name, wrapped(said.split(", "), 80))
                seen[node.element.name] = node.value

    def _inside(self, depth: int, node: Node, order: ByteOrder) -> None:
        if node.layout is not None:
            self._row(depth + 1, node.layout.key, f"{node.size:,} bytes", node.layout.meaning)
            self._structure(depth + 2, codec.inside(node, order), order)

    def _bytes(self, depth: int, element: Bytes, value: bytes) -> None:
        if not element.text:
            self._row(depth, element.name, bytes_text(value), element.meaning)
            return
        text = _text(value.rstrip(b"\0"))
        if text.lstrip().startswith("{"):
            self._row(depth, element.name, f"{len(value)} bytes", element.meaning)
            self._config(depth + 1, text)
        else:
            self._row(depth, element.name, f'"{text}"', element.meaning)

    def _config(self, depth: int, text: str) -> None:
        import json

        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=self._ascii)
        for line in text.splitlines():
            self._write(f"{' ' * (INDENT * depth)}{printable(line)}\n")

    def _pfn_list(self, depth: int, element: PfnList, raw: bytes, order: ByteOrder) -> None:
        count = len(raw) // 8
        if not count:
            self._row(depth, element.name, "empty", element.meaning)
            return
        mask = PFN_MASK if element.typed else (1 << 64) - 1
        first, last = int.from_bytes(raw[:8], order) & mask, int.from_bytes(raw[-8:], order) & mask
        self._row(depth, element.name, f"{count} entries, {first:#x} to {last:#x}", element.meaning)
        if element.typed:
            for name, number in codec.type_counts(raw, order).items():
                self._row(depth + 1, name, str(number))
        for number, line in enumerate(wrapped(runs(raw, order, typed=element.typed), 80)):
            if number == PFN_LINES and not self._pfns:
                self._row(depth + 1, "", "… (all of them with --pfns)")
                break
            self._row(depth + 1, "", line)


def field_text(field: Field, value: int) -> str:
    """Write the value of a field, with its name when it has one."""
    return number_text(field, field.names, value)


def number_text(field: Field, names: Enum | Flags | None, value: int) -> str:
    """Write the value of a field, with its name among `names` when it has one."""
    number = f"{value:#x}" if field.hexadecimal else f"{value:,}" if value >= 10000 else str(value)
    name = codec.name_of(names, value) if names is not None else ""
    return f"{number} {name}" if name else number


def bytes_text(value: bytes) -> str:
    """Write the beginning of a run of bytes."""
    shown = value[:BYTES_SHOWN].hex(" ")
    if len(value) <= BYTES_SHOWN:
        return shown
    return f"{len(value):,} bytes: {shown} …"


def _cell(node: Node) -> str:
    element = node.element
    if isinstance(element, Field):
        return f"{element.name} {field_text(element, node.value)}"
    if isinstance(element, Bytes) and element.text:
        return f'{element.name} "{_text(node.value)}"'
    return f"{element.name} {bytes_text(node.value) or 'empty'}"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
