# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding record heads again: what a head looks like, when a chain of them is believed, what only looks like one."""

from __future__ import annotations

import random
import struct

import pytest

from captures import bodies
from captures.guests import Guest, colo, hvm, plain, pv64, remus, save
from captures.streams import BANNER, READY, REPORT
from dissector.spec import BY_NAME, BY_TYPE, libxc, libxl
from dissector.wire.limits import Limits
from dissector.wire.resync import Candidate, Search, head_pattern

LIMITS = Limits()


def record(type_id: int, body: bytes = b"", order: str = "<") -> bytes:
    return struct.pack(order + "II", type_id, len(body)) + body + bytes(-len(body) % 8)


def pages(count: int, first: int = 0, order: str = "<") -> bytes:
    """PAGE_DATA without contents."""
    entries = [0xF << 60 | first + n for n in range(count)]
    return record(1, struct.pack(f"{order}II{count}Q", count, 0, *entries), order)


TSC = record(8, struct.pack("<IIQII", 0, 2095078, 5, 1, 0))
HVM_CONTEXT = record(9, bodies.hvm_context(1))
HVM_PARAMS = record(10, bodies.hvm_params("<", bodies.HVM_PARAMS))
CHECKPOINT, CHECKPOINT_END, END = record(14), record(4), record(0)
EMULATOR = record(3, struct.pack("<II", 2, 0) + bodies.emulator_context(301))
NEW, SUSPENDED, SVM_READY, RESUMED = (record(5, struct.pack("<I", number)) for number in range(4))
GO = b"domain is yours, you are cleared to unpause\0"
FILLER = random.Random(4).randbytes(8000)


def searched(
    *parts: bytes | int,
    role: str | None = "forward",
    order: str = "little",
    alignment: int | None = None,
    chunk: int = 1448,
    limits: Limits = LIMITS,
) -> tuple[Search, Candidate | None]:
    """Search bytes; a number stands for so many lost bytes; the end comes at last."""
    search = Search(0, limits, role=role, order=order, alignment=alignment)
    for part in parts:
        if isinstance(part, int):
            found = search.gap(part, 1, None)
            if found is not None:
                return search, found
            continue
        for start in range(0, len(part), chunk):
            found = search.data(memoryview(part)[start : start + chunk], 1, None)
            if found is not None:
                return search, found
    return search, search.end(1, None)


def place(*parts: bytes | int, **more) -> int | None:
    """Where the chain begins that is believed."""
    found = searched(*parts, **more)[1]
    return found.start if found is not None else None


JUNK = {
    "zeros": bytes(50_000),
    "ones": b"\1\0\0\0\0\0\0\0" * 5000,
    "numbers": struct.pack("<5000Q", *range(5000)),
    "heads": b"".join(struct.pack("<II", n % 20, 24) for n in range(6000)),
    "structures": (struct.pack("<II", 8, 24) + bytes(24)) * 1000,
    "random": random.Random(9).randbytes(100_000),
    "checkpoints": b"\x0e\0\0\0\0\0\0\0" * 3000,
    "states": b"\4\0\0\0\0\0\0\0\5\0\0\0\4\0\0\0" * 2000,
    "pfns": struct.pack("<4000Q", *(0xF << 60 | n for n in range(4000))),
}
# -- what a head looks like -------------------------------------------------------------------------------------------

BODIES = {
    "X86_PV_INFO": bytes([8, 4, 0, 0, 0, 0, 0, 0]),
    "X86_PV_P2M_FRAMES": struct.pack("<II2Q", 0, 699, 5, 4),
    "X86_PV_VCPU_BASIC": struct.pack("<II", 1, 0) + bodies.vcpu_basic(8),
    "X86_PV_VCPU_EXTENDED": struct.pack("<II", 1, 0) + bodies.vcpu_extended(1),
    "X86_PV_VCPU_XSAVE": struct.pack("<II", 1, 0) + bodies.vcpu_xsave(),
    "X86_PV_VCPU_MSRS": struct.pack("<II", 1, 0) + bodies.vcpu_msrs(),
    "SHARED_INFO": bodies.shared_info(),
    "X86_CPUID_POLICY": bodies.cpuid_policy("<"),
    "X86_MSR_POLICY": bodies.msr_policy("<"),
    "CHECKPOINT_DIRTY_PFN_LIST": struct.pack("<2Q", 3, 9),
    "EMULATOR_XENSTORE_DATA": struct.pack("<II", 2, 0) + bodies.xenstore_data(),
}
WHOLE = {
    "PAGE_DATA": pages(5),
    "X86_TSC_INFO": TSC,
    "HVM_CONTEXT": HVM_CONTEXT,
    "HVM_PARAMS": HVM_PARAMS,
    "EMULATOR_CONTEXT": EMULATOR,
    "CHECKPOINT_STATE": NEW,
    "CHECKPOINT": CHECKPOINT,
    "CHECKPOINT_END": CHECKPOINT_END,
    "VERIFY": record(13),
    "STATIC_DATA_END": record(16),
    "LIBXC_CONTEXT": record(1),
}


