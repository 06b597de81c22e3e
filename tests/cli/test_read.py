# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import os
import pty
import signal
import struct
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.commands import COLO_420, MAIN, MIGRATION, environment, image, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    path = tmp_path / "guest.libxc"
    path.write_bytes(image())
    return path


def records(text: str) -> list[dict]:
    return [shown for shown in map(json.loads, text.splitlines()) if shown["event"] == "record"]


def test_one_line_per_record_and_a_summary():
    done = run("read", MIGRATION)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "· flow   begin 192.0.2.1:" in lines[0]
    truth = json.loads(MIGRATION.with_name("xl-hvm-v3.truth.json").read_text())
    wanted = sum(record["type"] == "PAGE_DATA" for record in truth["flows"][0]["forward"]["records"])
    assert sum("→ libxc  PAGE_DATA " in line for line in lines) == wanted > 1
    assert any(line.endswith("x86 HVM, Xen 4.17") for line in lines)
    assert any(line.startswith("flow 0 192.0.2.1:") for line in lines)
    assert lines[-1].endswith("1 migration")
    assert "\x1b" not in done.stdout


def test_without_summary():
    lines = run("read", "-q", MIGRATION).stdout.splitlines()
    assert "flow   end " in lines[-1]


def test_json():
    done = run("read", "--json", MIGRATION)
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert (shown[0]["schema"], shown[0]["event"]) == (1, "flow")
    assert (shown[-1]["event"], shown[-1]["scope"], shown[-1]["flows"]) == ("summary", "input", 1)
    assert [record["type"] for record in records(done.stdout)][:2] == ["BANNER", "SAVE_FILE_HEADER"]
    assert "pfn" not in done.stdout.replace("_pfn", "")


