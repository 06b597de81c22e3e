# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.filter_fields import find
from dissector.filter_values import ValueTextError, literal


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "100", 100),
        ("size", "0x64", 100),
        ("size", "007", 7),
        ("size", '"100"', 100),
        ("libxl.checkpoint_state.control_id", "svm_ready", 2),
        ("libxc.domain_header.type", '"x86 HVM"', 2),
        ("libxc.domain_header.type", "x86_hvm", 2),
        ("xl.save_file_header.mandatory_flags", "STREAMv2", 2),
        ("save_file_header.mandatory_flags", "true", 1),
        ("complete", "TRUE", True),
        ("complete", "0", False),
        ("type", "page_data", "PAGE_DATA"),
        ("direction", "REVERSE", "reverse"),
        ("xl.config.config", '"a\\"b\\x41\\n"', 'a"bA\n'),
        ("emulator_context.emulator_ctx", "51:45:56:4d", b"QEVM"),
        ("emulator_context.emulator_ctx", '"QEVM\\0"', b"QEVM\0"),
        ("emulator_context.emulator_ctx", "0f", b"\x0f"),
        ("emulator_context.emulator_ctx", '"Q\udc80"', b"Q\x80"),
        ("time", "5", 5_000_000_000),
        ("time", "5.25", 5_250_000_000),
        ("time", '"2026-11-22 21:35:10.123456789"', 1_795_383_310_123_456_789),
        ("time", "2026-11-22T21:35:10Z", 1_795_383_310_000_000_000),
        ("time", "2026-11-22T22:35:10.5+01:00", 1_795_383_310_500_000_000),
    ],
)
def test_values(name, text, value):
    assert literal(find(name), text) == value


def test_parts_and_patterns_are_taken_as_they_are():
    assert literal(find("type"), "page", "part") == "page"
    assert literal(find("type"), r'"^X86_\w+$"', "pattern") == r"^X86_\w+$"


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        ("size", "big", "size is a number, not 'big'", ""),
        ("checkpoint_state.control_id", "SVM_RDY", "'SVM_RDY' is no value of checkpoint_state.control_id", "SVM_READY"),
        ("direction", "up", "'up' is no direction", "it knows forward, reverse"),
        ("type", "PAGES", "'PAGES' is no type", "PAGE_DATA"),
        ("complete", "maybe", "complete is true or false", ""),
        ("emulator_context.emulator_ctx", "QEVM", "write them as", ""),
        ("emulator_context.emulator_ctx", '"\ud800"', "a character that has no bytes", ""),
        ("time", "yesterday", "time is a time such as", ""),
        ("time", "1" * 5000, "time is a time such as", ""),
        ("time", "2026-13-01T00:00:00Z", "month", ""),
    ],
)
def test_what_a_field_can_not_be(name, text, message, hint):
    with pytest.raises(ValueTextError, match=message) as caught:
        literal(find(name), text)
    assert hint in caught.value.hint