@pytest.mark.parametrize("definition", BY_TYPE.values(), ids=[f"{layer} {number}" for layer, number in BY_TYPE])
def test_pattern_matches_what_xen_writes(definition):
    if definition.name in BODIES:
        data = record(definition.type_id, BODIES[definition.name])
    elif definition.name in WHOLE:
        data = WHOLE[definition.name]
    else:
        assert definition.name in ("END", "TOOLSTACK")
        return
    assert head_pattern(definition, "little").match(data + bytes(16))
    assert not head_pattern(definition, "little").match(b"\xff" * 24)
    assert not head_pattern(definition, "little").match(struct.pack("<II", 0x77, len(data) - 8) + data[8:])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("PAGE_DATA", struct.pack("<IIQ", 1, 1, 0)),
        ("PAGE_DATA", struct.pack("<IIQ", 0x10000, 0, 0)),
        ("X86_TSC_INFO", bytes(23)),
        ("X86_PV_INFO", b"\x0c\4" + bytes(6)),
        ("HVM_CONTEXT", bytes(32)),
        ("HVM_PARAMS", struct.pack("<II", 2, 2) + bytes(32)),
        ("X86_PV_VCPU_BASIC", bytes(99)),
    ],
)
def test_pattern_refuses_what_xen_never_writes(name, body):
    definition = BY_NAME["libxc", name]
    data = struct.pack("<II", definition.type_id, len(body)) + body
    assert not head_pattern(definition, "little").match(data + bytes(16))


def test_pattern_of_big_endian_streams():
    assert head_pattern(libxc.PAGE_DATA, "big").match(pages(5, order=">"))
    assert not head_pattern(libxc.PAGE_DATA, "big").match(pages(5))


def test_pattern_takes_the_largest_page_data():
    head = struct.pack("<IIII", 1, 4_202_504, 1024, 0)
    assert head_pattern(libxc.PAGE_DATA, "little").match(head)


# -- what is believed -------------------------------------------------------------------------------------------------


def test_page_data_and_what_follows():
    assert place(FILLER, pages(100), TSC, HVM_CONTEXT, HVM_PARAMS) == 8000


@pytest.mark.parametrize("chunk", [1, 7, 100, 1448, 1 << 20])
def test_any_segmentation(chunk):
    assert place(FILLER[:800], pages(30), TSC, HVM_CONTEXT, CHECKPOINT, chunk=chunk) == 800


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (TSC, (HVM_CONTEXT, HVM_PARAMS, END)),
        (HVM_CONTEXT, (HVM_PARAMS, END, EMULATOR)),
        (HVM_PARAMS, (CHECKPOINT, EMULATOR, CHECKPOINT_END)),
        (CHECKPOINT, (EMULATOR, CHECKPOINT_END, pages(5))),
        (EMULATOR, (CHECKPOINT_END, pages(50), TSC)),
        (EMULATOR, (CHECKPOINT_END, NEW, pages(50), TSC)),
        (record(17, bodies.cpuid_policy("<")), (record(18, bodies.msr_policy("<")), record(16), pages(50))),
        (record(13), (pages(50), pages(50), TSC)),
    ],
    ids=["TSC", "HVM_CONTEXT", "HVM_PARAMS", "CHECKPOINT", "EMULATOR", "EMULATOR COLO", "CPUID", "VERIFY"],
)
def test_other_records_that_can_be_proven(first, rest):
    assert place(FILLER, first, *rest) == 8000


