# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays conversations over a link, as two processes with TCP between them: the bytes of a capture, in their order.

A conversation is cut into turns. A side sends its turn when it has received all bytes of the turns before, so what the
two sides say is ordered as in the capture: the COLO back channel answers what it answered then.

    with Link() as link:
        play(link, conversation("hvm-colo-xl"), version=6)
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from tests.live.link import Link
    from tests.live.peer import Plan

PEER: Final = Path(__file__).with_name("peer.py")
TIMEOUT: Final = 60.0
"""Seconds that a side waits for bytes or for the other side."""

Turn = tuple[str, int, int]
"""Direction, first byte, and byte behind the last one."""

Place = tuple[str, int]
"""Direction and byte."""


class Conversation(NamedTuple):
    """What two sides say to each other.

    Attributes:
        forward: Bytes from the sender of the migration.
        reverse: Bytes from its receiver.
        turns: Who speaks when: the turns of each direction follow on each other.
        opener: Direction of the first SYN; the other side listens.
        close: Who ends it: ``forward`` or ``reverse`` sends its FIN first; ``reset``: forward sends RST. A capture that
            shows no end is played with ``forward``.
        port: Where the listening side listened.
    """

    forward: bytes
    reverse: bytes
    turns: tuple[Turn, ...]
    opener: str = "forward"
    close: str = "forward"
    port: int = 8002


@dataclass(frozen=True)
class Flood:
    """A large stream of one direction, as ``bench/stream.py`` writes it.

    Attributes:
        size: Bytes, about.
        kind: Of its PAGE_DATA records.
        checkpoints: Of Remus; 0: a plain migration.
        port: Where the receiver listens.
    """

    size: int
    kind: str = "1024-page"
    checkpoints: int = 0
    port: int = 49152


@dataclass(frozen=True)
class Manner:
    """How a conversation is played.

    Attributes:
        version: Of IP.
        port: Where the listening side listens; None: as the conversation says; 0: any free one.
        write: Bytes of each write, sent at once; 0: as much as the socket takes.
        read: Bytes of each read at most; 0: as much as has come.
        receive_buffer: SO_RCVBUF of both sides: a small one makes the sending side wait; 0: as the kernel likes.
        rate: Bits per second that each side sends at most; 0: all there is.
        read_rate: Bits per second that each side reads at most.
        holds: (direction, byte): both sides stop before this byte until `Play.release`.
        stalls: (direction, byte): only who receives this byte stops before it, so the other side runs into a full
            window; `Play.held` and `Play.release` of that side.
        timeout: Seconds after which a side gives up.
    """

    version: int = 4
    port: int | None = None
    write: int = 0
    read: int = 0
    receive_buffer: int = 0
    rate: float = 0
    read_rate: float = 0
    holds: tuple[Place, ...] = ()
    stalls: tuple[Place, ...] = ()
    timeout: float = TIMEOUT


@dataclass(frozen=True)
class Played:
    """What was played, as the two sides tell it: forward is what the sender of the migration did.

    Attributes:
        forward: Bytes sent forward.
        reverse: Bytes sent back.
        port: Where the listening side listened.
        opener_port: The port of the other side.
        seconds: Of a flood: until its last byte was read.
        records: Of a flood: records of each ``layer TYPE``.
    """

    forward: int
    reverse: int
    port: int
    opener_port: int
    seconds: float = 0.0
    records: dict[str, int] = field(default_factory=dict)


