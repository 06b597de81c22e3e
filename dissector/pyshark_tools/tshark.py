# SPDX-License-Identifier: GPL-2.0-or-later
"""tshark with our plugin: how it is called, and what it means when it does not do what it should."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from dissector.lua_writer import generate, quoted
from dissector.wireshark import program
from dissector.wireshark.doctor import INSTALL, ROOT_IGNORED, find_copies
from dissector.wireshark.probe import lua_error
from dissector.wireshark.setup import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EVENTS: Final = "xenmig.type || xenmig.gap.length || xenmig.resync.skipped || xenmig.finding"
"""Display filter for the frames that have something to tell; those that only carry page contents have not."""

_CUT: Final = re.compile(r"[^\n]*appears to have been cut short[^\n]*")
_NO_PLUGIN: Final = re.compile(
    r'xenmig[\w.]*"? is (?:neither a field|not a valid protocol)|"xenmig\.pfn_cap:\d+" specifies'
)
_NOISE: Final = re.compile(r"^Running as user .*\n?", re.MULTILINE)
_BLOCK: Final = 1 << 16
_HOMES: Final = ("HOME", "APPDATA", "XDG_CONFIG_HOME", "WIRESHARK_CONFIG_DIR", "WIRESHARK_PLUGIN_DIR")
"""Environment variables that tell Wireshark where the user's folders are."""


class TsharkError(Exception):
    """tshark is not there, or died; what it told before was delivered."""


class PluginError(TsharkError):
    """tshark runs without our plugin, or with another one."""


def find_tshark(path: str | os.PathLike[str] | None = None) -> str:
    """Return the path of tshark.

    Raises:
        TsharkError: it is not there.
    """
    found = shutil.which(path) if path is not None else program.find("tshark")
    if found is None:
        name = "tshark is not found" if path is None else f"{os.fspath(path)} is not there, or no program"
        raise TsharkError(f"{name}: install Wireshark 4.0 or later (Debian and Ubuntu: apt-get install tshark)")
    return found


# -- how it is called ------------------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    """Make a folder for the plugin, which is there as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="xendissect-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def plugin_script() -> Path:
    """Return a Lua script that loads our plugin, unless a plugin folder of Wireshark's had it already."""
    folder = _folder()
    script = folder / "load.lua"
    if not script.exists():
        folder.mkdir(exist_ok=True)
        plugin = folder / PLUGIN
        plugin.write_text(generate(), "utf-8")
        script.write_text(
            "-- Wireshark refuses a protocol that is there already: the installed plugin comes first.\n"
            'local asked, there = pcall(Dissector.get, "xenmig")\n'
            f"if not (asked and there) then\n  dofile({quoted(str(plugin))})\nend\n",
            "utf-8",
        )
    return script


def check_installed(tshark: str) -> None:
    """Look at the plugins that are installed: one of another version would say other things.

    Raises:
        PluginError: there is one.
    """
    for path in find_copies(_plugin_folders(tshark, *map(os.environ.get, _HOMES))):
        if path.read_text("utf-8", "replace") != generate():
            raise PluginError(f"{path} is not the plugin of this xendissect: run {INSTALL}, or remove it")


@cache
def _plugin_folders(tshark: str, *_homes: str | None) -> program.Folders:
    """Ask tshark where its folders are, once."""
    return program.folders(tshark)


def arguments(*, pfns: bool, layers: Sequence[str], two_passes: bool) -> list[str]:
    """Return the options of tshark that make it tell what we want, and no more."""
    return [
        *(["-2"] if two_passes else []),
        *("-X", f"lua_script:{plugin_script()}"),
        *("-J", " ".join(dict.fromkeys(("frame", *layers, "xenmig")))),
        *("-o", f"xenmig.pfn_cap:{(1 << 32) - 1 if pfns else 0}"),
        *("-o", "ipv6.tso_support:TRUE"),  # frames longer than their IP header can say; for IPv4 it is so anyway
    ]


