# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import gzip
import json
import re
import subprocess

import pytest

from dissector.spec.rules import BY_ID
from tests.check.scripts import hvm, image, patch
from tests.cli.commands import MAIN, MIGRATION, ROOT, environment, run

CAPTURES = ROOT / "captures"
COLO = CAPTURES / "hvm-colo-xl-420.pcap.gz"


def test_good_migration():
    done = run("check", MIGRATION)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  ended       completed: the guest runs at the target [ending.completed]\n" in done.stdout
    assert "\x1b" not in done.stdout


def test_error():
    done = run("check", COLO)
    assert (done.returncode, done.stderr) == (1, "")
    assert "[libxc.checkpoint_dirty_pfn_list.header]" in done.stdout


def test_warnings_count_only_if_asked(tmp_path):
    script = image()
    patch(script.find("X86_TSC_INFO"), 28, b"\1")
    path = tmp_path / "guest.save"
    path.write_bytes(script.forward())
    assert run("check", path).returncode == 0
    assert run("check", "--strict", path).returncode == 1
    assert "[libxc.x86_tsc_info.reserved]" in run("check", path).stdout


def test_standard_input_and_padding():
    script = image()
    item = script.find("HVM_CONTEXT")
    patch(item, len(item.data) - 1, b"\1")
    done = run("check", "--strict", "-", stdin=script.forward())
    assert done.returncode == 1
    assert "HVM_CONTEXT is padded with" in done.stdout


@pytest.mark.parametrize("wrap", ["libxl", "libxc"])
def test_raw_streams(wrap):
    data = gzip.decompress((CAPTURES / f"{wrap}-file.{wrap}.gz").read_bytes())
    done = run("check", "-", stdin=data)
    assert done.returncode == 0
    assert "is complete" in done.stdout


def test_an_index_that_is_there_is_not_used(tmp_path):
    """An index holds no padding."""
    script = image()
    item = script.find("HVM_CONTEXT")
    patch(item, len(item.data) - 1, b"\1")
    path = tmp_path / "guest.save"
    path.write_bytes(script.forward())
    assert run("read", "--index", path).returncode == 0
    assert "is padded with" in run("check", path).stdout


def test_json():
    done = run("check", "--json", COLO)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert {one["event"] for one in found} == {"finding"}
    assert found[0]["schema"] == 1
    first = found[0]
    assert (first["id"], first["rule"], first["severity"]) == ("libxc.checkpoint_dirty_pfn_list.header", 93, "error")
    assert (first["direction"], first["offset"], first["frames"]) == ("reverse", 110, [5337])
    assert first["record"] == {"layer": "libxc", "type": "CHECKPOINT_DIRTY_PFN_LIST", "offset": 102, "size": 712}
    assert found[-1]["id"] == "ending.failed"


def test_verbose():
    text = run("check", "-v", COLO).stdout
    assert "efe8de1f91" in text
    assert "why      The secondary sends the size of a structure in memory" in text
    assert "> 00000066  0f 00 00 00 b8 02 00 00  00 00 00 00 00 00 00 00" in text


def test_for_xen():
    assert run("check", "--for-xen", "4.17", MIGRATION).returncode == 0
    real = CAPTURES / "xl-migrate-hvm.pcap.gz"
    assert run("check", "--for-xen", "4.17", real).returncode == 0
    done = run("check", "--for-xen", "4.13", real)
    assert done.returncode == 1
    assert "Xen 4.13 rejects this: libxc v3, which exists since 4.14 [release.rejected]" in done.stdout


