# SPDX-License-Identifier: GPL-2.0-or-later
"""The same with the other Wiresharks that XENDISSECT_TSHARKS names (``make test-wireshark``)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("pyshark")

from dissector.pyshark_tools import Capture, PluginError, event_object, events, tshark
from tests.pyshark_tools.test_capture import CAPTURES, core, in_order
from tests.wireshark.tshark import available, desk, place

ROOTS = [one for one in available() if one.root != Path("/")]
NAMES = (
    "xl-hvm-xenstore.pcap.gz",
    "remus-hvm-xl.pcap.gz",
    "colo-header-16.pcap.gz",
    "loss-page-data-head.pcap.gz",
    "reorder-and-overlap.pcap.gz",
    "mid-stream-colo.pcap.gz",
    "snap-128.pcap.gz",
    "gro-ipv6-length-0.pcap.gz",
    "pcapng-two-sections.pcapng.gz",
)

SCRIPT = """\
#!/bin/sh
exec unshare --mount sh -c 'mount --bind /tmp "$1/tmp" && root=$1 && shift && exec "$@"' sh {root} \\
    chroot {user} {root} /usr/bin/env -i PATH=/usr/bin:/bin HOME=/nonexistent LC_ALL=C.UTF-8 TZ=UTC tshark "$@"
"""

pytestmark = [
    pytest.mark.skipif(not ROOTS, reason="XENDISSECT_TSHARKS names no roots"),
    pytest.mark.skipif(bool(ROOTS) and desk().parent != Path("/tmp"), reason="files are not in /tmp"),
]


@pytest.fixture
def program(tmp_path, monkeypatch, request):
    """Make a tshark that runs in a root, as nobody or (if the test says so) as root."""
    folder = desk() / "plugin"
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(tshark, "_folder", lambda: folder)

    def make(root, user="--userspec=65534:65534"):
        path = tmp_path / "tshark"
        path.write_text(SCRIPT.format(root=root, user=user))
        path.chmod(0o755)
        return path

    return make


@pytest.mark.parametrize("root", ROOTS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_events_are_those_of_the_core(root, name, program):
    path = CAPTURES / name
    found = list(events(place(path), pfns=True, tshark_path=program(root.root)))
    assert in_order(event_object(event, pfns=True) for event in found) == core(path, pfns=True)
    if "two-sections" not in name:  # it has packets without a time
        assert all(event.packet.sniff_time for event in found)


@pytest.mark.parametrize("root", ROOTS, ids=str)
def test_run_by_root(root, program):
    path = place(CAPTURES / "xl-hvm-xenstore.pcap.gz")
    assert os.geteuid() == 0
    with pytest.raises(PluginError, match="run as an ordinary user"):
        list(Capture(path, tshark_path=program(root.root, user="--userspec=0:0")))
