# SPDX-License-Identifier: GPL-2.0-or-later
"""Which way to capture: the ring of the kernel where that is allowed, or else a program that may."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal, get_args

from dissector.live import bpf, child, devices
from dissector.live.privileges import explain
from dissector.live.ring import NoRightError, Ring
from dissector.live.source import LiveError
from dissector.live.standard_input import StandardInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dissector.live.source import LiveSource

Method = Literal["auto", "ring", "dumpcap", "tcpdump", "ssh", "stdin"]
METHODS: Final[tuple[str, ...]] = get_args(Method)


def open_live(
    interfaces: Sequence[str] = (),
    *,
    filter: str | None = None,
    method: Method = "auto",
    ssh_host: str | None = None,
    remote_tool: child.Tool | None = None,
    sudo: bool = False,
    ask: bool = False,
    buffer_bytes: int = 64 << 20,
    promiscuous: bool = True,
    snap_length: int = 262144,
) -> list[LiveSource]:
    """Begin to capture, one source for each interface.

    Args:
        interfaces: Names, or numbers as `devices.devices` gives them. None: the first one that is up, in the order of
            its list, so that the loopback is taken only if nothing else is up; over ssh, what the tool there chooses.
        filter: Expression as in pcap-filter(7), to which fragments are added. None: TCP only; empty: everything.
        method: "auto": the ring if this process may, or else dumpcap or tcpdump if they may; "ssh" if there is a host.
        ssh_host: As ssh takes it.
        remote_tool: ssh: which program captures there.
        sudo: ssh: run it with ``sudo -n``.
        ask: ssh: ask for passwords on the terminal.
        buffer_bytes: Size of the buffer of each interface.
        promiscuous: Take frames for other stations too.
        snap_length: Most bytes captured of a packet.

    Raises:
        LiveError: No capture; one line that says why and what to do.
    """
    if method == "auto" and ssh_host is not None:
        method = "ssh"
    if method == "stdin":
        return [StandardInput()]
    if method == "ssh" and ssh_host is None:
        raise LiveError("capturing over ssh needs a host")
    opened: list[LiveSource] = []
    names = list(dict.fromkeys(interfaces)) or [""]
    known: set[str] = set()
    try:
        for name in names:
            if method == "ssh" and ssh_host is not None:
                wanted = child.Wanted(
                    name,
                    _expression(filter, bpf.BARE_IP if name == devices.ANY else bpf.ETHERNET),
                    _expression(filter, bpf.BARE_IP),
                    buffer_bytes,
                    promiscuous,
                    snap_length,
                )
                opened.append(child.over_ssh(ssh_host, wanted, tool=remote_tool, sudo=sudo, ask=ask))
                continue
            device = devices.find(name) if name else devices.default()
            if device.name in known:
                continue  # named twice, by its number too
            known.add(device.name)
            link = bpf.BARE_IP if device.link.cooked else bpf.ETHERNET
            if filter is not None and bpf.can_compile():
                bpf.compile_filter(filter, link)  # so that a mistake is told in the user's own words
            wanted = child.Wanted(device.name, _expression(filter, link), None, buffer_bytes, promiscuous, snap_length)
            opened.append(_open(wanted, method, link))
    except BaseException:
        for source in opened:
            source.close()
        raise
    return opened


def _open(wanted: child.Wanted, method: Method, link: int) -> LiveSource:
    if method == "ring" or (method == "auto" and sys.platform == "linux"):
        try:
            return _ring(wanted, link)
        except NoRightError:
            if method == "ring" or not _any_tool():
                raise
    if method in ("dumpcap", "tcpdump"):
        return child.local(wanted, "dumpcap" if method == "dumpcap" else "tcpdump")
    if not _any_tool():
        raise LiveError(explain(wanted.interface))
    return child.local(wanted)


def _ring(wanted: child.Wanted, link: int) -> Ring:
    return Ring(
        wanted.interface,
        program=bpf.compile_filter(wanted.expression, link, wanted.snap_length),
        buffer_bytes=wanted.buffer_bytes,
        promiscuous=wanted.promiscuous,
        snap_length=wanted.snap_length,
    )


def _any_tool() -> bool:
    return child.may_capture("dumpcap") or child.may_capture("tcpdump")


def _expression(wanted: str | None, link: int) -> str:
    return bpf.tcp_only(link) if wanted is None else bpf.keep_fragments(wanted)
