# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb ``sniff``: live records of the migrations on a link."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path  # noqa: TC003  typer looks at the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from dissector.cli import options  # noqa: TC001  likewise
from dissector.cli.choices import ColourChoice, MethodChoice, SlimChoice, StatusChoice, TimeChoice, ToolChoice
from dissector.cli.fail import fail

if TYPE_CHECKING:
    from dissector.sinks import Output, Sink


def sniff(
    interface: Annotated[
        list[str] | None,
        typer.Option("-i", "--interface", metavar="NAME", help="where: a name or number of -D, any, - for a pipe"),
    ] = None,
    capture_filter: Annotated[
        str | None,
        typer.Option("-f", "--capture-filter", metavar="BPF", help="as tcpdump's; default: TCP. Fragments are kept"),
    ] = None,
    write: Annotated[
        Path | None, typer.Option("-w", "--write", allow_dash=True, metavar="FILE", help="write the packets, pcapng")
    ] = None,
    ring: Annotated[
        list[str] | None,
        typer.Option("-b", metavar="WHEN:N", help="-w: a ring of files: duration, filesize (kB), packets, files:N"),
    ] = None,
    autostop: Annotated[
        list[str] | None,
        typer.Option("-a", metavar="WHEN:N", help="stop: duration (s), packets; of -w filesize (kB), files"),
    ] = None,
    slim: Annotated[
        SlimChoice | None,
        typer.Option("--slim", metavar="[=cut|heads]", help="-w without page contents (see xendissect slim --help)"),
    ] = None,
    scrub: Annotated[bool, typer.Option("--scrub", help="-w with what belongs to the guest blanked")] = False,
    list_interfaces: Annotated[bool, typer.Option("-D", "--list-interfaces", help="list the interfaces")] = False,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", min=0, help="stop after so long")
    ] = None,
    buffer: Annotated[int, typer.Option("-B", "--buffer", metavar="MIB", min=2, help="kernel buffer")] = 64,
    snap_length: Annotated[
        int, typer.Option("-s", "--snapshot-length", metavar="BYTES", min=0, help="cut packets; loses records")
    ] = 262144,
    no_promiscuous: Annotated[bool, typer.Option("-p", "--no-promiscuous-mode", help="only our own packets")] = False,
    method: Annotated[
        MethodChoice, typer.Option("--method", metavar="HOW", help="auto, ring (the kernel's), dumpcap or tcpdump")
    ] = MethodChoice.AUTO,
    ssh: Annotated[
        str | None, typer.Option("--ssh", metavar="HOST", help="capture on another host, with tcpdump or dumpcap there")
    ] = None,
    remote_sudo: Annotated[bool, typer.Option("--sudo", help="--ssh: through sudo there")] = False,
    remote_tool: Annotated[
        ToolChoice | None, typer.Option("--remote-tool", metavar="PROGRAM", help="--ssh: tcpdump or dumpcap")
    ] = None,
    status: Annotated[
        StatusChoice,
        typer.Option("--status", metavar="HOW", help="on standard error: auto, plain (a line every 10 s), off"),
    ] = StatusChoice.AUTO,
    verbose: options.Verbose = 0,
    as_json: options.AsJson = False,
    pfns: options.Pfns = False,
    flow: options.FlowNumbers = None,
    record_type: options.RecordTypes = None,
    layer: options.Layers = None,
    direction: options.Direction = None,
    display_filter: options.DisplayFilter = None,
    count: options.Count = None,
    time: options.Time = TimeChoice.UTC,
    colour: options.Colour = ColourChoice.AUTO,
    no_summary: options.NoSummary = False,
    strict: options.Strict = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="check each migration against the rules (xendissect check), say so at the end"),
    ] = False,
    max_body: options.MaxBody = None,
    limit: options.Limit = None,
) -> None:
    """Show the records of migrations while they happen.

    Captures on a link (Linux: with a packet ring of the kernel, which needs root or CAP_NET_RAW; else through dumpcap
    or tcpdump), finds the migrations by content, and shows both directions. Privileges are given up once the capture is
    open. Packets the kernel had to drop are counted, and a gap says whether they were the reason.

    \b
    Examples:
      xendissect sniff                                      the first interface that is up, all TCP
      xendissect sniff -i xenbr0 -f 'port 8002'
      xendissect sniff -i eth0 -w migration.pcapng --slim   and keep it, without page contents
      xendissect sniff -i eth0 -w log.pcapng -b filesize:100000 -b files:10 --slim=heads
      xendissect sniff -i eth0 --check -q                   and what is wrong with them
      xendissect sniff --ssh root@host1 -i eth0 -f 'port 49152'
      tcpdump -i eth0 -w - | xendissect sniff -i -

    Ctrl-C ends with the summary. Exit status: 0 if the capture was ended by you or by a limit; 1 with --strict if a
    stream has errors; 2 if it can not begin, or breaks off.
    """  # noqa: D301  click wants a real backspace there
    from dissector.cli.check import checking, looking_at_padding, text_sink
    from dissector.cli.live import run
    from dissector.cli.pump import ERRORS, NOTHING, Plan
    from dissector.cli.recording import wanted
    from dissector.cli.selection import selection_of
    from dissector.cli.show import Show
    from dissector.cli.sizes import parse_limits
    from dissector.live.choose import open_live
    from dissector.live.source import LiveError

    if list_interfaces:
        _list_interfaces()
        raise typer.Exit
    stdout = sys.stderr if write is not None and str(write) == "-" else sys.stdout
    show = Show(stdout, verbose, as_json, pfns, time, colour, summary=not no_summary)
    try:
        limits = parse_limits(limit or (), max_body)
        selection = selection_of(flow, record_type, layer, direction, display_filter)
        record = wanted(write, ring or (), autostop or (), slim, capture_filter, scrub=scrub)
    except ValueError as error:
        fail(str(error))
    if "-" in (interface or []) and (len(interface or []) > 1 or ssh is not None):
        fail("-i - is standard input, which stands alone")
    if ssh is not None and method is not MethodChoice.AUTO:
        fail("--method says how to capture here; with --ssh it is --remote-tool")
    if ssh is None and (remote_sudo or remote_tool is not None):
        fail(f"{'--sudo' if remote_sudo else '--remote-tool'} needs --ssh HOST")
    plan = Plan(selection.wanted, show, count=count, judged=ERRORS if strict else NOTHING, at_once=True)
    if check:
        limits = looking_at_padding(limits)

        def sinks(output: Output) -> list[Sink]:
            return show(output) if as_json else [*show(output), text_sink(output, colour, verbose, separate=True)]

        plan = replace(plan, sinks=sinks, through=checking(None))
    try:
        sources = open_live(
            interface or [],
            filter=capture_filter,
            method="stdin" if interface == ["-"] else method.value,
            ssh_host=ssh,
            remote_tool=remote_tool.value if remote_tool else None,
            sudo=remote_sudo,
            ask=sys.stdin.isatty(),
            buffer_bytes=buffer << 20,
            promiscuous=not no_promiscuous,
            snap_length=snap_length or 262144,
        )
    except LiveError as error:
        fail(str(error))
    show.prepare()
    raise typer.Exit(run(sources, plan, stdout, limits=limits, record=record, duration=duration, status=status.value))


def _list_interfaces() -> None:
    """Print a line for each interface, as dumpcap and tcpdump do."""
    from dissector.live.devices import devices
    from dissector.live.source import LiveError

    try:
        found = devices()
    except LiveError as error:
        fail(str(error))
    for number, device in enumerate(found, start=1):
        state = "up" if device.up else "down"
        said = [f"{number:>3}. {device.name:<16} {state:<5} {device.link.name:<12}", *device.addresses]
        typer.echo(" ".join(said).rstrip())
