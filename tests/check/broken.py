# SPDX-License-Identifier: GPL-2.0-or-later
"""One broken migration for each rule: how to make it from a good one, and where the finding belongs.

A function breaks one thing and returns the migration, the item with the broken place and how far that is from the
item's first byte (None: the finding has no place of its own).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from captures.guests import plain
from captures.streams import GO
from tests.check.scripts import Item, Script, colo_hvm, guest, hvm, image, patch, pv, record, remus_hvm

if TYPE_CHECKING:
    from collections.abc import Callable

Made = tuple[Script, Item | None, int | None]


@dataclass(frozen=True)
class Broken:
    """A row of the table."""

    id: str
    make: Callable[[], Made]
    also: frozenset[str] = frozenset()
    """Other errors and warnings that this cannot but cause."""


TABLE: list[Broken] = []


def breaks(id_: str, *also: str) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Enter a function into the table."""

    def enter(make: Callable[[], Made]) -> Callable[[], Made]:
        TABLE.append(Broken(id_, make, frozenset(also)))
        return make

    return enter


def patched(script: Script, type_: str, at: int, data: bytes, index: int = 0, direction: str = "forward") -> Made:
    """Overwrite bytes of one item."""
    item = script.find(type_, index, direction)
    return script, item, patch(item, at, data)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def be32(value: int) -> bytes:
    return struct.pack(">I", value)


def replaced(script: Script, type_: str, data: bytes, at: int = 4, index: int = 0, direction: str = "forward") -> Made:
    """Put another record in the place of one."""
    item = script.find(type_, index, direction)
    item.data[:] = data
    return script, item, at


# -- xl --------------------------------------------------------------------------------------------------------------

FAILS = "ending.failed"
CUT = "ending.cut"


@breaks("xl.save_file_header.magic", FAILS)
def xl_magic() -> Made:
    script = image()
    item = script.find("SAVE_FILE_HEADER")
    script.cut(item, 48)
    patch(item, 20, b"X")
    return script, item, 0


@breaks("xl.save_file_header.byteorder")
def xl_byteorder() -> Made:
    return patched(hvm(), "SAVE_FILE_HEADER", 32, b"\4\3\2\2")


@breaks("xl.save_file_header.mandatory_flags")
def xl_mandatory() -> Made:
    return patched(hvm(), "SAVE_FILE_HEADER", 36, u32(7))


@breaks("xl.save_file_header.old_flags")
def xl_old_flags() -> Made:
    return patched(hvm(), "SAVE_FILE_HEADER", 36, u32(2))


@breaks("xl.save_file_header.optional_flags")
def xl_optional() -> Made:
    return patched(hvm(), "SAVE_FILE_HEADER", 40, u32(1))


@breaks("xl.config.length")
def xl_config_length() -> Made:
    script = hvm()
    item = script.find("CONFIG")
    patch(item, 0, u32(len(item.data) - 3))
    return script, item, 0


@breaks("xl.config.length")
def xl_config_truncated() -> Made:
    script = hvm()
    item = script.find("CONFIG")
    del item.data[3:]
    patch(script.find("SAVE_FILE_HEADER"), 44, u32(3))
    return script, item, 0


@breaks("xl.config.surplus")
def xl_config_surplus() -> Made:
    script = hvm()
    item = script.find("CONFIG")
    at = len(item.data)
    item.data += b"more"
    patch(script.find("SAVE_FILE_HEADER"), 44, u32(len(item.data)))
    return script, item, at


@breaks("xl.config.surplus")
def xl_no_config() -> Made:
    script = hvm()
    script.remove(script.find("CONFIG"))
    return patched(script, "SAVE_FILE_HEADER", 44, u32(0))


@breaks("xl.config.json")
def xl_config_no_nul() -> Made:
    script = hvm()
    item = script.find("CONFIG")
    return script, item, patch(item, len(item.data) - 1, b" ")


@breaks("xl.config.json")
def xl_config_two_nuls() -> Made:
    script = hvm()
    item = script.find("CONFIG")
    return script, item, patch(item, len(item.data) - 2, b"\0")


@breaks("xl.config.json")
def xl_config_no_json() -> Made:
    return patched(hvm(), "CONFIG", 4, b"[")


@breaks("xl.message", "ending.failed")
def xl_text_before_the_banner() -> Made:
    script = hvm()
    banner = script.find("BANNER", 0, "reverse")
    text = script.insert(banner, b"Last login: Mon Nov 23 14:02:11 2026\r\n", "reverse")
    script.cut(banner, 54)
    return script, text, 0


@breaks("xl.message", "ending.failed")
def xl_ready() -> Made:
    script = hvm()
    item = script.find("READY", 0, "reverse")
    script.cut(item, 34)
    patch(item, 20, b"X")
    return script, item, 0


@breaks("xl.message", "ending.failed")
def xl_answer_is_something_else() -> Made:
    script = hvm()
    item = script.find("READY", 0, "reverse")
    script.cut(item, 34)
    patch(item, 0, b"Login failed")
    return script, item, 0


@breaks("xl.message", "ending.failed")
def xl_go() -> Made:
    script = hvm()
    item = script.find("GO")
    script.cut(item, 44)
    patch(item, 3, b"X")
    return script, item, 0


