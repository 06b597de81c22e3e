# SPDX-License-Identifier: GPL-2.0-or-later
"""What the dissector can say about a stream: finding ids, severity, text, and where the rule stands.

Rule numbers are those of stream.md section 7. Ids are stable; texts may be improved. A text may contain named
fields in braces that the place of discovery fills in.

What the engine itself notices while it reads stands here; what needs a closer look, in :mod:`dissector.spec.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warn", "note"]


class _Blank:
    def __format__(self, spec: str) -> str:
        return "…"


class _Blanks(dict[str, _Blank]):
    def __missing__(self, name: str) -> _Blank:
        return _Blank()


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that may be found."""

    id: str
    severity: Severity
    text: str
    section: str
    number: int | None = None
    """Rule number in stream.md section 7."""
    why: str = ""
    """Why it matters: what a receiver does about it, or what it tells."""
    releases: str = ""
    """Which Xen releases write or judge it so; empty: all that have this stream format."""
    beyond_wireshark: str = ""
    """Why the Wireshark plugin does not look for it; empty: it does."""

    @property
    def says(self) -> str:
        """The text with dots in place of what is filled in."""
        return self.text.format_map(_Blanks())


_FILES = "Wireshark reads files and frames itself"

LEGACY = Rule(
    "stream.legacy",
    "note",
    "{what}: legacy stream, convert it first with convert-legacy-stream",
    "6",
    9,
    why="Streams of Xen 4.5 and older have another format; nothing behind this place is looked at.",
    releases="written by 4.1 to 4.5; 4.6 and later read it through convert-legacy-stream",
)
FRAMING = Rule(
    "stream.framing",
    "error",
    "no record head at this place: {what}",
    "5",
    why="A receiver takes these bytes for a header or record and gives up. Everything behind them is read from the "
    "next place that is certainly a record.",
)
TRAILING = Rule(
    "stream.trailing",
    "warn",
    "bytes after the end of the stream",
    "5.1",
    97,
    why="Nobody reads them. Xen sends nothing behind GO, nor behind the last message of the receiver.",
)
RECORD_CUT = Rule(
    "stream.record_cut",
    "error",
    "the stream ends inside {what}, {missing} bytes short",
    "5.1",
    98,
    why="The sender died, or the connection was lost; the receiver gives up with an unexpected end of file.",
)
UNEXPECTED = Rule("stream.unexpected", "error", "{what} does not belong here", "5", why="A receiver rejects it here.")
REVERSE_UNKNOWN = Rule(
    "stream.reverse_unknown",
    "warn",
    "the receiver sends no xl or COLO message",
    "5.2",
    why="The source of an xl migration waits for the banner and gives up; something else answers on this connection, "
    "such as the message of a login shell.",
)
UNKNOWN_RECORD = Rule(
    "record.unknown",
    "error",
    "unknown mandatory {layer} record type {type_id:#x}",
    "4.3",
    43,
    why="A receiver does not know how to restore it and gives up.",
)
UNKNOWN_OPTIONAL = Rule(
    "record.unknown_optional",
    "note",
    "unknown optional record type {type_id:#x}",
    "4.3",
    44,
    why="A receiver skips it; verify-stream-v2 rejects it.",
)
RECORD_LENGTH = Rule(
    "record.length",
    "error",
    "{what}: body_length {length}, expected {expected}",
    "4.4",
    why="A receiver checks the length of a record before it looks into it.",
)
BIG_ENDIAN = Rule(
    "stream.big_endian",
    "error",
    "{layer} records are big endian; no receiver accepts that",
    "4.1",
    35,
    why="The option exists in the specification only: no Xen tool writes it, and restore refuses it. verify-stream-v2 "
    "never sees it.",
)
DIRTY_HEADER = Rule(
    "libxc.checkpoint_dirty_pfn_list.header",
    "error",
    "list sent with a {size}-byte record header (Xen 4.18 and later, commit efe8de1f91)",
    "4.6",
    93,
    why="The secondary sends the size of a structure in memory, pointer included, in place of 8 bytes. The primary "
    "takes the stray zero word for page 0, loses the last pfn of the list, and reads the 8 bytes that are left over as "
    "the next libxl record: the session dies at this checkpoint. Only the secondary's release matters. Cure: a "
    "secondary of 4.17 or older, or one whose send_checkpoint_dirty_pfn_list is mended.",
    releases="4.18 and later, still in master (16 bytes; 12 with a 32-bit toolstack); 4.7 to 4.17 send 8",
)
MESSAGE = Rule(
    "xl.message",
    "error",
    "{what} is not the text a peer waits for",
    "2.1",
    10,
    why="xl compares these messages byte for byte. Often a login shell or a wrapper prints something into the stream.",
)

SNAPLEN = Rule("capture.snaplen", "warn", "frames were cut by the capture's snap length; bytes are missing", "")
SLIM = Rule(
    "capture.slim",
    "note",
    "page contents were cut out of this capture on purpose; pages can not be read",
    "",
    beyond_wireshark=_FILES,
)
SKIM = Rule(
    "capture.skim",
    "note",
    "{unseen} of {size} bytes of the capture ({share} %) were not looked at; what happens there is unknown",
    "",
    beyond_wireshark=_FILES,
)
DROPPED = Rule(
    "capture.dropped",
    "warn",
    "the capture lost {count} packets that came faster than it took them",
    "",
    beyond_wireshark=_FILES,
)
CAPTURE_CUT = Rule("capture.cut", "warn", "{what}", "", beyond_wireshark=_FILES)
MALFORMED = Rule(
    "capture.malformed", "note", "{count} frames have broken IP or TCP headers", "", beyond_wireshark=_FILES
)
LINKTYPE = Rule(
    "capture.linktype",
    "warn",
    "link type {linktype} is not supported; its frames are left out",
    "",
    beyond_wireshark=_FILES,
)

LIMIT_BODY = Rule("limit.body", "warn", "{what}: only the first {kept} bytes of the body are kept", "")
LIMIT_FLOW = Rule("limit.flow_buffer", "warn", "more than {limit} bytes wait behind a hole; it is taken as lost", "")
LIMIT_TOTAL = Rule("limit.total_buffer", "warn", "more than {limit} bytes wait in all flows; hole given up", "")
LIMIT_HOLES = Rule("limit.holes", "warn", "more than {limit} open holes; the oldest is taken as lost", "")
LIMIT_LOST = Rule("limit.lost_ranges", "warn", "more than {limit} lost ranges; neighbouring ones are joined", "")
LIMIT_FLOWS = Rule(
    "limit.flows", "warn", "more than {limit} connections; the oldest is ended", "", beyond_wireshark=_FILES
)
LIMIT_SEARCH = Rule("limit.search", "note", "no record head within {limit} bytes; taken as no migration", "")
LIMIT_BEHIND = Rule(
    "limit.behind",
    "warn",
    "the dissector fell behind the capture; bytes were not searched",
    "",
    beyond_wireshark=_FILES,
)
LIMIT_FRAGMENTS = Rule(
    "limit.fragments", "note", "{count} IP fragments never became a whole datagram", "", beyond_wireshark=_FILES
)

RULES: tuple[Rule, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
