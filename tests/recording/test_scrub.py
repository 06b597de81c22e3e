# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.recording.scrub import bounded, harmless, has_secrets, spans
from dissector.spec import libxc, libxl, xl
from dissector.spec.model import Record
from dissector.wire.unit import Unit, unknown_record
from tests.cross.tools import modest


def unit(definition, body, *, length=None, offset=100):
    known = definition.type_id is not None
    size = len(body) if length is None else length
    header = 8 if known else 0
    return Unit(
        definition, definition.type_id, offset, header + (size + 7 & ~7 if known else size),
        size if known else None, "little", 1, 0, name=definition.name, body=body, header_size=header,
    )  # fmt: skip


def shown(one):
    """Header and body as they may be shown; None where nothing is said."""
    data = (b"H" * one.header_size if one.type_id is not None else b"") + one.body
    result: list[int | None] = [None] * (one.end - one.offset)
    for span in spans(one):
        low, high = span.start - one.offset, span.end - one.offset
        result[low:high] = data[low:high] if span.filler is None else span.filler
        assert low >= 0
        assert span.filler is None or len(span.filler) == high - low
    return result


def text_of(values):
    return bytes(0xFE if one is None else one for one in values)


def config(text):
    return unit(xl.CONFIG, len(text).to_bytes(4, "little") + text)


def test_a_configuration_stays_json_with_its_keys():
    before = {"c_info": {"name": 'vm "7"', "uuid": "a-b", "n": -12.5e3, "on": True, "none": None}, "disks": [{"a": ""}]}
    text = json.dumps(before).encode() + b"\0"
    after = text_of(shown(config(text)))[4:]
    assert len(after) == len(text)
    assert after[-1:] == b"\0"
    found = json.loads(after[:-1])
    assert found["c_info"].keys() == before["c_info"].keys()
    assert found["c_info"]["on"] is True
    assert set(found["c_info"]["uuid"]) == {"x"}
    assert set(str(found["c_info"]["n"])) == {"1"}
    assert b"vm" not in after


@pytest.mark.parametrize("text", [b'name = "secret"\nmemory = 9\n', b"secret", b'"secret": 1', b'["secret"]'])
def test_other_text_is_blanked(text):
    after = text_of(shown(config(text)))[4:]
    assert after.translate(None, b"x \n") == b""


@pytest.mark.parametrize(
    "text",
    [b'{"key": "secr', b'{"key": "secr\\"et: ', b'{"key": "secr\\', b"{secret", b'{"key": secret}', b'{"a": "secret\n'],
)
def test_damaged_json_tells_nothing(text):
    after = text_of(shown(config(text)))[4:]
    assert len(after) == len(text)
    assert not any(word in after for word in (b"secr", b"ret", b"et"))


@modest(300)
@given(text=st.text('{}[],:"\\ abcdef019.-\n\0').map(lambda text: b"{" + text.encode()))
def test_any_text(text):
    """Outside of keys no letter stays."""
    after = text_of(shown(config(text)))[4:]
    assert len(after) == len(text)
    try:
        before = json.loads(text.rstrip(b"\0"), strict=False)
    except ValueError:
        return
    assert json.loads(after.rstrip(b"\0"), strict=False).keys() == before.keys()


def test_xenstore_data_keep_their_keys():
    body = bytes(8) + b"name\0secret\0vnc/port\x005900\0empty\0\0"
    after = text_of(shown(unit(libxl.EMULATOR_XENSTORE_DATA, body)))[8:][: len(body)]
    assert after == bytes(8) + b"name\0xxxxxx\0vnc/port\0xxxx\0empty\0\0"


@modest(200)
@given(body=st.binary(max_size=60))
def test_any_xenstore_data(body):
    one = unit(libxl.EMULATOR_XENSTORE_DATA, bytes(8) + body)
    assert len(text_of(shown(one))) == one.size


@pytest.mark.parametrize(
    ("definition", "body", "kept"),
    [
        (libxc.SHARED_INFO, b"s" * 4096, 0),
        (libxc.X86_PV_VCPU_XSAVE, b"\1" + bytes(7 + 16) + b"s" * 100, 24),
        (libxl.EMULATOR_CONTEXT, b"\2" + bytes(7) + b"s" * 100, 8),
        (unknown_record("libxc", 77), b"s" * 100, 0),
    ],
)
def test_opaque_bytes_become_zeros(definition, body, kept):
    after = text_of(shown(unit(definition, body)))[8:][: len(body)]
    assert after[:kept] == body[:kept]
    at, text = definition.signature or (kept, b"")
    assert after[kept:at] + after[at + len(text) :] == bytes(len(body) - kept - len(text))
    assert has_secrets(definition)


def test_what_is_recognised_by_stays():
    at, text = libxl.EMULATOR_CONTEXT.signature
    body = bytes(at) + text + b"secret"
    assert text_of(shown(unit(libxl.EMULATOR_CONTEXT, body)))[8 + at :][: len(text)] == text


def page_data(count, pages, *, pfns=None):
    entries = range(1, count + 1) if pfns is None else pfns
    body = count.to_bytes(8, "little") + b"".join(pfn.to_bytes(8, "little") for pfn in entries)
    return unit(libxc.PAGE_DATA, body, length=len(body) + 4096 * pages)


def test_page_data_show_their_list_and_no_contents():
    one = page_data(3, 3)
    assert harmless(one)
    assert bounded(one)
    assert [value is None for value in shown(one)] == [False] * 40 + [True] * 3 * 4096


@pytest.mark.parametrize(
    "one",
    [page_data(3, 2), page_data(2, 2, pfns=[0x5A5A5A5A5A5A5A5A, 0x6B6B6B6B6B6B6B6B]), page_data(2, 2, pfns=[9, 3])],
)
def test_of_page_data_that_can_not_be_only_the_count_is_shown(one):
    assert not harmless(one)
    assert all(value is None for value in shown(one)[16:])


def test_a_record_of_a_wrong_length_shows_only_its_fields():
    body = bytes(24) + b"secret" * 9
    one = unit(libxc.X86_TSC_INFO, body)
    assert not harmless(one)
    assert all(value is None for value in shown(one)[32:])
    assert harmless(unit(libxc.X86_TSC_INFO, bytes(24)))


def test_padding_is_not_shown():
    one = unit(libxl.EMULATOR_CONTEXT, bytes(9))
    assert shown(one)[-7:] == [None] * 7


def test_spans_of_random_bytes_stay_inside():
    rng = random.Random(1)
    records = [value for spec in (libxc, libxl, xl) for value in vars(spec).values() if isinstance(value, Record)]
    assert len(records) > 20
    for definition in records:
        for size in (0, 1, 7, 8, 30, 200, 5000):
            one = unit(definition, rng.randbytes(size))
            before = one.offset
            for span in spans(one):
                assert before <= span.start <= span.end <= one.end
                before = span.end
