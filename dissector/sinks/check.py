# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check found: a block per migration, findings grouped and counted, the worst first, and how it ended."""

from __future__ import annotations

import textwrap
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from dissector.sinks import OneByOne
from dissector.sinks.colour import Palette, printable
from dissector.sinks.facts import counted, facts
from dissector.sinks.hexdump import WIDTH, hexdump
from dissector.sinks.summary import MODE_TEXTS, loss_text
from dissector.sinks.text import ARROWS, ASCII_ARROWS, ENTRY_TEXTS, endpoint, utf8_stream
from dissector.wire.events import Finding, Flow, Record, Summary, Total
from dissector.wire.heads import HEADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dissector.sinks import Output
    from dissector.wire.events import Event

RANK: Final = {"error": 0, "warn": 1, "note": 2}
NOUNS: Final = {"error": "error", "warn": "warning", "note": "note"}
RECENT: Final = 32
"""Records of a direction that are remembered, to name the last good one."""
LIGHT: Final = 1 << 16
"""Bytes of body that such a record may have."""
PLACES: Final = 3
"""Places of a group that are shown with -v."""
MANY_PLACES: Final = 50
"""The same with -vv."""
ROWS_BEFORE, ROWS_BEHIND = 1, 3
"""Rows of the dump around the row that holds the place."""
ENDING: Final = "ending."
CAPTURE, LIMIT = "capture.", "limit."
WIDE: Final = 120
"""Columns of explanations where the width of the output is not known."""


@dataclass(slots=True)
class _Group:
    """Findings of one rule in one direction of one migration.

    Attributes:
        first: The first of them.
        count: How many.
        dumps: Lines about the first few places, made when they were found.
    """

    first: Finding
    count: int = 0
    dumps: list[list[str]] = field(default_factory=list)


@dataclass(slots=True)
class _Block:
    """One migration, or (flow None) the capture as a whole."""

    flow: Flow | None = None
    summary: Summary | None = None
    groups: dict[tuple[str, str | None], _Group] = field(default_factory=dict)
    ending: _Group | None = None
    severity: str = ""
    """Of the first error; before there is one, of the first warning."""
    wrong: str = ""
    """Where and what that is."""
    good: str = ""
    """The record before it."""
    recent: dict[str, deque[Record | None]] = field(default_factory=dict)
    """Records of either direction; None for one whose body is too big to be kept."""


