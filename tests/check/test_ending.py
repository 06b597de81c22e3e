# SPDX-License-Identifier: GPL-2.0-or-later
"""How a migration ended is always said, and said right."""

from __future__ import annotations

import pytest

from captures.guests import plain
from captures.streams import REPORT
from dissector.check.ending import cut
from dissector.spec import libxc
from tests.check.scripts import (
    Script,
    colo_hvm,
    findings,
    findings_in,
    guest,
    hvm,
    image,
    remus_hvm,
    stream_batches,
)
from tests.check.tools import made


def ended(script):
    [found] = [one for one in findings(script.packets()) if one.id.startswith("ending.")]
    return found


def test_completed():
    assert (ended(hvm()).id, ended(hvm()).text) == ("ending.completed", "completed: the guest runs at the target")


@pytest.mark.parametrize(
    ("status", "name"), [(3, "ERROR_FAIL"), (5, "ERROR_NOMEM"), (255, "no correct GO"), (99, "99")]
)
def test_failed_at_the_target(status, name):
    found = ended(Script.of(plain(guest(), status=status)))
    assert found.id == "ending.failed"
    assert name in found.text
    assert "may resume the guest" in found.text


def test_source_died_inside_a_record():
    script = hvm()
    script.cut(script.find("HVM_CONTEXT"), 50)
    found = ended(script)
    assert found.id == "ending.cut"
    number = 1 + sum(item.direction == "forward" for item in script.items[:-1])
    assert f"died inside libxc HVM_CONTEXT (record {number} of the sender, offset {found.offset})" in found.text
    assert found.record is not None


@pytest.mark.parametrize("make", [remus_hvm, colo_hvm])
@pytest.mark.parametrize("checkpoint", [1, 2, 3])
def test_failover_after_a_checkpoint(make, checkpoint):
    script = make()
    end = script.find("CHECKPOINT_END", checkpoint - 1)
    script.cut(end, 8)
    found = ended(script)
    assert found.id == "ending.failover"
    assert f"failover after checkpoint {checkpoint}" in found.text


def test_capture_ended():
    script = hvm()
    script.close = "none"
    script.cut(script.find("PAGE_DATA"), 3000)
    found = ended(script)
    assert found.id == "ending.not_seen"
    assert "the capture ends inside libxc PAGE_DATA" in found.text


def test_receiver_never_became_ready():
    script = hvm()
    script.cut(script.find("END", layer="libxl"), 8)
    assert "never became ready" in ended(script).text


def test_no_go():
    script = hvm()
    ready = script.find("READY", 0, "reverse")
    script.cut(ready, 34)
    assert "gave no GO" in ended(script).text


def test_no_report():
    script = hvm()
    script.cut(script.find("GO"), 44)
    assert "never reported" in ended(script).text
    script.append(REPORT, "reverse")
    assert ended(script).id == "ending.failed"


def test_only_the_sender_was_captured():
    packets = [packet for packet in hvm().packets() if packet.direction == "forward"]
    [found] = [one for one in findings(packets) if one.id.startswith("ending.")]
    assert found.id == "ending.not_seen"


def test_a_whole_image_and_a_cut_one():
    data = image().forward()
    for size, id_, text in ((len(data), "completed", "complete"), (len(data) - 3, "cut", "the file ends inside")):
        [found] = [one for one in findings_in(stream_batches(data[:size])) if one.id.startswith("ending.")]
        assert found.id == f"ending.{id_}"
        assert text in found.text


def test_every_cut_of_an_image_is_said():
    data = image().forward()
    for size in [*range(16, 1200, 41), *range(1200, len(data), 1511)]:
        endings = [one for one in findings_in(stream_batches(data[:size])) if one.id.startswith("ending.")]
        assert [one.id for one in endings] == ["ending.cut"], size


def test_bytes_missing_at_the_end_of_a_record():
    assert cut(made(libxc.X86_TSC_INFO, bytes(24))) is None
    assert cut(made(libxc.X86_TSC_INFO, bytes(23), length=24, complete=False)) == 1
    assert cut(made(libxc.X86_TSC_INFO, bytes(3), length=24, complete=False)) is None  # a hole in its middle


@pytest.mark.parametrize(
    ("close", "text"),
    [
        ("fin", "the sender closed"),
        ("reverse-fin", "the receiver closed the connection first"),
        ("rst", "the sender closed"),
    ],
)
def test_who_gave_up(close, text):
    script = hvm()
    script.close = close
    script.cut(script.find("PAGE_DATA", 1), 5000)
    assert text in ended(script).text


def test_who_gave_up_is_not_said_where_a_fin_may_be_missing():
    """The receiver closes first, but its FIN is not in the capture: the sender's acknowledges it."""
    script = hvm()
    script.close = "reverse-fin"
    script.cut(script.find("PAGE_DATA", 1), 5000)
    packets = script.packets()
    first = next(at for at in range(len(packets) - 3, 0, -1) if packets[at].direction == "reverse")
    kept = [packet for at, packet in enumerate(packets) if at != first]
    [found] = [one for one in findings(kept) if one.id.startswith("ending.")]
    assert "closed" not in found.text


def test_a_failure_at_the_target_stands_where_the_target_says_so():
    script = Script.of(plain(guest(), status=3))
    report = script.find("REPORT_STATUS", 0, "reverse")
    found = ended(script)
    assert (found.direction, found.offset, found.record.type) == ("reverse", script.place(report), "REPORT_STATUS")


@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_sender_that_sends_no_whole_header(size):
    script = hvm()
    script.cut(script.find("SAVE_FILE_HEADER"), size)
    assert ended(script).text == "the sender sent no header behind the receiver's banner"


@pytest.mark.parametrize(("size", "said"), [(0, "never reported"), (5, "gave no status"), (39, "gave no status")])
def test_a_report_without_a_status(size, said):
    script = hvm()
    script.cut(script.find("REPORT", 0, "reverse"), size)
    found = ended(script)
    assert found.id == "ending.failed"
    assert said in found.text
