# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration played through real processes: both sides say their turns and check what they hear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.commands import MAIN, environment

if TYPE_CHECKING:
    from captures.streams import Conversation

ROOT = Path(__file__).parents[2]


def play(side: str, script: Path, source: int, sink: int) -> None:
    """Say the turns of `side`, and read those of the other: exactly its bytes, in its order."""
    for direction, text in json.loads(script.read_text()):
        data = bytes.fromhex(text)
        if direction == side:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(sink, rest) :]
            continue
        heard = b""
        while len(heard) < len(data):
            piece = os.read(source, len(data) - len(heard))
            assert piece, f"{side}: the end after {len(heard)} of {len(data)} bytes"
            heard += piece
        assert heard == data, side


def script_of(conversation: Conversation, path: Path) -> Path:
    """Write the turns of a conversation."""
    turns = [
        (turn.direction, bytes(conversation.half(turn.direction).data[turn.start : turn.end]).hex())
        for turn in conversation.turns
    ]
    path.write_text(json.dumps(turns))
    return path


def tap_process(*arguments: str | Path, **more: object) -> subprocess.Popen[bytes]:
    """Start the verb with pipes."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([*MAIN, "tap", *map(str, arguments)], env=environment(), cwd=ROOT, bufsize=0, **pipes)  # type: ignore[call-overload,no-any-return]


def migrate(conversation: Conversation, folder: Path, *options: str | Path) -> tuple[int, str]:
    """Migrate through the verb; return its exit status and standard error."""
    script = script_of(conversation, folder / "script.json")
    receiver = [sys.executable, "-m", "tests.tap.peers", "reverse", str(script)]
    with tap_process(*options, "--", *receiver) as tap:
        assert tap.stdin is not None
        assert tap.stdout is not None
        assert tap.stderr is not None
        play("forward", script, tap.stdout.fileno(), tap.stdin.fileno())
        tap.stdin.close()
        assert tap.stdout.read() == b""
        return tap.wait(60), tap.stderr.read().decode()


if __name__ == "__main__":
    play(sys.argv[1], Path(sys.argv[2]), 0, 1)
    os.close(1)
    assert os.read(0, 1) == b""