@breaks("xl.permission")
def xl_permission_after_success() -> Made:
    script = hvm()
    return script, script.append(GO, "reverse"), 0


@breaks("xl.permission", FAILS)
def xl_permission_missing() -> Made:
    script = Script.of(plain(guest(), status=6))
    script.remove(script.find("GO", 0, "reverse"))
    return script, script.find("REPORT_STATUS", 0, "reverse"), 0


@breaks("xl.banner_first")
def xl_banner_late() -> Made:
    script = hvm()
    banner = script.find("BANNER", 0, "reverse")
    script.remove(banner)
    script.items.insert(3, banner)
    return script, script.find("SAVE_FILE_HEADER"), 0


# -- libxl -----------------------------------------------------------------------------------------------------------


@breaks("libxl.stream_header.version")
def libxl_version() -> Made:
    return patched(hvm(), "STREAM_HEADER", 8, be32(3))


@breaks("libxl.stream_header.version", FAILS)
def libxl_ident() -> Made:
    script = image()
    item = script.find("STREAM_HEADER")
    script.cut(item, 16)
    patch(item, 5, b"X")
    return script, item, 0


@breaks("libxl.stream_header.big_endian", "stream.big_endian")
def libxl_big_endian() -> Made:
    script = Script.of(plain(guest(options=1), wrap="libxl", passes=()))
    return script, script.find("STREAM_HEADER"), 12


@breaks("libxl.stream_header.options")
def libxl_options() -> Made:
    return patched(hvm(), "STREAM_HEADER", 12, be32(1 << 20))


@breaks("libxl.stream_header.converted")
def libxl_converted() -> Made:
    return patched(hvm(), "STREAM_HEADER", 12, be32(2))


@breaks("libxl.record.unknown")
def libxl_unknown() -> Made:
    script = hvm()
    return script, script.insert(script.find("EMULATOR_CONTEXT"), record(6, b"12345678")), 0


@breaks("libxl.record.unknown")
def libxl_unknown_optional() -> Made:
    script = hvm()
    return script, script.insert(script.find("EMULATOR_CONTEXT"), record(0x80000007)), 0


@breaks("libxl.padding")
def libxl_padding() -> Made:
    script = hvm()
    item = script.find("EMULATOR_CONTEXT")
    assert item.data[4:8] == u32(69)
    return script, item, patch(item, 8 + 69, b"\0\0\1") and 8 + 69


@breaks("libxl.empty_record.length")
def libxl_end_with_body() -> Made:
    script = hvm()
    item = script.find("END", layer="libxl")
    item.data[:] = record(0, b"12345678")
    return script, item, 4


@breaks("libxl.emulator.length")
def emulator_length() -> Made:
    return replaced(hvm(), "EMULATOR_CONTEXT", record(3, b"\2\0\0\0"))


@breaks("libxl.emulator.guest_type")
def emulator_of_pv() -> Made:
    script = pv()
    return script, script.insert(script.find("END", layer="libxl"), record(3, bytes((2, 0, 0, 0, 0, 0, 0, 0)))), 0


@breaks("libxl.emulator.guest_type")
def emulator_of_pvh() -> Made:
    script = hvm(kind="pvh")
    return script, script.insert(script.find("END", layer="libxl"), record(3, bytes((2, 0, 0, 0, 0, 0, 0, 0)))), 0


@breaks("libxl.emulator.id")
def emulator_id() -> Made:
    return patched(hvm(), "EMULATOR_CONTEXT", 8, u32(3))


@breaks("libxl.emulator.index")
def emulator_index() -> Made:
    return patched(hvm(), "EMULATOR_CONTEXT", 12, u32(1))


@breaks("libxl.emulator.unknown_id")
def emulator_unknown() -> Made:
    return patched(hvm(), "EMULATOR_CONTEXT", 8, u32(0))


def xenstore(text: bytes) -> tuple[Script, Item]:
    script = hvm(xenstore=True)
    item = script.find("EMULATOR_XENSTORE_DATA")
    item.data[:] = record(2, bytes((2, 0, 0, 0, 0, 0, 0, 0)) + text)
    return script, item


@breaks("libxl.emulator_context.magic")
def emulator_magic() -> Made:
    return patched(hvm(), "EMULATOR_CONTEXT", 16, b"QEMU")


@breaks("libxl.xenstore_data.form")
def xenstore_without_value() -> Made:
    return *xenstore(b"a\0b\0key\0"), 20


@breaks("libxl.xenstore_data.form")
def xenstore_empty_key() -> Made:
    return *xenstore(b"\0value\0"), 16


@breaks("libxl.xenstore_data.form")
def xenstore_absolute_key() -> Made:
    return *xenstore(b"a\0b\0/local\0x\0"), 20


@breaks("libxl.xenstore_data.form")
def xenstore_without_nul() -> Made:
    return *xenstore(b"physmap"), 16


@breaks("libxl.xenstore_data.key")
def xenstore_key() -> Made:
    return *xenstore(b"a\0 *\0b c\0x\0"), 22


