# SPDX-License-Identifier: GPL-2.0-or-later
"""dumpcap and tcpdump as children, here and over an ``ssh`` of ours that runs its command on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dissector.live import child
from dissector.live.child import Child, Wanted, counts, local, may_capture, over_ssh, remote_script
from dissector.live.source import Counters, LiveError
from tests.live.test_pipe import PCAP
from tests.live.waiting import PATIENCE, ready, take, wait

TOOLS = ("dumpcap", "tcpdump")
CONNECTION = "192.0.2.77 50123 192.0.2.78 22"
FAKE_SSH = f"""#!/bin/sh
# Looks for a host behind --, and runs the command line in a shell as sshd does.
while [ "$1" != -- ]; do shift; done
[ "$2" = nowhere ] && {{ echo "ssh: Could not resolve hostname nowhere: Name or service not known" >&2; exit 255; }}
shift 2
SSH_CONNECTION="{CONNECTION}" exec sh -c "$*"
"""


def needs(tool):
    if not may_capture(tool):
        if os.environ.get("CI"):
            pytest.fail(f"{tool} cannot capture, but CI must run this test")
        pytest.skip(f"{tool.upper()} IS MISSING OR MAY NOT CAPTURE: that it works is not tested")


@pytest.fixture
def speaker():
    """Sends datagrams to a port of the loopback interface, where nobody else's go."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear, socket.socket(type=socket.SOCK_DGRAM) as mouth:
        ear.bind(("127.0.0.1", 0))
        port = ear.getsockname()[1]
        yield port, lambda text=b"hello": mouth.sendto(text, ("127.0.0.1", port))


