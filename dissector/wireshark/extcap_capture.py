# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures into a FIFO that Wireshark reads, until Wireshark wants no more."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from dissector import __version__
from dissector.live import privileges
from dissector.live.choose import open_live
from dissector.recording.files import CaptureWriter
from dissector.recording.recording import Recording, section_comment
from dissector.watch import Watch

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from dissector.live.child import Tool
    from dissector.sources.slim import Slim

PATIENCE: Final = 3.0
"""Seconds without progress after which what Wireshark does not read any more is given up."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Capture:
    """What to capture.

    Attributes:
        fifo: Where the packets go; a plain file will do.
        interface: Name of the network interface; over ssh it may be empty.
        filter: Capture filter; None: TCP only; empty: everything.
        slim: How page contents are cut out.
        buffer_bytes: Size of the kernel's buffer.
        host: Another host, as ssh takes it; None: this one.
        tool: Program there; None: whichever is there.
        sudo: Run it through sudo there.
    """

    fifo: str
    interface: str
    filter: str | None = None
    slim: Slim = ""
    buffer_bytes: int = 64 << 20
    host: str | None = None
    tool: Tool | None = None
    sudo: bool = False


def capture(wanted: Capture) -> int:
    """Capture until a signal or the reader ends it; return the exit status.

    Raises:
        LiveError: The capture can not begin.
        OSError: The FIFO can not be opened.
    """
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        return _run(wanted, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stop:
    """Takes the signals: they end a capture with everything that belongs to its end, and the process before that."""

    def __init__(self) -> None:
        self.watch: Watch | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.watch is None:
            raise SystemExit(0)
        self.watch.stop(signal.Signals(number).name)


class _Reader:
    """Whoever reads the FIFO: entering waits until there is somebody, afterwards `gone` tells."""

    def __init__(self, fifo: str) -> None:
        self._fifo = fifo
        self._poll = select.poll()

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._fifo, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._poll.register(self._descriptor, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    @property
    def gone(self) -> bool:
        return any(happened & select.POLLERR for _, happened in self._poll.poll(0))


def _run(wanted: Capture, stop: _Stop) -> int:
    sources = open_live(
        [wanted.interface] if wanted.interface else [],
        filter=wanted.filter,
        ssh_host=wanted.host,
        remote_tool=wanted.tool,
        sudo=wanted.sudo,
        buffer_bytes=wanted.buffer_bytes,
    )
    watch = Watch(sources)
    try:
        with _Reader(wanted.fifo) as reader:
            writer = CaptureWriter(
                wanted.fifo,
                application=f"xendissect {__version__} extcap",
                comment=section_comment(wanted.slim, scrub=False),
                when_full="drop",
            )
            watch.recording = Recording(writer, watch.engine, slim=wanted.slim, filter_text=wanted.filter or "")
            with contextlib.suppress(OSError):
                privileges.drop()
            stop.watch = watch
            for _ in watch.events():
                if not watch.ending and reader.gone:
                    watch.stop("nobody reads any more")
            watch.recording.finish(PATIENCE)
            return _tell(watch, writer, wanted_by_nobody=reader.gone)
    finally:
        watch.close()
        if watch.recording is not None:
            watch.recording.writer.close(patience=PATIENCE)


def _tell(watch: Watch, writer: CaptureWriter, *, wanted_by_nobody: bool) -> int:
    """Say on standard error what Wireshark is to show; return the exit status."""
    said = []
    if watch.trouble is not None and watch.trouble != writer.failed:
        said.append(watch.trouble)
    if writer.failed is not None and not wanted_by_nobody:
        said.append(writer.failed)
    status = 1 if said else 0
    if watch.dropped:
        said.append(f"{watch.dropped:,} packets were lost: choose a larger kernel buffer, or leave page contents out")
    if writer.dropped and not wanted_by_nobody:
        said.append(f"{writer.dropped:,} packets were lost because Wireshark took them too slowly")
    for line in said:
        sys.stderr.write(f"xendissect: {line}\n")
    return status
