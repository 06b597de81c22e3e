# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.filter_fields import EXTRA_FIELDS, UnknownFieldError, fields, find
from dissector.spec import ALL_RECORDS, BY_NAME
from dissector.spec.model import Pages
from tests.sample_events import checkpoint_state, dirty_list, hvm_params, page_data, record


def test_every_field_of_the_specification_has_a_name():
    known = fields()
    for definition in ALL_RECORDS:
        base = definition.filter_name.removeprefix("xenmig.")
        assert base in known
        for element in definition.body:
            if not isinstance(element, Pages):
                assert f"{base}.{element.name}" in known


def test_every_json_key_can_be_asked_for():
    samples = [page_data([1, 0xF << 60 | 2]), dirty_list([5], 16), hvm_params((1, 2)), checkpoint_state(1)]
    for sample in samples:
        base = sample.definition.filter_name
        for key, value in sample.fields.items():
            field = find(f"{base}.{key}")
            assert field.values(sample), field.name
            if isinstance(value, int | str):
                assert list(field.values(sample)) == [value]


def test_names_in_any_form():
    full = find("XENMIG.Libxc.PAGE_DATA.count")
    assert full is find("libxc.page_data.count")
    assert find("page_data.count").values(page_data([1, 2])) == [2]


def test_a_short_name_stands_for_every_layer():
    end = find("end")
    assert end.values(record("libxl", "END"))
    assert end.values(record("libxc", "END"))
    assert not find("libxl.end").values(record("libxc", "END"))


def test_other_records_have_no_value():
    assert not find("page_data.count").values(checkpoint_state(1))


def test_fields_of_the_envelope():
    shown = page_data([1], complete=False, lost=((3000, 5), (3010, 6)))
    expected = {"flow": 0, "direction": "forward", "layer": "libxc", "type": "PAGE_DATA", "type_id": 1, "offset": 2794}
    expected |= {"frame": 8, "first_frame": 8, "last_frame": 9, "complete": False, "lost": 11, "time": shown.time}
    for name, value in expected.items():
        assert list(find(name).values(shown)) == [value]
    message = record("xl", "READY", b"")
    assert list(find("type_id").values(message)) == []
    assert list(find("lost").values(message)) == []
    assert find("xl").values(message)
    assert not find("libxc").values(message)


def test_pairs_give_keys_and_values():
    body = bytes(8) + b"physmap/0/size\x001000\0"
    assert find("emulator_xenstore_data.xenstore_data").values(record("libxl", "EMULATOR_XENSTORE_DATA", body)) == [
        "physmap/0/size",
        "1000",
    ]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("libxc.page_dta.count", "libxc.page_data.count"),
        ("xenmig.directon", "direction"),
        ("types", "libxc.page_data.types"),
        ("control_id", "libxl.checkpoint_state.control_id"),
    ],
)
def test_unknown_names_come_with_a_suggestion(name, suggestion):
    with pytest.raises(UnknownFieldError, match="unknown field") as caught:
        find(name)
    assert suggestion in caught.value.suggestions


def test_extra_fields_belong_to_real_records():
    assert set(EXTRA_FIELDS) <= set(BY_NAME)
