# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture filters: what is captured if the user says nothing, and expressions compiled by libpcap."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import shutil
import subprocess
from functools import cache
from typing import Final, NamedTuple

from dissector.live.source import LiveError

ETHERNET, BARE_IP = 1, 12
"""Link types as libpcap numbers them (DLT_): what a filter sees of an Ethernet frame, or of one without link header."""
_DLT_NAMES: Final = {ETHERNET: "EN10MB", BARE_IP: "RAW"}

_EXTENDED: Final = "(ip6 and ({}))".format(" or ".join(f"ip6[6] = {n}" for n in (0, 43, 44, 51, 60, 135, 139, 140)))
"""IPv6 with an extension header, be it of a fragment: a filter of the kernel cannot loop to what lies behind it."""
_LATER_FRAGMENTS: Final = "(ip proto 6 and ip[6:2] & 0x1fff != 0)"
_TCP: Final = f"(tcp or ip proto 51 or {_EXTENDED})"
_HIDDEN: Final = f"({_LATER_FRAGMENTS} or {_EXTENDED})"


class Instruction(NamedTuple):
    """One instruction of the kernel's packet filter, struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def tcp_only(link: int) -> str:
    """Return the filter that loses no TCP: fragments, up to two VLAN tags, IPv6 extension headers.

    A tag that the network card or the kernel took out of the frame needs no ``vlan``. libpcap knows the word on
    Ethernet only.

    Args:
        link: ETHERNET or BARE_IP.
    """
    return f"{_TCP} or (vlan and {_TCP}) or (vlan and {_TCP})" if link == ETHERNET else _TCP


def keep_fragments(expression: str) -> str:
    """Return a filter that also passes what hides its ports from `expression`.

    That is, TCP fragments of IPv4 after the first, and IPv6 with extension headers, fragments among them.
    """
    if not expression.strip():
        return expression
    kept = f"{_HIDDEN} or ({expression})"
    # The word moves where all that follows looks.
    return f"{kept} or {_HIDDEN}" if re.search(r"\b(vlan|mpls|pppoes|geneve)\b", expression) else kept


def compile_filter(expression: str, link: int, snap_length: int = 262144) -> Program:
    """Compile a filter expression, see pcap-filter(7).

    Args:
        expression: Empty: everything.
        link: ETHERNET or BARE_IP.
        snap_length: Most bytes captured of a packet.

    Raises:
        LiveError: The expression is wrong, in libpcap's words, or nothing here can compile it.
    """
    if not expression.strip():
        return (Instruction(6, 0, 0, snap_length),)
    library = _library()
    if library is None:
        return _compile_with_tcpdump(expression, link, snap_length)
    handle = library.pcap_open_dead(link, snap_length)
    program = _Program()
    try:
        if library.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, 0xFFFFFFFF):
            raise _wrong(expression, library.pcap_geterr(handle).decode(errors="replace"))
        found = (program.instructions[index] for index in range(program.length))
        result = tuple(Instruction(one.code, one.jt, one.jf, one.k) for one in found)
        library.pcap_freecode(ctypes.byref(program))
        return result
    finally:
        library.pcap_close(handle)


def can_compile() -> bool:
    """Tell whether `compile_filter` finds what it needs."""
    return _library() is not None or shutil.which("tcpdump") is not None


@cache
def _library() -> ctypes.CDLL | None:
    for name in (ctypes.util.find_library("pcap"), "libpcap.so.1", "libpcap.so.0.8"):
        if name is None:
            continue
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        handle = ctypes.c_void_p
        library.pcap_open_dead.restype, library.pcap_open_dead.argtypes = handle, (ctypes.c_int, ctypes.c_int)
        library.pcap_geterr.restype, library.pcap_geterr.argtypes = ctypes.c_char_p, (handle,)
        library.pcap_close.restype, library.pcap_close.argtypes = None, (handle,)
        program = ctypes.POINTER(_Program)
        library.pcap_compile.argtypes = (handle, program, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint)
        library.pcap_freecode.restype, library.pcap_freecode.argtypes = None, (program,)
        return library
    return None


def _compile_with_tcpdump(expression: str, link: int, snap_length: int) -> Program:
    command = ("tcpdump", "-ddd", "-y", _DLT_NAMES[link], "-s", str(snap_length), "--", expression)
    try:
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        raise LiveError(
            "capture filters need libpcap or tcpdump: install libpcap0.8 (Debian) or libpcap (Fedora)"
        ) from None
    if run.returncode:
        lines = run.stderr.strip().splitlines() or ["tcpdump refuses it"]
        raise _wrong(expression, lines[-1].removeprefix("tcpdump: "))
    rows = [tuple(int(word) for word in line.split()) for line in run.stdout.splitlines()[1:]]
    return tuple(Instruction(*row) for row in rows)


def _wrong(expression: str, reason: str) -> LiveError:
    return LiveError(f"capture filter {expression!r}: {' '.join(reason.split())}")