def test_end_records_are_found_by_what_follows():
    assert place(FILLER, END, EMULATOR, END, GO) == 8000
    assert place(FILLER, END, GO) == 8000


def test_end_records_of_a_pv_guest():
    search = Search(0, LIMITS, role="forward", order="little", alignment=None)
    search.guest = "PV"
    assert search.data(memoryview(FILLER), 1, None) is None
    found = search.data(memoryview(END + END + GO), 1, None) or search.end(1, None)
    assert found is not None
    assert (found.start, [unit.name for unit in found.framer.units]) == (8000, ["END", "END", "GO"])


def test_nothing_is_believed_before_the_largest_page_data_is_passed():
    """It could lie in the page contents of the record whose head was lost."""
    search = Search(0, LIMITS, role="forward", order="little", alignment=None)
    assert search.data(memoryview(FILLER + pages(100) + TSC + pages(100)), 1, None) is None


def test_it_is_believed_behind_that():
    data = FILLER + pages(1000)
    search = Search(0, LIMITS, role="forward", order="little", alignment=None)
    found = None
    while found is None:
        found = search.data(memoryview(data), 1, None)
        data = pages(1000)
        assert search.position < 2 * libxc.LARGEST_PAGE_DATA
    assert found.start == 8000
    assert search.position > libxc.LARGEST_PAGE_DATA


def test_the_chain_that_begins_first_wins():
    """A single segment holds the end of the stream: the text of QEMU is found before the records in front of it."""
    assert place(FILLER, pages(100) + TSC + HVM_CONTEXT + HVM_PARAMS + END + EMULATOR + END + GO, chunk=1 << 20) == 8000


def test_vcpu_records_of_a_pv_guest_with_one_vcpu():
    """Six whole records in a row, as in pv-live-libxl, when the head of SHARED_INFO is lost."""
    head = struct.pack("<II", 0, 0)
    vcpu = (
        record(4, head + bodies.vcpu_basic(8)),
        record(5, head + bodies.vcpu_extended(0)),
        record(6, head + bodies.vcpu_xsave()),
        record(12, head + bodies.vcpu_msrs()),
    )
    assert place(FILLER, *vcpu, END, END) == 8000


def test_a_cut_body_is_evidence_too():
    assert place(FILLER, TSC, HVM_CONTEXT[:100]) == 8000


@pytest.mark.parametrize("role", ["forward", None])
@pytest.mark.parametrize("lost", [0, 700])
@pytest.mark.parametrize("name", JUNK)
def test_what_only_looks_like_records(name, lost, role):
    """Arrays of small numbers in guest memory."""
    data = JUNK[name]
    assert place(*((data, lost, data, lost, data) if lost else (data,)), role=role) is None


def test_a_single_weak_record_is_not_believed():
    for weak in (CHECKPOINT_END, CHECKPOINT, NEW, END, record(16), pages(1)):
        assert place(FILLER, weak) is None


def test_alignment_is_kept():
    """All records of libxl and libxc begin at the same offset modulo 8 (stream.md 1.4)."""
    chain = (pages(100), TSC, HVM_CONTEXT)
    assert place(FILLER, *chain, alignment=0) == 8000
    assert place(FILLER, *chain, alignment=3) is None
    assert place(FILLER[:3], *chain, alignment=3) == 3


def test_big_endian():
    chain = (pages(100, order=">"), record(8, struct.pack(">IIQII", 0, 2095078, 5, 1, 0), ">"))
    assert place(FILLER, *chain, order="big") == 8000
    assert place(FILLER, *chain) is None


# -- the back channel -------------------------------------------------------------------------------------------------

BACK = (SVM_READY, RESUMED, SUSPENDED, record(15, struct.pack("<3Q", 3, 4, 9)), SVM_READY, RESUMED)
LIST = struct.pack("<300Q", *range(1000, 1600, 2))


@pytest.mark.parametrize("first", range(len(BACK)))
def test_one_whole_head_is_enough_in_the_reverse_direction(first):
    if BACK[first][0] == 15:
        return
    assert place(LIST, *BACK[first:], role="reverse") == len(LIST)


def test_the_states_tell_the_direction():
    """NEW goes forward, the others come back (stream.md 3.3)."""
    search, found = searched(FILLER, *BACK, role=None)
    assert found is not None
    assert (found.role, found.start) == ("reverse", 8000)
    search, found = searched(FILLER, EMULATOR, CHECKPOINT_END, NEW, pages(50), TSC, role=None)
    assert found is not None
    assert (found.role, found.start) == ("forward", 8000)
    assert search.role is None


