# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine finds is said once, and by the rule that fits."""

from __future__ import annotations

import pytest

from dissector.check.framing import judge
from dissector.check.session import Session
from dissector.spec import findings as engine
from dissector.spec import libxl, rules, xl
from dissector.wire.events import Finding
from tests.check.scripts import colo_hvm, findings, findings_in, hvm, image, patch, record, remus_hvm, stream_batches
from tests.check.tools import flow, made


def found(rule, text="", direction="forward", offset=0):
    return Finding(rule, text, 0, direction, offset)


@pytest.mark.parametrize(
    "rule",
    [
        engine.RECORD_LENGTH,
        engine.UNEXPECTED,
        engine.BIG_ENDIAN,
        engine.UNKNOWN_RECORD,
        engine.UNKNOWN_OPTIONAL,
        engine.DIRTY_HEADER,
        engine.RECORD_CUT,
    ],
)
def test_what_is_judged_with_the_record_or_at_the_end_is_not_passed_on(rule):
    assert judge(found(rule), Session(flow())) is None


@pytest.mark.parametrize("rule", [engine.LEGACY, engine.REVERSE_UNKNOWN, engine.TRAILING, engine.LIMIT_BODY])
def test_the_rest_is_passed_on(rule):
    assert judge(found(rule, "as it is"), Session(flow())) == (rule, {})


def test_behind_a_hole_nobody_is_accused():
    session = Session(flow())
    record_ = made(libxl.STREAM_HEADER, bytes(16), offset=100)
    session.meet(record_)
    session.take(record_)
    rule, _ = judge(found(engine.FRAMING, engine.FRAMING.text.format(what="01 02"), offset=116), session)
    assert rule is rules.FRAMING_UNCERTAIN
    rule, _ = judge(found(engine.FRAMING, engine.FRAMING.text.format(what="01 02"), offset=500), session)
    assert rule is rules.FRAMING_UNCERTAIN


def test_a_text_without_bytes_is_no_exception():
    session = Session(flow())
    record_ = made(xl.BANNER, xl.BANNER.body[0].const, direction="reverse")
    session.meet(record_)
    session.take(record_)
    rule, _ = judge(found(engine.FRAMING, "odd", "reverse", 54), session)
    assert rule is engine.MESSAGE


@pytest.mark.parametrize("make", [hvm, image, remus_hvm, colo_hvm])
@pytest.mark.parametrize("kind", ["X86_TSC_INFO", "HVM_PARAMS"])
def test_a_place_that_is_no_record_is_said_once(make, kind):
    script = make()
    script.insert(script.find(kind), b"\xee" * 24)
    if make is image:
        said = findings_in(stream_batches(script.forward()))
    else:
        said = findings(script.packets())
    assert next(one.id for one in said if one.severity == "error") == "stream.framing"
    assert sum(one.id == "stream.framing" for one in said) == 1


def test_engine_findings_are_not_doubled():
    script = hvm()
    script.insert(script.find("X86_TSC_INFO"), record(0x13))
    said = [one.id for one in findings(script.packets())]
    assert said.count("record.unknown") == 1
    assert "record.length" not in said


def test_a_stream_that_does_not_begin_with_the_header_it_should_have():
    """The user says that it is one (--as xl); nothing else has looked at its first bytes."""
    script = image()
    patch(script.find("SAVE_FILE_HEADER"), 0, b"x")
    said = findings_in(stream_batches(script.forward(), "xl"))
    assert [(one.id, one.offset) for one in said if one.severity == "error"] == [("stream.framing", 0)]
    assert "begin with the header of xl" in said[0].text
    said = findings_in(stream_batches(b"\xee" * 4096, "xl"))
    assert [one.id for one in said if one.severity == "error"] == ["stream.framing", "ending.failed"]


@pytest.mark.parametrize(("data", "id_"), [(b"Xen ", "ending.cut"), (b"abcd", "stream.framing"), (b"", "")])
def test_a_stream_that_ends_before_its_header_can_be_told_from_others(data, id_):
    said = findings_in(stream_batches(data, "xl"))
    assert [one.id for one in said if one.severity == "error"][:1] == [id_] * bool(id_)


@pytest.mark.parametrize("make", [remus_hvm, colo_hvm])
def test_a_record_that_is_too_long_behind_one_of_libxl(make):
    script = make()
    pages = script.items[script.items.index(script.find("CHECKPOINT_END")) :]
    item = next(one for one in pages if one.type == "PAGE_DATA")
    patch(item, 4, b"\0\0\0\x80")
    place = script.place(item)
    first = next(one for one in findings(script.packets()) if one.severity == "error")
    assert (first.id, first.offset) == ("libxc.record.too_long", place)
