# SPDX-License-Identifier: GPL-2.0-or-later
"""How a migration ended, as far as the bytes of both directions tell (stream.md 2.4, 2.5, 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.spec import libxc, libxl, rules, xl
from dissector.spec.codes import describe_status

if TYPE_CHECKING:
    from dissector.check.session import Session
    from dissector.spec.findings import Rule
    from dissector.wire.events import Flow, Record

STOPPED: Final = frozenset({"fin", "rst"})
"""Ends of a connection that were seen."""
FILE: Final = "end of file"
_ENDS: Final = {
    "new connection": "another connection takes the place of this one",
    "limit": "a limit of the dissector was reached",
}


class Ending(NamedTuple):
    """How it ended.

    Attributes:
        rule: What kind of end that is.
        text: The same in words.
        record: Where it ended; None if that says nothing.
    """

    rule: Rule
    text: str
    record: Record | None = None


def ending(session: Session, end: Flow, *, damaged: bool) -> Ending:
    """Say how it ended; `damaged`: the file with the capture or stream ends where it should not."""
    if end.entry == "legacy":
        return Ending(rules.NOT_SEEN, "legacy stream: it is not decoded, so how it ended is not known")
    if session.statuses:
        return _reported(session)
    last = session.forward.last
    known = end.end in STOPPED or (end.end == FILE and not damaged)
    if not known or session.end_unseen("forward"):
        return Ending(rules.NOT_SEEN, _not_seen(session, end))
    if "forward" in session.broken:
        behind = f"behind {_name(session, last)}" if last is not None else "at its beginning"
        return Ending(rules.FAILED, f"no receiver can follow the stream {behind}", last)
    if session.forward.count[libxc.CHECKPOINT]:
        return _checkpointed(session, end)
    if last is None:
        return Ending(rules.FAILED, "the sender sent no header" + _behind_banner(session))
    if cut(last) is None:
        if last.definition is xl.GO:
            return _gave_away(session)
        if last.definition is libxl.END:
            return _whole_stream(session, end)
        if last.definition is libxc.END and end.entry == "libxc":
            return Ending(rules.COMPLETED, "the libxc stream is complete")
    # With records missing it may have been Remus or COLO, which end like this.
    return Ending(rules.CUT if session.forward.whole else rules.NOT_SEEN, _stopped(session, end, last), last)


def cut(record: Record) -> int | None:
    """Return how many bytes are missing at the end of a record; None if it is there to its end."""
    if record.complete is not False:
        return None
    if not record.lost:
        return 0
    offset, length = record.lost[-1]
    return length if offset + length >= record.offset + record.size else None


def permission_missing(session: Session, end: Flow) -> bool:
    """Tell whether the target failed without giving the guest back (rule 10)."""
    failed = bool(session.statuses) and bool(session.statuses[-1])
    whole = session.reverse.whole and not session.end_unseen("reverse") and end.end in STOPPED
    return failed and whole and not session.reverse.count[xl.GO]


def _reported(session: Session) -> Ending:
    status = session.statuses[-1]
    if status is None:
        return Ending(rules.NOT_SEEN, "the status byte of the receiver's report is not in the capture")
    if status == 0:
        return Ending(rules.COMPLETED, "completed: the guest runs at the target")
    resumed = session.reverse.count[xl.GO]
    said = (
        "its copy is destroyed and the source may resume the guest" if resumed else "no permission to resume was seen"
    )
    text = f"failed at the target with {describe_status(status)} (status {status}); {said}"
    return Ending(rules.FAILED, text, session.report)


def _not_seen(session: Session, end: Flow) -> str:
    last = session.forward.last
    if last is None:
        return f"nothing of the sender is in the capture{_behind_banner(session)}"
    if session.end_unseen("forward") and end.end in STOPPED:
        where = "the last bytes of the sender are not in the capture"
    else:
        missing = cut(last)
        inside = "behind" if missing is None else "inside"
        where = f"{_ENDS.get(end.end or '', 'the capture ends')} {inside} {_name(session, last)}"
    if session.checkpoints:
        where += f", after {_counted(session.checkpoints)}"
    return f"{where}: how the migration ended is not known"


def _checkpointed(session: Session, end: Flow) -> Ending:
    last = session.forward.last
    assert last is not None
    if last.definition is libxl.END and session.checkpoints:
        return Ending(rules.FAILOVER, f"ended in order after {_counted(session.checkpoints)}, as only Xen 4.6 does")
    where = f"{'behind' if cut(last) is None else 'inside'} {_name(session, last)}"
    if not session.checkpoints and not session.forward.whole:
        return Ending(rules.NOT_SEEN, f"stopped {where}; how many checkpoints were complete is not in the capture")
    if not session.checkpoints:
        return Ending(rules.CUT, f"stopped {where}, before the first checkpoint was complete", last)
    whole = session.forward.whole
    after = f"checkpoint {session.checkpoints}" if whole else f"the {_counted(session.checkpoints)} that were seen"
    said = f"stopped {where}: failover after {after}, or the end of protection"
    if end.closer is not None:
        said += f"; the {'primary' if end.closer == 'forward' else 'secondary'} closed the connection"
    one_list = session.reverse.whole and session.reverse.count[libxc.CHECKPOINT_DIRTY_PFN_LIST] == 1
    if session.long_header and whole and one_list:
        said = (
            f"the session died at checkpoint {session.checkpoints}, {where}: the primary read what the "
            f"{session.long_header}-byte header of the dirty list had left over as a libxl record, and gave up"
        )
        return Ending(rules.FAILED, said, last)
    return Ending(rules.FAILOVER, said, last)


def _gave_away(session: Session) -> Ending:
    if not session.reverse.whole or session.end_unseen("reverse"):
        return Ending(rules.NOT_SEEN, "the sender gave the guest away; the receiver's report is not in the capture")
    reported = "began its report and gave no status" if session.reverse.count[xl.REPORT] else "never reported"
    said = f"the sender gave the guest away, and the receiver {reported}: where the guest runs is not known"
    return Ending(rules.FAILED, said, session.forward.last)


def _whole_stream(session: Session, end: Flow) -> Ending:
    if end.end == FILE:
        return Ending(rules.COMPLETED, "the image is complete")
    if end.entry != "xl":
        return Ending(rules.COMPLETED, "the stream is complete; what became of it is not said on this connection")
    if session.reverse.first is None or session.end_unseen("reverse") or not session.reverse.whole:
        return Ending(rules.NOT_SEEN, "the stream is complete; the receiver's answer is not in the capture")
    if session.reverse.count[xl.READY]:
        said = "the receiver was ready, and the sender gave no GO: the source keeps the guest"
    else:
        said = "the receiver took the whole stream and never became ready: it could not create the domain"
    return Ending(rules.FAILED, said, session.forward.last)


def _stopped(session: Session, end: Flow, last: Record) -> str:
    missing = cut(last)
    name = _name(session, last)
    place = f"behind {name}" if missing is None else f"inside {name}"
    if missing is None and session.stops_at.get("forward") == session.forward.behind:
        place = f"inside the header of what follows {name}"
    if end.end == FILE:
        where = f"the file ends {place}"
    else:
        where = f"the stream stops {place}" if end.closer == "reverse" else f"the source died {place}"
    said = f"{where}, {missing} bytes short" if missing else where
    if end.closer is not None:
        said += f"; {_CLOSERS[end.closer]}"
    return said


_CLOSERS: Final = {
    "forward": "the sender closed the connection: the source failed, or lost its way to the target",
    "reverse": "the receiver closed the connection first: it rejected the stream, or failed",
}


def _behind_banner(session: Session) -> str:
    return " behind the receiver's banner" if session.reverse.count[xl.BANNER] else ""


def _name(session: Session, record: Record) -> str:
    number = f"record {session.forward.count.total()} of the sender, " if session.forward.whole else ""
    return f"{record.layer} {record.type} ({number}offset {record.offset})"


def _counted(checkpoints: int) -> str:
    return f"{checkpoints} checkpoint{'' if checkpoints == 1 else 's'}"
