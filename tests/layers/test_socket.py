# SPDX-License-Identifier: GPL-2.0-or-later
"""sniff() on a real link: all records with the ring below it, and with scapy's own socket as long as that keeps up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dissector.layers import MigrationSession, MigrationSocket
from dissector.live.source import LiveError
from tests.cross.tools import true_records
from tests.live.conversations import conversation
from tests.live.link import INTERFACE, Link, needs_namespaces
from tests.live.replay import Play, play

SCRIPT = Path(__file__).with_name("live_sniff.py")


def sniffed(link, kind, name, **manner):
    """Sniff while a conversation is played; what the script found, by direction."""
    with link.receiver.start(
        sys.executable, str(SCRIPT), kind, INTERFACE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as script:
        assert script.stdout.readline() == b"ready\n"
        play(link, conversation(name), **manner)
        found, _ = script.communicate(timeout=60)
    rows = json.loads(found)
    return {way: [tuple(row[1:]) for row in rows if row[0] == way] for way in ("forward", "reverse")}


def true(name):
    return {
        way: [(row["layer"], row["type"], row["offset"], row["size"]) for row in true_records(name, way)]
        for way in ("forward", "reverse")
    }


@pytest.mark.parametrize("name", ["xl-hvm-v3", "hvm-colo-xl"])
@pytest.mark.parametrize("version", [4, 6])
def test_ring(name, version):
    needs_namespaces()
    with Link() as link:
        assert sniffed(link, "ring", name, version=version) == true(name)


def test_scapys_own_socket_at_a_modest_rate():
    needs_namespaces()
    with Link() as link:
        assert sniffed(link, "scapy", "xl-hvm-v3", rate=4_000_000) == true("xl-hvm-v3")


def test_stopped_before_the_kernel_hands_over_the_first_block():
    needs_namespaces()
    with Link() as link:
        socket = link.receiver.call(MigrationSocket, INTERFACE)
        session = MigrationSession()
        assert MigrationSocket.select([socket], 0) == [socket]
        assert list(session.recv(socket)) == []
        assert MigrationSocket.select([socket], 0) == []
        with Play(link, conversation("xl-hvm-v3")) as one:
            one.finish()
            found = session.finish()
        socket.close()
        assert len(found) == sum(len(rows) for rows in true("xl-hvm-v3").values())


def test_no_such_interface():
    with pytest.raises(LiveError, match="there is no interface 'nope'"):
        MigrationSocket("nope")


def test_only_for_our_session(tmp_path):
    needs_namespaces()
    with Link() as link:
        socket = link.receiver.call(MigrationSocket, INTERFACE)
        with pytest.raises(TypeError, match="session=MigrationSession"):
            socket.recv()
        with pytest.raises(OSError, match="only captures"):
            socket.send(b"")
        assert socket.counters().dropped == 0
        socket.close()
        socket.close()
