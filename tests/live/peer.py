# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a played TCP conversation: ``python peer.py``, started by ``replay.py`` inside a namespace.

It is told a plan (a line of JSON on standard input, the bytes that it sends behind it) and tells, line by line, how far
it is: ``listening PORT``, ``connected``, ``held``, ``played {…}``. ``held`` waits for a line, and ``played`` for one
before the connection is closed.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, Final, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

Plan: TypeAlias = dict[str, Any]
LARGEST_READ: Final = 1 << 20
LARGEST_WRITE: Final = 1 << 16


class Pace:
    """A token bucket: lets no more than a bit rate through, by the clock.

    Args:
        rate: bits per second; 0: all there is.
    """

    def __init__(self, rate: float) -> None:
        self._seconds_per_byte = 8 / rate if rate else 0.0
        self._due = time.monotonic()

    def wait(self, size: int) -> None:
        """Wait until `size` more bytes may go."""
        if not self._seconds_per_byte:
            return
        now = time.monotonic()
        if self._due > now:
            time.sleep(self._due - now)
        self._due = max(self._due, now - 0.01) + size * self._seconds_per_byte  # late: at most 10 ms are made up for


class Side:
    """Plays the turns of a plan over a connection.

    Args:
        plan: see `replay.plan`.
        data: the bytes to send.
        link: the connection.
    """

    def __init__(self, plan: Plan, data: bytes, link: socket.socket) -> None:
        self._plan, self._data, self._link = plan, memoryview(data), link
        self._digest = hashlib.sha256()
        self._buffer = memoryview(bytearray(plan["read"] or LARGEST_READ))
        self._reading, self._writing = Pace(plan["read_rate"]), Pace(plan["rate"])
        self._piece = plan["write"] or LARGEST_WRITE
        self.sent = self.received = 0

    def play(self) -> None:
        """Go through all turns."""
        for direction, start, end in self._plan["turns"]:
            if direction == "hold":
                tell("held")
                heed()
            elif direction == self._plan["side"]:
                self.send(self._data[start:end])
            else:
                self.receive(end)

    def send(self, data: memoryview) -> None:
        """Send bytes, piece by piece; waits as long as the other side does not take them."""
        for at in range(0, len(data), self._piece):
            piece = data[at : at + self._piece]
            self._writing.wait(len(piece))
            self._link.sendall(piece)
            self.sent += len(piece)

    def receive(self, until: int) -> None:
        """Read until so many bytes have come in all.

        Raises:
            EOFError: the connection ended before.
        """
        while self.received < until:
            size = self._link.recv_into(self._buffer[: until - self.received])
            if not size:
                raise EOFError(f"{self._plan['side']}: {until - self.received} bytes never came")
            self._digest.update(self._buffer[:size])
            self.received += size
            self._reading.wait(size)

    def close(self) -> None:
        """End the connection as the plan says, when both sides have all bytes: this side first, or the other."""
        if self._plan["close"] == "first":
            self._link.shutdown(socket.SHUT_WR)
        elif self._plan["close"] == "reset":
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._link.close()
            return
        try:
            while self._link.recv(LARGEST_READ):
                pass
        except ConnectionResetError:
            pass
        self._link.close()

    def facts(self) -> dict[str, Any]:
        """Return what was played."""
        return {"sent": self.sent, "received": self.received, "sha256": self._digest.hexdigest()}


class Flood:
    """Plays one direction of a large stream of ``bench/stream.py``; who receives it throws it away."""

    def __init__(self, plan: Plan, link: socket.socket) -> None:
        self._plan, self._link = plan, link
        self.sent = self.received = 0
        self.seconds = 0.0
        self.records: dict[str, int] = {}

    def play(self) -> None:
        """Send or take all of it."""
        begin = time.monotonic()
        if self._plan["side"] == "forward":
            self._send()
        else:
            buffer = bytearray(LARGEST_READ)
            while size := self._link.recv_into(buffer):
                self.received += size
        self.seconds = time.monotonic() - begin

    def _send(self) -> None:
        from bench.stream import Stream

        about = self._plan["flood"]
        stream = Stream(about["size"], about["kind"], about["checkpoints"])
        pace, write = Pace(self._plan["rate"]), self._plan["write"] or LARGEST_WRITE
        for piece in stream.pieces():
            for at in range(0, len(piece), write):
                part = piece[at : at + write]
                pace.wait(len(part))
                self._link.sendall(part)
        self.sent, self.records = stream.offset, dict(stream.records)
        self._link.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def facts(self) -> dict[str, Any]:
        """Return what was played."""
        return {"sent": self.sent, "received": self.received, "seconds": self.seconds, "records": self.records}


def tell(word: str) -> None:
    """Say how far this side is."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def heed() -> None:
    """Wait for word; whoever started this is gone when none comes."""
    if not sys.stdin.buffer.readline():
        raise SystemExit(1)


def prepared(plan: Plan) -> socket.socket:
    """Make the socket, bound to the address of this side."""
    link = socket.socket(socket.AF_INET6 if plan["version"] == 6 else socket.AF_INET)
    link.settimeout(plan["timeout"])
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if plan["receive_buffer"]:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, plan["receive_buffer"])
    link.bind((plan["address"], plan["port"]))
    return link


def connected(plan: Plan) -> socket.socket:
    """Wait for the other side, or connect to it."""
    link = prepared(plan)
    if plan["role"] == "listen":
        link.listen(1)
        tell(f"listening {link.getsockname()[1]}")
        taken, _ = link.accept()
        taken.settimeout(plan["timeout"])
        link.close()
        link = taken
    else:
        tell(f"bound {link.getsockname()[1]}")
        link.connect((plan["other_address"], plan["other_port"]))
    if plan["write"]:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tell("connected")
    return link


def main() -> int:
    """Play the plan on standard input."""
    plan: Plan = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read(plan["bytes"])
    link = connected(plan)
    side = Flood(plan, link) if plan["flood"] else Side(plan, data, link)
    side.play()
    tell(f"played {json.dumps(side.facts())}")
    heed()
    side.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
