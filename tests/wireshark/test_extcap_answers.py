# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed is what extcap(4) knows, and what can be chosen is what our command line takes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dissector.live import devices
from dissector.live.devices import COOKED, Device, link_layer
from dissector.live.source import LiveError
from dissector.wireshark import extcap_answers as answers
from tests.wireshark.tshark import available, desk

ROOT = Path(__file__).parents[2]
SENTENCE = re.compile(r"(extcap|interface|dlt|arg|value) (?:\{[a-z]+=[^{}]*\})+")
TYPES = {"string", "selector", "boolflag", "unsigned"}


@pytest.fixture
def known(monkeypatch):
    """Interfaces of a Xen host."""
    made = {"eth0": link_layer(1), "vif1.0": link_layer(1), "tun0": link_layer(65534), "any": COOKED}
    found = [
        Device(number, name, number, True, True, False, link, ()) for number, (name, link) in enumerate(made.items(), 1)
    ]
    monkeypatch.setattr(devices, "devices", lambda: found)
    return found


def facts(line):
    assert SENTENCE.fullmatch(line), line
    return dict(re.findall(r"\{([a-z]+)=([^{}]*)\}", line))


def test_interfaces(known):
    first, *rows = map(facts, answers.interface_lines())
    assert first["display"] == "Xen migration"
    assert [(row["value"], row["display"]) for row in rows] == [
        ("xendissect-eth0", "Xen migration on eth0"),
        ("xendissect-vif1.0", "Xen migration on vif1.0"),
        ("xendissect-tun0", "Xen migration on tun0"),
        ("xendissect-any", "Xen migration on all interfaces"),
        ("xendissect-ssh", "Xen migration over ssh"),
    ]


@pytest.mark.parametrize("name", ["ssh", "a}b", "{"])
def test_names_that_wireshark_would_misread(known, name):
    before = list(answers.interface_lines())
    known.append(known[0]._replace(name=name))
    assert list(answers.interface_lines()) == before


@pytest.mark.parametrize(
    ("interface", "number", "name"),
    [("eth0", "1", "EN10MB"), ("tun0", "12", "RAW"), ("any", "276", "LINUX_SLL2"), ("ssh", "147", "USER0")],
)
def test_link_types(known, interface, number, name):
    (line,) = answers.dlt_lines(f"xendissect-{interface}")
    assert (facts(line)["number"], facts(line)["name"]) == (number, name)


def test_an_interface_that_went_away(known):
    with pytest.raises(LiveError, match="no interface 'eth7'"):
        list(answers.dlt_lines("xendissect-eth7"))


@pytest.mark.parametrize("interface", ["xendissect-eth0", answers.SSH])
def test_options(interface):
    rows = [(line.split()[0], facts(line)) for line in answers.config_lines(interface)]
    arguments = [row for kind, row in rows if kind == "arg"]
    assert [row["number"] for row in arguments] == [str(number) for number in range(len(arguments))]
    assert [row["call"] for row in arguments] == [option.call for option in answers.options(interface)]
    assert {row["type"] for row in arguments} <= TYPES
    for row in arguments:
        values = [one for kind, one in rows if kind == "value" and one["arg"] == row["number"]]
        assert bool(values) == (row["type"] == "selector")
        assert sum(one.get("default") == "true" for one in values) == bool(values)
    required = [row["call"] for row in arguments if row.get("required")]
    assert required == (["--remote-host"] if interface == answers.SSH else [])


def test_sizes_are_those_of_the_documents():
    said = " ".join(answers.config_lines("xendissect-eth0"))
    table = (ROOT / "docs/live.md").read_text()
    assert re.findall(r"1/\d+", said) == re.findall(r"about (1/\d+) \|$", table, re.MULTILINE)


# -- every Wireshark, also those in roots, where there is no Python --------------------------------------------------

STUB = """\
#!/bin/sh
# Says what our program said; a capture ends at once, with its arguments as a complaint.
said=$*
case $said in
*--extcap-interfaces*) cat "${0%/*}/../interfaces";;
*--extcap-dlts*) cat "${0%/*}/../dlts";;
*--extcap-config*) cat "${0%/*}/../config";;
*--capture*) while [ "$1" != --fifo ]; do shift; done; exec 3>"$2"; echo "heard: $said" >&2;;
esac
"""


@pytest.fixture
def stub(known):
    folder = desk() / "stub"
    (folder / "extcap").mkdir(parents=True)
    lines = {
        "interfaces": answers.interface_lines(),
        "dlts": answers.dlt_lines("xendissect-eth0"),
        "config": answers.config_lines("xendissect-eth0"),
    }
    for name, said in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in said))
    program = folder / "extcap" / "xendissect-extcap"
    program.write_text(STUB)
    program.chmod(0o755)
    yield program
    shutil.rmtree(folder)


@pytest.mark.parametrize("tshark", available(), ids=str)
def test_wiresharks_understand(stub, tshark):
    inside = "" if tshark.root.name == "" else "/mnt"
    folder = f"{inside}/{stub.parent.relative_to(desk())}" if inside else str(stub.parent)

    def ask(*words):
        return tshark.program("env", f"WIRESHARK_EXTCAP_DIR={folder}", "tshark", *words, timeout=60)

    assert "xendissect-vif1.0 (Xen migration on vif1.0)\n" in ask("-D").stdout
    assert "EN10MB (Ethernet)" in ask("-L", "-i", "xendissect-eth0").stdout
    chosen = ["slim:heads", "filter:port 8002", "allprotocols:true", "buffer:128"]
    options = [word for text in chosen for word in ("-o", f"extcap.xendissect_eth0.{text}")]
    said = ask("-i", "xendissect-eth0", "-f", "tcp", *options).stderr
    heard = next(line for line in said.splitlines() if "heard: " in line)
    for words in (
        "--extcap-capture-filter tcp",
        "--slim heads",
        "--filter port 8002",
        "--all-protocols",
        "--buffer 128",
    ):
        assert words in heard
    assert "--all-protocols true" not in heard
