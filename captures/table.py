# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of cases: a decorated function makes one capture, its docstring says what that proves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from captures.files import pcap
from captures.network import Link, Segment, converse
from captures.packets import Packet, Style, travel
from captures.streams import Conversation
from captures.truth import file_truth, flow_truth

Damage = Callable[[list[Segment], Conversation], list[Segment]]
Write = Callable[[Sequence[Packet]], bytes]


@dataclass
class Made:
    """Contents of a case: file name suffix -> bytes before compression, and the truth about them."""

    files: dict[str, bytes]
    flows: list[dict[str, Any]]
    frames: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    what: str
    make: Callable[[], Made]


CASES: dict[str, Case] = {}


def case(make: Callable[[], Made]) -> Callable[[], Made]:
    """Enter a function into the table: its name with dashes names the files, its docstring says what they prove."""
    name = make.__name__.replace("_", "-")
    CASES[name] = Case(name, (make.__doc__ or "").strip().removesuffix("."), make)
    return make


def connection(
    conversation: Conversation,
    link: Link | None = None,
    style: Style | None = None,
    *,
    damage: Damage | None = None,
    thin: Callable[[list[Packet]], list[Packet]] | None = None,
    suffix: str = ".pcap.gz",
    write: Write = pcap,
    notes: dict[str, Any] | None = None,
    **truth: Any,
) -> Made:
    """One conversation over one connection in one file; ``damage`` is for segments, ``thin`` for frames."""
    link = link or Link()
    segments = converse(conversation, link)
    if damage:
        segments = damage(segments, conversation)
    packets = travel(segments, link, style)
    if thin:
        packets = thin(packets)
    flow = flow_truth(conversation, link, packets, **truth)
    return Made({suffix: write(packets)}, [flow], len(packets), notes or {})


def image(conversation: Conversation, suffix: str, **notes: Any) -> Made:
    """Put the forward bytes in a file, without a network."""
    return Made({suffix: bytes(conversation.forward.data)}, [file_truth(conversation)], 0, notes)