@pytest.fixture
def fake_ssh(tmp_path, monkeypatch):
    program = tmp_path / "ssh"
    program.write_text(FAKE_SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def shell(script):
    return Child(["sh", "-c", script], "eth0", "tcpdump")


def capture(source, speak):
    """Speak until something was captured."""
    found = []

    def heard():
        speak()
        found.extend(ready(source))
        return found

    wait(heard)
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_local(tool, speaker):
    needs(tool)
    port, speak = speaker
    source = local(Wanted("lo", f"udp port {port}", buffer_bytes=4 << 20), tool)
    assert (source.name, source.method, source.ended) == ("lo", tool, None)
    found = capture(source, speak)
    assert all(b"hello" in data for data, _ in found)
    assert source.linktype == 1
    source.stop()
    source.stop()
    found += take(source)
    assert source.ended == "stopped"
    counted = source.counters()
    assert counted.dropped == 0
    assert counted.received >= len(found)
    source.close()
    assert ready(source) == []


def test_tcpdump_tells_its_counters_when_asked(speaker, monkeypatch):
    needs("tcpdump")
    monkeypatch.setattr(child, "ASK_EVERY", 0.1)
    port, speak = speaker
    source = local(Wanted("lo", f"udp port {port}"), "tcpdump")
    assert source.counters() == Counters(None, None)
    capture(source, speak)
    wait(lambda: (source.counters().received or 0) > 0)
    assert source.counters().dropped == 0
    source.close()


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(("interface", "expression"), [("nosuch", ""), ("lo", "tcp port nosuch")])
def test_complaint_in_one_line(tool, interface, expression):
    needs(tool)
    source = local(Wanted(interface, expression), tool)
    with pytest.raises(LiveError, match="nosuch") as caught:
        take(source)
    assert "\n" not in str(caught.value)
    assert source.ended == str(caught.value)
    source.close()


def test_ctrl_c_is_not_for_the_child():
    source = shell("sleep 60")
    assert os.getpgid(source._process.pid) != os.getpgid(0)
    source.close()
    assert source._process.returncode == 128 + signal.SIGTERM


def test_child_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(child, "STOP_SECONDS", 0.2)
    source = shell("trap '' TERM; echo ready >&2; while :; do sleep 1; done")
    wait(lambda: "ready" in source._said())
    source.close()
    assert source._process.returncode == -signal.SIGKILL


def test_much_on_standard_error_blocks_nothing(tmp_path):
    (tmp_path / "x").write_bytes(PCAP)
    source = shell(
        f"yes complaint | head -c 3000000 >&2; cat {tmp_path}/x; echo 'tcpdump: 7 packets received by filter' >&2"
    )
    assert len(take(source)) == 20
    assert source.counters().received == 7
    source.close()


@pytest.mark.parametrize(
    ("script", "ended", "raises"),
    [
        ("exit 3", "eth0: tcpdump ended with status 3", True),
        ("true", "tcpdump ended", False),
        ("echo oh no >&2; exit 1", "eth0: oh no", True),
        ("echo; echo 'one  thing' >&2; echo two >&2; echo three >&2; exit 1", "eth0: one thing; two", True),
        ("echo no capture at all, but a text", "eth0: no capture file or migration stream", True),
        ("cat %s; echo oh no >&2; exit 1", "eth0: oh no", True),
        ("cat %s; echo 'tcpdump: listening on eth0' >&2", "tcpdump ended", False),
        ("head -c 150 %s", "cut in the middle", False),
    ],
)
def test_child_that_ends_by_itself(script, ended, raises, tmp_path):
    (tmp_path / "x").write_bytes(PCAP)
    source = shell(script.replace("%s", str(tmp_path / "x")))
    if raises:
        with pytest.raises(LiveError, match=ended):
            take(source)
    else:
        take(source)
    assert ended in source.ended
    source.close()


def test_missing_program():
    with pytest.raises(LiveError, match="nosuchprogram cannot be started: No such file"):
        Child(["nosuchprogram"], "eth0", "tcpdump")


def test_neither_is_there(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not may_capture("dumpcap")
    with pytest.raises(LiveError, match="neither dumpcap nor tcpdump"):
        local(Wanted("lo"))


@pytest.mark.parametrize(("root", "mode", "may"), [(True, 0o755, True), (False, 0o4755, True), (False, 0o755, False)])
def test_who_may_capture(root, mode, may, tmp_path, monkeypatch):
    tool = tmp_path / "dumpcap"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(mode)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    assert may_capture("dumpcap") == may


def test_tcpdump_is_preferred(monkeypatch):
    monkeypatch.setattr(child, "may_capture", lambda tool: True)
    monkeypatch.setattr(child, "Child", lambda command, name, method: (command[0], name, method))
    assert local(Wanted("lo")) == ("tcpdump", "lo", "tcpdump")
    monkeypatch.setattr(child, "may_capture", lambda tool: tool == "dumpcap")
    assert local(Wanted("lo")) == ("dumpcap", "lo", "dumpcap")


def test_command_lines():
    wanted = Wanted("eth0", "port 1", None, 8 << 20, promiscuous=False, snap_length=96)
    assert shlex.join(wanted.command("dumpcap")) == "dumpcap -q -i eth0 -B 8 -s 96 -p -w - -f 'port 1'"
    assert shlex.join(wanted.command("tcpdump")) == "tcpdump -n -U -i eth0 -B 8192 -s 96 -p -w - -- 'port 1'"
    assert shlex.join(Wanted("eth0").command("tcpdump")) == "tcpdump -n -U -i eth0 -B 65536 -s 262144 -w -"


DUMPCAP_END = "Packets received/dropped on interface 'lo': 18/3 (pcap:2/dumpcap:1/flushed:0/ps_ifdrop:4) (85.7%)\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Counters(None, None)),
        (DUMPCAP_END, Counters(21, 3, 4)),
        ("tcpdump: 5 packets captured, 9 packets received by filter, 1 packet dropped by kernel\n", Counters(9, 1)),
        ("1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n", Counters(1, 0)),
        (
            "9 packets received by filter\n2 packets dropped by interface\n11 packets received by filter",
            Counters(11, None, 2),
        ),
    ],
)
def test_counters(text, found):
    assert counts(text) == found


# -- ssh --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
def test_over_ssh(tool, speaker, fake_ssh):
    needs(tool)
    port, speak = speaker
    source = over_ssh("me@there", Wanted("lo", f"udp port {port}"), tool=tool)
    assert (source.name, source.method) == ("me@there:lo", "ssh")
    capture(source, speak)
    source.stop()
    take(source)
    assert source.ended == "stopped"
    assert source.counters().dropped == 0
    source.close()