@breaks("libxl.libxc_context.order", "libxl.emulator_context.count")
def emulator_first() -> Made:
    script = hvm()
    return script, script.insert(script.find("LIBXC_CONTEXT"), record(3, bytes((2, 0, 0, 0, 0, 0, 0, 0)))), 0


@breaks("libxl.libxc_context.order", "libxc.image_header.marker", FAILS)
def second_libxc_context() -> Made:
    script = hvm()
    item = script.insert(script.find("EMULATOR_CONTEXT"), record(1))
    script.cut(script.find("EMULATOR_CONTEXT"), 77)
    return script, item, 0


@breaks("libxl.checkpoint_end.place")
def checkpoint_end() -> Made:
    script = hvm()
    return script, script.insert(script.find("END", layer="libxl"), record(4)), 0


@breaks("libxl.checkpoint_state.place")
def checkpoint_state_in_checkpoint() -> Made:
    script = colo_hvm()
    item = script.insert(script.find("CHECKPOINT_END", 1), record(5, u32(0)))
    return script, item, 0


@breaks("libxl.checkpoint_state.place")
def checkpoint_state_in_plain() -> Made:
    script = hvm()
    return script, script.insert(script.find("END", layer="libxl"), record(5, u32(0))), 0


@breaks("libxl.checkpoint_state.too_short")
def checkpoint_state_short() -> Made:
    script = colo_hvm()
    item = script.find("CHECKPOINT_STATE", 0, "reverse")
    item.data[:] = record(5, b"\2\0")
    return script, item, 4


@breaks("libxl.checkpoint_state.length")
def checkpoint_state_long() -> Made:
    script = colo_hvm()
    item = script.find("CHECKPOINT_STATE", 0, "reverse")
    item.data[:] = record(5, b"\2\0\0\0\0\0\0\0")
    return script, item, 4


@breaks("libxl.checkpoint_state.length")
def checkpoint_state_long_forward() -> Made:
    script = colo_hvm()
    item = script.find("CHECKPOINT_STATE")
    item.data[:] = record(5, bytes(8))
    return script, item, 4


@breaks("libxl.checkpoint_state.control_id")
def control_id_forward() -> Made:
    return patched(colo_hvm(), "CHECKPOINT_STATE", 8, u32(2))


@breaks("libxl.checkpoint_state.control_id")
def control_id_reverse() -> Made:
    script = colo_hvm()
    item = script.find("CHECKPOINT_STATE", 4, "reverse")  # RESUMED of the second checkpoint
    assert item.data[8] == 3
    return script, item, patch(item, 8, u32(0))


@breaks("libxl.checkpoint_state.control_id")
def control_id_order() -> Made:
    script = colo_hvm()
    script.remove(script.find("CHECKPOINT_STATE", 0, "reverse"))
    return script, script.find("CHECKPOINT_STATE", 0, "reverse"), 8


@breaks("libxl.end.inside_checkpoint")
def end_inside() -> Made:
    script = remus_hvm()
    return script, script.insert(script.find("CHECKPOINT_END", 1), record(0)), 0


@breaks("libxl.emulator_context.count")
def no_emulator() -> Made:
    script = remus_hvm()
    script.remove(script.find("EMULATOR_CONTEXT", 1))
    return script, script.find("CHECKPOINT_END", 1), 0


@breaks("libxl.emulator_context.count")
def two_emulators() -> Made:
    script = hvm()
    item = script.find("EMULATOR_CONTEXT")
    script.insert(item, bytes(item.data))
    return script, script.find("END", layer="libxl"), 0


# -- libxc: headers and framing --------------------------------------------------------------------------------------


@breaks("libxc.image_header.marker", FAILS)
def image_marker() -> Made:
    script = image()
    item = script.find("IMAGE_HEADER")
    script.cut(item, 24)
    return script, item, patch(item, 8, b"XENX") * 0


@breaks("libxc.image_header.version")
def image_version() -> Made:
    return patched(hvm(), "IMAGE_HEADER", 12, be32(4))


@breaks("stream.big_endian")
def libxc_big_endian() -> Made:
    script = Script.of(plain(guest(options=1), wrap="libxc", passes=()))
    return script, script.find("IMAGE_HEADER"), 16


@breaks("libxc.image_header.reserved")
def image_options() -> Made:
    return patched(hvm(), "IMAGE_HEADER", 16, b"\0\4")


@breaks("libxc.image_header.reserved")
def image_reserved() -> Made:
    return patched(hvm(), "IMAGE_HEADER", 20, be32(1))


@breaks("libxc.domain_header.type")
def domain_type() -> Made:
    return patched(hvm(), "DOMAIN_HEADER", 0, u32(3))


@breaks("libxc.domain_header.page_shift")
def page_shift() -> Made:
    return patched(hvm(), "DOMAIN_HEADER", 4, b"\x0d\0")


@breaks("libxc.domain_header.reserved")
def domain_reserved() -> Made:
    return patched(hvm(), "DOMAIN_HEADER", 6, b"\1\0")


@breaks("libxc.domain_header.converted")
def domain_converted() -> Made:
    return patched(hvm(), "DOMAIN_HEADER", 8, u32(0))


@breaks("libxc.record.too_long", FAILS)
def too_long() -> Made:
    script = image()
    item = script.find("HVM_CONTEXT")
    script.cut(item, len(item.data))
    return script, item, patch(item, 4, u32((128 << 20) + 1)) * 0


