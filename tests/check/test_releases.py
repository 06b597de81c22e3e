# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Xen wrote a stream, and which would take it."""

from __future__ import annotations

import struct

import pytest

from captures.guests import plain
from dissector.check.checker import Checker
from dissector.check.releases import Origin, Target, objections
from dissector.reader import Reader
from dissector.spec import libxc, libxl, releases
from dissector.spec.cpu import NO_SUBLEAF
from tests.check.scripts import LIMITS, Script, engine_batches, findings_in, guest, patch, pv, record
from tests.check.tools import made
from tests.cross.tools import paths


def said(name, release):
    reader = Reader(paths(name), limits=LIMITS)
    try:
        return findings_in(list(reader.batches()), Checker(Target.parse(release)))
    finally:
        reader.close()


def texts(name, release, *ids):
    return [one.text for one in said(name, release) if one.id in (ids or ("release.rejected", "release.doubtful"))]


# -- real streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["4.15", "4.16", "4.17", "4.18", "4.19.1", "4.20", "4.21", "4.22", "4.23"])
@pytest.mark.parametrize("name", ["xl-migrate-hvm", "hvm-colo-xl", "hvm-remus-libxl", "pv-live-libxl"])
def test_a_stream_of_417_goes_to_its_own_release_and_to_later_ones(name, release):
    if release < "4.16" or (release < "4.17" and name != "pv-live-libxl"):
        return  # its CPUID policy has leaf 0x80000021; and a guest may use an MSR that came with 4.17
    assert texts(name, release) == []
    assert len(texts(name, release, "release.accepted")) == 1


@pytest.mark.parametrize("name", ["xl-migrate-hvm", "pv-live-libxl"])
def test_no_v3_stream_goes_to_413(name):
    found = texts(name, "4.13")
    assert "Xen 4.13 rejects this: libxc v3, which exists since 4.14" in found
    assert any("STATIC_DATA_END exists since 4.14" in text for text in found)
    assert texts(name, "4.13", "release.accepted") == []


def test_rtc_of_24_bytes_is_refused_before_414():
    assert any("RTC of 24 bytes, it wants 16" in text for text in texts("xl-migrate-hvm", "4.13"))


@pytest.mark.parametrize(
    ("release", "found"),
    [
        ("4.17.6", ["Xen 4.17.6 rejects this: HVM_CONTEXT section LAPIC of 32 bytes, it takes at most 24"]),
        ("4.18.4", ["Xen 4.18.4 rejects this: HVM_CONTEXT section LAPIC of 32 bytes, it takes at most 24"]),
        ("4.18.5", []),
        ("4.20.0", ["Xen 4.20.0 rejects this: HVM_CONTEXT section LAPIC of 32 bytes, it takes at most 24"]),
        ("4.20.1", []),
        (
            "4.20",
            ["Xen 4.20 may reject this: HVM_CONTEXT section LAPIC of 32 bytes, it takes at most 24 before 4.20.1"],
        ),
        ("4.22", []),
    ],
)
def test_lapic_of_32_bytes_of_a_real_420_depends_on_the_point_release(release, found):
    assert texts("hvm-colo-xl-420", release) == found


def test_who_wrote_it():
    text = texts("xl-migrate-hvm", "4.17", "release.sender")[0]
    assert text.startswith("written by Xen 4.15 to 4.20 (")
    assert text.endswith("the domain header says 4.17")
    assert "4.18 or later (LAPIC of 32 bytes)" in texts("hvm-colo-xl-420", "4.20", "release.sender")[0]
    assert "4.18 or later" in texts("hvm-colo-xl-420", "4.20", "release.secondary")[0]
    assert "4.7 to 4.17" in texts("hvm-colo-xl", "4.20", "release.secondary")[0]


# -- single records --------------------------------------------------------------------------------------------------


def against(record, release):
    return [(one.hit.values["problem"], one.certain) for one in objections(record, Target.parse(release))]


def params(*indices):
    body = struct.pack("<II", len(indices), 0) + b"".join(struct.pack("<QQ", index, 1) for index in indices)
    return made(libxc.HVM_PARAMS, body)


