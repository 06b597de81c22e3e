# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures into a FIFO that Wireshark reads, until Wireshark wants no more."""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dissector import __version__
from dissector.live import privileges
from dissector.live.choose import open_live
from dissector.recording.files import CaptureWriter
from dissector.recording.recording import Recording, section_comment
from dissector.watch import Watch

if TYPE_CHECKING:
    from types import FrameType

    from dissector.live.child import Tool
    from dissector.sources.slim import Slim
    from dissector.wireshark.extcap_fifo import Fifo

PATIENCE: Final = 3.0
"""Seconds without progress after which what Wireshark does not read any more is given up."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Capture:
    """What to capture.

    Attributes:
        interface: Name of the network interface; over ssh it may be empty.
        filter: Capture filter; None: TCP only; empty: everything.
        slim: How page contents are cut out.
        buffer_bytes: Size of the kernel's buffer.
        host: Another host, as ssh takes it; None: this one.
        tool: Program there; None: whichever is there.
        sudo: Run it through sudo there.
    """

    interface: str
    filter: str | None = None
    slim: Slim = ""
    buffer_bytes: int = 64 << 20
    host: str | None = None
    tool: Tool | None = None
    sudo: bool = False


def capture(wanted: Capture, fifo: Fifo) -> int:
    """Capture until a signal or the reader ends it; return the exit status.

    Raises:
        LiveError: The capture can not begin.
        OSError: The FIFO can not be written.
    """
    stop = _Stop()
    for number in _SIGNALS:
        signal.signal(number, stop)
    try:
        return _run(wanted, fifo, stop)
    finally:
        for number in _SIGNALS:  # the process ends now; Wireshark and the terminal may both tell it to
            signal.signal(number, signal.SIG_IGN)


class _Stop:
    """Takes the signals: they end a capture with everything that belongs to its end, and the process before that."""

    def __init__(self) -> None:
        self.watch: Watch | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.watch is None:
            raise SystemExit(0)
        self.watch.stop(signal.Signals(number).name)


def _run(wanted: Capture, fifo: Fifo, stop: _Stop) -> int:
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
        try:
            writer = CaptureWriter(
                fifo.path,
                application=f"xendissect {__version__} extcap",
                comment=section_comment(wanted.slim, scrub=False),
                when_full="drop",
            )
        except OSError:
            if fifo.abandoned:
                return 0
            raise
        watch.recording = Recording(writer, watch.engine, slim=wanted.slim, filter_text=wanted.filter or "")
        with contextlib.suppress(OSError):
            privileges.drop()
        stop.watch = watch
        for _ in watch.events():
            if not watch.ending and fifo.abandoned:
                watch.stop("nobody reads any more")
        watch.recording.finish(PATIENCE)
        return _tell(watch, writer, abandoned=fifo.abandoned)
    finally:
        watch.close()
        if watch.recording is not None:
            watch.recording.writer.close(patience=PATIENCE)


def _tell(watch: Watch, writer: CaptureWriter, *, abandoned: bool) -> int:
    """Say on standard error what Wireshark is to show; return the exit status."""
    said = []
    if watch.trouble is not None and watch.trouble != writer.failed:
        said.append(watch.trouble)
    if writer.failed is not None and not abandoned:
        said.append(writer.failed)
    status = 1 if said else 0
    if watch.dropped:
        said.append(f"{watch.dropped:,} packets were lost: choose a larger kernel buffer, or leave page contents out")
    if writer.dropped and not abandoned:
        said.append(f"{writer.dropped:,} packets were lost because Wireshark took them too slowly")
    for line in said:
        sys.stderr.write(f"xendissect: {line}\n")
    return status
