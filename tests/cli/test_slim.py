# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import gzip
import re
import subprocess

import pytest

from dissector.reader import read_events
from dissector.wire.events import Record
from tests.cli.commands import MAIN, MIGRATION, ROOT, environment, image, run
from tests.cross.tools import paths

RING = paths("ring-buffer")


def records(*files):
    return [(e.direction, e.type, e.offset, e.size) for e in read_events(*files) if isinstance(e, Record)]


@pytest.mark.parametrize("how", ["cut", "heads", "none"])
@pytest.mark.parametrize("scrub", [[], ["--scrub"]])
def test_slim(how, scrub, tmp_path):
    out = tmp_path / "out.pcapng"
    done = run("slim", "--slim", how, *scrub, MIGRATION, out)
    if how == "none" and not scrub:
        assert (done.returncode, done.stderr) == (2, "xendissect: nothing to do: --slim none without --scrub\n")
        assert not out.exists()
        return
    assert (done.returncode, done.stdout) == (0, "")
    said, *removed = done.stderr.splitlines()
    found = re.fullmatch(r"([\d,]+) of ([\d,]+) packets in (.*), ([\d,]+) bytes", said)
    assert found
    assert found[3] == str(out)
    assert int(found[4].replace(",", "")) == out.stat().st_size
    assert (found[1] == found[2]) == (how != "heads")
    assert out.stat().st_mode & 0o777 == 0o600
    assert records(out) == records(MIGRATION)
    assert bool(removed) == bool(scrub)
    if scrub:
        assert [line for line in removed if line.endswith("  libxc.hvm_context.section.data")]
        assert removed[-1].endswith("  page contents, and bytes of no known record")


def test_cut_is_the_default(tmp_path):
    run("slim", MIGRATION, tmp_path / "a")
    run("slim", "--slim", "cut", MIGRATION, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Missing argument"),
        (["one.pcap"], "slim needs a capture to read and a file to write"),
        (["missing.pcap", "out"], "missing.pcap: no such file"),
        (["empty", "out"], "empty: "),
        (["one.pcap", "nowhere/out"], "nowhere/out: No such file or directory"),
        (["one.pcap", "folder"], "folder: "),
        (["stream", "out"], "stream: a bare stream has no packets to cut; slim takes captures"),
        (["one.pcap", "there"], "there: is there already; --force writes over it"),
        (["one.pcap", "one.pcap"], "one.pcap: is read and cannot be written at the same time"),
        (["--force", "one.pcap", "./one.pcap"], "one.pcap: is read and cannot be written at the same time"),
        (["--force", "there", "one.pcap", "link"], "link: is read and cannot be written at the same time"),
    ],
)
def test_usage_errors(arguments, text, tmp_path):
    (tmp_path / "one.pcap").write_bytes(gzip.decompress(MIGRATION.read_bytes()))
    (tmp_path / "there").write_bytes((tmp_path / "one.pcap").read_bytes())
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "stream").write_bytes(image())
    (tmp_path / "link").symlink_to("one.pcap")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    done = subprocess.run(
        [*MAIN, "slim", *arguments], capture_output=True, env=environment(), cwd=tmp_path, check=False, timeout=60
    )
    assert done.returncode == 2
    assert text in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_an_input_is_missing_while_the_output_is_there(tmp_path):
    out = tmp_path / "out"
    out.touch()
    done = run("slim", "--force", MIGRATION, tmp_path / "missing", out)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == f"xendissect: {tmp_path / 'missing'}: no such file"
    assert "Traceback" not in done.stderr


def test_force_writes_over_a_file(tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"x" * (1 << 20))
    assert run("slim", "--force", MIGRATION, out).returncode == 0
    assert records(out) == records(MIGRATION)


def test_a_full_disk():
    done = run("slim", MIGRATION, "/dev/full")
    assert done.returncode == 2
    assert done.stderr == "xendissect: /dev/full: No space left on device\n"


def test_pipes():
    done = subprocess.run(
        [*MAIN, "slim", "-", "-"], input=MIGRATION.read_bytes(), capture_output=True, env=environment(), check=True
    )
    again = subprocess.run(
        [*MAIN, "read", "-", "--json"], input=done.stdout, capture_output=True, env=environment(), check=True
    )
    assert again.stdout.count(b'"event":"record"') == len(records(MIGRATION))
    assert re.fullmatch(rb"([\d,]+) of \1 packets in -\n", done.stderr)


def test_a_pipe_that_nobody_reads_to_the_end():
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{' '.join(map(repr, MAIN))} slim {MIGRATION} - | head -c 100 > /dev/null; exit ${{PIPESTATUS[0]}}",
        ],
        capture_output=True,
        env=environment(),
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["cut", "heads"])
@pytest.mark.parametrize("order", [RING, RING[::-1]], ids=["in order", "backwards"])
def test_a_ring_of_files(how, order, tmp_path):
    """In time order, however they are named."""
    out = tmp_path / "out.pcapng"
    assert run("slim", "--slim", how, *order, out).returncode == 0
    assert records(out) == records(*RING)


def test_ring_files_made_slim_one_by_one(tmp_path):
    """What they say together is what they said before."""
    slim = []
    for path in RING:
        slim.append(tmp_path / f"{path.name}.slim")
        assert run("slim", path, slim[-1]).returncode == 0
    assert records(*slim) == records(*RING)


def test_damage_is_told_and_what_came_before_is_kept(tmp_path):
    broken, out = tmp_path / "broken.pcap", tmp_path / "out"
    whole = gzip.decompress(MIGRATION.read_bytes())
    broken.write_bytes(whole[:60_000])
    done = run("slim", broken, out)
    assert done.returncode == 0
    told, said = done.stderr.splitlines()
    assert re.fullmatch(rf"xendissect: {broken}: cut in the middle of packet \d+ \(\d+ of \d+ bytes\)", told)
    assert " packets in " in said
    assert records(out) == records(broken)


def test_help():
    done = run("slim", "--help")
    assert done.returncode == 0
    assert "--scrub" in done.stdout


def test_help_and_documents_agree_on_sizes():
    """The shares of the table in docs/live.md, which come from measuring."""
    shares = re.findall(r"^\| `(?:cut|heads)` .* about (1/\d+) \|$", (ROOT / "docs/live.md").read_text(), re.MULTILINE)
    assert len(shares) == 2
    chosen = (ROOT / "docs/wireshark.md").read_text()
    for text in (run("slim", "--help").stdout, chosen):
        assert re.findall(r"1/\d+", text) == shares
