# SPDX-License-Identifier: GPL-2.0-or-later
"""How a slim capture says what was taken out of it: comments that people can read in Wireshark, and readers parse.

A slim capture has page contents cut out on purpose. The comment of its section header says so, and how:

- ``cut``: every packet is there, those inside page contents only up to their TCP header;
- ``heads``: packets wholly inside page contents are left out. The next packet of the same direction, or the interface
  statistics at the end of the file, has a comment that says which stream bytes were in them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Slim: TypeAlias = Literal["", "cut", "heads"]

SECTION_COMMENTS: Final[dict[Slim, str]] = {
    "cut": "xendissect slim=cut: packets inside page contents end behind their TCP header",
    "heads": "xendissect slim=heads: packets inside page contents are left out",
}
_SECTION: Final = re.compile(r"^xendissect slim=(cut|heads)\b", re.MULTILINE)
_LEFT_OUT: Final = re.compile(
    r"xendissect left out (\d{1,19}) bytes from sequence number (\d{1,10}) of (\S+):(\d{1,5}) > (\S+):(\d{1,5})"
    r"(?:, the last at (\d{1,20}))?(?:, acknowledged up to (\d{1,10}))?"
)
SNAPPED: Final = "xendissect: not cut here, but by the snap length of the capture"
"""Comment of a packet in a slim capture whose payload is cut for another reason."""


class LeftOut(NamedTuple):
    """Stream bytes whose packets were captured, but are not in the file.

    Attributes:
        key: Connection key of the direction, as in `dissector.wire.frame.Segment`.
        seq: Sequence number of the first byte.
        length: How many bytes; 0 when only acknowledgements were left out.
        time: Capture time of the last packet with such bytes, nanoseconds since the epoch; None: not known.
        ack: What the other direction acknowledged last; -1: nothing.
    """

    key: bytes
    seq: int
    length: int
    time: int | None
    ack: int

    def comment(self) -> str:
        """Say it in a line of a comment."""
        import socket  # a few milliseconds of start-up that most runs do not need

        half = (len(self.key) - 4) // 2
        family = socket.AF_INET if half == 4 else socket.AF_INET6
        source, target = (socket.inet_ntop(family, self.key[at : at + half]) for at in (0, half))
        ports = [int.from_bytes(self.key[at : at + 2], "big") for at in (2 * half, 2 * half + 2)]
        place = f"{source}:{ports[0]} > {target}:{ports[1]}"
        said = f"xendissect left out {self.length} bytes from sequence number {self.seq} of {place}"
        if self.time is not None:
            said += f", the last at {self.time}"
        return said if self.ack < 0 else f"{said}, acknowledged up to {self.ack}"


def stronger(one: Slim, other: Slim) -> Slim:
    """Return how a capture is slim that was made slim in both ways."""
    return "heads" if "heads" in (one, other) else one or other


def section_slim(comment: str) -> Slim:
    """Tell from the comment of a section how it was made slim; empty when it was not."""
    found = _SECTION.search(comment)
    if found is None:
        return ""
    return "cut" if found[1] == "cut" else "heads"


def left_out(comment: str) -> Iterator[LeftOut]:
    """Read the comment of a packet or of interface statistics: what each line says, if it says that."""
    for found in _LEFT_OUT.finditer(comment):
        mark = _mark(*found.groups())
        if mark is not None:
            yield mark


def _mark(length: str, seq: str, *more: str | None) -> LeftOut | None:
    import socket

    ends, (time, ack) = [text or "" for text in more[:4]], more[4:]
    family = socket.AF_INET6 if ":" in ends[0] else socket.AF_INET
    try:
        addresses = b"".join(socket.inet_pton(family, ends[at]) for at in (0, 2))
        ports = b"".join(int(ends[at]).to_bytes(2, "big") for at in (1, 3))
    except (OSError, OverflowError):
        return None
    acknowledged = -1 if ack is None else int(ack) & 0xFFFFFFFF
    return LeftOut(addresses + ports, int(seq) & 0xFFFFFFFF, int(length), int(time) if time else None, acknowledged)