@breaks("libxc.padding")
def libxc_padding() -> Made:
    script = hvm()
    item = script.find("HVM_CONTEXT")
    length = int.from_bytes(item.data[4:8], "little")
    assert length % 8
    patch(item, len(item.data) - 1, b"\1")
    return script, item, 8 + length


@breaks("record.unknown")
def libxc_unknown() -> Made:
    script = hvm()
    return script, script.insert(script.find("X86_TSC_INFO"), record(0x13, b"12345678")), 0


@breaks("record.unknown_optional")
def libxc_optional() -> Made:
    script = hvm()
    return script, script.insert(script.find("X86_TSC_INFO"), record(0x80000013, b"12345678")), 0


@breaks("record.unknown_optional_buffered")
def libxc_optional_buffered() -> Made:
    script = remus_hvm()
    return script, script.insert(script.find("X86_TSC_INFO", 1), record(0x80000013, b"12345678")), 0


@breaks("libxc.record.guest_type")
def pv_record_of_hvm() -> Made:
    script = hvm()
    return script, script.insert(script.find("HVM_CONTEXT"), record(0x0C, bytes(24))), 0


@breaks("libxc.record.guest_type")
def hvm_record_of_pv() -> Made:
    script = pv()
    return (
        script,
        script.insert(script.find("SHARED_INFO"), record(0x0A, u32(1) + u32(0) + struct.pack("<QQ", 1, 2))),
        0,
    )


@breaks("libxc.toolstack")
def toolstack() -> Made:
    script = hvm()
    return script, script.insert(script.find("X86_TSC_INFO"), record(0x0B, b"12345678")), 0


@breaks("libxc.empty_record.length")
def libxc_end_with_body() -> Made:
    script = hvm()
    item = script.find("END", layer="libxc")
    item.data[:] = record(0, b"12345678")
    return script, item, 4


# -- libxc: static data ----------------------------------------------------------------------------------------------


@breaks("libxc.static_data_end.missing")
def static_missing() -> Made:
    script = hvm()
    script.remove(script.find("STATIC_DATA_END"))
    return script, script.find("PAGE_DATA"), 0


@breaks("libxc.static_data_end.missing")
def static_missing_pv() -> Made:
    script = pv()
    script.remove(script.find("STATIC_DATA_END"))
    return script, script.find("X86_PV_P2M_FRAMES"), 0


@breaks("libxc.static_data_end.repeated")
def static_repeated() -> Made:
    script = hvm()
    return script, script.insert(script.find("PAGE_DATA"), record(0x10)), 0


@breaks("libxc.static_data_end.version")
def static_in_v2() -> Made:
    script = hvm(version=2)
    return script, script.insert(script.find("PAGE_DATA"), record(0x10)), 0


@breaks("libxc.policy.version")
def policy_in_v2() -> Made:
    script = hvm(version=2)
    return script, script.insert(script.find("PAGE_DATA"), record(0x12, struct.pack("<IIQ", 0xCE, 0, 0))), 0


@breaks("libxc.policy.late")
def policy_late() -> Made:
    script = hvm()
    return script, script.insert(script.find("PAGE_DATA"), record(0x12, struct.pack("<IIQ", 0xCE, 0, 0))), 0


@breaks("libxc.policy.length")
def policy_length() -> Made:
    return replaced(hvm(), "X86_CPUID_POLICY", record(0x11, bytes(40)))


@breaks("libxc.policy.length")
def policy_empty() -> Made:
    return replaced(hvm(), "X86_MSR_POLICY", record(0x12))


@breaks("libxc.policy.absent")
def policy_absent() -> Made:
    script = hvm()
    script.remove(script.find("X86_CPUID_POLICY"))
    return script, script.find("STATIC_DATA_END"), 0


@breaks("libxc.x86_msr_policy.flags")
def msr_flags() -> Made:
    return patched(hvm(), "X86_MSR_POLICY", 8 + 16 + 4, u32(1))


@breaks("libxc.policy.order")
def leaf_twice() -> Made:
    script = hvm()
    body = bytes(script.find("X86_CPUID_POLICY").data)[8:]
    return replaced(script, "X86_CPUID_POLICY", record(0x11, body[:48] + body[24:48] + body[48:]), 8 + 48)


@breaks("libxc.policy.order")
def msrs_exchanged() -> Made:
    two = struct.pack("<IIQ", 0x10A, 0, 0) + struct.pack("<IIQ", 0xCE, 0, 0)
    return replaced(hvm(), "X86_MSR_POLICY", record(0x12, two), 8 + 16)


# -- libxc: PV guests ------------------------------------------------------------------------------------------------


@breaks("libxc.x86_pv_info.order")
def pv_info_twice() -> Made:
    script = pv()
    return script, script.insert(script.find("X86_PV_P2M_FRAMES"), bytes(script.find("X86_PV_INFO").data)), 0


@breaks("libxc.x86_pv_info.order")
def pv_info_missing() -> Made:
    script = pv()
    script.remove(script.find("X86_PV_INFO"))
    return script, script.find("X86_PV_P2M_FRAMES"), 0


