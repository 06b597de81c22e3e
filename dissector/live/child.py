# SPDX-License-Identifier: GPL-2.0-or-later
"""Capturing with dumpcap or tcpdump as a child process, here or over ssh, whose capture file comes through a pipe."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from dissector.live.pipe import THE_END, Pipe, PipeSource
from dissector.live.source import Counters, LiveError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dissector.sources import Chunk

Tool = Literal["dumpcap", "tcpdump"]
PIPE_BYTES: Final = 1 << 20
ASK_EVERY: Final = 5.0
"""Seconds between two questions for tcpdump's counters; each answer is a line of text."""
LATE: Final = 1.2
"""Seconds between `stop` and the child's end: tcpdump is given a block of packets after a second at the latest."""
STOP_SECONDS: Final = 5.0
"""Time for a child to end by itself after it was told to."""

_KEEPER: Final = """trap "" INT
"$@" & child=$!
exec >&-
while read -r one; do kill "-$one" $child 2>/dev/null; done
kill $child 2>/dev/null
wait $child"""
"""Shell program that runs a command until its own standard input ends, and passes the signals on that it reads there.
It keeps the rights we gave up, and ends the command even when we are killed."""

_TCPDUMP_COUNTS: Final = {
    "received": re.compile(r"(\d+) packets? received by filter"),
    "dropped": re.compile(r"(\d+) packets? dropped by kernel"),
    "missed": re.compile(r"(\d+) packets? dropped by interface"),
}
_DUMPCAP_COUNTS: Final = re.compile(
    r"Packets received/dropped on interface .*: (\d+)/(\d+) \(pcap:\d+/dumpcap:\d+/flushed:\d+/ps_ifdrop:(\d+)\)"
)
_CHATTER: Final = re.compile(
    r"^(tcpdump: (listening on|data link type|verbose output)|Capturing on|File:|Packets (captured|received)"
    r"|\d+ packets? (captured|received|dropped)|tcpdump: \d+ packets? captured|Warning: Permanently added|dropped privs"
    r"|tcpdump: dropped privs|\*\*)"
)
"""Lines on standard error that are no complaint."""


class Wanted(NamedTuple):
    """What a child is to capture.

    Attributes:
        interface: Its name.
        expression: Capture filter; empty: everything.
        not_ethernet: Another filter if the interface turns out not to be Ethernet; None: the same. Looked at over ssh.
        buffer_bytes: Size of the kernel's buffer.
        promiscuous: Take frames for other stations too.
        snap_length: Most bytes captured of a packet; 0: all.
    """

    interface: str
    expression: str = ""
    not_ethernet: str | None = None
    buffer_bytes: int = 64 << 20
    promiscuous: bool = True
    snap_length: int = 262144

    def options(self, tool: Tool) -> list[str]:
        """Return the command without the filter."""
        mebibytes = max(1, self.buffer_bytes >> 20)
        plain = [] if self.promiscuous else ["-p"]
        if tool == "dumpcap":
            return ["dumpcap", "-q", "-i", self.interface, "-B", str(mebibytes), "-s", str(self.snap_length), *plain]
        size = str(mebibytes << 10)
        return ["tcpdump", "-n", "-U", "-i", self.interface, "-B", size, "-s", str(self.snap_length), *plain]

    def command(self, tool: Tool) -> list[str]:
        """Return the whole command; the capture goes to standard output."""
        return [*self.options(tool), "-w", "-", *_filter_arguments(tool, self.expression)]


