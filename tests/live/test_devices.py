# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of interfaces, in a namespace whose interfaces are known."""

from __future__ import annotations

import pytest

from dissector.live import devices
from dissector.live.devices import COOKED, Device, LinkLayer, link_layer
from dissector.live.source import LiveError
from tests.live.link import INTERFACE, Link, needs_namespaces
from tests.live.waiting import wait

ETHERNET = LinkLayer("Ethernet", 1, cooked=False)


@pytest.fixture
def link():
    needs_namespaces()
    with Link() as made:
        yield made


def test_list(link):
    link.receiver.ip("link", "add", "off0", "type", "veth", "peer", "name", "peer0")
    wait(lambda: link.receiver.call(devices.devices)[0].running)  # the kernel notes the carrier a little later
    first, lo, *off, every = (found := link.receiver.call(devices.devices))
    assert [device.number for device in found] == [1, 2, 3, 4, 5]
    assert first[:1] + first[3:] == (1, True, True, False, ETHERNET, (link.receiver.ipv4, link.receiver.ipv6))
    assert first.name == INTERFACE
    assert (lo.name, lo.loopback, lo.up, lo.link.linktype) == ("lo", True, True, 1)
    assert "127.0.0.1" in lo.addresses
    assert "::1" in lo.addresses
    assert {(device.name, device.up, device.running) for device in off} == {
        ("off0", False, False),
        ("peer0", False, False),
    }
    assert every == Device(5, "any", 0, True, True, False, COOKED, ())


def test_names_come_before_numbers(link):
    assert link.receiver.call(devices.find, "2").name == "lo"
    link.receiver.ip("link", "add", "2", "type", "veth", "peer", "name", "peer0")
    assert link.receiver.call(devices.find, "2").name == "2"


def test_default_is_the_first_that_is_up(link):
    assert link.receiver.call(devices.default).name == INTERFACE
    link.receiver.ip("link", "set", INTERFACE, "down")
    assert link.receiver.call(devices.default).name == "lo"
    link.receiver.ip("link", "set", "lo", "down")
    with pytest.raises(LiveError, match="no interface is up"):
        link.receiver.call(devices.default)


@pytest.mark.parametrize("wanted", ["nope", "0", "99", ""])
def test_unknown(wanted):
    with pytest.raises(LiveError, match=f"there is no interface '{wanted}'; there are .*lo, .*any$"):
        devices.find(wanted)


@pytest.mark.parametrize(
    ("hardware", "linktype", "cooked"),
    [(1, 1, False), (772, 1, False), (65534, 101, True), (512, 101, True), (768, 101, True), (32, 276, True)],
)
def test_link_layers(hardware, linktype, cooked):
    assert link_layer(hardware)[1:] == (linktype, cooked)


def test_flags_of_an_interface(link):
    def flags():
        with devices.socket.socket() as asked:
            index = devices.socket.if_nametoindex("lo")
            return devices.flags_of(asked, index), devices.flags_of(asked, 9999)

    found, missing = link.receiver.call(flags)
    assert found & devices.UP
    assert missing is None