@breaks("libxc.x86_pv_info.value")
def pv_info_mixed() -> Made:
    return patched(pv(), "X86_PV_INFO", 8, b"\x08\x03")


@breaks("libxc.x86_pv_info.value")
def pv_info_short() -> Made:
    script, item, at = replaced(pv(), "X86_PV_INFO", record(2, b"\x08\4\0\0"))
    return script, item, at


@breaks("libxc.x86_pv_info.length")
def pv_info_long() -> Made:
    return replaced(pv(), "X86_PV_INFO", record(2, b"\x08\4" + bytes(14)))


@breaks("libxc.x86_pv_info.reserved")
def pv_info_reserved() -> Made:
    return patched(pv(), "X86_PV_INFO", 13, b"\x80")


@breaks("libxc.x86_pv_p2m_frames.range")
def p2m_start() -> Made:
    return patched(pv(), "X86_PV_P2M_FRAMES", 8, u32(12))


@breaks("libxc.x86_pv_p2m_frames.range")
def p2m_length() -> Made:
    return replaced(pv(), "X86_PV_P2M_FRAMES", record(3, struct.pack("<IIQQ", 0, 11, 1, 2)))


@breaks("libxc.x86_pv_p2m_frames.range")
def p2m_short() -> Made:
    return replaced(pv(), "X86_PV_P2M_FRAMES", record(3, b"\0\0\0\0"))


@breaks("libxc.x86_pv_p2m_frames.order")
def p2m_late() -> Made:
    script = pv()
    item = script.find("X86_PV_P2M_FRAMES")
    script.remove(item)
    pages = script.find("PAGE_DATA")
    script.insert(pages, bytes(item.data), behind=True)
    return script, pages, 0


# -- libxc: memory ---------------------------------------------------------------------------------------------------


def page_data(entries: list[int], reserved: int = 0, count_: int | None = None, pages: int | None = None) -> bytes:
    data = sum(entry >> 60 in (0, 1, 2, 3, 4, 9, 10, 11, 12) for entry in entries) if pages is None else pages
    head = struct.pack("<II", len(entries) if count_ is None else count_, reserved)
    return record(1, head + struct.pack(f"<{len(entries)}Q", *entries) + bytes(4096 * data))


XTAB = 0xF << 60
ALL = [0, 1, 2, 3, 4, 5, 6, 7, 8, XTAB | 9, (0xD << 60) | 10, 11]


@breaks("libxc.page_data.length")
def page_data_length() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data(ALL, pages=9))


@breaks("libxc.page_data.length", "libxc.page_data.first_pass")
def page_data_empty() -> Made:
    script, item, _ = replaced(hvm(), "PAGE_DATA", record(1, bytes(8)), at=8)
    return script, item, 8


@breaks("libxc.page_data.length")
def page_data_count_too_great() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([XTAB | 3], count_=1 << 31), 4, 1)


@breaks("libxc.page_data.length")
def page_data_too_short() -> Made:
    return replaced(hvm(), "PAGE_DATA", record(1, b"\1\0\0\0"), 4, 1)


@breaks("libxc.page_data.type")
def page_type() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([3, (5 << 60) | 5, 8], pages=2), 16 + 8, 1)


@breaks("libxc.page_data.reserved")
def page_data_reserved() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data(ALL, reserved=1), 12)


@breaks("libxc.page_data.reserved")
def page_data_reserved_bits() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([*ALL[:-1], (1 << 55) | 11]), 16 + 8 * 11)


@breaks("libxc.page_data.count")
def page_data_count() -> Made:
    script = hvm(pages=1030, types=dict.fromkeys(range(12, 1030), "XTAB"))
    entries = [*range(12), *(XTAB | pfn for pfn in range(12, 1030))]
    script.remove(script.find("PAGE_DATA"))
    return replaced(script, "PAGE_DATA", page_data(entries), 8)


@breaks("libxc.page_data.order")
def page_data_order() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([3, 8, 5]), 16 + 16, 1)


@breaks("libxc.page_data.order")
def page_data_twice() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([3, 3, 5]), 16 + 8, 1)


@breaks("libxc.page_data.pfn")
def page_data_pfn() -> Made:
    return replaced(pv(), "PAGE_DATA", page_data([3, 5, 12]), 16 + 16, 1)


@breaks("libxc.page_data.hvm_type")
def hvm_page_type() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([3, (4 << 60) | 5]), 16 + 8, 1)


@breaks("libxc.page_data.xalloc")
def xalloc() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([3, (0xE << 60) | 5]), 16 + 8, 1)


@breaks("libxc.page_data.first_pass")
def first_pass() -> Made:
    return replaced(hvm(), "PAGE_DATA", page_data([*ALL[:5], *ALL[7:]]), 16 + 8 * 5)


@breaks("libxc.page_data.first_pass")
def first_pass_between() -> Made:
    script = hvm(pages=3 * 1024, types=dict.fromkeys(range(12, 3 * 1024), "XTAB"))
    script.remove(script.find("PAGE_DATA", 1))
    return script, script.find("PAGE_DATA", 1), 16


