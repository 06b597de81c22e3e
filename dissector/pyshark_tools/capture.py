# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture, its events and the pyshark packets they were found in.

tshark is run here and not by pyshark, whose own captures need an event loop to themselves (``RuntimeError`` where one
runs already), tell nobody when tshark was killed, and leave tasks behind when they are not read to their end. What
pyshark makes of tshark's output is the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
import weakref
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

try:
    from pyshark.tshark.output_parser.tshark_json import packet_from_json_packet
except ImportError:
    raise ImportError("pyshark is not installed: pip install 'xendissect[pyshark]'") from None

from dissector.pyshark_tools import tshark
from dissector.pyshark_tools.found import WiresharkFinding, WiresharkRecord
from dissector.pyshark_tools.times import FrameTimes
from dissector.pyshark_tools.tree import frame_time, tree_events
from dissector.sinks.jsonl import event_object as _core_object
from dissector.sources import CaptureError
from dissector.spec.findings import CAPTURE_CUT

_EPOCH: Final = re.compile(r'"frame\.time_epoch": "[^"]*",')

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence

    from dissector.pyshark_tools.found import WiresharkEvent


class Capture:
    """A capture file, read by tshark with our plugin; every ``for`` (or ``async for``) over it reads it anew.

    ::

        with Capture("migration.pcap.gz", layers=("ip",)) as capture:
            for event in capture:
                ...

    Args:
        path: one file that Wireshark reads; ring-buffer files are put together with mergecap.
        pfns: whole lists of pfns, for ``record.pfns`` and ``record.decode(pfns=True)``. Output of tshark grows by 50
            bytes per pfn.
        layers: other layers of the packets, such as ``("ip", "ipv6")``. ``"tcp"`` brings the payload along.
        decode_as: as pyshark's: ``{"tcp.port==22": "xenmig"}``.
        override_prefs: as pyshark's: ``{"xenmig.ports": "8002"}``.
        tshark_path: tshark, if it is not the one in PATH.

    Raises:
        CaptureError: there is no such file.
        TsharkError: tshark is not there; or later, while reading: it died, or cannot read the file.
        PluginError: while reading: tshark does not load the plugin, or one of another version is installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        pfns: bool = False,
        layers: Sequence[str] = (),
        decode_as: Mapping[str, str] | None = None,
        override_prefs: Mapping[str, str] | None = None,
        tshark_path: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        if not Path(self.path).is_file():
            raise CaptureError(self.path, "no such file")
        self.tshark = tshark.find_tshark(tshark_path)
        self._pfns, self._layers = pfns, tuple(layers)
        self._decode_as, self._preferences = dict(decode_as or {}), dict(override_prefs or {})
        self._readings: weakref.WeakSet[Reading] = weakref.WeakSet()
        self._closed = False

    @property
    def command(self) -> list[str]:
        """What is run."""
        options = tshark.arguments(pfns=self._pfns, layers=self._layers, two_passes=True)
        return tshark.command(self.tshark, self.path, options, self._decode_as, self._preferences)

    def __iter__(self) -> Reading:
        if not self._closed:
            tshark.check_installed(self.tshark)
        reading = Reading(self)
        self._readings.add(reading)
        if self._closed:  # perhaps by another thread, just now
            reading.close()
        return reading

    def __aiter__(self) -> AsyncReading:
        return AsyncReading(self)

    def close(self) -> None:
        """End all that still read; nothing is read any more."""
        self._closed = True
        for reading in list(self._readings):
            reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Reading:
    """One pass over a capture: an iterator of events."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        try:
            self._process = tshark.start(capture.command, self._errors)
        except tshark.TsharkError:
            self._errors.close()
            raise
        self._times = FrameTimes(capture.path)
        self.close = weakref.finalize(self, _end, self._process, self._errors, self._times)
        """End tshark; nothing more comes. Also done when this object goes, and when Python ends."""
        self._events = _read(capture, self._process, self._errors, self._times)

    @property
    def pid(self) -> int:
        """The process id of tshark."""
        return self._process.pid

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WiresharkEvent:
        if not self.close.alive:
            raise StopIteration
        try:
            return next(self._events)
        except BaseException as error:
            closed = not self.close.alive
            self.close()
            if closed and not isinstance(error, StopIteration):  # closed by another thread, which is why it failed
                raise StopIteration from None
            raise


class AsyncReading:
    """The same for ``async for``: all that takes time is done in a thread."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._reading: Reading | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WiresharkEvent:
        event = await asyncio.to_thread(self._next)
        if event is None:
            raise StopAsyncIteration
        return event

    def _next(self) -> WiresharkEvent | None:
        if self._reading is None:
            self._reading = iter(self._capture)
        return next(self._reading, None)


def _end(process: subprocess.Popen[bytes], errors: IO[bytes], times: FrameTimes) -> None:
    """End a tshark, if it has not ended, and leave nothing of it."""
    process.kill()  # does nothing to one that has ended
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    errors.close()
    with suppress(ValueError):  # another thread is reading
        times.close()


def _read(
    capture: Capture, process: subprocess.Popen[bytes], errors: IO[bytes], times: FrameTimes
) -> Iterator[WiresharkEvent]:
    assert process.stdout is not None
    whole = True
    try:
        for text in tshark.packets(process.stdout):
            yield from _events_of(text, times)
    except EOFError:
        whole = False
    status = process.wait()
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace")
    if cut := tshark.truncation(said):
        yield WiresharkFinding(rule=CAPTURE_CUT, text=cut)
    error = tshark.failure(capture.tshark, status, said)
    if error is None and not whole:
        error = tshark.TsharkError(f"{capture.tshark}: its output ends in the middle (exit status {status})")
    if error is not None:
        raise error


def _events_of(text: str, times: FrameTimes) -> list[WiresharkEvent]:
    layers: dict[str, Any] = json.loads(text)["_source"]["layers"]
    frame = layers["frame"]
    found = layers.get("xenmig", [])
    roots = found if isinstance(found, list) else [found]
    time = frame_time(frame.get("frame.time_epoch", ""))
    return tree_events(roots, int(frame["frame.number"]), time, cache(partial(_packet, text, time)), times)


def _packet(text: str, time: int | None) -> Any:
    """Make the pyshark packet, which most never ask for.

    pyshark needs a time, and in seconds: Wireshark 4.6 writes a date, and nothing if the capture has none.
    """
    seconds = f"{time // 1_000_000_000}.{time % 1_000_000_000:09}" if time is not None else ""
    text = _EPOCH.sub("", text).replace('"frame.number"', f'"frame.time_epoch": "{seconds}", "frame.number"', 1)
    return packet_from_json_packet(text.encode())


def events(path: str | os.PathLike[str], **options: Any) -> Iterator[WiresharkEvent]:
    """Yield records, gaps, resyncs and findings of a capture; arguments and errors as :class:`Capture`."""
    with Capture(path, **options) as capture:
        yield from capture


def read(path: str | os.PathLike[str], **options: Any) -> Iterator[WiresharkRecord]:
    """Yield the records of a capture; arguments and errors as :class:`Capture`."""
    return (event for event in events(path, **options) if isinstance(event, WiresharkRecord))


def event_object(event: WiresharkEvent, *, pfns: bool = False) -> dict[str, Any]:
    """Return the JSON object of an event (docs/json.md)."""
    shown = _core_object(event, pfns=pfns)
    if isinstance(event, WiresharkRecord) and event.lost_pfns:
        fields = shown.pop("fields")
        shown |= {"lost_pfns": list(event.lost_pfns), "fields": fields}
    return shown
