# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds tshark or Wireshark, asks which version it is and where it looks for plugins and profiles."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT: Final = 60
"""Seconds that a program may take to answer."""

_NOISE: Final = re.compile(r"Running as user .*")


@dataclass(frozen=True, slots=True)
class Program:
    """tshark or Wireshark, as it speaks of itself."""

    path: str
    version: tuple[int, int, int]
    lua: str | None
    """Version of Lua inside, such as 5.2.4; empty when it does not say; None when it has no Lua."""

    @property
    def name(self) -> str:
        """Such as ``tshark 4.0.17``."""
        return f"{Path(self.path).stem} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where Wireshark looks; the global ones are None when there is nobody to ask."""

    plugins: Path
    configuration: Path
    extcap: Path
    """Of programs that capture."""
    global_plugins: Path | None = None
    global_configuration: Path | None = None
    global_extcap: Path | None = None

    @property
    def deprecated_plugins(self) -> Path:
        """Where Wireshark 2.4 and older kept plugins; Lua files there are loaded to this day."""
        return self.configuration / "plugins"


def find(name: str) -> str | None:
    """Return the path of ``tshark`` or ``wireshark``, also where installers put them outside PATH."""
    found = shutil.which(name)
    if found is None and sys.platform == "darwin":
        found = shutil.which(name, path="/Applications/Wireshark.app/Contents/MacOS")
    if found is None and sys.platform == "win32":
        roots = (os.environ.get("PROGRAMFILES"), os.environ.get("PROGRAMW6432"))
        found = shutil.which(name, path=os.pathsep.join(str(Path(root) / "Wireshark") for root in roots if root))
    return found


def run(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; texts come as UTF-8, what it always says to root is left out."""
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess([path, *arguments], 127, "", str(error))
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, _NOISE.sub("", done.stderr).strip())


def ask(path: str) -> Program | None:
    """Ask a program for its version; None when what it says is not understood."""
    return understood(path, run(path, "--version").stdout)


def understood(path: str, text: str) -> Program | None:
    """Read what ``--version`` printed."""
    said = " ".join(text.split())
    version = re.search(r"(?:TShark|Wireshark)[^0-9]*(\d+)\.(\d+)(?:\.(\d+))?", said)
    if version is None:
        return None
    lua = re.search(r"(?:with |\+)Lua ?([\d.]*\d)?", said)  # "+Lua" from 4.6 on
    numbers = (int(version[1]), int(version[2]), int(version[3] or 0))
    return Program(path, numbers, (lua[1] or "") if lua else None)


def folders(path: str | None) -> Folders:
    """Ask tshark for its folders; without tshark, or without an answer, return the documented ones."""
    said = run(path, "-G", "folders").stdout if path else ""
    rows = dict(re.findall(r"^([^:\n]+):\s+(.+?)\s*$", said, re.MULTILINE))
    usual = usual_folders(sys.platform, os.environ, Path.home())
    if "Personal Lua Plugins" not in rows or "Personal configuration" not in rows:
        return usual
    configuration = Path(rows["Personal configuration"])
    everyones = rows.get("Global Extcap path", rows.get("Extcap path"))
    return Folders(
        Path(rows["Personal Lua Plugins"]),
        configuration,
        Path(rows.get("Personal Extcap path", configuration / "extcap")),  # 4.0 has it there, and does not say so
        Path(rows["Global Lua Plugins"]) if "Global Lua Plugins" in rows else None,
        Path(rows["Global configuration"]) if "Global configuration" in rows else None,
        Path(everyones) if everyones else None,
    )


def usual_folders(platform: str, environment: Mapping[str, str], home: Path) -> Folders:
    """Return the folders of the Wireshark User's Guide, appendix "Files and Folders"."""
    if platform == "win32":
        personal = Path(environment.get("APPDATA") or home / "AppData" / "Roaming") / "Wireshark"
        installed = Path(environment.get("PROGRAMFILES") or "C:/Program Files") / "Wireshark"
        extcaps = personal / "extcap", installed / "extcap"
        return Folders(personal / "plugins", personal, extcaps[0], installed / "plugins", installed, extcaps[1])
    configuration = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "wireshark"
    plugins, extcap = (home / ".local" / "lib" / "wireshark" / name for name in ("plugins", "extcap"))
    if platform == "darwin":
        inside = Path("/Applications/Wireshark.app/Contents")
        places = inside / "PlugIns" / "wireshark", inside / "Resources/share/wireshark", inside / "MacOS" / "extcap"
        return Folders(plugins, configuration, extcap, *places)
    return Folders(plugins, configuration, extcap)