@breaks("libxc.verify.place")
def verify_twice() -> Made:
    script = Script.of(plain(guest(), verify=True))
    return script, script.insert(script.find("VERIFY"), record(0x0D), behind=True), 0


@breaks("libxc.verify.place")
def verify_in_remus() -> Made:
    script = remus_hvm()
    script.insert(script.find("X86_TSC_INFO"), record(0x0D))
    return script, script.find("CHECKPOINT"), 0


@breaks("libxc.verify.place")
def verify_behind_checkpoint() -> Made:
    script = remus_hvm()
    return script, script.insert(script.find("X86_TSC_INFO", 1), record(0x0D)), 0


# -- libxc: the end of a checkpoint ----------------------------------------------------------------------------------


@breaks("libxc.shared_info.length")
def shared_info() -> Made:
    return replaced(pv(), "SHARED_INFO", record(7, bytes(4088)))


@breaks("libxc.vcpu.length")
def vcpu_basic() -> Made:
    return replaced(pv(), "X86_PV_VCPU_BASIC", record(4, bytes(8 + 2800)))


@breaks("libxc.vcpu.length")
def vcpu_extended() -> Made:
    script, item, _ = replaced(pv(), "X86_PV_VCPU_EXTENDED", record(5, bytes(8) + u32(0) + u32(136) + bytes(128)))
    return script, item, 4


@breaks("libxc.vcpu.length")
def vcpu_xsave() -> Made:
    return replaced(pv(), "X86_PV_VCPU_XSAVE", record(6, bytes(8 + 8)))


@breaks("libxc.vcpu.length")
def vcpu_msrs() -> Made:
    return replaced(pv(), "X86_PV_VCPU_MSRS", record(0x0C, bytes(8 + 24)))


@breaks("libxc.vcpu.length")
def vcpu_head() -> Made:
    return replaced(pv(), "X86_PV_VCPU_MSRS", record(0x0C, bytes(4)))


@breaks("libxc.vcpu.empty")
def vcpu_empty() -> Made:
    return replaced(pv(), "X86_PV_VCPU_XSAVE", record(6, bytes(8)))


@breaks("libxc.vcpu.reserved")
def vcpu_reserved() -> Made:
    return patched(pv(), "X86_PV_VCPU_BASIC", 12, u32(1))


@breaks("libxc.vcpu.basic_missing")
def vcpu_missing() -> Made:
    script = pv()
    script.remove(script.find("X86_PV_VCPU_BASIC"))
    return script, script.find("END", layer="libxc"), 0


@breaks("libxc.x86_pv_vcpu_extended.inner")
def vcpu_inner() -> Made:
    return patched(pv(), "X86_PV_VCPU_EXTENDED", 16, u32(1))


@breaks("libxc.x86_pv_vcpu_extended.inner")
def vcpu_inner_size() -> Made:
    return patched(pv(), "X86_PV_VCPU_EXTENDED", 20, u32(56))


@breaks("libxc.x86_tsc_info.length")
def tsc_length() -> Made:
    return replaced(hvm(), "X86_TSC_INFO", record(8, bytes(16)))


@breaks("libxc.x86_tsc_info.reserved")
def tsc_reserved() -> Made:
    return patched(hvm(), "X86_TSC_INFO", 28, u32(1))


@breaks("libxc.x86_tsc_info.count")
def tsc_missing() -> Made:
    script = remus_hvm()
    script.remove(script.find("X86_TSC_INFO", 1))
    return script, script.find("CHECKPOINT", 1), 0


@breaks("libxc.x86_tsc_info.count")
def tsc_twice() -> Made:
    script = hvm()
    item = script.find("X86_TSC_INFO")
    script.insert(item, bytes(item.data))
    return script, script.find("END", layer="libxc"), 0


@breaks("libxc.hvm_params.length")
def params_length() -> Made:
    return replaced(hvm(), "HVM_PARAMS", record(0x0A, u32(2) + u32(0) + struct.pack("<QQ", 1, 2)))


@breaks("libxc.hvm_params.length")
def params_short() -> Made:
    return replaced(hvm(), "HVM_PARAMS", record(0x0A, u32(0)))


@breaks("libxc.hvm_params.empty")
def params_empty() -> Made:
    return replaced(hvm(), "HVM_PARAMS", record(0x0A, bytes(8)), 8)


@breaks("libxc.hvm_params.reserved")
def params_reserved() -> Made:
    return patched(hvm(), "HVM_PARAMS", 12, u32(1))


@breaks("libxc.hvm_params.index")
def param_index() -> Made:
    return patched(hvm(), "HVM_PARAMS", 16 + 16, struct.pack("<Q", 39))


@breaks("libxc.hvm_params.index")
def param_never_sent() -> Made:
    return patched(hvm(), "HVM_PARAMS", 16 + 16, struct.pack("<Q", 10))


@breaks("libxc.hvm_context.empty")
def context_empty() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", record(9))


@breaks("libxc.hvm_context.missing")
def context_missing() -> Made:
    script = hvm()
    script.remove(script.find("HVM_CONTEXT"))
    return script, script.find("END", layer="libxc"), 0


def chain(*sections: tuple[int, int, bytes], behind: bytes = b"") -> bytes:
    parts = [struct.pack("<HHI", code, instance, len(body)) + body for code, instance, body in sections]
    return record(9, b"".join(parts) + behind)