def pyshark_options(
    *,
    pfns: bool = False,
    layers: Sequence[str] = (),
    two_passes: bool = True,
    tshark_path: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Return arguments for pyshark's own ``FileCapture`` and ``LiveCapture``, for :func:`packet_events`.

    Args:
        pfns: list all pfns.
        layers: other layers of the packets, such as ``("ip",)``; ``"tcp"`` brings the payload along.
        two_passes: let tshark read a file twice; not possible with ``LiveCapture``.
        tshark_path: tshark, if it is not the one in PATH.

    Raises:
        TsharkError: tshark is not there, or an installed plugin is not ours.
    """
    tshark = find_tshark(tshark_path)
    check_installed(tshark)
    return {
        "use_json": True,
        "display_filter": EVENTS,
        "custom_parameters": arguments(pfns=pfns, layers=layers, two_passes=two_passes),
        "tshark_path": tshark,
    }


def command(
    tshark: str,
    capture: str,
    options: Sequence[str],
    decode_as: Mapping[str, str],
    preferences: Mapping[str, str],
) -> list[str]:
    """Return the command line that reads a capture."""
    chosen = [word for name, value in preferences.items() for word in ("-o", f"{name}:{value}")]
    chosen += [word for rule, protocol in decode_as.items() for word in ("-d", f"{rule},{protocol}")]
    return [tshark, "-n", "-r", capture, "-T", "json", "--no-duplicate-keys", "-Y", EVENTS, *options, *chosen]


# -- what it says ----------------------------------------------------------------------------------------------------


def packets(output: IO[bytes]) -> Iterator[str]:
    """Yield the JSON text of each packet.

    Raises:
        EOFError: the output ends inside a packet.
    """
    buffer = bytearray()
    searched = 0
    while data := output.read1(_BLOCK):  # type: ignore[attr-defined]
        buffer += data
        while (end := buffer.find(b"\n  }", searched)) >= 0:  # everything in a packet is indented further
            yield buffer[buffer.index(b"{") : end + 4].decode("utf-8", "replace")
            del buffer[: end + 4]
            searched = 0
        searched = max(0, len(buffer) - 3)
    if b"{" in buffer or not buffer.rstrip().endswith(b"]"):
        raise EOFError


def truncation(said: str) -> str | None:
    """Return what tshark says of a capture that was cut short; None when it does not."""
    match = _CUT.search(said)
    return match[0].removeprefix("tshark: ").strip() if match else None


def failure(tshark: str, status: int, said: str) -> Exception | None:
    """Return what is wrong, by exit status and standard error; None when nothing is."""
    said = _NOISE.sub("", said).strip()
    if _NO_PLUGIN.search(said):
        return PluginError(_no_plugin(tshark))
    if error := lua_error(said):
        return PluginError(f"the plugin has an error: {error}")
    if status < 0:
        return TsharkError(f"{tshark} was ended by {_signal(-status)}; what it told before was delivered")
    if status and not truncation(said):
        last = said.splitlines()[-1].removeprefix("tshark: ") if said else f"exit status {status}"
        return TsharkError(f"{tshark}: {last}")
    return None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _no_plugin(tshark: str) -> str:
    found = program.ask(tshark)
    name = found.name if found else tshark
    if found is not None and found.lua is None:
        return f"{name} was built without Lua: install a build with Lua"
    if found is not None and found.version >= ROOT_IGNORED and hasattr(os, "geteuid") and os.geteuid() == 0:
        return (
            f"{name} run by root ignores -X lua_script and personal plugins without a word: "
            f"run as an ordinary user, or {INSTALL} --global"
        )
    return f"{name} does not load the plugin: xendissect wireshark doctor says why"


def start(words: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start tshark.

    Raises:
        TsharkError: it cannot be run.
    """
    try:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
    except OSError as error:
        raise TsharkError(f"{words[0]}: {error.strerror}") from None