def test_json_is_utf8_in_any_locale(tmp_path):
    path = tmp_path / "x.xl"
    config = '{"c_info": {"name": "gäst"}}\0'.encode()
    header = b"Xen saved domain, xl format\n \0 \r" + struct.pack("<IIII", 0x01020304, 3, 0, 4 + len(config))
    path.write_bytes(header + struct.pack("<I", len(config)) + config)
    done = run("read", "--json", path, PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0")
    assert records(done.stdout)[1]["fields"]["config"] == '{"c_info": {"name": "gäst"}}'
    text = run("read", path, PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert "g\\xe4st" in text.stdout
    assert " > xl " in text.stdout


def test_pfns(stream):
    assert all(
        "pfn" in shown["fields"]
        for shown in records(run("read", "--json", "--pfns", "--type", "page_data", MIGRATION).stdout)
    )
    shown = run("read", "--pfns", stream).stdout.splitlines()
    assert [line.strip() for line in shown if line.startswith(" " * 26)] == ["0x7"]


def test_tree_and_hex_dump(stream):
    tree, dump = run("read", "-v", stream).stdout, run("read", "-vv", stream).stdout
    assert "    xen_minor           17 " in tree
    assert "58 45 4e 46" not in tree
    assert "ff ff ff ff ff ff ff ff  58 45 4e 46" in dump


def test_filters():
    def types(*options: str) -> list[str]:
        return [shown["type"] for shown in records(run("read", "--json", *options, COLO_420).stdout)]

    assert set(types("--layer", "xl")) == {"BANNER", "SAVE_FILE_HEADER", "CONFIG"}
    assert set(types("--direction", "reverse", "--layer", "libxl")) == {"CHECKPOINT_STATE"}
    assert set(types("--type", "checkpoint", "--type", "End")) == {"CHECKPOINT"}
    assert types("-Y", "libxl.checkpoint_state.control_id == SVM_READY and frame > 1")
    assert types("--flow", "1") == []
    everything = types()
    assert types("--flow", "0") == everything
    assert len(types("-c", "3")) == 3


def test_the_count_ends_the_output():
    lines = run("read", "-q", "-c", "2", MIGRATION).stdout.splitlines()
    assert ["flow" in lines[0], "BANNER" in lines[1], "SAVE_FILE_HEADER" in lines[2]] == [True] * 3
    assert len(lines) == 3


def test_standard_input_and_forced_format():
    assert len(records(run("read", "--json", "-", stdin=image(3)).stdout)) == 2 + 1 + 3 + 1
    done = run("read", "--as", "pcap", "-", stdin=image())
    assert done.returncode == 2


def test_a_pipe_is_shown_while_it_is_still_written():
    with subprocess.Popen(
        [*MAIN, "read", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(image(5)[:-8])
        process.stdin.flush()
        seen = b""
        while b"PAGE_DATA" not in seen:
            seen += os.read(process.stdout.fileno(), 65536)
        process.stdin.close()
        assert b"1 migration" in process.stdout.read()


def test_colours():
    assert "\x1b[" in run("read", "--color", "always", MIGRATION, NO_COLOR="1").stdout
    assert "\x1b[" not in run("read", "--color", "never", MIGRATION).stdout


def on_terminal(**env: str) -> str:
    outer, inner = pty.openpty()
    with subprocess.Popen([*MAIN, "read", str(MIGRATION)], stdout=inner, stderr=inner, env=environment(**env)):
        os.close(inner)
        seen = b""
        try:
            while piece := os.read(outer, 65536):
                seen += piece
        except OSError:  # Linux: the other end is closed
            pass
    os.close(outer)
    return seen.decode()


def test_a_terminal_gets_colours_and_a_heading():
    seen = on_terminal()
    assert "\x1b[32mPAGE_DATA" not in seen
    assert "\x1b[32mDOMAIN_HEADER\x1b[0m" in seen
    assert "offset      size  facts" in seen.splitlines()[0]
    assert "\x1b" not in on_terminal(NO_COLOR="1")


def test_time_styles():
    assert "   0.000000 " in run("read", "--time", "relative", MIGRATION).stdout
    assert run("read", "--time", "none", MIGRATION).stdout.startswith("      4 #0")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "empty file"), (b"hello, this is no capture at all", "no capture")],
)
def test_an_unreadable_input_is_one_line_and_status_2(tmp_path, content, words):
    path = tmp_path / "x.pcap"
    if content is not None:
        path.write_bytes(content)
    done = run("read", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"xendissect: {path}: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--type", "PAGE_DTAA"], "did you mean PAGE_DATA?"),
        (["-Y", "libxc.page_dta.count > 3"], "did you mean libxc.page_data.count?"),
        (["--limit", "bogus=1"], "max_body"),
        (["--max-body", "many"], "is no size"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(options, words):
    done = run("read", *options, MIGRATION)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("xendissect: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_error_in_the_stream_is_status_1_only_with_strict():
    assert run("read", COLO_420).returncode == 0
    assert run("read", "--strict", "-q", COLO_420).returncode == 1
    assert run("read", "--strict", "-q", MIGRATION).returncode == 0


def test_limits_reach_the_engine(stream):
    done = run("read", "--max-body", "8", "--json", stream)
    assert any(json.loads(line).get("id") == "limit.body" for line in done.stdout.splitlines())


def test_a_broken_pipe_ends_it_quietly_as_it_ends_tcpdump(tmp_path):
    path = tmp_path / "long.libxc"
    path.write_bytes(image(3000))
    for options in ([], ["--json"], ["-v"]):
        with subprocess.Popen(
            [*MAIN, "read", *options, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        ) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=60) == -signal.SIGPIPE


def test_interrupted():
    with subprocess.Popen(
        [*MAIN, "read", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(image(1)[:-8])
        process.stdin.flush()
        while b"PAGE_DATA" not in os.read(process.stdout.fileno(), 65536):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read() == b""


def test_index_is_made_used_and_forbidden(tmp_path):
    capture = tmp_path / MIGRATION.name
    capture.write_bytes(MIGRATION.read_bytes())
    index = tmp_path / f"{MIGRATION.name}.xmi"
    plain = run("read", "--json", capture)
    assert not index.exists()
    made = run("read", "--json", "--index", capture)
    assert index.exists()
    assert made.stdout == run("read", "--json", capture).stdout == plain.stdout
    assert made.stderr == plain.stderr == ""
    index.write_bytes(index.read_bytes()[:-1])
    damaged = run("read", "--json", capture)
    assert damaged.stdout == plain.stdout
    assert damaged.stderr == f"xendissect: {index}: damaged, not used\n"
    assert run("read", "--no-index", capture).stderr == ""


def test_no_index_for_several_files_nor_pipes_nor_the_impatient(tmp_path):
    capture = tmp_path / MIGRATION.name
    capture.write_bytes(MIGRATION.read_bytes())
    assert run("read", "--index", capture, COLO_420).stderr == "xendissect: no index: only a single file has one\n"
    early = run("read", "--index", "-c", "1", capture)
    assert early.stderr == "xendissect: no index: the capture was not read to its end\n"
    assert early.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [MIGRATION.name]


def test_skim(tmp_path):
    from bench.generate import Options, generate

    capture = tmp_path / "made.pcap"
    generate(capture, Options(size=16 << 20))
    full, skimmed = (records(run("read", "--json", *more, capture).stdout) for more in ((), ("--skim",)))
    unlike = {"complete", "unseen", "first_frame", "last_frame"}
    assert [{key: one[key] for key in one if key not in unlike} for one in skimmed] == [
        {key: one[key] for key in one if key not in unlike} for one in full
    ]
    assert any(one["complete"] is None for one in skimmed)
    text = run("read", "--skim", capture)
    assert "were not looked at" in text.stdout
    assert "LOST" not in text.stdout
    assert "CUT" not in text.stdout