HEADER = (1, 0, struct.pack("<IIQII", 0x54381286, 1, 0, 0x506E3, 2000000))
END = (0, 0, b"")
LAPIC = (5, 0, bytes(24))


@breaks("libxc.hvm_context.chain")
def chain_without_header() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(LAPIC, END), 8)


@breaks("libxc.hvm_context.chain")
def chain_with_wrong_magic() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain((1, 0, bytes(24)), END), 8)


@breaks("libxc.hvm_context.chain")
def chain_with_short_header() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain((1, 0, HEADER[2][:16]), END), 8)


@breaks("libxc.hvm_context.chain")
def chain_without_end() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(HEADER, LAPIC), 8 + 32)


@breaks("libxc.hvm_context.chain")
def chain_beyond_the_end() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(HEADER, behind=struct.pack("<HHI", 5, 0, 1000)), 8 + 32)


@breaks("libxc.hvm_context.chain")
def chain_goes_on() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(HEADER, END, LAPIC), 8 + 40)


@breaks("libxc.hvm_context.chain")
def chain_end_with_data() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(HEADER, (0, 0, b"12345678")), 8 + 32)


@breaks("libxc.hvm_context.section")
def section_of_unknown_type() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(HEADER, LAPIC, (21, 0, bytes(8)), END), 8 + 64)


@breaks("libxc.hvm_context.section")
def section_of_wrong_length() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(HEADER, (3, 0, bytes(9)), END), 8 + 32)


@breaks("libxc.hvm_context.section")
def section_of_too_little_xsave() -> Made:
    return replaced(hvm(), "HVM_CONTEXT", chain(HEADER, (16, 0, bytes(599)), END), 8 + 32)


@breaks("libxc.hvm_context.section")
def section_of_one_msr_and_a_half() -> Made:
    good = (16, 0, bytes(600))
    return replaced(
        hvm(), "HVM_CONTEXT", chain(HEADER, good, (20, 0, bytes(24)), (20, 0, bytes(32)), END), 8 + 32 + 608 + 32
    )


# -- checkpoints and both directions ---------------------------------------------------------------------------------


@breaks("libxc.checkpoint.plain", "libxc.end.after_checkpoint")
def checkpoint_in_plain() -> Made:
    script = hvm()
    emulator = script.find("EMULATOR_CONTEXT")
    end = script.find("END", layer="libxc")
    tail = [script.find(name) for name in ("X86_TSC_INFO", "HVM_CONTEXT", "HVM_PARAMS")]
    item = script.insert(end, record(0x0E))
    for data in (emulator.data, record(4), *(one.data for one in tail)):
        script.insert(end, bytes(data))
    return script, item, 0


@breaks("libxc.end.after_checkpoint")
def end_after_checkpoint() -> Made:
    script = remus_hvm()
    item = script.append(record(0))
    for data in (bytes(script.find("EMULATOR_CONTEXT").data), record(0)):
        script.append(data)
    return script, item, 0


@breaks("libxc.checkpoint_dirty_pfn_list.forward")
def list_forward() -> Made:
    script = hvm()
    return script, script.insert(script.find("X86_TSC_INFO"), record(0x0F, struct.pack("<2Q", 1, 2))), 0


def dirty_list(script: Script, data: bytes, at: int, index: int = 0) -> Made:
    return replaced(script, "CHECKPOINT_DIRTY_PFN_LIST", data, at, index, "reverse")


@breaks("libxc.checkpoint_dirty_pfn_list.length")
def list_length() -> Made:
    return dirty_list(colo_hvm(), record(0x0F, struct.pack("<3Q", 1, 5, 8)[:20]), 4)


@breaks("libxc.checkpoint_dirty_pfn_list.pfn", "libxc.checkpoint_dirty_pfn_list.resent")
def list_pfn() -> Made:
    return dirty_list(colo_hvm(), record(0x0F, struct.pack("<4Q", 1, 5, 8, 12)), 8 + 24)


@breaks("libxc.checkpoint_dirty_pfn_list.order")
def list_order() -> Made:
    return dirty_list(colo_hvm(), record(0x0F, struct.pack("<3Q", 1, 8, 5)), 8 + 16)


@breaks("libxc.checkpoint_dirty_pfn_list.order")
def list_twice() -> Made:
    return dirty_list(colo_hvm(), record(0x0F, struct.pack("<3Q", 1, 1, 5)), 8 + 8)


@breaks("libxc.checkpoint_dirty_pfn_list.header")
def list_header() -> Made:
    script = colo_hvm(16)
    return script, script.find("CHECKPOINT_DIRTY_PFN_LIST", 0, "reverse"), 8


@breaks("libxc.checkpoint_dirty_pfn_list.header")
def list_header_12() -> Made:
    script = colo_hvm(12)
    return script, script.find("CHECKPOINT_DIRTY_PFN_LIST", 0, "reverse"), 8


@breaks("libxc.checkpoint_dirty_pfn_list.resent")
def list_not_resent() -> Made:
    return dirty_list(colo_hvm(), record(0x0F, struct.pack("<4Q", 1, 3, 5, 8)), 8 + 8)


