# SPDX-License-Identifier: GPL-2.0-or-later
"""Single records and flows, as the engine would hand them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dissector.check.session import Session
from dissector.spec import libxc
from dissector.spec.model import padded
from dissector.wire.events import Flow, Record

if TYPE_CHECKING:
    from dissector.spec import model


def flow(**more: Any) -> Flow:
    given: dict[str, Any] = {
        "flow": 0,
        "phase": "begin",
        "sender": ("192.0.2.1", 1),
        "receiver": ("192.0.2.2", 2),
        "start": "syn",
        "begun": ("forward", "reverse"),
    }
    if more.get("start") == "mid-stream":
        given["begun"] = ()
    return Flow(**(given | {"entry": "xl", "mode": "unknown", "time": 1, "frame": 1} | more))


def the_end_behind(definition: model.Record) -> tuple[Record, Session]:
    """END, met right behind the only other record of a stream, and what is known then."""
    session = Session(flow())
    first = made(definition)
    session.meet(first)
    session.take(first)
    end = made(libxc.END, offset=session.forward.behind)
    session.meet(end)
    return end, session


def made(
    definition: model.Record,
    body: bytes = b"",
    *,
    length: int | None = None,
    offset: int = 0,
    direction: Any = "forward",
    complete: bool = True,
    size: int | None = None,
    order: Any = "little",
    header_size: int = 8,
    **extra: Any,
) -> Record:
    typed = definition.type_id is not None
    length = len(body) if length is None else length
    whole = header_size + padded(length) if typed else length
    return Record(
        flow=0,
        direction=direction,
        layer=definition.layer,
        type=definition.name,
        type_id=definition.type_id,
        offset=offset,
        size=whole if size is None else size,
        body_length=length if typed else None,
        time=1,
        time_end=1,
        first_frame=1,
        last_frame=1,
        complete=complete,
        lost=() if complete else ((offset + header_size + len(body), 1),),
        definition=definition,
        order=order,
        body=body,
        header_size=header_size if typed else 0,
        extra=extra,
    )
