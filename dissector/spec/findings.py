# SPDX-License-Identifier: GPL-2.0-or-later
"""What the dissector can say about a stream: finding ids, severity, text, and where the rule stands.

Rule numbers are those of stream.md section 7. Ids are stable; texts may be improved. A text may contain named
fields in braces that the place of discovery fills in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warn", "note"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that may be found."""

    id: str
    severity: Severity
    text: str
    section: str
    number: int | None = None
    """Rule number in stream.md section 7."""


LEGACY = Rule("stream.legacy", "note", "{what}: legacy stream, convert it first with convert-legacy-stream", "6", 9)
FRAMING = Rule("stream.framing", "error", "no record head at this place: {what}", "5")
TRAILING = Rule("stream.trailing", "warn", "bytes after the end of the stream", "5.1", 97)
RECORD_CUT = Rule("stream.record_cut", "error", "the stream ends inside {what}, {missing} bytes short", "5.1", 98)
UNEXPECTED = Rule("stream.unexpected", "error", "{what} does not belong here", "5")
REVERSE_UNKNOWN = Rule("stream.reverse_unknown", "warn", "the receiver sends no xl or COLO message", "5.2")
UNKNOWN_RECORD = Rule("record.unknown", "error", "unknown mandatory {layer} record type {type_id:#x}", "4.3", 43)
UNKNOWN_OPTIONAL = Rule("record.unknown_optional", "note", "unknown optional record type {type_id:#x}", "4.3", 44)
RECORD_LENGTH = Rule("record.length", "error", "{what}: body_length {length}, expected {expected}", "4.4")
BIG_ENDIAN = Rule("stream.big_endian", "error", "{layer} records are big endian; no receiver accepts that", "4.1", 35)
DIRTY_HEADER = Rule(
    "libxc.checkpoint_dirty_pfn_list.header",
    "error",
    "list sent with a {size}-byte record header (Xen 4.18 and later, commit efe8de1f91)",
    "4.6",
    93,
)
MESSAGE = Rule("xl.message", "error", "{what} is not the text a peer waits for", "2.1", 10)

SNAPLEN = Rule("capture.snaplen", "warn", "frames were cut by the capture's snap length; bytes are missing", "")
SLIM = Rule("capture.slim", "note", "page contents were cut out of this capture on purpose; pages can not be read", "")
SKIM = Rule(
    "capture.skim",
    "note",
    "{unseen} of {size} bytes of the capture ({share} %) were not looked at; what happens there is unknown",
    "",
)
DROPPED = Rule("capture.dropped", "warn", "the capture lost {count} packets that came faster than it took them", "")
CAPTURE_CUT = Rule("capture.cut", "warn", "{what}", "")
MALFORMED = Rule("capture.malformed", "note", "{count} frames have broken IP or TCP headers", "")
LINKTYPE = Rule("capture.linktype", "warn", "link type {linktype} is not supported; its frames are left out", "")

LIMIT_BODY = Rule("limit.body", "warn", "{what}: only the first {kept} bytes of the body are kept", "")
LIMIT_FLOW = Rule("limit.flow_buffer", "warn", "more than {limit} bytes wait behind a hole; it is taken as lost", "")
LIMIT_TOTAL = Rule("limit.total_buffer", "warn", "more than {limit} bytes wait in all flows; hole given up", "")
LIMIT_HOLES = Rule("limit.holes", "warn", "more than {limit} open holes; the oldest is taken as lost", "")
LIMIT_LOST = Rule("limit.lost_ranges", "warn", "more than {limit} lost ranges; neighbouring ones are joined", "")
LIMIT_FLOWS = Rule("limit.flows", "warn", "more than {limit} connections; the oldest is ended", "")
LIMIT_SEARCH = Rule("limit.search", "note", "no record head within {limit} bytes; taken as no migration", "")
LIMIT_BEHIND = Rule("limit.behind", "warn", "the dissector fell behind the capture; bytes were not searched", "")
LIMIT_FRAGMENTS = Rule("limit.fragments", "note", "{count} IP fragments never became a whole datagram", "")

RULES: tuple[Rule, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