class CheckSink(OneByOne):
    """Collects findings and writes them at the end; single records are not shown.

    Args:
        stream: Where to.
        palette: Colours.
        verbose: 1: explain each rule and show the bytes of the place; 2: show more places.
        width: Columns to fold lines to; 0: one line for each finding, whatever its length.
        separate: Something else stands in front of it.
    """

    def __init__(
        self, stream: Output, palette: Palette, *, verbose: int = 0, width: int = 0, separate: bool = False
    ) -> None:
        self._out = stream.write
        self._separate = separate
        self._paint = palette.paint
        self._verbose = verbose
        self._width = width
        self._ascii = not utf8_stream(stream)
        self._arrows = ASCII_ARROWS if self._ascii else ARROWS
        self._blocks: dict[int | None, _Block] = {}
        self._total: Total | None = None

    def write(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Record):
            block = self._blocks.setdefault(event.flow, _Block())
            light = event if len(event.body) <= LIGHT else None
            block.recent.setdefault(event.direction, deque(maxlen=RECENT)).append(light)
        elif isinstance(event, Finding):
            self._finding(event)
        elif isinstance(event, Flow):
            block = self._blocks.setdefault(event.flow, _Block())
            block.flow = event if block.flow is None else block.flow
        elif isinstance(event, Summary):
            block = self._blocks.setdefault(event.flow, _Block())
            block.summary = event
            block.recent.clear()
        elif isinstance(event, Total):
            self._total = event

    def _finding(self, finding: Finding) -> None:
        block = self._blocks.setdefault(finding.flow, _Block())
        if finding.id.startswith(ENDING):
            group = block.ending = _Group(replace(finding, record=None))
        else:
            group = block.groups.setdefault((finding.id, finding.direction), _Group(replace(finding, record=None)))
        group.count += 1
        if self._verbose and len(group.dumps) < (PLACES if self._verbose == 1 else MANY_PLACES):
            lines = list(place_lines(finding))
            group.dumps += [lines] if lines else []
        worse = not block.severity or (block.severity == "warn" and finding.severity == "error")
        of_capture = finding.id.startswith((CAPTURE, LIMIT))
        if finding.severity != "note" and finding.offset is not None and worse and not of_capture:
            block.severity = finding.severity
            block.wrong = self._wrong(finding)
            block.good = _last_good(block, finding)

    def close(self) -> None:
        """Write everything."""
        if self._separate:
            self._out("\n")
        for number in sorted(self._blocks, key=lambda one: -1 if one is None else one):
            self._block(self._blocks[number])
        if self._total is not None:
            self._line(self._total_line(self._total))

    # -- a block -----------------------------------------------------------------------------------------------------

    def _block(self, block: _Block) -> None:
        if block.flow is not None:
            self._folded("", 0, self._title(block), "strong", hang=2)
        groups = sorted(block.groups.values(), key=lambda group: RANK[group.first.severity])
        for group in groups:
            self._group(group)
        if block.flow is None and not groups:
            return
        if block.wrong and block.flow is not None:
            self._row("first wrong", block.wrong, "strong")
            self._row("last good", block.good or "nothing: it is the first record", "")
        if unseen := _unseen(block):
            self._row("not seen", unseen, "lost")
        if block.ending is not None:
            ending = block.ending.first
            mark = "" if ending.severity == "note" else f"{ending.severity}: "
            self._row("ended", f"{mark}{printable(ending.text)} [{ending.id}]", ending.severity)
            if self._verbose and ending.severity != "note":
                self._explanation(block.ending)
        self._out("\n")

    def _title(self, block: _Block) -> str:
        assert block.flow is not None
        sender, receiver = endpoint(*block.flow.sender), endpoint(*block.flow.receiver)
        ends = f" {sender} {self._arrows['forward']} {receiver}" if sender else ""
        summary = block.summary
        if summary is None:
            return f"flow {block.flow.flow}{ends}"
        what = [MODE_TEXTS[summary.mode], ENTRY_TEXTS.get(summary.entry, summary.entry)]
        what += [f"{summary.guest} guest"] if summary.guest else []
        what += [f"from Xen {summary.xen}"] if summary.xen else []
        records = sum(summary.records.values())
        what.append(f"{records:,} record{'' if records == 1 else 's'}")
        return f"flow {block.flow.flow}{ends}: {', '.join(what)}"

    def _group(self, group: _Group) -> None:
        first = group.first
        head = f"{first.severity:<5} {f'{group.count}x' if group.count > 1 else '':>5} "
        place = self._place(first)
        text = f"{place} {printable(first.text)} [{first.id}]"
        self._folded(self._paint(first.severity, f"  {head}"), 2 + len(head), text)
        if self._verbose:
            self._explanation(group)

    def _place(self, finding: Finding) -> str:
        if finding.direction is None or finding.offset is None:
            return "-" if finding.direction is None else self._arrows[finding.direction]
        said = f"{self._arrows[finding.direction]} {finding.offset}"
        return f"{said} (frame {finding.frame})" if finding.frame else said

    def _explanation(self, group: _Group) -> None:
        rule = group.first.rule
        number = f"rule {rule.number}, " if rule.number is not None else ""
        section = f"{number}section {rule.section} of the format description" if rule.section else ""
        for label, text in (("why", rule.why), ("releases", rule.releases), ("rule", section)):
            if text:
                self._folded(f"{'':14}{self._paint('dim', f'{label:<9}')}", 23, text, width=self._width or WIDE)
        for title, *lines in group.dumps:
            self._folded(f"{'':14}{self._paint('dim', 'record   ')}", 23, title, width=self._width or WIDE)
            for line in lines:
                self._out(f"  {self._shown(line)}\n")
        if group.dumps and group.count > len(group.dumps):
            self._out(f"{'':14}and {counted(group.count - len(group.dumps), 'more place')}\n")

    def _wrong(self, finding: Finding) -> str:
        record = finding.record
        name = f"{record.layer} {record.type} at {record.offset}, " if record is not None else ""
        return f"{name}{self._place(finding)}: {finding.id}"

    def _row(self, label: str, text: str, style: str) -> None:
        self._folded(f"  {self._paint('dim', f'{label:<12}')}", 14, text, style)

    def _folded(
        self, head: str, indent: int, text: str, style: str = "", *, width: int | None = None, hang: int = 0
    ) -> None:
        """Write `head`, which is `indent` columns wide, and a text beside it; lines after the first `hang` deeper."""
        text = self._shown(text)
        room = (self._width if width is None else width) - indent - hang
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) if room >= 20 else [text]
        for number, line in enumerate(lines or [""]):
            self._out(f"{' ' * (indent + hang) if number else head}{self._paint(style, line)}\n")

    def _line(self, text: str) -> None:
        self._folded("", 0, text)

    def _total_line(self, total: Total) -> str:
        said = [counted(total.flows, "migration") if total.flows else "no Xen migration found"]
        counts = [counted(total.findings[name], noun) for name, noun in NOUNS.items() if total.findings.get(name)]
        return ", ".join([*said, *(counts or ["nothing to report"])])

    def _shown(self, text: str) -> str:
        return text.encode("ascii", "backslashreplace").decode("ascii") if self._ascii else text