def test_states_out_of_order_are_no_back_channel():
    assert place(FILLER, RESUMED, SVM_READY, SUSPENDED, SUSPENDED, role=None) is None


def test_forward_records_are_not_looked_for_in_the_reverse_direction():
    assert place(LIST, pages(100), TSC, HVM_CONTEXT, role="reverse") is None


@pytest.mark.parametrize("text", [BANNER, READY, REPORT])
def test_texts_of_the_receiver(text):
    assert place(b"\0" * 40, text, b"\0", role="reverse") == 40


@pytest.mark.parametrize("stray", [0, 8, 4])
def test_lists_with_any_header(stray):
    body = struct.pack("<2Q", 5, 9)
    rows = struct.pack("<II", 15, 16) + bytes(stray) + body
    found = searched(LIST, SUSPENDED, rows, SVM_READY, RESUMED, role="reverse")[1]
    assert found is not None
    assert found.start == len(LIST)


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_candidates_are_bounded():
    limits = Limits(max_candidates=3)
    heads = b"".join(struct.pack("<IIII", 1, 8 + 8 * 1000, 1000, 0) for _ in range(100))
    search = Search(0, limits, role="forward", order="little", alignment=None)
    search.data(memoryview(heads + bytes(100)), 1, None)
    assert len(search.candidates) <= 3
    assert search.crowded


def test_without_scanning_only_chains_that_are_known_go_on():
    search = Search(0, LIMITS, role="forward", order="little", alignment=None)
    search.data(memoryview(pages(100)), 1, None)
    (candidate,) = search.candidates
    search.data(memoryview(TSC + HVM_CONTEXT + pages(5)), 1, None, scan=False)
    assert search.candidates == [candidate]
    assert candidate.framer.heads == 4
    search.data(memoryview(TSC), 1, None)
    assert (search.position, search._scanned <= search.position) == (candidate.framer.position, True)


def test_search_goes_on_behind_what_is_lost():
    search = Search(100, LIMITS, role="forward", order="little", alignment=None)
    search.skip_to(500)
    search.data(memoryview(pages(100) + TSC + HVM_CONTEXT), 1, None)
    found = search.end(1, None)
    assert found is not None
    assert (search.start, found.start) == (100, 500)


# -- whole streams ----------------------------------------------------------------------------------------------------

TALKS = {
    "plain": plain(Guest(pages=40), passes=((1, 2, 3),)),
    "pv": plain(pv64(), "libxl", passes=((1, 2, 3),)),
    "remus": remus(hvm(pages=44), ((5,), (3, 4), (1,))),
    "colo": colo(hvm(pages=44), ((5,), (3, 4), (1,))),
    "file": save(Guest(pages=40), "libxc"),
}


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_chain_from_any_place_of_a_stream_is_a_true_one(name, direction):
    """Start to search anywhere: what is found are records of the stream, from there to its end."""
    half = TALKS[name].half(direction)
    data = bytes(half.data)
    true = {(one["offset"], one["type"], one["size"]) for one in half.records}
    for seed in range(25 if data else 0):
        begin = random.Random(f"{name} {seed}").randrange(len(data))
        search = Search(begin, LIMITS, role=direction, order="little", alignment=None)
        found = None
        for start in range(begin, len(data), 1448):
            found = found or search.data(memoryview(data)[start : start + 1448], 1, None)
        found = found or search.end(1, None)
        if found is None:
            continue
        for unit in found.framer.units:
            assert (unit.offset, unit.name, unit.size) in true


def test_libxl_records_are_told_from_libxc_records():
    """Type numbers overlap; what comes next decides."""
    found = searched(FILLER, EMULATOR, CHECKPOINT_END, pages(50), TSC)[1]
    assert found is not None
    assert [(u.definition.layer, u.name) for u in found.framer.units][:3] == [
        ("libxl", "EMULATOR_CONTEXT"),
        ("libxl", "CHECKPOINT_END"),
        ("libxc", "PAGE_DATA"),
    ]
    assert libxl.EMULATOR_CONTEXT.type_id == libxc.X86_PV_P2M_FRAMES.type_id