class Child(PipeSource):
    """A capturing child process; a `LiveSource`.

    The kernel hands packets to these programs up to a second late, and they forget what they have not been given when
    they are told to end. So `stop` tells them later, see `LATE`.

    Args:
        command: What to run; it writes pcap or pcapng to standard output.
        name: See `LiveSource`.
        method: See `LiveSource`.
        remote: ssh: it is told to end by the end of its standard input, and keeps our terminal to ask for a password.

    Attributes:
        name: See `LiveSource`.
        method: See `LiveSource`.
        ended: See `LiveSource`.

    Raises:
        LiveError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str], name: str, method: str, *, remote: bool = False) -> None:
        self.name, self.method = name, method
        self.ended: str | None = None
        self._remote = remote
        self._stopped = False
        self._later: threading.Timer | None = None
        self._asked = 0.0
        if not remote and shutil.which(command[0]) is None:
            raise LiveError(f"{command[0]} cannot be started: No such file or directory")
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - a file never blocks the child, unlike a pipe
        try:
            self._process = subprocess.Popen(
                command if remote else ["sh", "-c", _KEEPER, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                process_group=None if remote else 0,  # Ctrl-C is for us; the child is told by `stop`
                preexec_fn=_ignore_interrupt if remote else None,
            )
        except OSError as error:
            self._complaints.close()
            raise LiveError(f"{command[0]} cannot be started: {error.strerror or error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        descriptor = self._process.stdout.fileno()
        if sys.platform == "linux":
            import fcntl

            with contextlib.suppress(OSError):  # a plain user's pipes may be limited
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._pipe = Pipe(descriptor, name)

    def take(self) -> Iterator[Chunk]:
        """See `LiveSource.take`."""
        if self.ended is not None:
            return
        try:
            yield from self._pipe.take()
        except LiveError as error:
            self.stop()
            self._wait()
            self.ended = self._complaint() or str(error)
            raise LiveError(self.ended) from error
        if self._pipe.ended is not None:
            self._end()

    def counters(self) -> Counters:
        """See `LiveSource.counters`; dumpcap tells at its end only, tcpdump when asked every few seconds."""
        text = self._said()
        if self._process.poll() is None and not self._remote and self.method == "tcpdump" and "listening on" in text:
            now = time.monotonic()
            if now - self._asked >= ASK_EVERY:
                self._asked = now
                with contextlib.suppress(OSError, ValueError):
                    os.write(self._stdin.fileno(), b"USR1\n")
        return counts(text)

    def stop(self) -> None:
        """See `LiveSource.stop`."""
        if self._stopped:
            return
        self._stopped = True
        self._later = threading.Timer(LATE, self._tell_to_end)
        self._later.daemon = True
        self._later.start()

    def close(self) -> None:
        """See `LiveSource.close`; a child that does not end is killed."""
        self._stopped = True
        if self._later is not None:
            self._later.cancel()
        self._tell_to_end()
        if self._process.stdout is not None:
            self._process.stdout.close()  # if we may not signal it, it ends at its next write
        self._wait()
        self._pipe.close()
        self._complaints.close()

    def _end(self) -> None:
        """Say why the pipe has ended.

        Raises:
            LiveError: The child ended by itself, and complained.
        """
        self._tell_to_end()
        self._wait()
        status, complaint = self._process.returncode, self._complaint()
        if self._stopped:
            self.ended = "stopped"
        elif complaint:
            self.ended = complaint
            if status or not self._pipe.began:
                raise LiveError(complaint)
        elif status:
            self.ended = f"{self.name}: {self.method} ended with status {status}"
            raise LiveError(self.ended)
        elif self._pipe.began and self._pipe.ended != THE_END:
            self.ended = f"{self.name}: {self._pipe.ended}"
        else:
            self.ended = f"{self.method} ended"

    def _tell_to_end(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _wait(self) -> None:
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                self._process.kill() if self._remote else os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)

    def _said(self) -> str:
        if self._complaints.closed:
            return ""
        descriptor = self._complaints.fileno()
        size = os.fstat(descriptor).st_size
        parts = [os.pread(descriptor, 4096, 0)] if size > 20480 else []
        parts.append(os.pread(descriptor, 16384, max(0, size - 16384) if parts else 0))
        return b"\n".join(parts).decode(errors="replace")

    def _complaint(self) -> str:
        """Return the child's complaint in one line, empty if it has none."""
        lines = [" ".join(line.split()) for line in self._said().splitlines()]
        told = [line for line in lines if line and not _CHATTER.match(line)]
        return f"{self.name}: {'; '.join(told[:2])}" if told else ""


def counts(text: str) -> Counters:
    """Find the last counters in what a child wrote to standard error."""
    if found := _DUMPCAP_COUNTS.findall(text):
        accepted, dropped, missed = (int(number) for number in found[-1])
        return Counters(accepted + dropped, dropped, missed)
    values = {name: numbers[-1] for name, pattern in _TCPDUMP_COUNTS.items() if (numbers := pattern.findall(text))}
    received, dropped_text, missed_text = (values.get(name) for name in ("received", "dropped", "missed"))
    return Counters(
        int(received) if received is not None else None,
        int(dropped_text) if dropped_text is not None else None,
        int(missed_text) if missed_text is not None else None,
    )