@pytest.mark.parametrize(
    ("host", "interface", "expression", "reason"),
    [
        ("nowhere", "lo", "", "nowhere:lo: ssh: Could not resolve hostname nowhere"),
        ("there", "nosuch", "", "there:nosuch: .*nosuch"),
        ("there", "lo", "tcp port nosuch", "there:lo: .*unknown port 'nosuch'"),
    ],
)
def test_ssh_complaints_in_one_line(host, interface, expression, reason, fake_ssh):
    needs("tcpdump")
    source = over_ssh(host, Wanted(interface, expression), tool="tcpdump")
    with pytest.raises(LiveError, match=reason) as caught:
        take(source)
    assert "\n" not in str(caught.value)
    source.close()


def test_host_that_is_an_option():
    with pytest.raises(LiveError, match="no host name"):
        over_ssh("-oProxyCommand=x", Wanted("lo"))


def run_script(tmp_path, wanted, there=TOOLS, connection=CONNECTION, **more):
    """Run the remote line with programs that tell how they were called; what they said, and the status."""
    for name in ("dumpcap", "tcpdump", "sudo"):
        (tmp_path / name).unlink(missing_ok=True)
    for name in there:
        (tmp_path / name).write_text(f'#!{shutil.which("sh")}\nprintf "%s|" {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "cat"):
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(shutil.which(name))
    script = remote_script(wanted, **more).replace("PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin:/usr/local/bin; ", "")
    environment = {"PATH": str(tmp_path), "SSH_CONNECTION": connection}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", script], text=True, env=environment, **pipes) as run:
        said, complaints = run.stdout.read(), run.stderr.read()  # the end of its input would stop it
        run.stdin.close()
        return said.split("|")[:-1], complaints, run.wait(PATIENCE)


OWN = "not (tcp and host 192.0.2.77 and host 192.0.2.78 and port 50123 and port 22)"


def test_remote_choice_and_filter(tmp_path):
    wanted = Wanted("lo", "it's; a $(filter)", "bare")
    said, _, status = run_script(tmp_path, wanted)
    assert shlex.join(said[:-1]) == "dumpcap -q -i lo -B 64 -s 262144 -w - -f"
    assert said[-1] == f"{OWN} and (it's; a $(filter))"
    assert status == 0
    said, _, _ = run_script(tmp_path, wanted._replace(interface="tun'7"), there=("tcpdump",))
    assert said[3:5] + said[-1:] == ["-i", "tun'7", f"{OWN} and (bare)"]
    assert run_script(tmp_path, Wanted("lo"), tool="tcpdump")[0][-1] == OWN
    assert "-i" not in run_script(tmp_path, Wanted(""))[0]
    assert run_script(tmp_path, wanted, connection="")[0][-1] == "(it's; a $(filter))"
    said = run_script(tmp_path, wanted, connection="fe80::1%eth0 5 fe80::2%eth0 22")[0]
    assert said[-1].startswith("not (tcp and host fe80::1 and host fe80::2 and port 5 and port 22)")


def test_remote_without_tools(tmp_path):
    assert run_script(tmp_path, Wanted("lo"), there=()) == ([], "neither dumpcap nor tcpdump is installed\n", 127)
    assert run_script(tmp_path, Wanted("lo"), there=(), tool="dumpcap") == ([], "dumpcap is not installed\n", 127)


def test_remote_sudo(tmp_path):
    said, _, _ = run_script(tmp_path, Wanted("lo"), there=("tcpdump", "sudo"), sudo=True)
    assert said[:3] == ["sudo", "-n", "tcpdump"]


def test_ssh_asks_for_no_password_unless_allowed(monkeypatch):
    monkeypatch.setattr(child, "Child", lambda command, name, method, remote: command)
    assert "BatchMode=yes" in over_ssh("there", Wanted("lo"))
    assert "BatchMode=yes" not in over_ssh("there", Wanted("lo"), ask=True)
    assert over_ssh("there", Wanted("lo"), options=["-p", "2222"])[4:8] == ["-p", "2222", "--", "there"]


def test_interrupts_are_ignored_by_ssh(fake_ssh, tmp_path):
    (tmp_path / "tcpdump").write_text(f"#!{sys.executable}\nimport signal, sys\nsys.exit(signal.getsignal(2) != 1)\n")
    (tmp_path / "tcpdump").chmod(0o755)
    source = over_ssh("there", Wanted("lo"), tool="tcpdump")
    take(source)
    assert source.ended == "ssh ended"
    source.close()
    assert Path(tmp_path / "ssh").exists()
