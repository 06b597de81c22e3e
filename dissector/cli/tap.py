# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``tap``: stands between xl and its transport, and records."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dissector import __version__
from dissector.cli import PROGRAM
from dissector.cli.choices import SlimChoice  # noqa: TC001  typer looks at the annotations when it runs
from dissector.cli.fail import fail
from dissector.cli.recording import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from dissector.recording.files import CaptureWriter
    from dissector.recording.rotation import Limits
    from dissector.sinks import Sink
    from dissector.sources.slim import Slim

FOLDER_VARIABLE: Final = "XENDISSECT_TAP_DIR"
_SWITCH_SECONDS: Final = 0.0002
"""How long the relay may wait for Python's lock while a packet is made; the default is 5 ms, after every read."""
_FIRST_PORT, _PORTS = 32768, 28232


def tap(
    command: Annotated[list[str], typer.Argument(metavar="CMD [ARG]...", help="the transport, such as ssh")],
    write: Annotated[
        Path | None,
        typer.Option(
            "-w",
            "--write",
            metavar="FILE",
            help=f"pcapng to write; else xendissect-tap-TIME-PID.pcapng, in ${FOLDER_VARIABLE}",
        ),
    ] = None,
    no_record: Annotated[bool, typer.Option("--no-record", help="write no capture")] = False,
    ring: Annotated[
        list[str] | None,
        typer.Option(
            "-b", metavar="WHEN:N", help="a ring of files: duration, filesize (kB), packets, files; as dumpcap"
        ),
    ] = None,
    autostop: Annotated[
        list[str] | None, typer.Option("-a", metavar="WHEN:N", help="stop recording, same words; as dumpcap")
    ] = None,
    slim: Annotated[
        SlimChoice | None,
        typer.Option("--slim", metavar="[=cut]", help="record without page contents: no disk is too slow for that"),
    ] = None,
    pace: Annotated[
        int | None,
        typer.Option(
            "--pace",
            min=0,
            metavar="MIB",
            help="while the recording is behind, slow the transfer to so many MiB/s; 0: never [default: see below]",
        ),
    ] = None,
    scrub: Annotated[bool, typer.Option("--scrub", help="record with what belongs to the guest blanked")] = False,
    live: Annotated[
        Path | None,
        typer.Option("--live", allow_dash=True, metavar="FILE", help="show records as they pass; - for standard error"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="--live as JSON lines (docs/json.md)")] = False,
) -> None:
    """Run CMD and record its standard input and output: a migration through ssh becomes visible.

    Both directions pass through unchanged; standard error and the exit status are those of CMD. The capture holds them
    as packets between 192.0.2.1 (who runs this) and 192.0.2.2 (CMD), with the times they passed; an acknowledgement
    says when the other side had taken the data. It can be read by its owner only: it holds the memory of the guest.

    A transfer is never broken: when the disk is full or too slow, the recording stops and a line says so. While the
    recording is behind, a transfer of more than 512 MiB/s is slowed down to that, by half at most; a slower one is not
    touched. With --pace it is slowed down to what you say.

    \b
    Examples:
      xl migrate -s 'xendissect tap -- ssh' guest host
      xl remus -s 'xendissect tap -w /var/log/remus.pcapng -b filesize:1000000 -b files:3 -- ssh' guest host
      xl migrate -s 'xendissect tap --live migration.txt --no-record -- ssh -p 2222' guest host

    Exit status: that of CMD, 128 + N if signal N ended it, 127 if there is no such command, 126 if it cannot be run.
    """  # noqa: D301  click wants a real backspace there
    from dissector.recording.rotation import parse_autostop, parse_ring
    from dissector.tap.memory import keep_memory

    if write is not None and str(write) == "-":
        fail("-w -: standard output belongs to the transfer; write to a file or a FIFO")
    try:
        limits = parse_ring(ring or ()), parse_autostop(autostop or ())
    except ValueError as error:
        fail(str(error))
    sys.setswitchinterval(_SWITCH_SECONDS)
    keep_memory()
    path = None if no_record else write or default_path()
    rate = None if pace is None else pace << 20
    raise typer.Exit(_run(command, path, limits, live, rate, as_json=as_json, slim=WAYS[slim], scrub=scrub))


def default_path() -> Path:
    """Make the name of a capture from the time and the process."""
    name = time.strftime(f"xendissect-tap-%Y%m%d-%H%M%S-{os.getpid()}.pcapng")
    return Path(os.environ.get(FOLDER_VARIABLE, ""), name)


def _run(
    command: Sequence[str],
    path: Path | None,
    limits: tuple[Limits | None, Limits | None],
    live: Path | None,
    rate: int | None,
    *,
    as_json: bool,
    slim: Slim,
    scrub: bool,
) -> int:
    from dissector.tap.bystander import Bystander, Crowd
    from dissector.tap.notice import notice
    from dissector.tap.pace import Pace
    from dissector.tap.recorder import Recorder
    from dissector.tap.relay import NOT_FOUND, NOT_RUN, Relay

    port = _FIRST_PORT + os.getpid() % _PORTS
    recorder, bystanders = None, list[Bystander]()
    if path is not None:
        opened = _capture(path, limits, command, slim=slim, scrub=scrub)
        recorder = Recorder(opened, notice, name=command[0], port=port, slim=slim, scrub=scrub)
        bystanders.append(recorder)
    if live is not None:
        from dissector.tap.view import LiveView

        bystanders.append(LiveView(_output(live), _json_sinks if as_json else _text_sinks, notice, port=port))
    crowd = Crowd(bystanders, Pace(rate))
    try:
        relay = Relay(command, crowd)
    except (OSError, ValueError) as error:
        notice(f"{command[0]}: {getattr(error, 'strerror', None) or error}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN
    for one in bystanders:
        one.start()
    status = relay.run()
    try:
        for one in bystanders:
            if not one.close():
                notice("left without the end of the recording: what it is written to takes no more")
    except KeyboardInterrupt:
        notice("interrupted before the recording was written to the end")
    else:
        if recorder is not None and recorder.writer is not None and recorder.gave_up is None:
            sent, received = crowd.counts
            writer = recorder.writer
            notice(f"{sent} bytes sent, {received} received; {writer.packets} packets in {writer.path}")
    return status


def _capture(
    path: Path, limits: tuple[Limits | None, Limits | None], command: Sequence[str], *, slim: Slim, scrub: bool
) -> Callable[[], CaptureWriter]:
    from dissector.recording.files import CaptureWriter
    from dissector.recording.recording import section_comment

    said = section_comment(slim, scrub=scrub)

    def opened() -> CaptureWriter:
        return CaptureWriter(
            path,
            ring=limits[0],
            autostop=limits[1],
            application=f"{PROGRAM} {__version__} tap",
            comment=f"{said}\nstandard input and output of: {' '.join(command)}".lstrip(),
            when_full="stop",
        )

    return opened


def _output(path: Path) -> Callable[[], TextIO]:
    def opened() -> TextIO:
        if str(path) == "-":
            return os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
        return path.open("w", encoding="utf-8", errors="backslashreplace")

    return opened


def _json_sinks(output: TextIO) -> Sequence[Sink]:
    from dissector.sinks.jsonl import JsonSink

    return [JsonSink(output)]


def _text_sinks(output: TextIO) -> Sequence[Sink]:
    from dissector.sinks.colour import Palette
    from dissector.sinks.summary import SummarySink
    from dissector.sinks.text import TextSink

    palette = Palette(enabled=False)
    return [TextSink(output, palette), SummarySink(output, palette)]
