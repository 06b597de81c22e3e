# SPDX-License-Identifier: GPL-2.0-or-later
"""A link of two namespaces: packets of the right size pass it, and nothing of it stays behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.link import INTERFACE, NAMESPACES, Link, needs_namespaces, sweep
from tests.live.replay import Conversation, play

ROOT = Path(__file__).parents[2]
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
DATA = bytes(range(256)) * 4096
ONE_WAY = Conversation(DATA, b"", (("forward", 0, len(DATA)),))


@pytest.fixture(autouse=True)
def _namespaces():
    needs_namespaces()


def eavesdropper():
    """Open a socket that sees all packets of the namespace it is made in."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    ear.bind((INTERFACE, ETH_P_ALL))
    ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    ear.settimeout(10)
    return ear


def largest(link):
    """Size of the largest packet of one conversation without the Ethernet header."""
    with link.receiver.call(eavesdropper) as ear:
        play(link, ONE_WAY, port=0)
        ear.setblocking(False)
        sizes = []
        while True:
            try:
                sizes.append(ear.recv_into(bytearray(1), 1, socket.MSG_TRUNC) - 14)
            except BlockingIOError:
                return max(sizes)


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_packets_fill_the_mtu_without_offload(mtu):
    with Link(mtu) as link:
        assert largest(link) == mtu


def test_the_largest_mtu():
    with Link(65535) as link:
        assert 20_000 < largest(link) <= 65535  # as large as the window of the receiver lets it be


def test_offload_passes_large_segments():
    with Link(offload=True) as link:
        assert largest(link) > 20_000


def test_sockets_of_a_call_stay_in_the_namespace():
    with Link() as link:
        with link.receiver.call(socket.socket) as server:
            server.bind((link.receiver.ipv4, 0))
            server.listen()
            with link.sender.call(socket.create_connection, server.getsockname(), 10) as client:
                assert client.getpeername() == server.getsockname()
        assert link.receiver.call(lambda: [name for _, name in socket.if_nameindex()]) == ["lo", INTERFACE]
        assert INTERFACE not in [name for _, name in socket.if_nameindex()]


def test_programs_run_in_the_namespace():
    with Link() as link:
        assert link.sender.ipv6 in link.sender.run("ip", "address").stdout
        assert link.receiver.ipv4 in link.receiver.run("ip", "address").stdout


def test_captures_are_counted():
    with Link() as link:
        assert link.receiver.captures() == 0
        with link.receiver.call(eavesdropper):
            assert (link.receiver.captures(), link.sender.captures()) == (1, 0)
        assert link.receiver.captures() == 0


def test_packets_are_counted():
    with Link() as link:
        before = link.receiver.packets()
        with link.receiver.call(eavesdropper) as ear:
            play(link, ONE_WAY, port=0)
            count = link.receiver.packets() - before
            seen = [ear.recv_into(bytearray(1)) for _ in range(count)]  # fails when fewer of them come
        assert len(seen) > len(DATA) // 1500


def test_an_interface_can_go_down():
    with Link() as link:
        link.receiver.ip("link", "set", INTERFACE, "down")
        assert "state DOWN" in link.receiver.ip("link", "show", INTERFACE)


def test_nothing_stays_behind():
    with Link() as link:
        child = link.sender.start("sleep", "1000")
        names = [end.namespace for end in link.ends]
        assert all((NAMESPACES / name).exists() for name in names)
    assert child.returncode == -signal.SIGKILL
    assert not any((NAMESPACES / name).exists() for name in names)


def test_a_failure_leaves_nothing_behind():
    with pytest.raises(OSError, match="mtu"), Link(1 << 20) as link:
        pass
    link = Link(1 << 20)
    with pytest.raises(OSError):
        link.__enter__()
    assert not any((NAMESPACES / end.namespace).exists() for end in link.ends)


def test_what_a_killed_process_left_is_removed():
    code = (
        "import sys\n"
        "from tests.live.link import Link\n"
        "with Link() as link:\n"
        "    child = link.sender.start('sleep', '1000')\n"
        "    print(link.sender.namespace, link.receiver.namespace, child.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as maker:
        *names, pid = maker.stdout.readline().split()
        assert all((NAMESPACES / name).exists() for name in names)
        sweep()
        assert all((NAMESPACES / name).exists() for name in names)  # its maker still runs
        maker.kill()
    sweep()
    assert not any((NAMESPACES / name).exists() for name in names)
    status = Path(f"/proc/{pid}/status")
    assert not status.exists() or "Z (zombie)" in status.read_text()  # nobody may be there to wait for it


def test_the_end_of_the_process_removes_it():
    code = (
        "from tests.live.link import Link\n"
        "link = Link().__enter__()\n"
        "print(link.sender.namespace, link.receiver.namespace)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    names = run.stdout.split()
    assert len(names) == 2
    assert not any((NAMESPACES / name).exists() for name in names)
