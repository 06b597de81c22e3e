# SPDX-License-Identifier: GPL-2.0-or-later
"""The interfaces of this machine, as ``tcpdump -D`` lists them; no rights are needed."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final, NamedTuple

from dissector.live.source import LiveError

ANY: Final = "any"
UP, LOOPBACK, RUNNING = 0x1, 0x8, 0x40
_GET_NAME, _GET_FLAGS, _GET_HARDWARE = 0x8910, 0x8913, 0x8927
_ETHERNET, _LOOPBACK_HARDWARE = 1, 772
_BARE_IP: Final = {512: "PPP", 519: "raw IP", 768: "IP tunnel", 769: "IP tunnel", 776: "IP tunnel", 65534: "raw IP"}
"""Hardware types (ARPHRD_) without a link header worth keeping."""
_GET_ADDRESSES, _DUMP, _DONE, _ERROR, _ADDRESS = 22, 0x301, 3, 2, 20
"""Of rtnetlink: RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, RTM_NEWADDR."""


class LinkLayer(NamedTuple):
    """How the frames of an interface are captured.

    Attributes:
        name: For people.
        linktype: LINKTYPE_ number of the packets that a ring gives.
        cooked: The kernel takes the link header off (SOCK_DGRAM), so that a filter sees the IP header first.
    """

    name: str
    linktype: int
    cooked: bool


class Device(NamedTuple):
    """One interface.

    Attributes:
        number: What ``-i NUMBER`` means by it, from 1.
        name: Of the interface.
        ifindex: What the kernel calls it; 0 for "any".
        up: It is switched on.
        running: It is up and has a carrier.
        loopback: It is the loopback interface.
        link: Its link layer.
        addresses: IPv4 and IPv6, in words.
    """

    number: int
    name: str
    ifindex: int
    up: bool
    running: bool
    loopback: bool
    link: LinkLayer
    addresses: tuple[str, ...]


COOKED: Final = LinkLayer("Linux cooked", 276, cooked=True)


def link_layer(hardware: int) -> LinkLayer:
    """Choose how to capture on an interface of a hardware type (ARPHRD_ number)."""
    if hardware in (_ETHERNET, _LOOPBACK_HARDWARE):
        return LinkLayer("Ethernet" if hardware == _ETHERNET else "loopback", 1, cooked=False)
    if hardware in _BARE_IP:
        return LinkLayer(_BARE_IP[hardware], 101, cooked=True)
    return COOKED._replace(name=f"hardware type {hardware}")


def devices() -> list[Device]:
    """List the interfaces: running ones first, then those that are up, the loopback, those that are down, and "any"."""
    addresses = _addresses()
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for index, name in socket.if_nameindex():
            try:
                flags, hardware = _ask(asked, _GET_FLAGS, name), _ask(asked, _GET_HARDWARE, name)
            except OSError:  # gone meanwhile
                continue
            up, running, loopback = bool(flags & UP), bool(flags & RUNNING and flags & UP), bool(flags & LOOPBACK)
            link = link_layer(hardware)
            found.append(Device(0, name, index, up, running, loopback, link, tuple(addresses.get(index, ()))))
    found.sort(key=lambda device: (not device.up, device.loopback, not device.running, device.ifindex))
    if sys.platform == "linux":
        found.append(Device(0, ANY, 0, True, True, False, COOKED, ()))
    return [device._replace(number=number) for number, device in enumerate(found, 1)]


def find(wanted: str) -> Device:
    """Return the interface of a name or, if there is none, of a number as `devices` gives them.

    Raises:
        LiveError: There is no such interface.
    """
    known = devices()
    for device in known:
        if wanted == device.name:
            return device
    for device in known:
        if wanted == str(device.number):
            return device
    names = ", ".join(device.name for device in known)
    raise LiveError(f"there is no interface {wanted!r}; there are {names}")


def default() -> Device:
    """Return the interface to capture on if none is named: the first that is up, the loopback only if nothing else is.

    Raises:
        LiveError: None is up.
    """
    for device in devices():
        if device.up and device.name != ANY:
            return device
    raise LiveError("no interface is up; name one with -i")


def flags_of(asked: socket.socket, ifindex: int) -> int | None:
    """Return the flags of an interface in the network namespace of a socket; None: there is none (any more)."""
    import fcntl

    try:
        name = fcntl.ioctl(asked, _GET_NAME, struct.pack("=16xi20x", ifindex))[:16]
        return _ask(asked, _GET_FLAGS, name.rstrip(b"\0").decode())
    except OSError:
        return None


def _ask(asked: socket.socket, request: int, name: str) -> int:
    """Return interface flags or hardware type, which lie at the same place of struct ifreq."""
    if sys.platform != "linux":
        return UP | RUNNING if request == _GET_FLAGS else _ETHERNET
    import fcntl

    answer = fcntl.ioctl(asked, request, struct.pack("16s24x", name.encode()))
    return int(struct.unpack_from("=H", answer, 16)[0])


def _addresses() -> dict[int, list[str]]:
    """Return interface index -> addresses."""
    found: dict[int, list[str]] = {}
    if sys.platform != "linux":
        return found
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
        asked.send(struct.pack("=IHHII B3xI", 24, _GET_ADDRESSES, _DUMP, 1, 0, 0, 0))
        while True:
            answer = asked.recv(1 << 18)
            position = 0
            while position + 16 <= len(answer):
                size, kind = struct.unpack_from("=IH", answer, position)
                if kind in (_DONE, _ERROR) or size < 16:
                    return found
                if kind == _ADDRESS:
                    _add_address(found, answer[position + 16 : position + size])
                position += size + 3 & ~3


def _add_address(found: dict[int, list[str]], message: bytes) -> None:
    family, index = struct.unpack_from("=B3xI", message)
    values, position = {}, 8
    while position + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, position)
        if size < 4:
            break
        values[kind] = message[position + 4 : position + size]
        position += size + 3 & ~3
    value = values.get(2, values.get(1))  # the local address; that of a point-to-point link's other end is 1
    if value is not None and family in (socket.AF_INET, socket.AF_INET6):
        found.setdefault(index, []).append(socket.inet_ntop(family, value))
