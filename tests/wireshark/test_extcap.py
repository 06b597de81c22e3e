# SPDX-License-Identifier: GPL-2.0-or-later
"""Every step as Wireshark does it, first with our program alone, then with tshark, which starts it itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dissector
from dissector.wireshark import extcap, starter
from tests.captures.tools import tool
from tests.cross.tools import truth
from tests.live.conversations import conversation
from tests.live.link import INTERFACE, Link, needs_namespaces
from tests.live.replay import play
from tests.live.test_child import FAKE_SSH
from tests.live.waiting import PATIENCE, wait

PROGRAM = [sys.executable, "-P", "-m", "dissector.wireshark.extcap"]
PLUGIN = Path(__file__).parents[2] / "lua" / "xenmig.lua"
OURS = f"xendissect-{INTERFACE}"
NAME = "xl-hvm-v3"
"""Of the conversation that is played."""
EXPECTED = sorted(row["type"] for way in ("forward", "reverse") for row in truth(NAME)["flows"][0][way]["records"])


@pytest.fixture(scope="module")
def link():
    needs_namespaces()
    with Link() as made:
        yield made


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def run(*words):
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=PATIENCE)


def records(path):
    return sorted(record.type for record in dissector.read(path))


# -- questions -------------------------------------------------------------------------------------------------------


def test_interfaces():
    done = run("--extcap-interfaces", "--extcap-version=4.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("extcap {version=")
    assert "interface {value=xendissect-lo}{display=Xen migration on lo}\n" in done.stdout
    assert done.stdout.endswith("interface {value=xendissect-ssh}{display=Xen migration over ssh}\n")


def test_questions_about_an_interface():
    assert run("--extcap-interface", "xendissect-lo", "--extcap-dlts").stdout.startswith("dlt {number=1}{name=EN10MB}")
    done = run("--extcap-config", "--extcap-interface", "xendissect-lo")
    assert done.stdout.startswith("arg {number=0}{call=--slim}")
    done = run("--extcap-config", "--extcap-interface", "xendissect-lo", "--extcap-reload-option", "slim")
    assert (done.returncode, done.stdout) == (0, "")


def test_answers_are_cheap():
    """Wireshark asks twice for each interface at each start."""
    heavy = ["numpy", "typer", "rich", "scapy", "msgspec", "subprocess", "asyncio", "dissector.watch", "dissector.wire"]
    code = "import sys, dissector.wireshark.extcap as e; e.run(['--extcap-interfaces'])"
    code += f"; print({{*sys.modules}} & {{*{heavy}}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("interface", ["xendissect-lo", "xendissect-any", "xendissect-ssh"])
def test_capture_filters_are_checked(interface):
    """Wireshark heeds what is printed if the status is 0, else it does not know."""
    done = run("--extcap-capture-filter", "tcp port 8002", "--extcap-interface", interface)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for wrong in ("tcp bla", "-x"):
        done = run("--extcap-capture-filter", wrong, "--extcap-interface", interface)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"capture filter '{wrong}': ")
        assert done.stdout.count("\n") == 1


def test_filters_that_nobody_here_can_check(monkeypatch):
    monkeypatch.setattr("dissector.live.bpf.can_compile", lambda: False)
    assert list(extcap._complaints("xendissect-lo", "tcp bla")) == []


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--extcap-interface", "eth0", "--extcap-dlts"], 1, "'eth0' is no interface of ours"),
        (["--extcap-interface", "xendissect-nosuch", "--extcap-dlts"], 1, "no interface 'nosuch'"),
        (["--extcap-interface", "xendissect-lo"], 2, "is missing"),
        (["--extcap-interface", "xendissect-lo", "--capture"], 2, "--capture needs --fifo"),
        (["--extcap-interface", "xendissect-lo", "--capture", "--fifo", "/nosuch/x"], 1, "/nosuch/x: No such file"),
    ],
)
def test_one_line_when_it_is_used_wrongly(words, status, said):
    done = run(*words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert done.stderr.startswith("xendissect-extcap: ")
    assert done.stderr.count("\n") == 1


def test_what_it_is():
    assert "xendissect wireshark install" in " ".join(run().stdout.split())
    assert run("--version").stdout.startswith("xendissect-extcap ")
    assert run("--extcap-cleanup-postkill").returncode == 0


def test_an_answer_that_nobody_reads():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROGRAM, "--extcap-interfaces"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


# -- a capture -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--extcap-interface", "xendissect-nosuch"], 1, "no interface 'nosuch'"),
        (["--extcap-interface", "xendissect-lo", "--extcap-capture-filter", "tcp bla"], 1, "capture filter 'tcp bla'"),
        (["--extcap-interface", "xendissect-lo", "--buffer", "much"], 2, "--buffer"),
        (["--extcap-interface", "xendissect-lo", "--buffer", "1"], 2, "--buffer"),
        (["--extcap-interface", "xendissect-lo", "--slim", "bad"], 2, "--slim"),
        (["--extcap-interface", "xendissect-ssh"], 2, "which host?"),
        (["--extcap-interface", "xendissect-ssh", "--remote-host", "-x"], 2, "--remote-host"),
    ],
)
def test_the_fifo_ends_when_a_capture_cannot_begin(fifo, words, status, said):
    """Without that, dumpcap would wait for ever; and what is said comes before."""
    child = subprocess.Popen([*PROGRAM, "--capture", "--fifo", fifo, *words], stderr=subprocess.PIPE, text=True)
    with fifo.open("rb") as reader:
        assert reader.read() == b""
    _, errors = child.communicate(timeout=PATIENCE)
    assert (child.returncode, errors.count("\n")) == (status, 1)
    assert said in errors


def begin(link, fifo, *options):
    """Start a capture on the link, with `cat` as dumpcap; return both."""
    out = fifo.with_name("out.pcapng")
    reader = subprocess.Popen(["sh", "-c", 'exec cat "$0" >"$1"', fifo, out])
    words = ["--capture", "--extcap-interface", OURS, "--fifo", fifo, *options]
    child = link.receiver.start(*PROGRAM, *words, stderr=subprocess.PIPE, text=True)
    wait(lambda: link.receiver.captures() or child.poll() is not None)
    return child, reader, out


def end(child):
    begun = time.monotonic()
    _, errors = child.communicate(timeout=PATIENCE)
    assert time.monotonic() - begun < 5
    return child.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("slim", ["off", "cut", "heads"])
def test_capture(link, fifo, slim, number):
    child, reader, out = begin(link, fifo, "--slim", slim)
    play(link, conversation(NAME))
    child.send_signal(number)
    child.send_signal(number)
    assert end(child) == (0, "")
    reader.wait(PATIENCE)
    assert records(out) == EXPECTED


def test_the_filters_of_both_places_hold(link, fifo):
    child, reader, out = begin(link, fifo, "--extcap-capture-filter", "tcp", "--filter", "src host 192.0.2.1")
    play(link, conversation(NAME))
    child.terminate()
    assert end(child) == (0, "")
    reader.wait(PATIENCE)
    done = subprocess.run(["tshark", "-r", out, "-T", "fields", "-e", "ip.src"], capture_output=True, text=True)
    assert {*done.stdout.split()} == {"192.0.2.1"}


def test_the_reader_goes_away(link, fifo):
    """With packets and without; Wireshark does that when its own limits end a capture."""
    child, reader, _ = begin(link, fifo)
    reader.kill()
    reader.wait()
    assert end(child) == (0, "")
    wait(lambda: not link.receiver.captures())


def test_stopped_before_anybody_reads(fifo):
    child = subprocess.Popen([*PROGRAM, "--capture", "--fifo", fifo, "--extcap-interface", "xendissect-lo"])
    wait(lambda: "wait_for_partner" in _waits(child.pid) or os.geteuid())  # only root is told
    child.terminate()
    assert child.wait(PATIENCE) == -signal.SIGTERM


def _waits(pid):
    """Return what a process waits for in the kernel; an opened FIFO without a partner has a name of its own."""
    path = Path(f"/proc/{pid}/wchan")
    return path.read_text() if path.exists() else ""


def heard(path):
    """Whether a capture that is still being written has all records."""
    with contextlib.suppress(dissector.CaptureError):
        return records(path) == EXPECTED
    return False


def test_over_ssh(link, fifo, tmp_path, monkeypatch):
    """The ssh is ours: it runs the command here, in the namespace of the sender."""
    program = tmp_path / "ssh"
    program.write_text(FAKE_SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    out = tmp_path / "out.pcapng"
    options = ["--remote-host", "root@there", "--remote-interface", INTERFACE, "--remote-tool", "tcpdump"]
    words = ["--capture", "--extcap-interface", "xendissect-ssh", "--fifo", fifo, *options]
    child = link.sender.start(*PROGRAM, *words, stderr=subprocess.PIPE, text=True)
    with out.open("wb") as file, subprocess.Popen(["cat", fifo], stdout=file):
        wait(link.sender.captures)
        play(link, conversation(NAME))
        wait(lambda: heard(out))
        child.terminate()
        assert end(child) == (0, "")


def test_a_host_that_is_not_there(fifo, tmp_path, monkeypatch):
    program = tmp_path / "ssh"
    program.write_text(FAKE_SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    words = ["--capture", "--extcap-interface", "xendissect-ssh", "--fifo", fifo, "--remote-host", "nowhere"]
    child = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True)
    fifo.read_bytes()
    status, errors = end(child)
    assert status == 1
    assert errors.count("\n") == 1
    assert "Could not resolve hostname nowhere" in errors


# -- tshark ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(home):
    """A home with our starter, where both old and new Wiresharks look."""
    for folder in (".config/wireshark/extcap", ".local/lib/wireshark/extcap"):
        path = home / folder / starter.PROGRAM
        path.parent.mkdir(parents=True)
        path.write_text(starter.text())
        path.chmod(0o755)


def test_tshark_lists_the_interfaces(installed):
    done = subprocess.run([tool("tshark"), "-D"], capture_output=True, text=True, check=True)
    assert "xendissect-lo (Xen migration on lo)\n" in done.stdout
    assert "xendissect-ssh (Xen migration over ssh)\n" in done.stdout
    done = subprocess.run([tool("tshark"), "-L", "-i", "xendissect-lo"], capture_output=True, text=True, check=True)
    assert "EN10MB (Ethernet)" in done.stdout


@pytest.mark.parametrize("slim", ["off", "heads"])
def test_tshark_captures(link, installed, slim):
    words = ["-n", "-l", "-X", f"lua_script:{PLUGIN}", "-i", OURS, "-o", f"extcap.xendissect_{INTERFACE}.slim:{slim}"]
    fields = ["-T", "fields", "-e", "frame.cap_len", "-e", "xenmig.type"]
    child = link.receiver.start(tool("tshark"), *words, *fields, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait(lambda: link.receiver.captures() or child.poll() is not None)
    play(link, conversation(NAME))
    rows, found = [], []
    while len(found) < len(EXPECTED):
        line = child.stdout.readline().decode()
        assert line, child.stderr.read().decode()
        length, _, types = line.rstrip("\n").partition("\t")
        rows.append(int(length))
        found += types.split(",") if types else []
    child.terminate()
    child.communicate(timeout=PATIENCE)
    assert sorted(found) == EXPECTED
    assert (max(rows.count(1514), 1) < 30) == (slim == "heads")


def test_tshark_ends_the_capture(link, installed):
    words = ["-i", OURS, "-a", "packets:5", "-f", "tcp"]
    child = link.receiver.start(tool("tshark"), *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait(lambda: link.receiver.captures() or child.poll() is not None)
    play(link, conversation(NAME))
    out, errors = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out.count(b"TCP")) == (0, 5), errors
    assert b"5 packets captured" in errors
    assert b"Error" not in errors
    wait(lambda: not link.receiver.captures())


def test_tshark_shows_what_is_wrong(link, installed):
    child = link.receiver.run(tool("tshark"), "-i", OURS, "-f", "tcp bla")
    assert child.returncode == 1
    assert "Error by extcap pipe: xendissect-extcap: capture filter 'tcp bla': " in child.stderr