@pytest.mark.parametrize(("index", "since"), [(36, "4.7"), (37, "4.9"), (38, "4.10")])
def test_parameters(index, since):
    before = f"4.{int(since[2:]) - 1}"
    assert against(params(1, index), since) == []
    [(problem, certain)] = against(params(1, index), before)
    assert certain
    assert f"which exists since {since}" in problem


def test_parameters_that_no_release_has():
    assert "the last one is 38" in against(params(39), "4.22")[0][0]
    assert against(params(39), "4.6") == against(params(39), "4.22")


def test_records_without_contents():
    assert against(params(), "4.9") == []
    assert len(against(params(), "4.8")) == 1
    vcpu = made(libxc.X86_PV_VCPU_XSAVE, bytes(8))
    assert against(vcpu, "4.11") == []
    assert len(against(vcpu, "4.10")) == 1


def test_long_records():
    record = made(libxc.HVM_CONTEXT, b"", length=(8 << 20) + 8, complete=False)
    assert against(record, "4.10") == []
    assert "at most 8 MiB" in against(record, "4.9")[0][0]


def test_tsc_mode_3():
    record = made(libxc.X86_TSC_INFO, struct.pack("<IIQII", 3, 1, 1, 1, 0))
    assert against(record, "4.11") == []
    assert "PVRDTSCP" in against(record, "4.12")[0][0]


def test_qemu_traditional():
    record = made(libxl.EMULATOR_CONTEXT, struct.pack("<II", 1, 0))
    assert against(record, "4.20") == []
    assert "until 4.20" in against(record, "4.21")[0][0]


def test_policies():
    two = made(libxc.X86_MSR_POLICY, bytes(32))
    assert against(two, "4.15") == []
    assert "4.14 takes 1" in against(two, "4.14")[0][0]
    for release, most in (("4.14", 114), ("4.16", 119), ("4.17", 120), ("4.22", 120)):
        assert against(made(libxc.X86_CPUID_POLICY, bytes(24 * most)), release) == []
        assert len(against(made(libxc.X86_CPUID_POLICY, bytes(24 * most + 24)), release)) == 1


def leaves(*entries):
    return made(libxc.X86_CPUID_POLICY, b"".join(struct.pack("<6I", *entry, 0, 0, 0, 0) for entry in entries))


@pytest.mark.parametrize(
    ("entry", "taken", "refused"),
    [
        ((0x80000021, NO_SUBLEAF), ["4.16", "4.22"], ["4.14", "4.15"]),
        ((0x8000001C, NO_SUBLEAF), ["4.14", "4.22"], []),
        ((0x80000022, NO_SUBLEAF), [], ["4.14", "4.22"]),
        ((7, 1), ["4.14", "4.22"], []),
        ((7, 2), ["4.17", "4.22"], ["4.14", "4.16"]),
        ((13, 62), ["4.14", "4.22"], []),
    ],
)
def test_leaves_of_a_policy(entry, taken, refused):
    record = leaves((0, NO_SUBLEAF), entry)
    for release in taken:
        assert against(record, release) == [], release
    for release in refused:
        [(problem, certain)] = against(record, release)
        assert certain
        assert f"{entry[0]:#x}" in problem or f"subleaf {entry[1]} of CPUID leaf 7" in problem
    assert [one.hit.at for one in objections(record, Target.parse("4.12"))] == [0]  # it knows no such record


@pytest.mark.parametrize("name", ["xl-migrate-hvm", "pv-live-libxl", "hvm-colo-xl-420"])
def test_leaf_of_a_real_policy_that_415_does_not_take(name):
    found = "CPUID leaf 0x8000001d in the policy, it takes leaves up to 0x8000001c"
    for release, refused in (("4.14", True), ("4.15", True), ("4.16", False)):
        assert any(found in text for text in texts(name, release)) == refused


def sections(*parts):
    return made(libxc.HVM_CONTEXT, b"".join(struct.pack("<HHI", code, 0, len(body)) + body for code, body in parts))


