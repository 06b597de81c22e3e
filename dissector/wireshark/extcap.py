# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``xendissect-extcap``: Wireshark starts it to learn of our capture interfaces, and to capture.

Wireshark finds it through a starter in its extcap folder (:mod:`dissector.wireshark.starter`), and calls it as
extcap(4) says. What goes wrong is one line on standard error, which Wireshark shows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from dissector import __version__
from dissector.live.source import LiveError
from dissector.wireshark import extcap_answers as answers
from dissector.wireshark.extcap_fifo import Fifo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROGRAM: Final = "xendissect-extcap"
OK, TROUBLE, MISUSED = 0, 1, 2
"""Exit status."""

_ABOUT: Final = """\
Captures Xen migrations for Wireshark, which starts it by itself: "xendissect wireshark install" tells Wireshark about
it, then its interfaces are called "Xen migration on ..."."""


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end."""
        self.exit(MISUSED, f"{PROGRAM}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Do what Wireshark asks for; the entry point."""
    try:
        sys.exit(run(_joined(sys.argv[1:] if arguments is None else arguments)))
    except KeyboardInterrupt:
        sys.exit(OK)


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; return the exit status."""
    path = _fifo(arguments)
    try:
        with Fifo(path) if path else contextlib.nullcontext() as fifo:
            try:
                return _run(arguments, fifo)
            except (LiveError, OSError, MemoryError, ImportError) as error:
                return _complain(error)  # before the FIFO is closed: then Wireshark does not listen any more
    except OSError as error:
        return _complain(error)


def _complain(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):  # who asked does not want the answer any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return TROUBLE
    reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    sys.stderr.write(f"{PROGRAM}: {reason or type(error).__name__}\n")
    return TROUBLE


def _run(arguments: Sequence[str], fifo: Fifo | None) -> int:
    parser = _parser()
    wanted, _ = parser.parse_known_args(arguments)  # later Wiresharks may say more
    if wanted.extcap_interfaces:
        return _answer(answers.interface_lines())
    if wanted.extcap_cleanup_postkill:  # we leave nothing behind when we are killed
        return OK
    name: str | None = wanted.extcap_interface
    if name is None:
        parser.print_help()
        return OK
    if not name.startswith(answers.PREFIX):
        raise LiveError(f"{name!r} is no interface of ours; they begin with {answers.PREFIX}")
    if wanted.extcap_dlts:
        return _answer(answers.dlt_lines(name))
    if wanted.extcap_config:
        return _answer(answers.config_lines(name) if wanted.extcap_reload_option is None else ())
    if wanted.capture:
        return _capture(parser, name, wanted, fifo)
    if wanted.extcap_capture_filter is not None:
        return _answer(_complaints(name, wanted.extcap_capture_filter))
    return parser.error("one of --extcap-dlts, --extcap-config and --capture is missing")


def _parser() -> _Parser:
    parser = _Parser(PROGRAM, description=_ABOUT, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    steps = parser.add_argument_group("what Wireshark says (see extcap(4))")
    steps.add_argument("--extcap-version", metavar="X.Y", help="version of Wireshark")
    steps.add_argument("--extcap-interfaces", action="store_true", help="list the interfaces")
    steps.add_argument("--extcap-interface", metavar="NAME", help="the interface that the others are about")
    steps.add_argument("--extcap-dlts", action="store_true", help="list its link types")
    steps.add_argument("--extcap-config", action="store_true", help="list its options")
    steps.add_argument("--extcap-reload-option", metavar="NAME", help="--extcap-config: new values of an option")
    steps.add_argument("--extcap-capture-filter", metavar="BPF", help="to capture with, or else to be checked")
    steps.add_argument("--extcap-cleanup-postkill", action="store_true", help="clean up after a capture was killed")
    steps.add_argument("--extcap-control-in", metavar="FIFO", help="not used")
    steps.add_argument("--extcap-control-out", metavar="FIFO", help="not used")
    steps.add_argument("--capture", action="store_true", help="capture")
    steps.add_argument("--fifo", metavar="FILE", help="where the packets go (pcapng)")
    chosen = parser.add_argument_group("options of the interfaces")
    for option in answers.ALL_OPTIONS:
        if option.kind == "boolflag":
            chosen.add_argument(option.call, nargs="?", const="true", default="false", help=option.tooltip)
        else:
            choices = [value for value, _ in option.values] or None
            chosen.add_argument(option.call, default=option.default, choices=choices, help=option.tooltip)
    return parser


def _fifo(arguments: Sequence[str]) -> str | None:
    """Find the FIFO of a capture; its name is looked at first, so that it is opened whatever else is wrong."""
    if "--capture" in arguments and "--fifo" in arguments[:-1]:
        return arguments[arguments.index("--fifo") + 1]
    return None


def _joined(arguments: Iterable[str]) -> list[str]:
    """Tie a filter to its option, so that one which begins with a dash is not taken for another option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] in ("--extcap-capture-filter", "--filter"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _answer(lines: Iterable[str]) -> int:
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    return OK


def _complaints(interface: str, expression: str) -> Iterable[str]:
    """Say what is wrong with a capture filter; nothing: it is right. The status is 0 or Wireshark does not listen."""
    from dissector.live import bpf

    if not bpf.can_compile():  # whoever captures will tell
        return
    try:
        remote = interface == answers.SSH
        link = bpf.BARE_IP if not remote and answers.device_of(interface).link.cooked else bpf.ETHERNET
        bpf.compile_filter(expression, link)
    except LiveError as error:
        yield str(error)


def _capture(parser: _Parser, interface: str, wanted: argparse.Namespace, fifo: Fifo | None) -> int:
    from dissector.wireshark.extcap_capture import Capture, capture

    if fifo is None:
        parser.error("--capture needs --fifo")
    least, most = answers.BUFFER_RANGE
    if not wanted.buffer.isdecimal() or not least <= int(wanted.buffer) <= most:
        parser.error(f"--buffer: a number from {least} to {most} is wanted, not {wanted.buffer!r}")
    host = None
    name = interface.removeprefix(answers.PREFIX)
    if interface == answers.SSH:
        host, name = wanted.remote_host.strip(), wanted.remote_interface.strip()
        if not host:
            parser.error("which host? Choose one in the options of the interface (--remote-host)")
    filters = [text.strip() for text in (wanted.extcap_capture_filter or "", wanted.filter) if text.strip()]
    if len(filters) == 2:
        filters = [f"({filters[0]}) and ({filters[1]})"] if filters[0] != filters[1] else filters[:1]
    chosen = Capture(
        interface=name,
        filter=filters[0] if filters else "" if _ticked(wanted.all_protocols) else None,
        slim="" if wanted.slim == "off" else wanted.slim,
        buffer_bytes=int(wanted.buffer) << 20,
        host=host,
        tool=None if wanted.remote_tool == "auto" else wanted.remote_tool,
        sudo=_ticked(wanted.remote_sudo),
    )
    return capture(chosen, fifo)


def _ticked(value: str) -> bool:
    return value.strip().lower() in ("true", "yes", "1", "t", "y")


if __name__ == "__main__":
    main()
