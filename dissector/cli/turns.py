# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks in processes of their own; what they write is shown as if they had run one after the other.

The task whose turn it is writes through; what later ones write waits, in memory up to `SPOOL_BYTES`, beyond that in a
temporary file without name. Processes, since reading a capture keeps the interpreter busy and threads would take turns.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import sys
import tempfile
from collections import deque
from typing import IO, TYPE_CHECKING, Final

from dissector.cli import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

SPOOL_BYTES: Final = 1 << 18
"""Most bytes of a waiting task's output that are kept in memory."""
AHEAD: Final = 16
"""Tasks per process that may have run, or be running, before it is their turn."""
_PIECE: Final = 1 << 16
_TROUBLE: Final = 2


def in_turn(
    tasks: Sequence[tuple[str, Callable[[TextIO], int]]], processes: int, stdout: TextIO, stderr: TextIO
) -> int:
    """Run tasks, several at a time, and show what they write in their order.

    Args:
        tasks: Name, and what is called in a process of its own with the stream to write to; it writes complaints to
            `sys.stderr` and returns an exit status.
        processes: Most that run at a time.
        stdout: Where the output goes.
        stderr: Where complaints go: those of a task behind what of its output came before its turn.

    Returns:
        The largest exit status. A task that a signal ended counts as 2, and one line says so.

    Raises:
        BrokenPipeError: Nobody reads any more. As after any other exception no task is running then.
    """
    waiting, started = deque(tasks), deque[_Child]()
    status = 0
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or started:
                running = sum(bool(child.pipes) for child in started)
                while waiting and running < processes and len(started) < AHEAD * processes:
                    started.append(_Child(*waiting.popleft(), stdout, stderr, started, selector))
                    running += 1
                started[0].show()
                for key, _ in selector.select():
                    key.data()
                while started and not started[0].pipes:
                    started[0].show()
                    status = max(status, started[0].status())
                    started.popleft()
        finally:
            for child in started:
                child.kill()
    return status


class _Child:
    """A process, and what it has written that was not shown yet."""

    def __init__(
        self,
        name: str,
        task: Callable[[TextIO], int],
        stdout: TextIO,
        stderr: TextIO,
        others: Sequence[_Child],
        selector: selectors.BaseSelector,
    ) -> None:
        self.name = name
        self.pipes: list[int] = []
        """Descriptors from which more may come."""
        self._spools: list[tuple[IO[bytes], TextIO]] = []
        self._stderr = stderr
        self._turn = False
        stdout.flush()
        stderr.flush()
        pairs = [(os.pipe(), target) for target in (stdout, stderr)]
        self._pid = os.fork()
        if not self._pid:
            # A pipe breaks when all its reading ends are closed, and this process has copies of its brothers'.
            for descriptor in [pipe[0] for pipe, _ in pairs] + [one for child in others for one in child.pipes]:
                os.close(descriptor)
            _work(task, pairs[0][0][1], pairs[1][0][1], stdout, stderr)
        for pipe, target in pairs:
            os.close(pipe[1])
            self.pipes.append(pipe[0])
            spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  closed when it is shown
            self._spools.append((spool, target))
            selector.register(pipe[0], selectors.EVENT_READ, _Arrival(self, pipe[0], spool, target, selector))

    def show(self) -> None:
        """Let it write through from now on: it is its turn."""
        if self._turn:
            return
        self._turn = True
        for spool, target in self._spools:
            spool.seek(0)
            shutil.copyfileobj(spool, target.buffer, _PIECE)
            target.flush()
            spool.close()

    def arrived(self, piece: bytes, spool: IO[bytes], target: TextIO) -> None:
        """Take what it has written."""
        if self._turn:
            target.buffer.write(piece)
            target.flush()
        else:
            spool.write(piece)

    def status(self) -> int:
        """Wait until the process has ended; its exit status."""
        pid, self._pid = self._pid, 0
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status < 0:
            self._stderr.write(f"{PROGRAM}: {self.name}: reading was ended by {signal.Signals(-status).name}\n")
        return _TROUBLE if status < 0 else status

    def kill(self) -> None:
        """End the process, if it is still there; it tidies up, and what it waits to write breaks."""
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
        for descriptor in self.pipes:
            os.close(descriptor)
        if self._pid:
            os.waitpid(self._pid, 0)


class _Arrival:
    """Called when something can be read from a pipe."""

    def __init__(
        self, child: _Child, descriptor: int, spool: IO[bytes], target: TextIO, selector: selectors.BaseSelector
    ) -> None:
        self._child, self._descriptor, self._spool, self._target = child, descriptor, spool, target
        self._selector = selector

    def __call__(self) -> None:
        piece = os.read(self._descriptor, _PIECE)
        if piece:
            self._child.arrived(piece, self._spool, self._target)
        else:
            self._selector.unregister(self._descriptor)
            self._child.pipes.remove(self._descriptor)
            os.close(self._descriptor)


def _work(task: Callable[[TextIO], int], out: int, err: int, stdout: TextIO, stderr: TextIO) -> None:
    """Be the process of a task, to its end."""
    status = _TROUBLE
    # Not SIGINT: a shell lets what it runs in the background ignore that.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.stderr = open(err, "w", encoding=stderr.encoding, errors=stderr.errors, buffering=1)  # noqa: SIM115
        with open(out, "w", encoding=stdout.encoding, errors=stdout.errors, newline="") as stream:
            status = task(stream)
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # nobody reads any more, or nobody wants to
    except BaseException:  # the process must end here whatever happens
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
