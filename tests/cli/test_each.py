# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from dissector.cli.each import Tagged, processes
from tests.cli.commands import COLO_420, MAIN, MIGRATION, ROOT, environment, image, run

NAMES = ["two-migrations-and-noise", "loss-in-pages", "xl-hvm-v3", "file-cut", "colo-header-16"]
CAPTURES = [ROOT / "captures" / f"{name}.pcap.gz" for name in NAMES]


@pytest.mark.parametrize("jobs", ["1", "3"])
@pytest.mark.parametrize("options", [(), ("-v",), ("-q", "-c", "3"), ("--type", "page_data", "--pfns")])
def test_what_a_command_of_its_own_for_each_file_shows(jobs, options):
    done = run("read", "--each", "-j", jobs, *options, *CAPTURES)
    wanted = [f"==> {path} <==\n" + run("read", *options, path).stdout for path in CAPTURES]
    assert done.stdout == "\n".join(wanted)
    assert (done.returncode, done.stderr) == (0, "")


def test_json_names_the_file_in_every_object():
    done = run("read", "--each", "--json", *CAPTURES)
    wanted = [
        {"file": str(path), **json.loads(line)}
        for path in CAPTURES
        for line in run("read", "--json", path).stdout.splitlines()
    ]
    assert [json.loads(line) for line in done.stdout.splitlines()] == wanted
    assert sum("schema" in shown for shown in wanted) == len(CAPTURES)


def test_one_file_has_no_heading_but_its_name():
    assert run("read", "--each", MIGRATION).stdout == run("read", MIGRATION).stdout
    assert json.loads(run("read", "--each", "--json", MIGRATION).stdout.splitlines()[-1])["file"] == str(MIGRATION)


def test_a_file_that_can_not_be_read_does_not_end_the_others(tmp_path):
    absent = tmp_path / "absent"
    done = run("read", "--each", "-q", MIGRATION, absent, COLO_420)
    assert done.stderr == f"xendissect: {absent}: no such file\n"
    assert done.returncode == 2
    assert [line for line in done.stdout.splitlines() if line.startswith("==>")] == [
        f"==> {MIGRATION} <==",
        f"==> {COLO_420} <==",
    ]


def test_status_with_strict():
    broken = ROOT / "captures" / "unknown-records.pcap.gz"
    alone = run("read", "--strict", broken).returncode
    assert alone == 1
    assert run("read", "--each", "--strict", MIGRATION, broken, COLO_420).returncode == 1


def test_an_index_for_each(tmp_path):
    for path in CAPTURES[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copies = sorted(tmp_path.iterdir())
    plain = run("read", "--each", *copies).stdout
    assert run("read", "--each", "--index", *copies).stdout == plain
    assert len(list(tmp_path.glob("*.xmi"))) == 3
    assert run("read", "--each", *copies).stdout == plain


def test_standard_input_may_be_one_of_them():
    done = run("read", "--each", "-q", MIGRATION, "-", stdin=image(2))
    assert done.returncode == 0
    assert "==> - <==" in done.stdout


def test_jobs_alone_are_wrong_usage():
    done = run("read", "-j", "2", MIGRATION)
    assert done.returncode == 2
    assert "-j goes with --each" in done.stderr


def test_head_ends_it_quietly():
    paths = [str(path) for path in CAPTURES * 20]
    process = subprocess.Popen(
        [*MAIN, "read", "--each", "-v", *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == -13


def test_no_room_for_one_more_process():
    code = (
        "import os, errno\n"
        "def fork():\n    raise BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable')\n"
        "os.fork = fork\n"
        "from dissector.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "read", "--each", str(MIGRATION)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "xendissect: --each: Resource temporarily unavailable\n")


def test_how_many_at_a_time(monkeypatch):
    assert processes(3) == 3
    assert processes(None) == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processes(None) == os.cpu_count()


def test_names_of_any_kind():
    out = io.StringIO()
    tagged = Tagged(out, 'a"\n' + os.fsdecode(b"\xff"))
    tagged.write("")
    tagged.write('{"a":{"b":1}}\n{"c":"\\n{"}\n')
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"file": 'a"\n\ufffd', "a": {"b": 1}},
        {"file": 'a"\n\ufffd', "c": "\n{"},
    ]
