# SPDX-License-Identifier: GPL-2.0-or-later
"""Giving up the right to capture once the capture is open, and saying how to get it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION_3: Final = 0x20080522
_DAC_OVERRIDE: Final = 1 << 1
_SYSTEM_CALLS: Final = {
    "x86_64": 126,
    "i686": 185,
    "i386": 185,
    "aarch64": 91,
    "riscv64": 91,
    "ppc64le": 184,
    "s390x": 185,
}
"""Numbers of capset(2) for machines whose C library does not export it."""


@contextlib.contextmanager
def dropped_for(path: str | None) -> Iterator[None]:
    """Give up the right to capture, and let the file at `path` be made inside the ``with`` block.

    Who called sudo owns the file, as with tcpdump: it is made behind `drop`. root without sudo makes it before, and may
    go on to further files in folders that belong to others: CAP_DAC_OVERRIDE is kept if this is such a folder.
    """
    if caller() is not None:
        drop()
        yield
        return
    yield
    folder = None if path in (None, "-") else Path(path or "").absolute().parent
    with contextlib.suppress(OSError):
        drop(keep_files=folder is not None and folder.stat().st_uid != 0)


def drop(*, keep_files: bool = False) -> None:
    """Become the user who called sudo, or else give up all capabilities; nothing happens without anything to give up.

    Sockets and children that are open keep working. root without sudo stays uid 0, but with the rights that the
    permissions of files give it.

    Args:
        keep_files: root without sudo keeps the right to write everywhere.

    Raises:
        OSError: The system refuses, which it never does to a process that has something to give up.
    """
    if os.geteuid() == 0 and (user := caller()) is not None:
        uid, gid = user
        _join_groups(uid, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif _has_capabilities():
        _drop_capabilities(keep_files=keep_files and os.geteuid() == 0)


def explain(interface: str) -> str:
    """Return the one line that says how to get the right to capture."""
    what = f"capturing on {interface} needs the right to (CAP_NET_RAW)"
    if sys.platform != "linux":
        return f"{what}: run it with sudo, or install Wireshark's dumpcap with its ChmodBPF"
    return (
        f"{what}: run it with sudo, or let dumpcap capture: sudo dpkg-reconfigure wireshark-common;"
        " sudo usermod -aG wireshark $USER; log in again"
    )


def caller() -> tuple[int, int] | None:
    """Return user and group of who called sudo; None: nobody, or root."""
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    return (uid, gid) if uid > 0 and gid >= 0 else None


def _join_groups(uid: int, gid: int) -> None:
    import pwd

    try:
        os.initgroups(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:  # a user of another system, say in a container
        os.setgroups([gid])


def _has_capabilities() -> bool:
    """Tell whether this process may do anything that a plain user may not."""
    if sys.platform != "linux":
        return False
    # Bytes, for after `drop` Python may be unable to read its own modules, the codecs of text files among them.
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as status:  # noqa: PTH123
        return any(int(line.split()[1], 16) for line in status if line.startswith((b"CapPrm:", b"CapEff:", b"CapInh:")))
    return True


def _drop_capabilities(*, keep_files: bool = False) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, 0))
    kept = _DAC_OVERRIDE if keep_files else 0
    rights = ctypes.create_string_buffer(struct.pack("=6I", kept, kept, 0, 0, 0, 0))
    if hasattr(library, "capset"):
        result = library.capset(header, rights)
    else:
        result = library.syscall(_SYSTEM_CALLS[os.uname().machine], header, rights)
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot give up capabilities: {os.strerror(number)}")
