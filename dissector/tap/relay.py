# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a command with both directions of its standard input and output passing through, byte for byte.

Whoever waits on one end waits for the other end, as without the relay; a direction that ends or breaks ends or breaks
on the other side and leaves the other direction alone.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import stat
import subprocess
import termios
import threading
from typing import TYPE_CHECKING, Final, Protocol

from dissector.tap.tee import tee

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from dissector.tap.synthetic import Side

READ_BYTES: Final = 1 << 20
SPLICE_BYTES: Final = 1 << 20
PIPE_BYTES: Final = 1 << 20
NOT_FOUND: Final = 127
NOT_RUN: Final = 126
"""Exit status when the command does not exist and when it can not be run, as of a shell."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Passed on to the command; what it does then decides."""

_FORWARD_SECONDS: Final = 0.5
_BROKEN: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL
_NO_SPLICE: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)


class Observer(Protocol):
    """Is told what passes; it must return at once, whatever happens."""

    watching: bool
    """Whether it wants to be told any more: who is not watched is faster."""

    @property
    def order(self) -> AbstractContextManager[object]:
        """What is held while something is handed on before `passed` is called: an answer can not be told first."""

    def passed(self, side: Side, data: bytes) -> None:
        """Side 0 (who started the command) or 1 (the command) sent something; it is about to be handed on."""

    def taken(self, side: Side, count: int) -> None:
        """The other side has taken so many bytes of it. This one may take its time."""

    def ended(self, side: Side, *, broken: bool, unread: int = 0) -> None:
        """A direction is over: `side` closed it, or (broken) the other side takes no more, and left bytes unread."""


class Relay:
    """A running command and the two threads that carry.

    Args:
        argv: the command.
        observer: who is told what passes.

    Raises:
        OSError: the command can not be started.
    """

    def __init__(self, argv: Sequence[str], observer: Observer) -> None:
        _occupy_standard_descriptors()
        self._observer = observer
        self._ended = False
        self._hurry = threading.Event()
        self._caught: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._handlers = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        their_input, to_command = os.pipe()
        from_command, their_output = os.pipe()
        try:
            # Inherited descriptors stay open: the command is to find what it would find without us.
            self._process = subprocess.Popen(
                argv, stdin=their_input, stdout=their_output, close_fds=False, restore_signals=True
            )
        except (OSError, ValueError):
            self._restore()
            os.close(to_command)
            os.close(from_command)
            raise
        finally:
            os.close(their_input)
            os.close(their_output)
        for number in self._caught:
            self._process.send_signal(number)
        for fd in (0, 1, to_command, from_command):
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._forward = threading.Thread(target=self._carry, args=(0, to_command, 0), name="forward", daemon=True)
        self._reverse = threading.Thread(target=self._carry, args=(from_command, 1, 1), name="reverse", daemon=True)

    def run(self) -> int:
        """Carry until the command has ended and everything it wrote was handed on.

        What the other side still sends to a command that has ended is left alone.

        Returns:
            The exit status as a shell gives it: 128 + N when the command died of signal N.
        """
        self._forward.start()
        self._reverse.start()
        assert self._process is not None
        status = self._process.wait()
        # A child of the command may hold its output open. Who reads it waits for the end, so wait too.
        while self._reverse.is_alive() and not self._hurry.is_set():
            self._reverse.join(1)
        # This one sees the command's input close; only if a child of the command holds it open, it does not.
        self._forward.join(_FORWARD_SECONDS)
        self._restore()
        return 128 - status if status < 0 else status

    def _pass_on(self, number: int, _frame: object) -> None:
        process = self._process
        if process is None:
            self._caught.append(number)
        elif process.returncode is None:
            process.send_signal(number)
        else:
            self._hurry.set()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _carry(self, source: int, sink: int, side: Side) -> None:
        broken, unread = True, 0
        try:
            broken = _carry(source, sink, side, self._observer)
        finally:
            if broken:
                unread = _unread(sink)
            _finish(source, socket.SHUT_RD, keep=side == 0)
            _finish(sink, socket.SHUT_WR, keep=side == 1)
            self._observer.ended(side, broken=broken, unread=unread)