def may_capture(tool: Tool) -> bool:
    """Tell whether a program is installed and has, or inherits, the right to capture; a guess without running it."""
    path = shutil.which(tool)
    if path is None:
        return False
    if os.geteuid() == 0 or sys.platform != "linux":
        return True
    if Path(path).stat().st_mode & stat.S_ISUID:
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def local(wanted: Wanted, tool: Tool | None = None) -> Child:
    """Start tcpdump, or dumpcap when tcpdump is missing or may not capture: dumpcap drops more at high rates.

    Args:
        wanted: What to capture.
        tool: This one.

    Raises:
        LiveError: Neither is there and may capture.
    """
    if tool is None:
        tool = next((one for one in ("tcpdump", "dumpcap") if may_capture(one)), None)
        if tool is None:
            raise LiveError(f"{wanted.interface}: neither dumpcap nor tcpdump may capture here")
    return Child(wanted.command(tool), wanted.interface, tool)


def over_ssh(
    host: str,
    wanted: Wanted,
    *,
    tool: Tool | None = None,
    sudo: bool = False,
    ask: bool = False,
    options: Sequence[str] = (),
) -> Child:
    """Start dumpcap, or else tcpdump, on another host; the ssh connection itself is left out by the filter.

    Args:
        host: As ssh takes it, ``user@host`` or a name from its configuration.
        wanted: What to capture; an empty interface: what the remote tool chooses.
        tool: This one.
        sudo: Run it with ``sudo -n``.
        ask: Let ssh ask for passwords on our terminal.
        options: More options for ssh.

    Raises:
        LiveError: There is no ssh here, or a name would be taken for an option.
    """
    if host.startswith("-"):
        raise LiveError(f"{host!r} is no host name")
    batch = [] if ask else ["-o", "BatchMode=yes"]
    command = [
        "ssh",
        "-T",
        *batch,
        *options,
        "--",
        host,
        f"sh -c {shlex.quote(remote_script(wanted, tool, sudo=sudo))}",
    ]
    return Child(command, f"{host}:{wanted.interface}" if wanted.interface else host, "ssh", remote=True)


def remote_script(wanted: Wanted, tool: Tool | None = None, *, sudo: bool = False) -> str:
    """Return the shell line that captures on the other host until its standard input ends."""
    on_ethernet, elsewhere = (
        f"f={shlex.quote(f'({expression})' if expression.strip() else '')}"
        for expression in (wanted.expression, wanted.expression if wanted.not_ethernet is None else wanted.not_ethernet)
    )
    kind = shlex.quote(f"/sys/class/net/{wanted.interface}/type")
    prefix = "sudo -n " if sudo else ""
    # In a command line the filter is one word, and comes from the shell variable.
    lines = [
        f"case $(cat {kind} 2>/dev/null) in 1|772) {on_ethernet};; *) {elsewhere};; esac",
        "set -- $SSH_CONNECTION",
        "if [ $# -eq 4 ]",
        'then m="not (tcp and host ${1%%%*} and host ${3%%%*} and port $2 and port $4)"',
        'f="$m${f:+ and $f}"',
        "fi",
        "PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin:/usr/local/bin",
    ]
    starts = {}
    for one in ("dumpcap", "tcpdump"):
        options = shlex.join(_without_empty_interface(wanted.options(one)))
        starts[one] = f'{prefix}{options} -w - {"-f " if one == "dumpcap" else ""}"$f" </dev/null & p=$!'
    if tool is not None:
        missing = f"else echo {tool} is not installed >&2; exit 127"
        choice = f"if command -v {tool} >/dev/null; then {starts[tool]}; {missing}; fi"
    else:
        choice = (
            f"if command -v dumpcap >/dev/null; then {starts['dumpcap']}; "
            f"elif command -v tcpdump >/dev/null; then {starts['tcpdump']}; "
            "else echo neither dumpcap nor tcpdump is installed >&2; exit 127; fi"
        )
    return "; ".join(
        (
            *lines,
            "exec 3<&0",
            choice,
            # Our end closes standard input to stop it; a capture of root's can be told by root only.
            f"(cat; kill $p || {prefix}kill $p) <&3 >/dev/null 2>&1 & k=$!",
            "exec 3<&-",
            "wait $p",
            "s=$?",
            "kill $k 2>/dev/null",
            "exit $s",
        )
    )


def _filter_arguments(tool: Tool, expression: str) -> list[str]:
    if not expression.strip():
        return []
    return ["-f", expression] if tool == "dumpcap" else ["--", expression]


def _without_empty_interface(command: list[str]) -> list[str]:
    at = command.index("-i")
    return command if command[at + 1] else command[:at] + command[at + 2 :]


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