def _unseen(block: _Block) -> str:
    """Say what of a migration is not in the capture."""
    said = ["what came before the capture"] if block.flow is not None and block.flow.start == "mid-stream" else []
    summary = block.summary
    if summary is not None and any((*summary.lost.values(), *summary.skipped.values())):
        said.append(loss_text(summary))
    return f"{', '.join(said)}; what is missing is not judged" if said else ""


def _last_good(block: _Block, finding: Finding) -> str:
    """Name the record before the one that a finding is about."""
    place = finding.record.offset if finding.record is not None else finding.offset
    for record in reversed(block.recent.get(finding.direction or "", ())):
        if record is not None and place is not None and record.offset + record.size <= place:
            said = facts(record)
            frame = f" (frame {record.first_frame})" if record.first_frame else ""
            return f"{record.layer} {record.type} at {record.offset}{frame}" + (f", {said}" if said else "")
    return ""


# -- the place ---------------------------------------------------------------------------------------------------------


def wire_bytes(record: Record) -> bytes:
    """Return the bytes of a record from its header on, as far as they are kept."""
    if record.type_id is None or record.body_length is None:
        return record.body
    head = HEADS[record.order].pack(record.type_id, record.body_length)
    stray = bytes.fromhex(str(record.extra.get("stray", "")))
    data = head + stray + record.body
    whole = len(record.body) == record.body_length and not record.lost
    return data + bytes.fromhex(str(record.extra.get("padding", ""))) if whole else data


def place_lines(finding: Finding) -> Iterator[str]:
    """Say which record a finding is about and show the bytes around the place, the first of them marked."""
    record = finding.record
    if record is None or finding.offset is None:
        return
    last = f"-{record.last_frame}" if record.last_frame != record.first_frame else ""
    frames = f"frame{'s' if last else ''} {record.first_frame}{last}, " if record.first_frame else ""
    what = f"{record.direction} stream bytes {record.offset}-{record.offset + record.size - 1}"
    yield f"{record.layer} {record.type}: {frames}{what}"
    data = wire_bytes(record)
    at = finding.offset - record.offset
    if not 0 <= at < len(data):
        return
    row = at // WIDTH
    start = max(0, row - ROWS_BEFORE) * WIDTH
    for number, line in enumerate(hexdump(data[start : (row + 1 + ROWS_BEHIND) * WIDTH], record.offset + start)):
        here = start // WIDTH + number == row
        yield f"{'>' if here else ' '} {line}"
        if here:
            column = at % WIDTH
            yield f"  {'':{10 + 3 * column + (column >= WIDTH // 2)}}^^"
