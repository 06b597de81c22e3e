# SPDX-License-Identifier: GPL-2.0-or-later
"""tshark with our plugin, the one of this system or those in roots that ``roots.sh`` made.

``available()`` says which: XENDISSECT_TSHARKS is a colon-separated list of roots ("/" is the system); without it only
the system's is used. Wireshark 4.4 and newer ignore Lua scripts when root runs them, so root never does: programs then
run as nobody, who sees copies of the files in a folder of its own.
"""

from __future__ import annotations

import atexit
import io
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PLUGIN: Final = Path(__file__).parents[2] / "lua" / "xenmig.lua"
NOBODY: Final = 65534
ROOT: Final = os.geteuid() == 0

ENTER: Final = 'mount --bind "$1" "$2/mnt" && shift && root=$1 && shift && exec chroot --userspec="$0" "$root" "$@"'
"""Shell: show folder $1 as /mnt of root $2 and run the rest there; the mount ends with the program."""

_AGGREGATOR: Final = "\x1f"

_RAW: Final = re.compile(r' (?:unmasked)?value="[0-9a-f]*"')
"""The bytes of an item: of page contents hundreds of MB."""

_BARE: Final = re.compile(r"(?<!>)\n|\t")
"""Line ends and tabs in values: PDML has them as they are, and XML would make them blanks."""

ERRORS: Final = {
    "a Lua error": re.compile(r"Lua Error|_ws\.lua\.error", re.IGNORECASE),
    "a dissector bug": re.compile(r"Dissector bug", re.IGNORECASE),
    "an exception in our dissector": re.compile(r"^\[[^]]*: XEN[^]]*\]", re.MULTILINE),
}
"""What must never be in the output of tshark -V. The last is [Malformed Packet: XENMIG] and the like."""


@dataclass(frozen=True)
class Ran:
    """What a program did."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    def complaints(self) -> list[str]:
        """All that shows that our plugin failed; tshark itself ends with status 0 then."""
        found = [f"{what}: {line}" for what, line in self._errors()]
        if self.status:
            found.append(f"status {self.status}")
        if self.stderr:
            found.append(f"stderr: {self.stderr}")
        return found

    def _errors(self) -> Iterable[tuple[str, str]]:
        for what, pattern in ERRORS.items():
            if match := pattern.search(self.stdout):
                start = self.stdout.rfind("\n", 0, match.start()) + 1
                yield what, self.stdout[start:].partition("\n")[0]


class Node(dict[str, list[str]]):
    """One item of a packet's tree: values (as filters compare them) of the fields right below it, by name."""

    def __init__(self, name: str, label: str, show: str = "") -> None:
        super().__init__()
        self.name = name
        self.label = label
        self.show = show
        self.children: list[Node] = []

    def every(self, name: str) -> list[Node]:
        """Items of this name, at any depth, in order."""
        here = [self] if self.name == name else []
        return here + [found for child in self.children for found in child.every(name)]