@pytest.mark.parametrize("release", ["4.5", "new", "4"])
def test_for_a_xen_that_there_is_not(release):
    done = run("check", "--for-xen", release, MIGRATION)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("xendissect: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("id_", sorted(BY_ID))
def test_every_rule_can_be_explained(id_):
    from dissector.cli.check import _explained

    text = _explained(id_)
    assert text.startswith(f"{id_}\n  severity  {BY_ID[id_].severity}\n  says      ")
    assert "{" not in text.replace("{text}", "")


def test_explain():
    done = run("check", "--explain", "libxc.page_data.length")
    assert (done.returncode, done.stderr) == (0, "")
    assert "rule 60, section 4.5" in done.stdout
    assert run("check", "--explain", "29").stdout.count("severity") == 2


@pytest.mark.parametrize("name", ["libxc.page_data.lenth", "86", "nothing"])
def test_explain_what_is_no_rule(name):
    done = run("check", "--explain", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no rule '{name}'" in done.stderr


def test_no_file():
    done = run("check")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_no_such_file(tmp_path):
    done = run("check", tmp_path / "none.pcap")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_no_migration(tmp_path):
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(8) + b"\xff\xff\0\0\1\0\0\0")
    done = run("check", empty)
    assert (done.returncode, done.stdout) == (0, "no Xen migration found, nothing to report\n")


def test_a_reader_that_goes_away():
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" | head -c 10', "sh", *MAIN, "check", "-vv", COLO],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert (len(done.stdout), done.stderr) == (10, b"")


def test_colours():
    assert "\x1b[1;31m" in run("check", "--color", "always", COLO).stdout


def test_sniff_checks_what_goes_by(tmp_path):
    data = gzip.decompress(COLO.read_bytes())
    done = run("sniff", "-i", "-", "--check", "--status", "off", stdin=data)
    assert done.returncode == 0
    assert "[libxc.checkpoint_dirty_pfn_list.resent]" in done.stdout
    assert "  ended       error: the session died at checkpoint 2" in done.stdout
    assert run("sniff", "-i", "-", "--check", "--strict", "--status", "off", stdin=data).returncode == 1
    plain = run("sniff", "-i", "-", "--status", "off", stdin=data)
    assert "resent" not in plain.stdout


def test_sniff_checks_into_json():
    data = gzip.decompress(COLO.read_bytes())
    done = run("sniff", "-i", "-", "--check", "--json", "--status", "off", stdin=data)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert "ending.failed" in {one.get("id") for one in found}
    assert {one["event"] for one in found} == {"flow", "record", "finding", "gap", "summary"} - (
        set() if any(one["event"] == "gap" for one in found) else {"gap"}
    )


def test_the_page_lists_every_rule_as_it_is():
    page = (ROOT / "docs" / "check.md").read_text()
    table = run("check", "--rules").stdout
    assert table in page, "run xendissect check --rules and put the table into docs/check.md"
    assert len(re.findall(r"^\| \d* \| `", table, re.MULTILINE)) == len(BY_ID)


def test_script_helpers_make_good_streams(tmp_path):
    path = tmp_path / "good.save"
    path.write_bytes(image().forward())
    assert run("check", "--strict", path).returncode == 0
    assert hvm().forward().startswith(b"Xen saved domain")


def test_everything_is_imported_before_a_capture_gives_up_its_privileges():
    code = (
        "import sys\n"
        "from dissector.cli.check import checking, text_sink\n"
        "from dissector.cli.choices import ColourChoice\n"
        "import dissector.cli.live, dissector.wire.events\n"
        "through = checking(None)\n"
        "text_sink(sys.stdout, ColourChoice.NEVER, 0)\n"
        "before = set(sys.modules)\n"
        "from dissector.reader import Reader\n"
        "reader = Reader(['captures/hvm-colo-xl-420.pcap.gz'])\n"
        "for batch in through(reader.batches()): pass\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('dissector.check')))\n"
    )
    done = subprocess.run([*MAIN[:1], "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_the_sample_on_the_page_is_what_is_printed():
    page = (ROOT / "docs" / "check.md").read_text()
    [sample] = re.findall(r"\$ xendissect check captures/hvm-colo-xl-420.pcap.gz\n(.*?)```", page, re.DOTALL)
    assert run("check", COLO).stdout == sample


@pytest.mark.parametrize("name", ["²", "٤", "9" * 5000, "None", "0", "-1", "", "86"])
def test_explaining_what_is_no_rule(name):
    done = run("check", "--explain", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("xendissect: ")
    assert done.stderr.count("\n") == 1


def test_explaining_the_rule_that_is_not_reported():
    assert "every release does" in run("check", "--explain", "86").stderr