@pytest.mark.parametrize(
    ("code", "length", "taken", "refused"),
    [
        (2, 1024, ["4.6", "4.22"], []),
        (2, 1032, ["4.7", "4.22"], ["4.6"]),
        (3, 8, ["4.6", "4.22"], []),
        (3, 16, [], ["4.6", "4.22"]),
        (5, 24, ["4.6", "4.22"], []),
        (5, 32, ["4.21"], ["4.17"]),
        (11, 16, ["4.6", "4.13", "4.14", "4.22"], []),
        (11, 24, ["4.14", "4.22"], ["4.6", "4.13"]),
        (15, 24, ["4.6"], []),
        (17, 216, ["4.13"], ["4.12"]),
        (18, 32, ["4.10"], ["4.9"]),
        (16, 599, [], ["4.6", "4.22"]),
        (16, 600, ["4.6", "4.22"], []),
        (21, 8, [], ["4.6", "4.22"]),
        (34, 8, [], ["4.6", "4.22"]),
    ],
)
def test_sections(code, length, taken, refused):
    record = sections((code, bytes(length)), (0, b""))
    for release in taken:
        assert against(record, release) == [], release
    for release in refused:
        assert [certain for _, certain in against(record, release)] == [True], release


def test_msrs_of_a_vcpu():
    body = struct.pack("<II", 2, 0) + struct.pack("<IIQIIQ", 0x48, 0, 1, 0x6E1, 0, 1)
    record = sections((20, body), (0, b""))
    assert against(record, "4.20") == []
    assert [certain for _, certain in against(record, "4.19")] == [False]
    assert len(against(record, "4.10")) == 2


# -- the release itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "4", "4.x", "4.17-rc1", "four", "4.5", "3.4", "4.17.1.2", "4." + "9" * 5000, "٤.١٧"]
)
def test_no_release(text):
    with pytest.raises(ValueError, match=r"release|legacy"):
        Target.parse(text)


@pytest.mark.parametrize("text", ["4.6", "4.17", "4.17.3", "5.0"])
def test_release(text):
    assert str(Target.parse(text)) == text


def test_origin_contradicts_itself():
    origin = Origin()
    origin.take(made(libxc.IMAGE_HEADER, struct.pack(">QIIHHI", (1 << 64) - 1, 0x58454E46, 3, 0, 0, 0)))
    origin.take(params(4))
    assert "no release writes all of this" in origin.text()
    assert Origin().text() == ""


def test_each_objection_is_said_once():
    script = Script.of(plain(guest(), passes=((1, 2), (3, 4))))
    patch(script.find("HVM_PARAMS"), 16, struct.pack("<Q", 38))
    found = findings_in(engine_batches(script.packets()), Checker(Target.parse("4.9")))
    rejected = [one.text for one in found if one.id == "release.rejected"]
    assert len(rejected) == len(set(rejected)) >= 4


def test_tables_are_in_order():
    for known in releases.SECTION_LENGTHS.values():
        assert known.lengths == tuple(sorted(known.lengths))
    assert tuple(sorted(releases.CPUID_LEAVES_MAX)) == releases.CPUID_LEAVES_MAX
    assert tuple(sorted(releases.CPUID_EXTENDED)) == releases.CPUID_EXTENDED
    assert tuple(sorted(releases.CPUID_FEATURES)) == releases.CPUID_FEATURES
    assert max(releases.HVM_PARAMS_SENT) < releases.HVM_PARAMS


def test_a_release_that_is_not_known_yet_is_taken_for_the_latest():
    assert "the latest that is known here is 4.22" in texts("pv-live-libxl", "4.23", "release.accepted")[0]
    assert "latest" not in texts("pv-live-libxl", "4.22", "release.accepted")[0]


@pytest.mark.parametrize("broken", [None, record(0x20, bytes(8)), record(1, bytes(8))])
def test_what_no_release_takes_is_not_called_accepted(broken):
    script = pv()
    if broken is not None:
        script.insert(script.find("X86_PV_VCPU_BASIC"), broken)
    found = findings_in(engine_batches(script.packets()), Checker(Target.parse("4.17")))
    assert [one.id for one in found if one.id == "release.accepted"] == ["release.accepted"] * (broken is None)
    assert any(one.severity == "error" for one in found) == (broken is not None)