@dataclass(frozen=True)
class Tshark:
    """One installed Wireshark."""

    root: Path = Path("/")

    @property
    def name(self) -> str:
        """As shown in test names: of the root, or system."""
        return self.root.name or "system"

    def __str__(self) -> str:
        return self.name

    @cached_property
    def version(self) -> tuple[int, ...]:
        """Such as (4, 4, 18)."""
        first = self.program("tshark", "--version").stdout.partition("\n")[0]
        match = re.search(r"(\d+)\.(\d+)\.(\d+)", first)
        if match is None:
            raise RuntimeError(f"no version in {first!r}")
        return tuple(map(int, match.groups()))

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """No configuration of anybody, no surprise of locale or time zone."""
        home = "/nonexistent" if self._inside else str(desk() / "home")
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin" if self._inside else os.environ.get("PATH", os.defpath),
            "HOME": home,
            "XDG_CONFIG_HOME": home,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "WIRESHARK_ABORT_ON_DISSECTOR_BUG": "1",
        }

    @property
    def _inside(self) -> bool:
        return self.root != Path("/")

    def shown(self, path: Path) -> str:
        """Path of a file of ours as this program sees it."""
        if not ROOT:
            return str(path.resolve())
        placed = place(path.resolve())
        return f"/mnt/{placed.relative_to(desk())}" if self._inside else str(placed)

    def argv(self, program: str, *arguments: str) -> list[str]:
        """What to execute (with `environment`) so that the program runs here and not as root."""
        if self._inside:
            start = ["unshare", "--mount", "sh", "-c", ENTER, f"{NOBODY}:{NOBODY}", str(desk()), str(self.root)]
        elif ROOT:
            start = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        else:
            start = []
        return [*start, program, *arguments]

    def program(self, program: str, *arguments: str, timeout: float = 120.0) -> Ran:
        """Run any program of Wireshark's.

        Raises:
            subprocess.TimeoutExpired: it takes longer than `timeout` seconds.
        """
        begin = time.monotonic()
        done = subprocess.run(
            self.argv(program, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environment,
            timeout=timeout,
            check=False,
        )
        seconds = time.monotonic() - begin
        output, errors = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Ran((program, *arguments), done.returncode, output, errors, seconds)

    def arguments(self, capture: Path, *arguments: str, plugin: Path | None = PLUGIN) -> list[str]:
        """Arguments to read a capture with a Lua plugin, or without."""
        lua = ["-X", f"lua_script:{self.shown(plugin)}"] if plugin else []
        return ["-n", *lua, "-r", self.shown(capture), *arguments]

    def run(self, capture: Path, *arguments: str, plugin: Path | None = PLUGIN, timeout: float = 120.0) -> Ran:
        """Run tshark on a capture (gzip and zstd are read too) with our plugin."""
        return self.program("tshark", *self.arguments(capture, *arguments, plugin=plugin), timeout=timeout)

    def rows(
        self,
        capture: Path,
        fields: Sequence[str],
        *arguments: str,
        plugin: Path | None = PLUGIN,
        timeout: float = 120.0,
    ) -> list[tuple[list[str], ...]]:
        """All values of each field, frame by frame."""
        form = ["-T", "fields", "-E", "separator=/t", "-E", f"aggregator={_AGGREGATOR}", "-E", "occurrence=a"]
        names = [word for name in fields for word in ("-e", name)]
        ran = checked(self.run(capture, *arguments, *form, *names, plugin=plugin, timeout=timeout))
        return [
            tuple(cell.split(_AGGREGATOR) if cell else [] for cell in line.split("\t"))
            for line in ran.stdout.split("\n")[:-1]
        ]

    def trees(
        self,
        capture: Path,
        *arguments: str,
        display_filter: str = "xenmig",
        allowed: str = "",
        plugin: Path | None = PLUGIN,
        timeout: float = 120.0,
    ) -> list[tuple[int, list[Node]]]:
        """Frames with anything of our protocol: number of the frame, and its trees of our protocol.

        A `display_filter` without our fields, such as ``frame``, leaves the plugin its fast path on the first pass.
        An error message with `allowed` in it is no failure.
        """
        form = ["-T", "pdml", "-J", "xenmig", "-Y", display_filter]
        ran = self.run(capture, *arguments, *form, plugin=plugin, timeout=timeout)
        if not (allowed and allowed in ran.stderr):
            checked(ran)
        found = []
        text = _BARE.sub(lambda match: f"&#{ord(match.group())};", _RAW.sub("", ran.stdout))
        for _, element in ElementTree.iterparse(io.BytesIO(text.encode())):
            if element.tag == "packet":
                number = element.find("./proto[@name='geninfo']/field[@name='num']")
                assert number is not None
                trees = [_node(proto) for proto in element.iterfind("./proto[@name='xenmig']")]
                if trees:
                    found.append((int(number.get("show", "")), trees))
                element.clear()
        return found


def _node(element: ElementTree.Element) -> Node:
    show = element.get("show", "")
    node = Node(element.get("name", ""), element.get("showname", show), show)
    for child in element:
        node.setdefault(child.get("name", ""), []).append(child.get("show", ""))
        node.children.append(_node(child))
    return node


def checked(ran: Ran) -> Ran:
    """Return a run that went well.

    Raises:
        RuntimeError: it did not.
    """
    if found := ran.complaints():
        raise RuntimeError("\n".join([" ".join(ran.argv), *found]))
    return ran


def available() -> list[Tshark]:
    """Those to test with; empty, so that tests are skipped, if no tshark is installed.

    Raises:
        RuntimeError: one that XENDISSECT_TSHARKS names is not there, or cannot be used; or none where CI is set.
    """
    named = os.environ.get("XENDISSECT_TSHARKS")
    if named is None:
        if shutil.which("tshark"):
            return [Tshark()]
        if os.environ.get("CI"):
            raise RuntimeError("tshark is not installed")
        return []
    roots = [Path(root).resolve() for root in named.split(":") if root]
    for root in roots:
        if not (root / "usr/bin/tshark").exists() and root != Path("/"):
            raise RuntimeError(f"no tshark in {root}: make it with tests/wireshark/roots.sh {root.parent}")
        if root != Path("/") and not ROOT:
            raise RuntimeError("only root can use roots (mount, chroot)")
    return [Tshark(root) for root in roots]


@cache
def desk() -> Path:
    """Folder that nobody can read, for the files of this process; removed at its end."""
    folder = Path(
        tempfile.mkdtemp(
            prefix="xendissect-desk-",
        )
    )
    folder.chmod(0o755)
    (folder / "home").mkdir()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def place(path: Path) -> Path:
    """Put a file on the desk: a link where that can be, else a copy; anew when the file has changed."""
    facts = path.stat()
    folder = desk() / f"{facts.st_ino:x}-{facts.st_mtime_ns:x}"
    target = folder / path.name
    if not target.exists():
        folder.mkdir(exist_ok=True)
        try:
            if not facts.st_mode & 0o004:
                raise PermissionError
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)
            target.chmod(0o644)
    return target
