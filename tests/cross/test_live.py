# SPDX-License-Identifier: GPL-2.0-or-later
"""The promise of `sniff`: migrations that happen on a link are shown exactly, whatever the link and the way to capture.

Conversations of the captures are played over TCP between two network namespaces while the command line looks on; what
it writes is compared with the truth, record by record.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import tty
from collections import defaultdict
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.stream import Stream
from captures.guests import Guest, plain
from dissector.sinks.jsonl import event_object
from dissector.wire.events import Flow, Record
from tests.captures.tools import tool
from tests.cli.test_status import Screen
from tests.cross.tools import ACK, CAPTURES, DIRECTIONS, FIN, PSH, SYN, events, frame, truth
from tests.live.conversations import conversation, playable, unrelated
from tests.live.link import INTERFACE, Link, needs_namespaces
from tests.live.replay import Conversation, Play, play
from tests.live.waiting import wait

MAIN = [sys.executable, "-c", "from dissector.cli import main; main()"]
REAL = [name for name in playable() if truth(name).get("real")]
SMALL = [name for name in playable() if name not in REAL]
LINKS: dict[str, dict[str, Any]] = {"wire": {"mtu": 1500}, "offload": {"mtu": 1500, "offload": True}}


@pytest.fixture(scope="module", params=LINKS)
def link(request):
    needs_namespaces()
    with Link(**LINKS[request.param]) as made:
        yield made


@pytest.fixture(scope="module")
def wire():
    needs_namespaces()
    with Link() as made:
        yield made


class Sniff:
    """`xendissect sniff` at the receiver's end of a link, from when it captures until it has ended."""

    def __init__(self, link, *arguments, interface=INTERFACE, json=True, env=None, **streams):
        wait(lambda: not link.receiver.captures())
        words = [*MAIN, "sniff", "-i", interface, *(["--json"] if json else [])]
        self.child = link.receiver.start(
            *(*words, *map(str, arguments)),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
            env={**os.environ, "PYTHONPATH": str(CAPTURES.parent), **(env or {})},
        )
        self.link, self.said = link, ""
        wait(lambda: link.receiver.captures() or self.child.poll() is not None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def end(self, number=signal.SIGINT, status=0):
        """Tell it to end; return what it wrote, by line."""
        if number is not None:
            self.child.send_signal(number)
        out, said = self.child.communicate(timeout=30)
        self.said = said.decode()
        assert self.child.returncode == status, self.said
        assert "Traceback" not in self.said
        return [line if line[:1] != b"{" else json.loads(line) for line in (out or b"").splitlines()]


def sniffed(link, *names, manner=None, arguments=(), **options):
    with Sniff(link, *arguments, **options) as one:
        played = [play(link, conversation(name, number), port=0, **(manner or {})) for name, number in names]
        return one.end(), played


def flows(objects):
    """The objects of each flow, by the port of who opened or accepted the connection."""
    ends, found = {}, defaultdict(list)
    for one in objects:
        if one["event"] == "flow" and one["phase"] == "begin":
            ends[one["flow"]] = (one["sender"]["port"], one["receiver"]["port"])
        if one.get("flow") is not None:
            found[ends[one["flow"]]].append(one)
    return dict(found)


def of(kind, objects, direction=None):
    return [one for one in objects if one["event"] == kind and direction in (None, one.get("direction"))]


TIED = {"flow", "time", "time_end", "first_frame", "last_frame", "schema"}
"""What differs between the capture of a conversation and when it is played again."""


def shape(record):
    return {key: value for key, value in record.items() if key not in TIED}


@cache
def expected(name, number, direction):
    """The records of a flow in its capture, as JSON: `tests/cross/test_truth.py` has compared those with the truth."""
    flow = truth(name)["flows"][number]
    mine = [one for one in events(name) if isinstance(one, Flow) and one.phase == "begin"]
    ends = (flow["receiver"], flow["receiver_port"], flow.get("sender_port"))
    (chosen,) = [one.flow for one in mine if (*one.receiver, one.sender[1] if ends[2] else None) == ends][
        number if len(truth(name)["flows"]) > 1 and _same_ends(name) else 0 :
    ][:1]
    return [
        shape(json.loads(json.dumps(event_object(one, pfns=True))))
        for one in events(name)
        if isinstance(one, Record) and one.flow == chosen and one.direction == direction
    ]


def _same_ends(name):
    return len({(one.get("sender_port"), one["receiver_port"]) for one in truth(name)["flows"]}) == 1


def check(name, number, objects):
    """Compare the records of one played flow with the truth and with what its capture holds."""
    for direction in DIRECTIONS:
        records = of("record", objects, direction)
        true = truth(name)["flows"][number].get(direction, {"records": []})["records"]
        assert [(one["layer"], one["type"], one["offset"], one["size"]) for one in records] == [
            (one["layer"], one["type"], one["offset"], one["size"]) for one in true
        ]
        assert [shape(one) for one in records] == expected(name, number, direction)
    assert not of("gap", objects)
    assert not of("resync", objects)


def ports(played, name, number):
    opener = conversation(name, number).opener
    return (played.opener_port, played.port) if opener == "forward" else (played.port, played.opener_port)


def everything(names):
    return [(name, number) for name in names for number in range(len(truth(name)["flows"]))]


# -- every conversation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_all_small_conversations(link, version):
    """One after the other, while something else goes on."""
    names = everything(SMALL)
    with Sniff(link, "--pfns") as one, Play(link, unrelated(requests=5), port=0, version=version) as noise:
        played = [play(link, conversation(*name), port=0, version=version) for name in names]
        noise.finish()
        objects = one.end()
    found = flows(objects)
    assert len(found) == len(names)
    for (name, number), told in zip(names, played, strict=True):
        check(name, number, found[ports(told, name, number)])
    total = objects[-1]
    assert (total["scope"], total["other_connections"], total["capture"]["dropped"]) == ("input", 1, 0)
    assert total["capture"]["received"] == total["frames"]


@pytest.mark.parametrize("name", REAL)
def test_real_migrations(link, name):
    for version in (4, 6):
        objects, (told,) = sniffed(link, (name, 0), manner={"version": version}, arguments=["--pfns"])
        found = flows(objects)
        check(name, 0, found[ports(told, name, 0)])


def test_jumbo_segments():
    needs_namespaces()
    with Link(65535, offload=True) as link:
        for version in (4, 6):
            objects, (told,) = sniffed(link, ("hvm-colo-xl", 0), manner={"version": version}, arguments=["--pfns"])
            check("hvm-colo-xl", 0, flows(objects)[ports(told, "hvm-colo-xl", 0)])
            assert objects[-1]["frames"] < 4000


@pytest.mark.parametrize("method", ["ring", "dumpcap", "tcpdump"])
def test_each_way_to_capture(link, method):
    if method != "ring":
        tool(method)
    names = [("hvm-colo-xl", 0), ("xl-hvm-v3", 0)]
    with Sniff(link, "--pfns", "--method", method) as one:
        played = [play(link, conversation(*name), port=0) for name in names]
        objects = one.end()
    for (name, number), told in zip(names, played, strict=True):
        check(name, number, flows(objects)[ports(told, name, number)])
    assert objects[-1]["capture"]["dropped"] == 0
    assert f"({method})" in one.said
    assert "0 dropped by the kernel" in one.said


def test_several_at_once_and_something_else(link):
    names = [("remus-hvm-xl", 0), ("colo-header-8", 0), ("xl-pv64-v3", 0), ("hvm-colo-xl", 0)]
    with Sniff(link, "--pfns") as one, ExitStack() as stack:
        plays = [
            stack.enter_context(Play(link, conversation(*name), port=0, version=4 + n % 2 * 2))
            for n, name in enumerate(names)
        ]
        others = [stack.enter_context(Play(link, unrelated(seed), port=0)) for seed in range(3)]
        played = [each.finish() for each in plays]
        for other in others:
            other.finish()
        objects = one.end()
    found = flows(objects)
    assert len(found) == len(names)
    for (name, number), told in zip(names, played, strict=True):
        check(name, number, found[ports(told, name, number)])
    assert objects[-1]["other_connections"] == 3


def test_any_interface(wire):
    objects, (told,) = sniffed(wire, ("colo-header-16", 0), arguments=["--pfns"], interface="any")
    check("colo-header-16", 0, flows(objects)[ports(told, "colo-header-16", 0)])


def test_capture_filter(wire):
    with Sniff(wire, "-f", "port 8002") as one:
        play(wire, conversation("xl-hvm-v3"), port=8003)
        play(wire, conversation("colo-header-16"), port=8002)
        objects = one.end()
    assert [flow[1] for flow in flows(objects)] == [8002]


# -- from the middle on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [5_000, 2_000_000])
def test_attached_in_the_middle(wire, place):
    """All records behind the place where framing is found again are exact; offsets count from the first packet."""
    name = "hvm-colo-xl"
    with Play(wire, conversation(name), port=0, holds=(("forward", place),)) as one:
        one.held()
        with Sniff(wire, "--pfns") as eye:
            one.release()
            one.finish()
            objects = eye.end()
    (found,) = flows(objects).values()
    assert of("flow", found)[0]["start"] == "mid-stream"
    for direction in DIRECTIONS:
        records = of("record", found, direction)
        true = expected(name, 0, direction)
        assert len(records) > 3
        tail = true[-len(records) :]
        base = tail[-1]["offset"] - records[-1]["offset"]
        assert [{**shape(one), "offset": one["offset"] + base} for one in records] == tail
        if direction == "forward":
            assert 0 <= base - place < 1  # the first byte that came
            first_whole = next(one["offset"] for one in true if one["offset"] >= place)
            assert tail[0]["offset"] <= first_whole + 10_000_000 and len(tail) > len(true) // 4


# -- files ------------------------------------------------------------------------------------------------------------


def read(*paths):
    done = subprocess.run(
        [*MAIN, "read", "--json", "--pfns", *map(str, paths)], capture_output=True, check=True, timeout=60
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("slim", [[], ["--slim"], ["--slim=heads"]], ids=["whole", "slim", "heads"])
def test_the_file_holds_what_was_shown(wire, tmp_path, slim):
    path = tmp_path / "x.pcapng"
    with Sniff(wire, "--pfns", "-w", path, *slim) as one:
        whats = [("hvm-colo-xl", 0), ("xl-hvm-v3", 0)]
        sizes = [sum(map(len, conversation(*what)[:2])) for what in whats]
        for what in whats:
            play(wire, conversation(*what), port=0)
        live = one.end()
    later = read(path)
    frames = {"first_frame", "last_frame", "frame", "schema"}
    strip = lambda objects: [  # noqa: E731
        {key: value for key, value in one.items() if key not in frames and not (slim and key.startswith("time"))}
        for one in objects
        if one["event"] == "record"
    ]
    assert strip(live) == strip(later)
    assert not of("gap", later)
    size = path.stat().st_size
    assert size > sum(sizes) if not slim else size < sum(sizes) / 5
    assert re.search(r"[\d,]+ packets in ", one.said)


def test_others_read_the_file_too(wire, tmp_path):
    path = tmp_path / "x.pcapng"
    with Sniff(wire, "-w", path, json=False) as one:
        play(wire, conversation("colo-header-16"), port=0)
        one.end()
    count = int(re.search(r"([\d,]+) packets in", one.said)[1].replace(",", ""))
    shown = subprocess.run(
        [tool("tshark"), "-r", path, "-T", "fields", "-e", "frame.number", "-e", "frame.interface_name"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert shown == [f"{n}\t{INTERFACE}" for n in range(1, count + 1)]
    assert statistics(path)[4:8:3] == (count, 0)


def statistics(path):
    """Options of the last interface statistics block: code -> value, as a list."""
    data, at, found = path.read_bytes(), 0, [None] * 9
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == 5:
            place, found = at + 20, [None] * 9
            while (code := struct.unpack_from("<H", data, place)[0]) and place < at + size - 4:
                length = struct.unpack_from("<H", data, place + 2)[0]
                if code < 9 and length == 8:
                    found[code] = int.from_bytes(data[place + 4 : place + 12], "little")
                place += 4 + (length + 3) // 4 * 4
        at += size
    return tuple(found)


def test_ring_of_files(wire, tmp_path):
    with Sniff(wire, "-w", tmp_path / "x.pcapng", "-b", "packets:1000", "-b", "files:3") as one:
        play(wire, conversation("hvm-colo-xl"), port=0)
        live = one.end()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(re.fullmatch(r"x_\d{5}_\d{14}\.pcapng", file.name) for file in files)
    counts = [packet_count(file) for file in files]
    assert counts[:2] == [1000, 1000]
    assert 0 < counts[2] <= 1000
    assert int(files[-1].name[2:7]) == -(-live[-1]["frames"] // 1000)


def packet_count(path):
    done = subprocess.run([tool("capinfos"), "-Mc", path], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout.split()[-1])


# -- ends -------------------------------------------------------------------------------------------------------------


def test_limits_end_it(wire, tmp_path):
    path = tmp_path / "x.pcapng"
    for arguments, why in (
        (["-w", path, "-a", "packets:25"], "25 packets are written"),
        (["-a", "packets:5"], "packets are captured"),
        (["-c", "3"], "3 records are shown"),
    ):
        with Sniff(wire, *arguments) as one:
            play(wire, conversation("colo-header-16"), port=0)
            objects = one.end(None)
        assert why in one.said
        assert objects[-1]["scope"] == "input"
        if "-c" in arguments:
            assert len(of("record", objects)) == 3
    assert packet_count(path) == 25
    with Sniff(wire, "--duration", "0.3") as one:
        assert one.end(None)[-1]["frames"] >= 0
    assert "0.3 s have passed" in one.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_with_the_summary(wire, number):
    with Sniff(wire, json=False) as one:
        play(wire, conversation("xl-hvm-v3"), port=0)
        lines = one.end(number)
    assert b"0 dropped by the capture" in lines[-1] or b"packets dropped by the capture" in lines[-1]
    assert f"ended: {'interrupted' if number == signal.SIGINT else number.name}" in one.said


def test_a_reader_that_goes_away(wire, tmp_path):
    path = tmp_path / "x.pcapng"
    reading, writing = os.pipe()
    with Sniff(wire, "-w", path, stdout=writing) as one:
        os.close(writing)
        with os.fdopen(reading, "rb") as head, Play(wire, conversation("colo-header-16"), port=0) as talk:
            assert json.loads(head.readline())["event"] == "flow"
            head.close()
            talk.finish()
        play(wire, conversation("colo-header-16"), port=0)
        one.end(None, status=-signal.SIGPIPE)
    assert "rror" not in one.said
    assert of("record", read(path))  # what came until then is there, and in order


def test_a_reader_of_the_packets_that_goes_away(wire):
    """As `sniff -w - | wireshark -k -i -` when Wireshark is closed."""
    reading, writing = os.pipe()
    with Sniff(wire, "-w", "-", json=False, stdout=writing) as one:
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as head:
            play(wire, conversation("colo-header-16"), port=0)
            assert head.read(4) == b"\n\r\r\n"
        play(wire, conversation("colo-header-16"), port=0)
        one.end(None, status=-signal.SIGPIPE)
    assert "roken" not in one.said


def test_on_a_terminal(wire):
    """Records scroll, whole and in order; the table is below them, and gone in the end."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 200, 0, 0))
    tty.setraw(slave)
    env = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "", "LINES": "", "PYTHONUTF8": "1"}
    screen = Screen(200, 30)
    with Sniff(wire, json=False, stdout=slave, stderr=slave, env=env) as one:
        os.close(slave)
        place = ("forward", 8_250_000)
        with Play(wire, conversation("hvm-colo-xl"), port=0, rate=60e6, holds=(place,)) as talk:
            talk.held()
            while not drawn(screen, "#0  COLO"):  # what was read may end in the middle of a picture
                screen.write(terminal(master))
            talk.release()
            talk.finish()
        one.child.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the last user of the terminal has ended
            while text := terminal(master):
                screen.write(text)
        assert one.child.wait(20) == 0
    os.close(master)
    records = [row for row in screen.rows if re.match(r"\d\d:\d\d:\d\d\.\d{6} +\d+ #0  [→←] (xl|libx[lc]) ", row)]
    true = [len(truth("hvm-colo-xl")["flows"][0][direction]["records"]) for direction in DIRECTIONS]
    assert len(records) == sum(true)
    for arrow, count in zip("→←", true, strict=True):
        offsets = [int(re.split(r" [→←] \S+ +\S+ +", row)[1].split()[0]) for row in records if f" {arrow} " in row]
        assert offsets == sorted(offsets)
        assert len(offsets) == count
    assert not any(row.startswith("#0") or row.lstrip().startswith("sender →") for row in screen.rows)
    assert "ended: interrupted" in "".join(screen.rows)


def drawn(screen, begin):
    """Whether the last rows are a whole table: its head, one migration that begins so, and the capture."""
    head, row, line = [*["", "", ""], *filter(None, screen.rows)][-3:]
    return head.lstrip().startswith("sender") and row.startswith(begin) and line.endswith("Ctrl-C ends")


def terminal(master):
    """What a program has written to its terminal, whole characters."""
    data = os.read(master, 65536)
    while data:
        try:
            return data.decode()
        except UnicodeDecodeError:
            data += os.read(master, 1)
    return ""


def test_standard_input_while_it_is_written(tmp_path):
    data = (CAPTURES / truth("colo-header-16")["files"][0]).read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    with subprocess.Popen(
        [*MAIN, "sniff", "-i", "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CAPTURES.parent,
    ) as child:
        half = len(data) // 2
        child.stdin.write(data[:half])
        child.stdin.flush()
        first = json.loads(child.stdout.readline())  # before the writer is done
        assert first["event"] == "flow"
        child.stdin.write(data[half:])
        child.stdin.close()
        rest = [json.loads(line) for line in child.stdout]
        said = child.stderr.read().decode()
    assert child.returncode == 0, said
    assert [shape(one) for one in of("record", rest, "forward")] == without_pfns("colo-header-16", "forward")
    assert "capture" not in rest[-1]


def without_pfns(name, direction):
    mine = [one for one in events(name) if isinstance(one, Record) and one.direction == direction]
    return [shape(json.loads(json.dumps(event_object(one)))) for one in mine]


# -- rights -----------------------------------------------------------------------------------------------------------


def status_of(pid):
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {row.split(":")[0]: row.split()[1:] for row in rows}


def test_capabilities_are_given_up(wire, tmp_path):
    path = tmp_path / "x.pcapng"
    env = {"SUDO_UID": "", "SUDO_GID": ""}
    with Sniff(wire, "-w", path, env=env) as one:
        wait(lambda: path.exists() and int(status_of(one.child.pid)["CapEff"][0], 16) == 0)
        assert int(status_of(one.child.pid)["CapPrm"][0], 16) == 0
        play(wire, conversation("xl-hvm-v3"), port=0)
        live = one.end()
    assert len(of("record", live)) == len(of("record", read(path))) > 5


@pytest.mark.parametrize("ring", [False, True])
def test_under_sudo_it_becomes_the_caller(wire, tmp_path, ring):
    for folder in (tmp_path, *tmp_path.parents):
        with contextlib.suppress(OSError):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(folder.stat().st_mode | 0o011)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 12345, 12346)
    more = ["-b", "packets:20", "-b", "files:2"] if ring else []
    with Sniff(wire, "-w", home / "x.pcapng", *more, env={"SUDO_UID": "12345", "SUDO_GID": "12346"}) as one:
        wait(lambda: status_of(one.child.pid)["Uid"] == ["12345"] * 4)
        wait(lambda: any(home.iterdir()))
        row = status_of(one.child.pid)
        assert (row["Gid"], row["Groups"], int(row["CapEff"][0], 16)) == (["12346"] * 4, ["12346"], 0)
        play(wire, conversation("colo-header-16"), port=0)
        live = one.end()
    files = sorted(home.iterdir())
    assert len(files) == (2 if ring else 1)
    assert {file.stat().st_uid for file in files} == {12345}
    if not ring:
        assert len(of("record", read(files[0]))) == len(of("record", live)) > 5


# -- what the kernel drops, and what the wire loses --------------------------------------------------------------------


def test_packets_that_the_kernel_drops(wire, tmp_path):
    """A stopped process with the smallest buffer: drops are counted everywhere, and blamed for the gaps."""
    path, data = tmp_path / "x.pcapng", b"".join(Stream(24 << 20, "1024-page", 0).pieces())
    what = Conversation(data, b"", (("forward", 0, len(data)),))
    holds = tuple(("forward", place << 20) for place in (1, 20))
    with Sniff(wire, "-B", "2", "-w", path, bufsize=0) as one, Play(wire, what, port=0, holds=holds) as flood:
        flood.held()
        while b"DOMAIN_HEADER" not in one.child.stdout.readline():
            assert one.child.poll() is None
        one.child.send_signal(signal.SIGSTOP)
        flood.release()
        flood.held()
        one.child.send_signal(signal.SIGCONT)
        flood.release()
        flood.finish()
        objects = one.end()
    total, findings = objects[-1], of("finding", objects)
    dropped = total["capture"]["dropped"]
    assert dropped > 1000
    assert total["capture"]["received"] >= total["frames"] + dropped
    assert [each["id"] for each in findings].count("capture.dropped") == 1
    (said,) = [each["text"] for each in findings if each["id"] == "capture.dropped"]
    assert str(dropped) in said
    assert f"{dropped:,} dropped by the kernel" in one.said
    assert statistics(path)[7] == dropped
    gaps = of("gap", objects)
    assert gaps
    assert {gap["cause"] for gap in gaps} == {"capture"}


def inject(end, found):
    def speak():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as mouth:
            mouth.bind((INTERFACE, 0))
            for one in found:
                mouth.send(one)

    end.call(speak)


def lossy():
    """A migration without one segment, which its receiver has acknowledged all the same."""
    data = bytes(plain(Guest(pages=40, config=b"{}\0"), passes=((5,),)).forward.data)
    pieces = [(at, data[at : at + 1400]) for at in range(0, len(data), 1400)]
    found = [frame("forward", 100, 0, SYN), frame("reverse", 500, 101, SYN | ACK), frame("forward", 101, 501, ACK)]
    for number, (at, piece) in enumerate(pieces):
        if number != len(pieces) // 2:
            found.append(frame("forward", 101 + at, 501, ACK | PSH, piece))
            found.append(frame("reverse", 501, 101 + at + len(piece), ACK))
    return [
        *found,
        frame("forward", 101 + len(data), 501, FIN | ACK),
        frame("reverse", 501, 102 + len(data), FIN | ACK),
    ]


@pytest.mark.parametrize(("method", "cause"), [("ring", "wire"), ("tcpdump", None)])
def test_what_the_wire_lost_is_not_blamed_on_the_kernel(wire, method, cause):
    if method != "ring":
        tool(method)
    with Sniff(wire, "--method", method) as one:
        inject(wire.sender, lossy())
        objects = one.end()
    assert [gap.get("cause") for gap in of("gap", objects)] == [cause]
    assert objects[-1]["capture"]["dropped"] == 0


# -- hostile circumstances ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-i", "nowhere0"], "there is no interface 'nowhere0'"),
        (["-i", INTERFACE, "-f", "prot 80"], "capture filter 'prot 80'"),
        (["-b", "packets:5"], "-b needs -w FILE"),
        (["-i", INTERFACE, "-w", "/nonexistent/x"], "/nonexistent/x: No such file or directory"),
        (["-i", INTERFACE, "-w", "/x/y", "-b", "files:3"], "-b files:N needs a duration, filesize or packets"),
        (["-i", "-", "-i", INTERFACE], "stands alone"),
    ],
)
def test_what_can_not_begin_says_why_in_a_line(wire, arguments, text):
    done = wire.receiver.run(*MAIN, "sniff", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_rights_it_says_how_to_get_them(wire):
    command = [tool("setpriv"), "--reuid", "65534", "--clear-groups", "--bounding-set", "-all"]
    done = wire.receiver.run(*command, *MAIN, "sniff", "-i", INTERFACE)
    if "No module named" in done.stderr or "ermission denied: '" in done.stderr:
        pytest.skip("THE PROJECT CAN NOT BE READ BY NOBODY")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_disk_is_full(wire):
    with Sniff(wire, "-w", "/dev/full") as one:
        play(wire, conversation("hvm-colo-xl"), port=0)
        objects = one.end(None, status=2)
    assert one.said.splitlines()[-1] == "xendissect: /dev/full: No space left on device"
    assert objects[-1]["scope"] == "input"


def test_the_interface_goes_down_and_comes_back():
    needs_namespaces()
    with Link() as link, Sniff(link, "--pfns") as one:
        first = play(link, conversation("xl-hvm-v3"), port=0)
        for end in link.ends:
            end.ip("link", "set", INTERFACE, "down")
        for end, peer in (link.ends, link.ends[::-1]):
            end.ip("link", "set", INTERFACE, "up")
            end.ip("neighbour", "replace", peer.ipv4, "lladdr", peer.mac, "dev", INTERFACE)
        second = play(link, conversation("xl-hvm-v3"), port=0)
        found = flows(one.end())
        for told in (first, second):
            check("xl-hvm-v3", 0, found[ports(told, "xl-hvm-v3", 0)])


@pytest.mark.parametrize("method", ["ring", "dumpcap"])
def test_the_interface_is_deleted(method):
    needs_namespaces()
    if method != "ring":
        tool(method)
    with Link() as link, Sniff(link, "--method", method) as one:
        play(link, conversation("xl-hvm-v3"), port=0)
        link.receiver.ip("link", "delete", INTERFACE)
        assert one.end(None, status=2)[-1]["scope"] == "input"
        assert INTERFACE in one.said.splitlines()[-1]