def _carry(source: int, sink: int, side: Side, observer: Observer) -> bool:
    """Carry from one descriptor to another; return True when the sink broke, False at the end of the source."""
    either = select.poll()
    either.register(source, select.POLLIN)
    either.register(sink, 0)
    splicing = teeing = True
    while True:
        # To see the sink break even while there is nothing to carry: the source is then told at once.
        if any(fd == sink and happened & _BROKEN for fd, happened in either.poll()):
            return True
        if not observer.watching and splicing:
            try:
                if not os.splice(source, sink, SPLICE_BYTES):
                    return False
            except BlockingIOError:
                # The source had something to give: the sink is full.
                _wait_for_room(sink)
            except OSError as error:
                if error.errno not in _NO_SPLICE:
                    return error.errno != errno.EIO
                splicing = False
            continue
        if teeing:
            try:
                if not (count := _tee(source, sink, side, observer)):
                    return False
                observer.taken(side, count)
            except (BlockingIOError, InterruptedError):
                _wait_for_room(sink)
            except OSError as error:
                if error.errno not in _NO_SPLICE:
                    return True
                teeing = False
            continue
        try:
            data = os.read(source, READ_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            return False
        if not data:
            return False
        observer.passed(side, data)
        count = 0
        try:
            count = os.write(sink, data)
            if count < len(data):
                count += _write_rest(sink, memoryview(data)[count:])
        except BlockingIOError:
            try:
                count = _write_rest(sink, memoryview(data))
            except OSError:
                return True
        except OSError:
            return True
        observer.taken(side, count)


def _tee(source: int, sink: int, side: Side, observer: Observer) -> int:
    """Carry from pipe to pipe, and read what was carried; return how many bytes, 0 at the end of the source.

    Spares a copy: the pages that the sender filled are those that the other side reads.

    Raises:
        OSError: see :func:`dissector.tap.tee.tee`; nothing was carried.
    """
    with observer.order:
        count = left = tee(source, sink, READ_BYTES)
        while left:
            data = os.read(source, left)
            if not data:
                break  # somebody else read from it
            observer.passed(side, data)
            left -= len(data)
    return count


def _write_rest(sink: int, rest: memoryview) -> int:
    total = len(rest)
    while rest:
        try:
            rest = rest[os.write(sink, rest) :]
        except BlockingIOError:
            _wait_for_room(sink)
    return total


def _wait_for_room(sink: int) -> None:
    room = select.poll()
    room.register(sink, select.POLLOUT)
    room.poll()


def _unread(sink: int) -> int:
    """Count the bytes in a pipe that nobody will read; 0 if it is no pipe."""
    count = array.array("i", [0])
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(sink).st_mode):
            fcntl.ioctl(sink, termios.FIONREAD, count)
    return count[0]


def _finish(fd: int, how: int, *, keep: bool) -> None:
    """Close a descriptor; `keep`: its number stays taken, so that no other file gets 0 or 1."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            # Closing is not enough: descriptors 0 and 1 may be one socket.
            with socket.socket(fileno=os.dup(fd)) as one:
                one.shutdown(how)
    with contextlib.suppress(OSError):
        if keep:
            nothing = os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)
            os.dup2(nothing, fd)
            os.close(nothing)
        else:
            os.close(fd)


def _occupy_standard_descriptors() -> None:
    """Put something where descriptors 0 to 2 are closed: a pipe to the command must not get such a number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # Reading gives the end of the file; writing to 1 fails, as to one that is closed.
            nothing = os.open(os.devnull, os.O_RDWR if fd == 2 else os.O_RDONLY)
            os.set_inheritable(nothing, True)
            if nothing != fd:
                os.dup2(nothing, fd)
                os.close(nothing)
