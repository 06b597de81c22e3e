# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb itself: which options lead to which capture; the captures are those of tests/cross/test_live.py."""

from __future__ import annotations

import contextlib
import gzip
import json

import pytest
from typer.testing import CliRunner

from dissector.cli import live
from dissector.cli.app import application
from dissector.live import choose, devices
from dissector.live.source import LiveError
from tests.cli.commands import MIGRATION, run
from tests.test_watch import NAME, Fake, frames


@pytest.fixture
def opened(monkeypatch):
    """What would be opened; no capture takes place."""
    asked = []

    def open_live(interfaces, **options):
        asked.append({"interfaces": list(interfaces), **options})
        return [Fake([frames()], method="stdin")]

    monkeypatch.setattr(choose, "open_live", open_live)
    monkeypatch.setattr(live.privileges, "dropped_for", lambda path: contextlib.nullcontext())
    return asked


def sniff(*words):
    return CliRunner().invoke(application(), ["sniff", *words])


def test_defaults(opened):
    done = sniff("--json")
    assert done.exit_code == 0
    assert opened == [
        {
            "interfaces": [],
            "filter": None,
            "method": "auto",
            "ssh_host": None,
            "remote_tool": None,
            "sudo": False,
            "ask": False,
            "buffer_bytes": 64 << 20,
            "promiscuous": True,
            "snap_length": 262144,
        }
    ]
    objects = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
    assert objects[-1]["frames"] == len(frames(NAME))


def test_options_reach_the_capture(opened):
    ssh = ["--ssh", "root@host", "--sudo", "--remote-tool", "tcpdump"]
    words = ["-i", "eth0", "-i", "eth1", "-B", "8", "-s", "0", "-p", *ssh]
    assert sniff(*words, "-f", "port 80").exit_code == 0
    (asked,) = opened
    assert asked["interfaces"] == ["eth0", "eth1"]
    assert (asked["filter"], asked["ssh_host"], asked["remote_tool"]) == ("port 80", "root@host", "tcpdump")
    assert (asked["sudo"], asked["promiscuous"]) == (True, False)
    assert (asked["buffer_bytes"], asked["snap_length"]) == (8 << 20, 262144)


@pytest.mark.parametrize("method", ["auto", "ring", "dumpcap", "tcpdump"])
def test_methods(opened, method):
    assert sniff("--method", method).exit_code == 0
    assert opened[0]["method"] == method


def test_standard_input(opened):
    assert sniff("-i", "-").exit_code == 0
    assert opened[0]["method"] == "stdin"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-i - -i eth0", "stands alone"),
        ("-i - --ssh host", "stands alone"),
        ("--ssh host --method ring", "--remote-tool"),
        ("--sudo", "--sudo needs --ssh HOST"),
        ("--remote-tool tcpdump", "--remote-tool needs --ssh HOST"),
        ("-b packets:5", "-b needs -w FILE"),
        ("--slim=heads", "--slim needs -w FILE"),
        ("--scrub", "--scrub needs -w FILE"),
        ("--type NONSENSE", "no record type 'NONSENSE'"),
        ("-Y (((", "expected a field name"),
        ("--max-body 5X", "5X"),
        ("--limit what=5", "what"),
        ("-a colour:5", "-a colour:5"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_opened(opened, words, text):
    done = sniff(*words.split())
    assert done.exit_code == 2
    assert text in done.output
    assert len(done.output.splitlines()) == 1
    assert opened == []


@pytest.mark.parametrize("words", ["-B 1", "-c 0", "--duration -1", "--method magic", "--status loud", "-s -1"])
def test_values_out_of_range(opened, words):
    assert sniff(*words.split()).exit_code == 2
    assert opened == []


def test_a_capture_that_can_not_begin(monkeypatch):
    def refuse(*_, **__):
        raise LiveError("eth0: no")

    monkeypatch.setattr(choose, "open_live", refuse)
    done = sniff()
    assert (done.exit_code, done.output) == (2, "xendissect: eth0: no\n")


def test_list_of_interfaces(monkeypatch):
    done = sniff("-D")
    assert done.exit_code == 0
    rows = done.stdout.splitlines()
    assert len(rows) == len(devices.devices())
    assert [row.split()[0] for row in rows] == [f"{n}." for n in range(1, len(rows) + 1)]
    assert any(row.split()[1] == "any" for row in rows)

    def refuse():
        raise LiveError("no list here")

    monkeypatch.setattr(devices, "devices", refuse)
    assert sniff("-D").exit_code == 2


def test_help():
    done = run("sniff", "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 100
    for word in ("--interface", "--capture-filter", "--slim", "--ssh", "--duration", "Exit status"):
        assert word in done.stdout


def test_standard_input_in_a_process_of_its_own():
    done = run("sniff", "-i", "-", "--json", "--status", "off", stdin=gzip.decompress(MIGRATION.read_bytes()))
    read = run("read", "--json", MIGRATION)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == read.stdout


def test_rubbish_on_standard_input():
    done = run("sniff", "-i", "-", stdin=b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert done.stdout == ""
