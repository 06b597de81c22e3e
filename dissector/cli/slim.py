# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``slim``: a capture without page contents, or without secrets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dissector.cli.choices import SlimChoice
from dissector.cli.fail import fail

if TYPE_CHECKING:
    from dissector.reader import Reader
    from dissector.recording.recording import Recording


def slim(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="IN... OUT", allow_dash=True, help="captures, and the file to write; - for pipes"),
    ],
    how: Annotated[
        SlimChoice,
        typer.Option("--slim", metavar="cut|heads|none", help="how page contents are cut out; none: only --scrub"),
    ] = SlimChoice.CUT,
    scrub: Annotated[
        bool, typer.Option("--scrub", help="blank what belongs to the guest: configuration, registers, devices, pages")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="write over a file that is there")] = False,
) -> None:
    """Write a capture without page contents: small enough to keep, to mail, to attach.

    \b
    cut     (default) every packet stays, with its times and headers; those inside page contents end behind their TCP
            header. About 1/10 of the size at MTU 1500.
    heads   packets wholly inside page contents are left out too: about 1/440. A comment says where.

    All readers still find every record: xendissect, Wireshark and tshark with our dissector. The output is pcapng.

    With --scrub, values in the xl configuration and in xenstore data, registers, device state, shared info and page
    contents are replaced by fillers of the same length, checksums are kept consistent, and it is said what was removed.
    Addresses, ports and names of xenstore keys stay. Look at the result before you give it away.

    \b
    Examples:
      xendissect slim migration.pcap small.pcapng
      xendissect slim --slim heads --scrub migration.pcap for-the-bug-report.pcapng
    """  # noqa: D301  click wants a real backspace there
    if len(files) < 2:
        fail("slim needs a capture to read and a file to write")
    *sources, target = (str(path) for path in files)
    raise typer.Exit(_run(sources, target, how, scrub=scrub, force=force))


def _run(sources: list[str], target: str, how: SlimChoice, *, scrub: bool, force: bool) -> int:
    """Do it; return the exit status."""
    from dissector.cli import PROGRAM
    from dissector.cli.pump import TROUBLE
    from dissector.cli.recording import WAYS, Wanted
    from dissector.reader import Reader
    from dissector.sources import CaptureError
    from dissector.sources.slim import stronger
    from dissector.spec.findings import CAPTURE_CUT
    from dissector.wire.events import Finding

    try:
        reader = Reader(sources)
    except CaptureError as error:
        fail(str(error))
    if reader.is_stream:
        fail(f"{sources[0]}: a bare stream has no packets to cut; slim takes captures")
    slim = stronger(reader.slim, WAYS[how])
    if not slim and not scrub:
        fail("nothing to do: --slim none without --scrub")
    out = Path(target)
    if target != "-" and out.exists():
        if any(source != "-" and Path(source).exists() and out.samefile(source) for source in sources):
            fail(f"{target}: is read and cannot be written at the same time")
        if not force and out.is_file():
            fail(f"{target}: is there already; --force writes over it")
    try:
        recording = Wanted(target, slim=slim, scrub=scrub).open(reader.engine, "slim", "wait")
    except OSError as error:
        fail(f"{target}: {error.strerror}")
    writer = recording.writer
    reader.recorder = recording.recorder
    status = 0
    try:
        for event in reader.events():
            if isinstance(event, Finding) and event.rule is CAPTURE_CUT:
                sys.stderr.write(f"{PROGRAM}: {event.text}\n")
            if writer.failed is not None:
                break
    except CaptureError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        status = TROUBLE
    finally:
        reader.close()
        recording.finish()
    if writer.failed is not None:
        fail(writer.failed)
    _tell(reader, recording)
    return status


def _tell(reader: Reader, recording: Recording) -> None:
    """Say on standard error what came of it."""
    from dissector.cli.recording import removal_lines

    writer = recording.writer
    before, behind = reader.engine.frames, recording.batch.packets
    said = f"{behind:,} of {before:,} packets in {writer.path}"
    if writer.path != "-":
        said += f", {Path(writer.path).stat().st_size:,} bytes"
    sys.stderr.write("".join(f"{line}\n" for line in (said, *removal_lines(recording))))
