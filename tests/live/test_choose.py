# SPDX-License-Identifier: GPL-2.0-or-later
"""Which way is taken to capture, and with which filter."""

from __future__ import annotations

import pytest

from dissector.live import bpf, child, choose, devices
from dissector.live.choose import METHODS, open_live
from dissector.live.devices import COOKED, Device, LinkLayer
from dissector.live.ring import NoRightError
from dissector.live.source import LiveError

ETHERNET = LinkLayer("Ethernet", 1, cooked=False)
DEVICES = [
    Device(1, "eth0", 4, True, True, False, ETHERNET, ()),
    Device(2, "lo", 1, True, True, True, ETHERNET, ()),
    Device(3, "any", 0, True, True, False, COOKED, ()),
]


class Opened:
    """Stands for every kind of source."""

    opened: list[Opened]

    def __init__(self, *what, **how):
        self.what, self.how, self.closed = what, how, False
        Opened.opened.append(self)

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def world(monkeypatch):
    """Interfaces that are always the same, and sources that only tell how they were made."""
    Opened.opened = []
    monkeypatch.setattr(devices, "devices", lambda: DEVICES)
    monkeypatch.setattr(choose, "Ring", Opened)
    monkeypatch.setattr(child, "Child", Opened)
    monkeypatch.setattr(child, "may_capture", lambda tool: True)
    return monkeypatch


def no_right(monkeypatch):
    def refuse(*_, **__):
        raise NoRightError("no right: run it with sudo")

    monkeypatch.setattr(choose, "Ring", refuse)


def test_ring_of_the_default_interface():
    (source,) = open_live()
    assert source.what == ("eth0",)
    assert source.how["program"] == bpf.compile_filter(bpf.tcp_only(bpf.ETHERNET), bpf.ETHERNET)
    assert (source.how["buffer_bytes"], source.how["promiscuous"], source.how["snap_length"]) == (
        64 << 20,
        True,
        262144,
    )


def test_several_interfaces_by_name_and_number():
    assert [source.what[0] for source in open_live(["2", "eth0", "any", "any", "lo"])] == ["lo", "eth0", "any"]
    assert Opened.opened[2].how["program"] == bpf.compile_filter(bpf.tcp_only(bpf.BARE_IP), bpf.BARE_IP)


def test_filters():
    (source,) = open_live(filter="port 8002", snap_length=100)
    assert source.how["program"] == bpf.compile_filter(bpf.keep_fragments("port 8002"), bpf.ETHERNET, 100)
    (source,) = open_live(filter="")
    assert source.how["program"] == bpf.compile_filter("", bpf.ETHERNET)


@pytest.mark.parametrize("method", ["ring", "dumpcap", "tcpdump"])
def test_mistake_in_the_users_own_words(method):
    with pytest.raises(LiveError, match=r"^capture filter 'port nosuch': unknown port 'nosuch'$"):
        open_live(filter="port nosuch", method=method)


def test_child_without_the_right_to_a_ring(world):
    no_right(world)
    (source,) = open_live(["any"], promiscuous=False, buffer_bytes=8 << 20)
    assert source.what == (child.Wanted("any", bpf.tcp_only(bpf.BARE_IP), None, 8 << 20, False).command("tcpdump"),
                           "any", "tcpdump")  # fmt: skip


def test_neither_ring_nor_child(world):
    no_right(world)
    with pytest.raises(LiveError, match="no right: run it with sudo"):
        open_live(method="ring")
    world.setattr(child, "may_capture", lambda tool: False)
    with pytest.raises(LiveError, match="no right: run it with sudo"):
        open_live()


def test_elsewhere_than_on_linux(world):
    world.setattr(choose.sys, "platform", "darwin")
    assert open_live(["eth0"])[0].what[1:] == ("eth0", "tcpdump")
    world.setattr(child, "may_capture", lambda tool: False)
    with pytest.raises(LiveError, match="ChmodBPF"):
        open_live(["eth0"])


@pytest.mark.parametrize("tool", ["dumpcap", "tcpdump"])
def test_chosen_child(tool):
    assert open_live(["lo"], method=tool)[0].what[1:] == ("lo", tool)


@pytest.mark.parametrize("method", ["auto", "ssh"])
def test_ssh(method):
    (source,) = open_live(["eth9"], method=method, ssh_host="there", remote_tool="tcpdump", sudo=True)
    assert source.what[1:] == ("there:eth9", "ssh")
    assert "sudo -n tcpdump" in source.what[0][-1]
    assert "vlan" in source.what[0][-1]
    (source,) = open_live(ssh_host="there")
    assert source.what[1] == "there"
    with pytest.raises(LiveError, match="needs a host"):
        open_live(method="ssh")


def test_standard_input():
    (source,) = open_live(method="stdin")
    assert source.method == "stdin"


def test_failure_closes_what_was_opened():
    with pytest.raises(LiveError, match="no interface 'nope'"):
        open_live(["lo", "nope"])
    assert [source.closed for source in Opened.opened] == [True]


def test_methods():
    assert METHODS == ("auto", "ring", "dumpcap", "tcpdump", "ssh", "stdin")
