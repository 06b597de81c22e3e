# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import re
import subprocess

import pytest

from dissector.filter_fields import fields as our_fields
from dissector.filter_names import ALL, BY_NAME, EXPERTS, ONLY_OURS
from dissector.spec import ALL_RECORDS, findings
from dissector.spec.model import Array, Bytes, Field, Pages
from dissector.wire import codec
from tests.captures.tools import tool
from tests.sample_events import checkpoint_state, dirty_list, hvm_params, page_data

KIND = {"FT_BOOLEAN": "bool", "FT_STRING": "text", "FT_BYTES": "bytes", "FT_NONE": "presence"}


def test_no_name_twice():
    assert len({field.name for field in (*ALL, *EXPERTS)}) == len(ALL) + len(EXPERTS)


@pytest.mark.parametrize("field", ALL, ids=lambda field: field.name)
def test_each_field_is_as_wireshark_wants_it(field):
    assert re.fullmatch(r"xenmig(\.[a-z0-9_]+)+", field.name)
    assert field.meaning
    assert (field.base != "NONE") == field.type.startswith("FT_UINT")
    assert field.name == f"{field.record.filter_name if field.record else 'xenmig'}.{field.path}".removesuffix(".")
    assert field.name.endswith(field.label)


def test_each_record_and_element_of_the_specification():
    for record in ALL_RECORDS:
        assert BY_NAME[record.filter_name].type == "FT_NONE"
        for element in record.body:
            if isinstance(element, Pages):
                continue
            name = f"{record.filter_name}.{element.name}"
            assert name in BY_NAME
            if isinstance(element, Array):
                assert f"{name}_count" in BY_NAME
                assert {f"{name}.{item.name}" for item in element.items} <= set(BY_NAME)
            if isinstance(element, Field):
                assert BY_NAME[name].type == f"FT_UINT{8 * element.size}"
                assert BY_NAME[name].names is element.names
            if isinstance(element, Bytes) and not element.text:
                assert BY_NAME[f"{name}_length"].type == "FT_UINT32"


def test_bits_are_fields():
    bit = BY_NAME["xenmig.xl.save_file_header.mandatory_flags.streamv2"]
    assert (bit.type, bit.mask, bit.width) == ("FT_BOOLEAN", 2, 32)


@pytest.mark.parametrize(
    "sample", [page_data([1, 0xF << 60 | 2]), dirty_list([5], 16), hvm_params((1, 2)), checkpoint_state(1)]
)
def test_each_json_key_has_a_name(sample):
    base = sample.definition.filter_name
    for key in sample.fields:
        if not key.endswith("_name"):
            assert f"{base}.{key}" in BY_NAME


def test_records_of_unknown_type_have_names():
    for layer in ("libxl", "libxc"):
        assert BY_NAME[f"xenmig.{layer}.unknown"].type == "FT_NONE"
        assert BY_NAME[f"xenmig.{layer}.unknown.data"].type == "FT_BYTES"


# -- the same names as in our own filter -----------------------------------------------------------------------------

SHORT = {name.split(".", 2)[-1] for name in {*BY_NAME, *ONLY_OURS} if name.count(".") >= 2}
"""Without a layer: these are for our filter alone, Wireshark wants whole names."""


@pytest.mark.parametrize("name", sorted(set(our_fields()) - SHORT))
def test_each_name_of_our_filter_is_one_of_wireshark(name):
    full = f"xenmig.{name}"
    ours = our_fields()[name]
    if full in ONLY_OURS:
        assert full not in BY_NAME
        return
    theirs = BY_NAME[full]
    if theirs.name.endswith(".stray"):
        assert (ours.kind, theirs.type) == ("text", "FT_BYTES")  # JSON has it as hex
    else:
        assert KIND.get(theirs.type, "number") == ours.kind


def test_names_that_only_our_filter_has_exist_there():
    for name in ONLY_OURS:
        assert name.removeprefix("xenmig.") in our_fields()
    for instead in ONLY_OURS.values():
        assert set(re.findall(r"xenmig\.[\w.]+", instead)) - set(BY_NAME) <= set(ONLY_OURS)


def test_words_are_the_same():
    for field in ALL:
        ours = our_fields().get(field.name.removeprefix("xenmig."))
        if field.names is not None and field.mask is None:
            words = field.names.values if hasattr(field.names, "values") else field.names.bits
            assert set(words.values()) <= set(ours.names)


# -- what others make of them ----------------------------------------------------------------------------------------


def test_expert_infos_are_the_findings():
    names = {field.name.removeprefix("xenmig.expert.") for field in EXPERTS}
    assert {rule.id for rule in findings.RULES} < names
    assert not any("{" in field.meaning for field in EXPERTS)


def test_types_of_pages_are_those_of_the_core():
    counts = codec.type_counts(bytes(7) + b"\xf0" + bytes(8), "little")
    for name in counts:
        assert f"xenmig.libxc.page_data.types.{name.lower()}" in BY_NAME


def test_wireshark_knows_exactly_these(tmp_path):
    """Ask a Wireshark that has the dissector for all its fields, and their types."""
    from dissector.lua_writer import generate

    plugins = tmp_path / ".local/lib/wireshark/plugins"
    plugins.mkdir(parents=True)
    (plugins / "xenmig.lua").write_text(generate())
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run([tool("tshark"), "-G", "fields"], capture_output=True, text=True, env=environment, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    known = {cells[2]: cells[3] for cells in rows if cells[0] == "F" and cells[2].startswith("xenmig.")}
    if not known:
        pytest.skip("this Wireshark does not load the plugins of this user")
    assert "Lua:" not in done.stderr
    assert known == {field.name: field.type for field in (*ALL, *EXPERTS)}
