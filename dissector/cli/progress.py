# SPDX-License-Identifier: GPL-2.0-or-later
"""A progress bar on standard error while a long input is read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol, Self, TextIO

if TYPE_CHECKING:
    from types import TracebackType

LARGE: Final = 64 << 20
"""Inputs above this many bytes get a bar even while lines scroll by on the same terminal."""
INTERVAL: Final = 0.1
PATIENCE: Final = 0.5
"""A bar that would be gone again after half a second only flickers."""


class Measured(Protocol):
    """Something that is being read."""

    @property
    def bytes_read(self) -> int:
        """Bytes of the input read so far."""

    bytes_total: int | None


def wants_bar(reader: Measured, stdout: TextIO, stderr: TextIO) -> bool:
    """Decide whether a bar helps: a person looks at stderr, and the end is known and far."""
    if not reader.bytes_total or not stderr.isatty():
        return False
    return not stdout.isatty() or reader.bytes_total > LARGE


class Bar:
    """Draws how far a reader is; lines written through :meth:`write` do not run into it.

    The drawing happens in a thread of its own, since a stretch of capture without any record may take a while.
    """

    def __init__(self, reader: Measured, stdout: TextIO, stderr: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        self._reader = reader
        self._out = stdout
        self._err = stderr
        self._shared = stdout.isatty()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._drawn = False
        self._progress = Progress(
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stderr, stderr=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("reading", total=reader.bytes_total)
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self.encoding = stdout.encoding

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._progress.stop()

    def write(self, text: str) -> int:
        """Write to standard output, out of the way of the bar."""
        if not self._shared:
            return self._out.write(text)
        with self._lock:
            if self._drawn:
                self._err.write("\r\x1b[2K")
                self._err.flush()
                self._drawn = False
            return self._out.write(text)

    def _draw(self) -> None:
        if self._done.wait(PATIENCE):
            return
        with self._lock:
            self._progress.start()
        while not self._done.wait(INTERVAL):
            with self._lock:
                self._progress.update(self._task, completed=self._reader.bytes_read)
                self._progress.refresh()
                self._drawn = True
