# SPDX-License-Identifier: GPL-2.0-or-later
"""The committed captures are what the builder makes, and other people's tools agree with their ground truth."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from captures.make import HERE, differences, main, produce, write
from captures.table import CASES
from tests.captures import tools

FACTS = {name: json.loads((HERE / f"{name}.truth.json").read_text()) for name in CASES}
PCAPS = {name: facts["files"] for name, facts in FACTS.items() if "pcap" in facts["files"][0]}


def whole(name: str) -> bool:
    """Whether every byte of every connection is in the capture's one file, from the SYN on."""
    flows = FACTS[name]["flows"]
    halves = [flow[direction] for flow in flows for direction in ("forward", "reverse")]
    seen = all(flow["start"] == "syn" for flow in flows) and not any(half["missing"] for half in halves)
    return seen and len(PCAPS[name]) == 1


@pytest.mark.parametrize("name", CASES)
def test_committed_files_are_current(name):
    assert differences(CASES[name]) == []


def test_building_twice_gives_the_same_bytes(tmp_path):
    case = CASES["xl-hvm-v3"]
    write(case, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        path.unlink()
    write(case, tmp_path)
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_check_reports_a_difference(tmp_path):
    case = CASES["save-image"]
    write(case, tmp_path)
    assert differences(case, tmp_path) == []
    (tmp_path / "save-image.truth.json").write_text("{}")
    assert differences(case, tmp_path) == ["save-image.truth.json"]


def test_command_line(capsys):
    assert main(["--check", "xl-pvh"]) == 0
    assert main(["--list", "xl-pvh"]) == 0
    assert "| xl-pvh |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["no-such-case"])


def test_runs_as_a_script():
    run = subprocess.run([sys.executable, str(HERE / "make.py"), "--check", "save-image"], check=False)
    assert run.returncode == 0


def test_builder_does_not_know_the_product():
    for path in HERE.glob("*.py"):
        if path.name == "golden.py":  # which writes down what the product says
            continue
        assert "dissector" not in path.read_text().replace("a dissector", ""), path.name


def test_readme_has_a_row_for_every_capture():
    rows = (HERE / "README.md").read_text()
    for case in CASES.values():
        assert f"| {case.name} | {case.what} |" in rows


@pytest.mark.parametrize("name", PCAPS)
def test_capinfos_reads_the_file(name):
    for file in FACTS[name]["files"]:
        run = subprocess.run(
            [tools.tool("capinfos"), "-c", "-M", "-T", "-r", str(HERE / file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if name == "file-cut":
            assert "cut short in the middle of a packet" in run.stderr
        else:
            assert run.returncode == 0, run.stderr
    if len(FACTS[name]["files"]) == 1:
        assert run.stdout.split("\t")[1].strip() == str(FACTS[name]["frames"])


@pytest.mark.parametrize("name", [name for name in PCAPS if not name.startswith("snap")])
def test_tshark_sees_good_checksums(name, tmp_path):
    bad = "ip.checksum.status == 0 || tcp.checksum.status == 0 || _ws.malformed && !dcerpc"
    for file in PCAPS[name]:
        arguments = ("--disable-protocol", "dcerpc", "-Y", bad)
        assert tools.tshark(HERE / file, tmp_path, *arguments) == []


@pytest.mark.parametrize("name", [name for name in PCAPS if whole(name)])
def test_tshark_puts_the_same_bytes_together(name, tmp_path):
    streams = [
        tools.followed(HERE / PCAPS[name][0], tmp_path, number)
        for number in range(1 if len(FACTS[name]["flows"]) == 1 else 4)
    ]
    for flow in FACTS[name]["flows"]:
        sent = next(stream for stream in streams if any(end.endswith(f":{flow['sender_port']}") for end in stream))
        streams.remove(sent)
        for direction, side in (("forward", "sender"), ("reverse", "receiver")):
            address = flow[side] if ":" not in flow[side] else f"[{flow[side]}]"
            data = sent[f"{address}:{flow[side + '_port']}"]
            assert len(data) == flow[direction]["bytes"]
            assert hashlib.sha256(data).hexdigest() == flow[direction]["sha256"]


@pytest.mark.parametrize("name", [name for name in PCAPS if not whole(name)])
def test_tshark_misses_the_same_bytes(name, tmp_path):
    [flow] = FACTS[name]["flows"]
    fields = ("tcp.srcport", "tcp.flags.syn", "tcp.seq_raw", "tcp.payload")
    arguments = ("--disable-protocol", "dcerpc", "-T", "fields", *(word for field in fields for word in ("-e", field)))
    lines = [line for file in PCAPS[name] for line in tools.tshark(HERE / file, tmp_path, *arguments)]
    for direction, side in (("forward", "sender"), ("reverse", "receiver")):
        base, seen, top = None, set(), 0
        for port, syn, seq, payload in (line.split("\t") for line in lines):
            if port != str(flow[side + "_port"]):
                continue
            if base is None and (syn == "1" or payload):
                base = int(seq) + int(syn)
            if payload:
                start = int(seq) - base
                seen.update(range(start, start + len(payload) // 2))
                top = max(top, start + len(payload) // 2)
        half = flow[direction]
        missing = {n for start, length in half["missing"] for n in range(start, start + length)}
        assert seen == set(range(half["bytes"])) - missing
        assert (half["bytes"] == top) or not name.startswith(("file-cut", "colo-list-cut"))


@pytest.mark.parametrize("name", PCAPS)
def test_truth_is_consistent(name):
    for flow in FACTS[name]["flows"]:
        for direction in ("forward", "reverse"):
            half = flow[direction]
            ends = [record["offset"] + record["size"] for record in half["records"]]
            offsets = [record["offset"] for record in half["records"]]
            if flow["start"] != "mid-stream" and offsets and "legacy" not in FACTS[name]:
                assert offsets[0] == 0
            assert all(start == end for start, end in zip(offsets[1:], ends, strict=False))
            for record in half["records"]:
                lost = sum(length for _, length in record.get("lost", ()))
                inside = [
                    min(start + length, record["offset"] + record["size"]) - max(start, record["offset"])
                    for start, length in half["missing"]
                ]
                beyond = max(0, record["offset"] + record["size"] - half["bytes"])
                assert lost == sum(size for size in inside if size > 0) + beyond
                assert record.get("cut", False) == (beyond > 0)


@pytest.mark.parametrize(
    ("name", "form"), [("save-image", "xl"), ("libxl-file", "libxl"), ("libxc-file", "libxc"), ("converted", "libxl")]
)
def test_xen_verifies_the_files(name, form, tmp_path):
    contents, _ = produce(CASES[name])
    assert tools.verify_stream(next(iter(contents.values())), form, tmp_path) == ""
