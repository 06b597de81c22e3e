# SPDX-License-Identifier: GPL-2.0-or-later
"""What Wireshark is told about our capture interfaces: their names, link types and options (extcap(4)).

Wireshark asks anew at every start, twice for each interface, so nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from dissector import __version__
from dissector.live import devices

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["string", "selector", "boolflag", "unsigned"]

PREFIX: Final = "xendissect-"
"""What our interfaces begin with; the name of the network interface follows."""
SSH: Final = f"{PREFIX}ssh"
BUFFER_MIB: Final = 64
BUFFER_RANGE: Final = (2, 4096)

_DLTS: Final = {
    1: (1, "EN10MB", "Ethernet"),
    101: (12, "RAW", "Raw IP"),
    276: (276, "LINUX_SLL2", "Linux cooked-mode capture v2"),
}
"""LINKTYPE_ of the packets -> number, name and description of the DLT_. The pcapng that is captured says it again."""
_REMOTE_DLT: Final = (147, "USER0", "As the interface on the other host")
"""What sshdump answers too: not known before the capture."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an interface, a row in Wireshark's dialog.

    Attributes:
        call: Its name on our command line.
        display: Label.
        kind: How it is shown.
        tooltip: Explanation.
        group: Tab of the dialog.
        default: Value if nothing is chosen; empty: none.
        values: Of a selector: value -> label.
        required: A capture can not begin without it.
        placeholder: Grey text in the empty row.
        between: Smallest and largest number.
    """

    call: str
    display: str
    kind: Kind
    tooltip: str
    group: str = "Capture"
    default: str = ""
    values: tuple[tuple[str, str], ...] = ()
    required: bool = False
    placeholder: str = ""
    between: tuple[int, int] | None = None

    def lines(self, number: int) -> Iterator[str]:
        """Write it as Wireshark wants it."""
        parts = [f"arg {{number={number}}}{{call={self.call}}}{{display={self.display}}}{{type={self.kind}}}"]
        parts.append(f"{{tooltip={self.tooltip}}}{{group={self.group}}}")
        if self.default and not self.values:
            parts.append(f"{{default={self.default}}}")
        if self.placeholder:
            parts.append(f"{{placeholder={self.placeholder}}}")
        if self.between is not None:
            parts.append("{{range={},{}}}".format(*self.between))
        if self.required:
            parts.append("{required=true}")
        yield "".join(parts)
        for value, label in self.values:
            chosen = "{default=true}" if value == self.default else ""
            yield f"value {{arg={number}}}{{value={value}}}{{display={label}}}{chosen}"


_CAPTURE: Final = (
    Option(
        "--slim",
        "Page contents",
        "selector",
        "What is captured of the contents of guest memory, and about how much that leaves; all records are kept",
        default="off",
        values=(
            ("off", "Keep everything"),
            ("cut", "Cut off: each packet stays, with its headers (1/10 of the size)"),
            ("heads", "Leave out packets with nothing else (1/440)"),
        ),
    ),
    Option(
        "--filter",
        "Capture filter",
        "string",
        "As in pcap-filter(7); TCP fragments are always kept. Added to the capture filter of the main window",
        placeholder="TCP",
    ),
    Option(
        "--all-protocols",
        "All protocols if there is no filter",
        "boolflag",
        "Without any capture filter only TCP is captured, unless this is ticked",
        default="false",
    ),
    Option(
        "--buffer",
        "Kernel buffer (MiB)",
        "unsigned",
        "Larger: fewer packets are lost when they come very fast",
        default=str(BUFFER_MIB),
        between=BUFFER_RANGE,
    ),
)
_REMOTE: Final = (
    Option(
        "--remote-host",
        "Host",
        "string",
        "As ssh takes it: a name from ~/.ssh/config, user@host, or ssh://user@host:port. It must let you in without"
        " asking, by a key or the agent",
        group="Server",
        required=True,
        placeholder="root@host",
    ),
    Option(
        "--remote-interface",
        "Interface there",
        "string",
        "Name of the network interface on the host; empty: the program there chooses",
        group="Server",
        placeholder="xenbr0",
    ),
    Option(
        "--remote-tool",
        "Program there",
        "selector",
        "What captures on the host",
        group="Server",
        default="auto",
        values=(("auto", "dumpcap, or else tcpdump"), ("tcpdump", "tcpdump"), ("dumpcap", "dumpcap")),
    ),
    Option(
        "--remote-sudo",
        "Through sudo there",
        "boolflag",
        "Run it with sudo -n, which must not ask for a password",
        group="Server",
        default="false",
    ),
)
ALL_OPTIONS: Final = (*_REMOTE, *_CAPTURE)


def options(interface: str) -> tuple[Option, ...]:
    """Return the options of an interface of ours."""
    return ALL_OPTIONS if interface == SSH else _CAPTURE


def interface_lines() -> Iterator[str]:
    """List our interfaces.

    Raises:
        OSError: The system does not tell.
    """
    yield f"extcap {{version={__version__}}}{{display=Xen migration}}"
    for device in devices.devices():
        value = PREFIX + device.name
        if value != SSH and not {"{", "}"} & {*device.name}:
            where = "all interfaces" if device.name == devices.ANY else device.name
            yield f"interface {{value={value}}}{{display=Xen migration on {where}}}"
    yield f"interface {{value={SSH}}}{{display=Xen migration over ssh}}"


def device_of(interface: str) -> devices.Device:
    """Return the network interface behind one of ours that is not `SSH`.

    Raises:
        LiveError: There is none, or none any more.
    """
    return devices.find(interface.removeprefix(PREFIX))


def dlt_lines(interface: str) -> Iterator[str]:
    """List the link types of an interface.

    Raises:
        LiveError: There is no such interface.
    """
    facts = _REMOTE_DLT if interface == SSH else _DLTS[device_of(interface).link.linktype]
    yield "dlt {{number={}}}{{name={}}}{{display={}}}".format(*facts)


def config_lines(interface: str) -> Iterator[str]:
    """List the options of an interface."""
    for number, option in enumerate(options(interface)):
        yield from option.lines(number)
