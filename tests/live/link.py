# SPDX-License-Identifier: GPL-2.0-or-later
"""Two network namespaces joined by a veth pair: a link for captures that nobody else uses.

Namespaces are named after the process that made them. They go away when the `Link` is left, at the latest when the
process ends; what a killed process left behind is removed by the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import itertools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")

NAMESPACES: Final = Path("/run/netns")
NAME: Final = re.compile(r"xendissect-(\d+)-\d+-(?:sender|receiver)")
INTERFACE: Final = "mig0"
PATIENCE: Final = 20.0
"""Seconds after which a process that should have ended is killed."""

CLONE_NEWNET: Final = 0x40000000
SIOCETHTOOL: Final = 0x8946
OFFLOADS: Final = {"tx-checksum": 0x17, "scatter-gather": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}
"""What splits or merges packets -> ETHTOOL_S… command that switches it; the checksum carries the others."""

_numbers = itertools.count()
_open: list[Link] = []


@dataclass
class End:
    """One end of a link: a network namespace with one interface.

    Attributes:
        namespace: Its name, for ``ip netns exec``.
        ipv4: Address.
        ipv6: Address.
        mac: Address.
        interface: Name of the interface inside the namespace.
    """

    namespace: str
    ipv4: str
    ipv6: str
    mac: str
    interface: str = INTERFACE
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    def address(self, version: int) -> str:
        """Return the address of this end in IPv4 or IPv6."""
        return self.ipv4 if version == 4 else self.ipv6

    def argv(self, *command: str | os.PathLike[str]) -> list[str]:
        """Make the command line that runs a command here."""
        return ["ip", "netns", "exec", self.namespace, *(os.fspath(word) for word in command)]

    def start(self, *command: str | os.PathLike[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program here; whatever still runs when the link is left is killed. Options are those of Popen."""
        child = subprocess.Popen(self.argv(*command), **options)
        self._children.append(child)
        return child

    def run(self, *command: str | os.PathLike[str], timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end; its status is not looked at."""
        return subprocess.run(self.argv(*command), capture_output=True, text=True, check=False, timeout=timeout)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread that is in this namespace; the sockets it makes stay there."""
        with ThreadPoolExecutor(1, initializer=_enter, initargs=(self.namespace,)) as pool:
            return pool.submit(function, *arguments).result()

    def ip(self, *words: str) -> str:
        """Run an ``ip`` command on this namespace, such as ``link set mig0 down``."""
        return _ip("-n", self.namespace, *words)

    def captures(self) -> int:
        """Count the sockets that capture on the interface now."""
        return self.call(_captures)

    def packets(self) -> int:
        """Count the packets that the interface has sent and received; what offload is to split counts once."""
        return self.call(_packets)

    def switch(self, name: str, on: bool) -> None:
        """Switch one of `OFFLOADS`."""
        self.call(_ethtool, self.interface, OFFLOADS[name], int(on))

    def end(self) -> None:
        """Kill what still runs here."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not written yet has no reader any more
                        pipe.close()
        self._children.clear()


class Link:
    """A context manager: two namespaces, ``sender`` and ``receiver``, joined by an Ethernet link.

    Args:
        mtu: Of both interfaces, up to 65535.
        offload: False: packets are as large as on a wire. True: segments of up to 64 KiB travel, as they do between
            the kernel and a network card that splits them, and checksums are left to be filled in.
    """

    def __init__(self, mtu: int = 1500, *, offload: bool = False) -> None:
        self.mtu, self.offload = mtu, offload
        name = f"xendissect-{os.getpid()}-{next(_numbers)}"
        self.sender = End(f"{name}-sender", "192.0.2.1", "2001:db8::1", "00:16:3e:00:00:0a")
        self.receiver = End(f"{name}-receiver", "192.0.2.2", "2001:db8::2", "00:16:3e:00:00:0b")

    @property
    def ends(self) -> tuple[End, End]:
        """Both of them."""
        return self.sender, self.receiver

    def __enter__(self) -> Self:
        """Make the link; both ends can be reached at once."""
        sweep()
        _open.append(self)
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove everything."""
        self.close()

    def close(self) -> None:
        """Remove everything, what still runs on the link first."""
        for end in self.ends:
            end.end()
            _remove(end.namespace)
        if self in _open:
            _open.remove(self)

    def _make(self) -> None:
        one, other = self.ends
        _ip("netns", "add", one.namespace)
        _ip("netns", "add", other.namespace)
        _ip(
            *("link", "add", INTERFACE, "netns", one.namespace, "mtu", str(self.mtu), "type", "veth"),
            *("peer", "name", INTERFACE, "netns", other.namespace, "mtu", str(self.mtu)),
        )
        for end, peer in ((one, other), (other, one)):
            lines = [
                f"link set {INTERFACE} address {end.mac} addrgenmode none",
                f"address add {end.ipv4}/24 dev {INTERFACE}",
                f"address add {end.ipv6}/64 dev {INTERFACE} nodad",
                f"link set {INTERFACE} up",
                "link set lo up",
                f"neighbour add {peer.ipv4} lladdr {peer.mac} dev {INTERFACE}",
                f"neighbour add {peer.ipv6} lladdr {peer.mac} dev {INTERFACE}",
            ]
            _ip("-n", end.namespace, "-batch", "-", lines=lines)
            if not self.offload:
                for name in OFFLOADS:
                    end.switch(name, False)


def sweep() -> None:
    """Remove the namespaces of processes that are gone, and end what still runs in them."""
    for path in NAMESPACES.glob("xendissect-*") if NAMESPACES.is_dir() else ():
        match = NAME.fullmatch(path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            _remove(path.name)


@cache
def can_make_namespaces() -> str:
    """Try it: empty when links can be made here, or why not."""
    if shutil.which("ip") is None:
        return "there is no ip (iproute2)"
    try:
        with Link() as link:
            link.receiver.captures()
    except (OSError, subprocess.SubprocessError) as error:
        return f"namespaces cannot be made: {error}"
    return ""


def needs_namespaces() -> None:
    """Without namespaces the test is skipped, or fails where CI is set."""
    reason = can_make_namespaces()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _ip(*words: str, lines: Sequence[str] = ()) -> str:
    """Run ``ip``, which reads `lines`.

    Raises:
        OSError: it failed, and why.
    """
    text = "".join(f"{line}\n" for line in lines)
    run = subprocess.run(["ip", *words], input=text, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if run.returncode:
        raise OSError(f"ip {' '.join(words)}: {run.stderr.strip()}")
    return run.stdout


def _remove(namespace: str) -> None:
    """Remove a namespace, if it is still there, with what runs in it and its interface."""
    with contextlib.suppress(OSError):
        for pid in _ip("netns", "pids", namespace).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    with contextlib.suppress(OSError):  # with one end the other goes
        _ip("-n", namespace, "link", "delete", INTERFACE)
    with contextlib.suppress(OSError):
        _ip("netns", "delete", namespace)


def _enter(namespace: str) -> None:
    """Put the calling thread, and no other, into a namespace (os.setns came with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (NAMESPACES / namespace).open("rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"setns {namespace}: {os.strerror(number)}")


def _ethtool(interface: str, command: int, value: int) -> None:
    told = array("I", [command, value])
    request = struct.pack("16sP16x", interface.encode(), told.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, request)


def _captures() -> int:
    """Rows of /proc/net/packet: sk RefCnt Type Proto Iface Running …; the file is that of the calling thread."""
    rows = Path("/proc/thread-self/net/packet").read_text().splitlines()[1:]
    number = socket.if_nametoindex(INTERFACE)
    return sum(1 for row in rows if int(row.split()[4]) in (0, number) and row.split()[5] == "1")


def _packets() -> int:
    """Received and sent packets in /proc/net/dev: bytes packets errs drop fifo frame compressed multicast, twice."""
    for row in Path("/proc/thread-self/net/dev").read_text().splitlines():
        name, _, figures = row.partition(":")
        if name.strip() == INTERFACE:
            return int(figures.split()[1]) + int(figures.split()[9])
    raise OSError(f"no interface {INTERFACE}")


@atexit.register
def _close_all() -> None:
    while _open:
        _open[-1].close()
