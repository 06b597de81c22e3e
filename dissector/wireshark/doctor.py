# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds out why Wireshark does not show migrations, and says how to mend it: one line for each thing looked at."""

from __future__ import annotations

import os
import re
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dissector.live import child, privileges
from dissector.wireshark import program, starter
from dissector.wireshark.probe import probe
from dissector.wireshark.setup import (
    OF_WIRESHARK,
    PLUGIN,
    PROFILE,
    changed,
    is_ours,
    places,
    profile_files,
    recorded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dissector.wireshark.probe import Probe
    from dissector.wireshark.program import Folders, Program

Level: TypeAlias = Literal["ok", "note", "wrong"]

OLDEST: Final = (4, 0, 0)
"""First Wireshark that the dissector is tested with."""
ROOT_IGNORED: Final = (4, 4, 0)
"""From here on Wireshark ignores personal plugins and ``-X lua_script`` when it is run by root."""

INSTALL: Final = "xendissect wireshark install"

_PROTOCOL: Final = re.compile(r"""\bProto(?:\.new)?\s*\(\s*["']xenmig["']""")
_SWITCHED_OFF: Final = re.compile(r"^[ \t]*(?:enable_lua\s*=\s*false|disable_lua\s*=\s*true)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    level: Level
    text: str


def examine(plugin: str, *, root: bool | None = None) -> Iterator[Check]:
    """Look at everything.

    Args:
        plugin: what the installed plugin should be.
        root: whether this user is root; None to look.
    """
    path = program.find("tshark")
    tshark = program.ask(path) if path else None
    yield from _programs(path, tshark)
    folders = program.folders(path)
    copies = find_copies(folders)
    yield from _plugin(folders, copies, plugin)
    yield from _profile(folders)
    yield from _capturing(folders, tshark)
    if tshark is not None and tshark.version >= OLDEST and tshark.lua is not None:
        superuser = _is_root() if root is None else root
        yield from _loading(tshark, folders, copies, root=superuser)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


# -- programs --------------------------------------------------------------------------------------------------------


def _programs(path: str | None, tshark: Program | None) -> Iterator[Check]:
    gui = program.find("wireshark")
    if path is None:
        remedy = (
            "install it (Debian and Ubuntu: apt-get install tshark; elsewhere it comes with Wireshark 4.0 or later)"
        )
        there = "Wireshark is there, but " if gui else ""
        yield Check("wrong", f"{there}tshark is not found, so nothing can be tried: {remedy}")
    elif tshark is None:
        yield Check("wrong", f"{path} does not answer to --version: reinstall Wireshark")
    else:
        yield _version(tshark)
    shark = program.ask(gui) if gui else None
    if shark is not None and tshark is not None and shark.version != tshark.version:
        yield Check("note", f"{shark.name} ({shark.path}) is not of the same version; what follows is true of tshark")
    elif shark is not None and tshark is None:
        yield _version(shark)


def _version(found: Program) -> Check:
    if found.version < OLDEST:
        return Check("wrong", f"{found.name} is too old: install Wireshark 4.0 or later")
    if found.lua is None:
        return Check(
            "wrong", f"{found.name} was built without Lua: install a build with Lua, such as your distribution's"
        )
    return Check("ok", f"{found.name} with Lua {found.lua}".rstrip() + f" ({found.path})")


# -- what the files say ----------------------------------------------------------------------------------------------


def find_copies(folders: Folders) -> list[Path]:
    """Return all Lua files in Wireshark's plugin folders that would register our dissector, in the order of loading."""
    found: list[Path] = []
    for folder in (folders.global_plugins, folders.plugins, folders.deprecated_plugins):
        if folder is not None and folder.is_dir():
            files = sorted(path for path in folder.rglob("*.lua") if path not in found)
            found += [path for path in files if path.name == PLUGIN or is_ours(path) or _PROTOCOL.search(_text(path))]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _plugin(folders: Folders, copies: list[Path], plugin: str) -> Iterator[Check]:
    if not copies:
        yield Check("wrong", f"the plugin is not in {folders.plugins}: {INSTALL}")
    for path in copies:
        everyone = folders.global_plugins is not None and path.is_relative_to(folders.global_plugins)
        again = f"{INSTALL}{' --global' if everyone else ''}"
        if folders.deprecated_plugins != folders.plugins and path.is_relative_to(folders.deprecated_plugins):
            yield Check("wrong", f"{path} is in a folder that is no longer used for plugins: delete it, then {again}")
        elif not is_ours(path):
            yield Check("wrong", f"{path} was not made by xendissect, but registers xenmig or has its name: remove it")
        elif _text(path) != plugin:
            yield Check("wrong", f"{path} is not what this xendissect writes: {again}")
        else:
            yield Check("ok", f"plugin is current: {path}")
    if len(copies) > 1:
        listed = " and ".join(str(path) for path in copies)
        yield Check(
            "wrong", f"the dissector is there {len(copies)} times, Wireshark refuses the second: keep one of {listed}"
        )


def _profile(folders: Folders) -> Iterator[Check]:
    mine = places(folders).profile
    everyones = (
        places(folders, everyone=True).profile if folders.global_configuration and folders.global_plugins else None
    )
    profile = mine if mine.is_dir() or everyones is None or not everyones.is_dir() else everyones
    if not profile.is_dir():
        yield Check("note", f"the profile {PROFILE!r} is not installed: {INSTALL}")
    elif recorded(profile) is None:
        yield Check("note", f"{profile} was not made by xendissect; it is left alone")
    elif yours := changed(profile):
        yield Check("ok", f"profile, with your changes in {', '.join(yours)}: {profile}")
    elif any(_text(profile / name) != text for name, text in profile_files().items() if name not in OF_WIRESHARK):
        yield Check("note", f"{profile} is not what this xendissect writes: {INSTALL}")
    else:
        yield Check("ok", f"profile is current: {profile}")


# -- capturing -------------------------------------------------------------------------------------------------------


def _capturing(folders: Folders, tshark: Program | None) -> Iterator[Check]:
    mine = places(folders).starter
    everyones = (
        places(folders, everyone=True).starter if folders.global_configuration and folders.global_plugins else None
    )
    present = [path for path in (mine, everyones) if path is not None and path.exists()]
    if mine is None:
        return
    if not present:
        yield Check("note", f"{mine} is not there, so Wireshark cannot capture with xendissect: {INSTALL}")
        return
    for path in present:
        again = f"{INSTALL}{' --global' if path == everyones else ''}"
        if not is_ours(path):
            yield Check("wrong", f"{path} was not made by xendissect, but has its name: remove it")
        elif _text(path) != starter.text():
            yield Check("wrong", f"{path} does not start this xendissect: {again}")
        elif not os.access(path, os.X_OK):
            yield Check("wrong", f"{path} cannot be executed: {again}, or look at how its disk is mounted (noexec)")
        else:
            yield _listed(path, tshark)
    yield _permission()


def _listed(path: Path, tshark: Program | None) -> Check:
    if tshark is None:
        return Check("ok", f"capture program is current: {path}")
    done = program.run(tshark.path, "-D")
    found = re.findall(r"^\d+\. (xendissect-\S+)", done.stdout, re.MULTILINE)
    if found:
        return Check("ok", f"{tshark.name} lists {len(found)} interfaces of {path}")
    tried = program.run(str(path), "--extcap-interfaces")
    if tried.returncode:
        why = tried.stderr.splitlines() or [f"it ends with status {tried.returncode}"]
        return Check("wrong", f"{path} does not work: {why[-1]}")
    return Check(
        "wrong", f"{tshark.name} does not list the interfaces of {path}: is extcap switched off (-o, no_extcap)?"
    )


def _permission() -> Check:
    """Say how this user would capture, without capturing."""
    if sys.platform == "linux":
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
        except OSError:
            pass
        else:
            return Check("ok", "capturing is permitted: with a packet ring of the kernel")
    tools: tuple[child.Tool, ...] = ("dumpcap", "tcpdump")
    for tool in tools:
        if child.may_capture(tool):
            return Check("ok", f"capturing is permitted: through {tool}")
    return Check("note", privileges.explain("an interface"))


# -- trying it -------------------------------------------------------------------------------------------------------


def _loading(tshark: Program, folders: Folders, copies: list[Path], *, root: bool) -> Iterator[Check]:
    """Let tshark read a sample, and explain what goes wrong."""
    if not copies:
        return
    everyone = [path for path in copies if folders.global_plugins and path.is_relative_to(folders.global_plugins)]
    result = probe(tshark.path)
    if not result.known and root and tshark.version >= ROOT_IGNORED and not everyone:
        yield Check(
            "wrong",
            f"{tshark.name} run by root ignores personal plugins and -X lua_script without a word: "
            f"run it as an ordinary user, or {INSTALL} --global",
        )
        return
    yield _result(tshark, result)
    if result.seen and not result.error and places(folders).profile.is_dir():
        yield from _with_profile(tshark, folders)
    elif not result.seen:
        yield from _switched_off(folders)


def _with_profile(tshark: Program, folders: Folders) -> Iterator[Check]:
    result = probe(tshark.path, "-C", PROFILE, "--color")
    if result.said:
        yield Check("note", f"{tshark.name} complains about the profile {PROFILE!r}: {result.said.splitlines()[0]}")
    elif not result.seen:
        yield Check("wrong", f"{tshark.name} finds no migration with the profile {PROFILE!r}: {INSTALL} --force")
        yield from _switched_off(folders)


def _result(tshark: Program, result: Probe) -> Check:
    if result.error:
        return Check("wrong", f"the plugin has an error: {result.error}")
    if not result.known:
        return Check("wrong", f"{tshark.name} does not load the plugin, and does not say why")
    if not result.seen:
        remedy = "see Analyze > Enabled Protocols in Wireshark, and what else claims the port (Decode As)"
        return Check("wrong", f"{tshark.name} loads the plugin, but does not dissect with it: {remedy}")
    return Check("ok", f"{tshark.name} loads the plugin and finds a migration with it")


def _switched_off(folders: Folders) -> Iterator[Check]:
    """Look for what switches Lua or the dissector off."""
    inits = (folders.global_configuration, folders.configuration, folders.global_plugins, folders.plugins)
    for folder in inits:
        if folder is not None and _SWITCHED_OFF.search(_text(folder / "init.lua")):
            yield Check("wrong", f"{folder / 'init.lua'} switches Lua off: set enable_lua = true there")
    for folder in (folders.configuration, folders.configuration / "profiles" / PROFILE):
        if re.search(r"^xenmig$", _text(folder / "disabled_protos"), re.MULTILINE):
            where = folder / "disabled_protos"
            yield Check("wrong", f"{where} disables xenmig: tick it in Wireshark, Analyze > Enabled Protocols")
        if off := re.search(r"^(xenmig\w*),0", _text(folder / "heuristic_protos"), re.MULTILINE):
            where = folder / "heuristic_protos"
            yield Check("wrong", f"{where} disables {off[1]}: tick it in Wireshark, Analyze > Enabled Protocols")