@breaks("libxc.checkpoint_dirty_pfn_list.resent")
def list_of_the_wrong_checkpoint() -> Made:
    return dirty_list(colo_hvm(), record(0x0F, struct.pack("<Q", 8)), 8, 2)


@breaks("libxc.checkpoint_dirty_pfn_list.place")
def list_missing() -> Made:
    script = colo_hvm()
    script.remove(script.find("CHECKPOINT_DIRTY_PFN_LIST", 2, "reverse"))
    return script, script.find("CHECKPOINT_STATE", 9, "reverse"), 0


@breaks("libxc.checkpoint_dirty_pfn_list.place")
def list_behind_ready() -> Made:
    script = colo_hvm()
    resumed = script.find("CHECKPOINT_STATE", 10, "reverse")
    return script, script.insert(resumed, record(0x0F), "reverse", behind=True), 0


@breaks("colo.guest_type")
def colo_pvh() -> Made:
    script = colo_hvm(kind="pvh")
    return script, script.find("CHECKPOINT_STATE", 0, "reverse"), 0


@breaks("stream.trailing")
def bytes_behind_go() -> Made:
    script = hvm()
    return script, script.insert(script.find("GO"), b"\0\0\0\0", behind=True), 0


@breaks("stream.trailing")
def bytes_behind_status() -> Made:
    script = hvm()
    return script, script.append(b"goodbye, that was all", "reverse"), 0


@breaks("ending.cut")
def cut_inside() -> Made:
    script = hvm()
    item = script.find("PAGE_DATA", 1)
    script.cut(item, 5000)
    return script, item, 0


@breaks("ending.cut")
def cut_between() -> Made:
    script = hvm()
    item = script.find("HVM_PARAMS")
    script.cut(item, len(item.data))
    return script, item, 0


@breaks("ending.cut")
def cut_image() -> Made:
    script = image()
    item = script.find("HVM_CONTEXT")
    script.cut(item, 100)
    return script, item, 0


@breaks("ending.cut")
def cut_before_the_first_checkpoint() -> Made:
    script = remus_hvm()
    item = script.find("EMULATOR_CONTEXT")
    script.cut(item, 20)
    return script, item, 0


@breaks("ending.failover")
def failover() -> Made:
    script = remus_hvm()
    return script, script.find("CHECKPOINT_END", 2), 0


@breaks("ending.failover")
def failover_inside() -> Made:
    script = remus_hvm()
    item = script.find("PAGE_DATA", 3)
    script.cut(item, 1000)
    return script, item, 0


@breaks("stream.header_twice", FAILS)
def libxl_header_twice() -> Made:
    return header_twice("STREAM_HEADER", "EMULATOR_CONTEXT")


@breaks("stream.header_twice", FAILS)
def image_header_twice() -> Made:
    return header_twice("IMAGE_HEADER", "X86_TSC_INFO")


@breaks("stream.header_twice", FAILS)
def xl_header_twice() -> Made:
    return header_twice("SAVE_FILE_HEADER", "PAGE_DATA")


def header_twice(header: str, before: str) -> Made:
    script = image()
    item = script.insert(script.find(before), bytes(script.find(header).data))
    script.cut(item, len(item.data))
    return script, item, 0


@breaks(
    "stream.header_twice",
    "libxc.padding",
    "libxc.x86_pv_info.length",
    "libxc.x86_pv_info.value",
    "libxc.x86_pv_info.reserved",
    "libxc.record.guest_type",
    CUT,
)
def domain_header_twice() -> Made:
    script = image()
    item = script.insert(script.find("X86_CPUID_POLICY"), bytes(script.find("DOMAIN_HEADER").data))
    script.cut(script.find("X86_CPUID_POLICY"), 8)
    return script, item, 0


# -- rules without a number ------------------------------------------------------------------------------------------


@breaks("stream.framing", FAILS)
def framing() -> Made:
    script = image()
    item = script.insert(script.find("X86_TSC_INFO"), b"\xee" * 64)
    script.cut(item, 64)
    return script, item, 0


@breaks("ending.completed")
def completed() -> Made:
    script = hvm()
    return script, script.find("GO"), 0


@breaks("libxl.checkpoint_state.control_id")
def no_new() -> Made:
    script = colo_hvm()
    new = script.find("CHECKPOINT_STATE", 1)
    behind = script.items[script.items.index(new) :]
    item = next(one for one in behind if one.direction == "forward" and one.layer == "libxc")
    script.remove(new)
    return script, item, 0


@breaks("ending.failed")
def failed() -> Made:
    script = Script.of(plain(guest(), status=3))
    return script, script.find("REPORT_STATUS", 0, "reverse"), 0


@breaks("ending.failed")
def never_ready() -> Made:
    script = hvm()
    item = script.find("END", layer="libxl")
    script.cut(item, 8)
    return script, item, 0


@breaks("ending.failed")
def no_report() -> Made:
    script = hvm()
    item = script.find("GO")
    script.cut(item, 44)
    return script, item, 0


@breaks("ending.not_seen")
def not_seen() -> Made:
    script = replace(hvm(), close="none")
    item = script.find("PAGE_DATA")
    script.cut(item, 5000)
    return script, item, 0
