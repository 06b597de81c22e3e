# SPDX-License-Identifier: GPL-2.0-or-later
"""sharkd, Wireshark's server: reads a capture as the program does and then dissects single frames, in any order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.wireshark.tshark import PLUGIN, Node, Tshark, desk

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILTER = re.compile(r"([\w.]+)(?: == (.*))?", re.DOTALL)


_MATE = """
Pdu xenmig_needs Proto tcp Transport ip {
  Extract seq From tcp.seq;
  Extract stream From tcp.stream;
  Extract completeness From tcp.completeness;
};
Done;
"""
"""When Wireshark loads a file it makes the fields that Lua scripts have asked for; sharkd makes only those that native
postdissectors want. MATE is one, and wants what its configuration names."""


def _home(tshark: Tshark, plugin: Path) -> str:
    """A home, as the program sees it, whose personal Lua plugin is `plugin` (sharkd has no -X)."""
    facts = plugin.stat()
    home = desk() / f"home-{tshark.name}-{facts.st_ino:x}-{facts.st_mtime_ns:x}"
    shown = str(home) if tshark.root == Path("/") else f"/mnt/{home.relative_to(desk())}"
    if not home.exists():
        plugins, config = home / ".local/lib/wireshark/plugins", home / ".config/wireshark"
        for folder in (plugins, config):
            folder.mkdir(parents=True)
        shutil.copyfile(plugin, plugins / plugin.name)
        (config / "needs.mate").write_text(_MATE)
        (config / "preferences").write_text(f"mate.config: {shown}/.config/wireshark/needs.mate\n")
        for path in (home, *home.rglob("*")):
            path.chmod(0o644 if path.is_file() else 0o755)
    return shown


def trees(
    tshark: Tshark, capture: Path, frames: Sequence[int], plugin: Path = PLUGIN, timeout: float = 120.0
) -> list[list[Node]]:
    """Trees of our protocol in each of these frames, dissected in this order.

    Raises:
        RuntimeError: sharkd failed, or complained.
    """
    requests = [("load", {"file": tshark.shown(capture)}), *(("frame", {"frame": n, "proto": True}) for n in frames)]
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": parameters})
        for number, (method, parameters) in enumerate(requests, 1)
    ]
    home = _home(tshark, plugin)
    ran = subprocess.run(
        tshark.argv("sharkd", "-"),
        input="\n".join([*lines, ""]).encode(),
        capture_output=True,
        env={**tshark.environment, "HOME": home, "XDG_CONFIG_HOME": f"{home}/.config"},
        timeout=timeout,
        check=False,
    )
    errors = ran.stderr.decode(errors="replace")
    if ran.returncode or "Lua" in errors or "rror" in errors.replace("MATE", ""):
        raise RuntimeError(f"sharkd {capture.name}: status {ran.returncode}, {errors}")
    answers = [json.loads(line) for line in ran.stdout.decode(errors="replace").splitlines() if line]
    results = {answer["id"]: answer["result"] for answer in answers if "result" in answer}
    if missing := set(range(2, len(requests) + 1)) - results.keys():  # there is none about a file that is cut short
        raise RuntimeError(f"sharkd {capture.name}: no answers {sorted(missing)[:5]}, {errors}")
    return [
        [_node(item) for item in results[number]["tree"] if item.get("f") == "xenmig"]
        for number in range(2, len(requests) + 1)
    ]


def _node(item: dict[str, Any]) -> Node:
    match = _FILTER.fullmatch(item.get("f", ""))
    name, shown = (match.group(1), match.group(2) or "") if match else ("", "")
    node = Node(name, item["l"], shown.strip('"'))
    for child in item.get("n", []):
        made = _node(child)
        node.setdefault(made.name, []).append(made.show)
        node.children.append(made)
    return node
