# SPDX-License-Identifier: GPL-2.0-or-later
"""Other programs that read captures, one function for each.

Each does less than ours: only tshark with our plugin, and Xen's verifier of the stream that tcpflow puts together, find
records at all.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generate import PORT
from bench.measure import NOT_INSTALLED, Command
from bench.tools import Tool
from bench.wireshark import AS_DATA, LOAD
from tests.wireshark.tshark import PLUGIN, Tshark

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS: Final = ("-Y", "xenmig.type", "-T", "fields", "-e", "xenmig.type", "-e", "xenmig.offset")
VERIFY: Final = "usr/lib/xen-*/bin/verify-stream-v2"
FAST: Final = Path("/dev/shm")

SCAPY: Final = """
import sys
from scapy.layers.l2 import Ether
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapReader, RawPcapReader
for packet in (PcapReader if sys.argv[2] == "full" else RawPcapReader)(sys.argv[1]):
    pass
"""
DPKT: Final = """
import sys, dpkt
with open(sys.argv[1], "rb") as file:
    for time, data in dpkt.pcap.UniversalReader(file):
        dpkt.ethernet.Ethernet(data)
"""
PYSHARK: Final = """
import sys, pyshark
capture = pyshark.FileCapture(sys.argv[1], keep_packets=False, decode_as={sys.argv[2]: "data"})
for packet in capture:
    pass
capture.close()
"""
FOLLOW_AND_VERIFY: Final = """
folder=$(mktemp -d -p "$2") && trap 'rm -rf "$folder"' EXIT &&
tcpflow -r "$1" -o "$folder" && PYTHONPATH="$4" /usr/bin/python3 "$3" -f libxl -i "$folder"/*."$5"
"""
"""tcpflow names a file by addresses and ports; the one that ends in the receiver's port has the forward stream."""


def program(name: str) -> Callable[[], str]:
    """Ask whether a program is missing."""
    return lambda: "" if shutil.which(name) else NOT_INSTALLED


def module(name: str) -> Callable[[], str]:
    """Ask whether a Python module is missing."""
    return lambda: "" if importlib.util.find_spec(name) else NOT_INSTALLED


def verifier() -> Path | None:
    """Find Xen's verify-stream-v2."""
    return next(iter(sorted(Path("/").glob(VERIFY), reverse=True)), None)


def verifier_missing() -> str:
    """Say whether tcpflow or Xen's verifier is missing."""
    return NOT_INSTALLED if verifier() is None or not shutil.which("tcpflow") else ""


def tcpdump(path: Path) -> Command:
    """Copy all packets to nowhere."""
    return Command(path.name, ["tcpdump", "-r", str(path), "-w", "/dev/null"], path)


def capinfos(path: Path) -> Command:
    """Count packets and take the times of the first and the last one."""
    return Command(path.name, ["capinfos", "-c", "-u", str(path)], path)


def tshark(path: Path) -> Command:
    """Dissect every frame up to TCP, print nothing."""
    return _tshark(path, *LOAD, *AS_DATA, plugin=None)


def tshark_lua(path: Path) -> Command:
    """Dissect every frame with our plugin, print nothing."""
    return _tshark(path, *LOAD, plugin=PLUGIN)


def tshark_records(path: Path) -> Command:
    """Print type and offset of every record that our plugin finds."""
    return _tshark(path, *RECORDS, plugin=PLUGIN)


def _tshark(path: Path, *arguments: str, plugin: Path | None) -> Command:
    which = Tshark()
    argv = which.argv("tshark", *which.arguments(path, *arguments, plugin=plugin))
    return Command(path.name, argv, path, environment=which.environment)


def scapy(path: Path) -> Command:
    """Dissect every packet with scapy, up to TCP."""
    return Command(path.name, [sys.executable, "-c", SCAPY, str(path), "full"], path)


def scapy_raw(path: Path) -> Command:
    """Read every packet with scapy, dissect nothing."""
    return Command(path.name, [sys.executable, "-c", SCAPY, str(path), "raw"], path)


def dpkt(path: Path) -> Command:
    """Dissect every packet with dpkt, up to TCP."""
    return Command(path.name, [sys.executable, "-c", DPKT, str(path)], path)


def pyshark(path: Path) -> Command:
    """Let pyshark make an object of every packet, payload as data."""
    return Command(path.name, [sys.executable, "-c", PYSHARK, str(path), f"tcp.port=={PORT}"], path)


def verify(path: Path) -> Command:
    """Put the stream together with tcpflow, in memory if possible, and check it with Xen's verifier."""
    folder = FAST if FAST.is_dir() else Path(tempfile.gettempdir())
    found = verifier()
    words = [str(path), str(folder), str(found), str(found.parent.parent / "lib/python") if found else "", str(PORT)]
    return Command(path.name, ["sh", "-c", FOLLOW_AND_VERIFY, "sh", *words], path)


TCPDUMP: Final = Tool("tcpdump", "`tcpdump -r -w /dev/null`", tcpdump, program("tcpdump"))
CAPINFOS: Final = Tool("capinfos", "`capinfos -c -u`", capinfos, program("capinfos"))
TSHARK: Final = Tool("tshark", "tshark, payload as data", tshark, program("tshark"))
TSHARK_LUA: Final = Tool("lua", "tshark with our plugin", tshark_lua, program("tshark"))
TSHARK_RECORDS: Final = Tool(
    "lua-records", "tshark with our plugin, records shown", tshark_records, program("tshark"), packets=2200
)
SCAPY_FULL: Final = Tool("scapy", "scapy `PcapReader`", scapy, module("scapy"), packets=5_000)
SCAPY_RAW: Final = Tool("scapy-raw", "scapy `RawPcapReader`", scapy_raw, module("scapy"), packets=200_000)
DPKT_FULL: Final = Tool("dpkt", "dpkt", dpkt, module("dpkt"), packets=100_000)
PYSHARK_FULL: Final = Tool("pyshark", "pyshark", pyshark, module("pyshark"), packets=300)
VERIFIER: Final = Tool("verify", "tcpflow, then Xen's `verify-stream-v2`", verify, verifier_missing)
QUICK: Final = (TCPDUMP, CAPINFOS, TSHARK, TSHARK_LUA)
ALL: Final = (*QUICK, VERIFIER, DPKT_FULL, SCAPY_RAW, SCAPY_FULL, PYSHARK_FULL)