class Play:
    """Two processes that play a conversation; a context manager that starts them.

    Args:
        link: between whom.
        what: a conversation, or a large stream.
        manner: how; arguments by name replace parts of it.
    """

    def __init__(self, link: Link, what: Conversation | Flood, manner: Manner | None = None, **changes: Any) -> None:
        self.what = what
        self.manner = replace(manner or Manner(), **changes)
        self._link = link
        self._sides: dict[str, subprocess.Popen[bytes]] = {}
        self.port = 0
        """Where the listening side listens."""
        self.opener_port = 0
        """Of the side that connects."""

    def __enter__(self) -> Self:
        """Start both sides; they go on until the first hold, or until all bytes have arrived."""
        opener = self.what.opener if isinstance(self.what, Conversation) else "forward"
        listener = "reverse" if opener == "forward" else "forward"
        try:
            self._start(listener, "listen")
            self.port = int(self._heard(listener, "listening"))
            self._start(opener, "connect")
            self.opener_port = int(self._heard(opener, "bound"))
            for side in (opener, listener):
                self._heard(side, "connected")
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still plays."""
        self._kill()

    def held(self, *sides: str) -> None:
        """Wait until both sides, or those named, are at the next hold: all bytes before it have arrived there."""
        for side in sides or self._sides:
            self._heard(side, "held")

    def release(self, *sides: str) -> None:
        """Let both sides, or those named, go on from a hold."""
        for side in sides or self._sides:
            self._say(side)

    def finish(self) -> Played:
        """Wait until all bytes have arrived, end the connection, and tell what was played.

        Raises:
            AssertionError: other bytes arrived than were sent.
        """
        facts = {side: json.loads(self._heard(side, "played")) for side in ("forward", "reverse")}
        self._compare(facts)
        for side in self._sides:
            self._say(side)
        for side, child in self._sides.items():
            assert child.wait(self.manner.timeout) == 0, f"{side} failed"
        one, other = facts["forward"], facts["reverse"]
        more = {"seconds": other["seconds"], "records": one["records"]} if isinstance(self.what, Flood) else {}
        return Played(one["sent"], other["sent"], self.port, self.opener_port, **more)

    def _compare(self, facts: dict[str, Any]) -> None:
        for side, other in (("forward", "reverse"), ("reverse", "forward")):
            assert facts[side]["sent"] == facts[other]["received"], facts
            if isinstance(self.what, Conversation):
                data = self.what.forward if side == "forward" else self.what.reverse
                assert facts[side]["sent"] == len(data), facts
                assert facts[other]["sha256"] == hashlib.sha256(data).hexdigest(), facts

    def _start(self, side: str, role: str) -> None:
        ends = self._link.ends if side == "forward" else self._link.ends[::-1]
        data = b"" if isinstance(self.what, Flood) else self.what.forward if side == "forward" else self.what.reverse
        told = plan(self.what, self.manner, side, role)
        told |= {"address": ends[0].address(self.manner.version), "other_address": ends[1].address(self.manner.version)}
        if role == "connect":
            told |= {"port": 0, "other_port": self.port}
        child = ends[0].start(sys.executable, "-P", PEER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._sides[side] = child
        pipe = _pipe(child.stdin)
        pipe.write(json.dumps(told).encode() + b"\n")
        pipe.write(data)
        pipe.flush()

    def _heard(self, side: str, word: str) -> str:
        """Wait for a word of a side; return what follows it."""
        line = _pipe(self._sides[side].stdout).readline().decode()
        first, _, rest = line.strip().partition(" ")
        if first != word:
            raise RuntimeError(f"the {side} side said {line!r}, not {word!r}")
        return rest

    def _say(self, side: str) -> None:
        pipe = _pipe(self._sides[side].stdin)
        pipe.write(b"on\n")
        pipe.flush()

    def _kill(self) -> None:
        for child in self._sides.values():
            if child.poll() is None:
                child.kill()
            child.wait()


def plan(what: Conversation | Flood, manner: Manner, side: str, role: str) -> Plan:
    """Write down what one side is to do; addresses are added by whoever knows them."""
    told: Plan = {
        "side": side,
        "role": role,
        "version": manner.version,
        "port": what.port if manner.port is None else manner.port,
        "write": manner.write,
        "read": manner.read,
        "receive_buffer": manner.receive_buffer,
        "rate": manner.rate,
        "read_rate": manner.read_rate,
        "timeout": manner.timeout,
        "flood": None,
        "bytes": 0,
    }
    if isinstance(what, Flood):
        return told | {"flood": {"size": what.size, "kind": what.kind, "checkpoints": what.checkpoints}}
    stalls = tuple(place for place in manner.stalls if place[0] != side)
    closes = {("reset", "forward"): "reset", ("forward", "forward"): "first", ("reverse", "reverse"): "first"}
    return told | {
        "bytes": len(what.forward if side == "forward" else what.reverse),
        "turns": list(_with_holds(what.turns, (*manner.holds, *stalls))),
        "close": closes.get((what.close, side), "second"),
    }


def _with_holds(turns: tuple[Turn, ...], holds: tuple[Place, ...]) -> Iterator[Turn]:
    """Cut the turns where a side is to stop."""
    for direction, first, end in turns:
        start = first
        for place in sorted(place for where, place in holds if where == direction and first <= place < end):
            if place > start:
                yield direction, start, place
            yield "hold", place, place
            start = place
        yield direction, start, end


def play(link: Link, what: Conversation | Flood, manner: Manner | None = None, **changes: Any) -> Played:
    """Play a conversation to its end."""
    with Play(link, what, manner, **changes) as one:
        return one.finish()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
