# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases about the stream itself: guest types, modes, failures, odd records. All over clean connections."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

from captures import bodies
from captures.guests import Guest, colo, first_pass, handover, hvm, noise, plain, pv64, remus, save
from captures.network import Host, Link
from captures.streams import Conversation
from captures.table import Made, case, connection, image

LIBVIRT = Link(receiver=Host("192.0.2.2", 49152, b"\x00\x16\x3e\x00\x00\x0b"))


@case
def xl_hvm_v3() -> Made:
    """Plain HVM, v3, whole xl conversation; batches of 1024, mostly XTAB; two vcpus; a few random pages."""
    guest = Guest(pages=2100, vcpus=2, types=dict.fromkeys(range(40, 2090), "XTAB"))
    guest.contents = lambda pfn, generation: (
        noise(pfn, generation) if pfn in (3, 2095) else struct.pack("<Q", pfn) * 512
    )
    return connection(plain(guest, passes=((3, 5, 2095), (5,))))


@case
def xl_hvm_v2() -> Made:
    """Plain HVM, v2 stream of Xen 4.13: no static data records."""
    return connection(plain(hvm(version=2, xen=(4, 13))))


@case
def xl_pv64_v3() -> Made:
    """64-bit PV, v3: P2M frames, page tables (one pinned), BROKEN and XTAB, all four vcpu records, two vcpus."""
    return connection(plain(pv64()))


@case
def xl_pv32_v2() -> Made:
    """32-bit PV, v2: three levels, short vcpu context."""
    guest = Guest(kind="pv", name="pv32", width=4, version=2, xen=(4, 13), types={30: "L3TAB_PINNED", 31: "L2TAB"})
    return connection(plain(guest))


@case
def xl_pvh() -> Made:
    """PVH: the domain header says HVM, no emulator records, libxc END and libxl END adjacent."""
    return connection(plain(hvm(kind="pvh", name="pvh", xen=(4, 19))))


@case
def xl_hvm_debug_verify() -> Made:
    """Migrate --debug: VERIFY and a second full pass."""
    return connection(plain(hvm(), verify=True))


@case
def xl_hvm_xenstore() -> Made:
    """EMULATOR_XENSTORE_DATA, EMULATOR_CONTEXT with 3 bytes of padding."""
    return connection(plain(hvm(xenstore=True, emulator_bytes=1021)))


@case
def xl_target_fails() -> Made:
    """Target fails: status 3 (ERROR_FAIL), then the permission to resume handed back."""
    return connection(plain(hvm(), status=3))


@case
def xl_receiver_rejects() -> Made:
    """Receiver rejects the stream: it closes first, no byte after the banner; the sender stops inside PAGE_DATA."""
    conversation = plain(hvm())
    conversation.forward.cut(conversation.find("PAGE_DATA")["offset"] + 30_000)
    conversation.reverse.cut(54)
    return connection(conversation, Link(close="reverse-fin"), mode="unknown")


@case
def xl_source_fails() -> Made:
    """Source fails: FIN inside the PAGE_DATA of the second pass."""
    conversation = plain(hvm())
    conversation.forward.cut(conversation.find("PAGE_DATA", 1)["offset"] + 9_000)
    conversation.reverse.cut(54)
    return connection(conversation, mode="unknown")


@case
def remus_hvm_xl() -> Made:
    """Remus, HVM, xl: three checkpoints, RST inside the fourth; the reverse direction is only the banner."""
    conversation = remus(hvm(), ((5, 8), (3, 4), (1, 2, 3), (9, 10)))
    conversation.forward.cut(conversation.find("HVM_CONTEXT", 3)["offset"] + 100)
    return connection(conversation, Link(close="rst"))


@case
def remus_pv_libxl() -> Made:
    """Remus, 64-bit PV, bare libxl stream: checkpoints without libxl records but CHECKPOINT_END."""
    return connection(remus(pv64(), ((5,), (3, 41), (1,)), wrap="libxl"), replace(LIBVIRT, close="rst"))


@case
def remus_empty_checkpoint() -> Made:
    """Remus: a checkpoint without dirty pages starts with X86_TSC_INFO."""
    return connection(remus(hvm(), ((5,), (), (), (7,))), Link(close="none"))


@case
def remus_46_end() -> Made:
    """Remus of Xen 4.6: libxc END after checkpoints, then libxl goes on to its END."""
    guest = hvm(version=2, xen=(4, 6))
    conversation = remus(guest, ((5,), (3, 4)))
    half = conversation.forward
    half.libxc("END")
    guest.emulator(half)
    half.libxl("END")
    return connection(conversation)


@case
def colo_header_8() -> Made:
    """COLO, 8-byte list header (4.7-4.17); the second list is empty."""
    return connection(colo(hvm(), ((1, 5, 9), (), (7,))), Link(close="rst"))


@case
def colo_header_16() -> Made:
    """COLO, 16-byte list header (4.18+) and a primary that copes with it; the second list is empty."""
    return connection(colo(hvm(xen=(4, 19)), ((1, 5, 9), (), (7,)), 16), Link(close="rst"))


@case
def colo_header_12() -> Made:
    """COLO, 12-byte list header (4.18+ secondary with a 32-bit toolstack); the last list is empty."""
    return connection(colo(hvm(xen=(4, 19)), ((1, 5, 9), (4, 6), ()), 12), Link(close="rst"))


@case
def colo_list_cut() -> Made:
    """COLO: the capture ends inside a list with 8-byte header."""
    guest = hvm(pages=500)
    guest.types.update(dict.fromkeys(range(20, 500), "XTAB"))
    conversation = colo(guest, ((1, 5), list(range(400)), (1,)))
    second = conversation.find("CHECKPOINT_DIRTY_PFN_LIST", 1, "reverse")

    from captures.damage import until

    return connection(conversation, thin=lambda p: until(p, "reverse", second["offset"] + 1500), clip=True)


@case
def colo_list_last_16() -> Made:
    """COLO 4.18+: the primary gives up after its second checkpoint; the list ends the back channel."""
    conversation = colo(hvm(xen=(4, 19)), ())
    guest, half, back = hvm(generation=3), conversation.forward, conversation.reverse
    half.state("NEW")
    back.state("SVM_SUSPENDED")
    back.dirty_pfns((3, 6, 11, 12), 16)
    guest.checkpoint(half, (0, 3, 6, 11))
    return connection(conversation)


@case
def libxl_hvm_silent_reverse() -> Made:
    """Libvirt: bare libxl stream, nothing at all in the reverse direction."""
    return connection(plain(hvm(), wrap="libxl"), LIBVIRT)


@case
def libxc_bare() -> Made:
    """Bare libxc stream over TCP."""
    return connection(plain(hvm(), wrap="libxc"), Link(receiver=Host("192.0.2.2", 9999)))


@case
def save_image() -> Made:
    """Xl save image: a plain file of forward bytes."""
    return image(save(hvm()), ".save.gz")


@case
def libxl_file() -> Made:
    """Bare libxl stream in a file."""
    return image(save(hvm(), "libxl"), ".libxl.gz")


@case
def libxc_file() -> Made:
    """Bare libxc stream in a file, 64-bit PV."""
    return image(save(pv64(), "libxc"), ".libxc.gz")


def legacy_hvm64() -> bytes:
    """Build a legacy libxc stream: p2m size, one batch, chunk ids, end, HVM tail."""
    pfns = list(range(16))
    out = struct.pack("<Qi", 0x100, len(pfns)) + struct.pack("<16Q", *pfns)
    out += b"".join(struct.pack("<Q", pfn) * 512 for pfn in pfns)
    out += struct.pack("<iIQ", -3, 0, 0xFEFFE000) + struct.pack("<iIQ", -8, 0, 0xFEFFF) + struct.pack("<i", 0)
    context, device = bodies.hvm_context(1), bodies.emulator_context(300)
    out += struct.pack("<3QI", 0xFEFFB, 0xFEFFA, 0xFEFFC, len(context)) + context
    return out + b"DeviceModelRecord0002" + struct.pack("<I", len(device)) + device


@case
def legacy_xl_45() -> Made:
    """Xen 4.5: xl header with flags 1 (JSON, no STREAMv2), then a legacy stream."""
    conversation = Conversation(mode="unknown")
    conversation.reverse.message("BANNER")
    conversation.forward.xl_header(bodies.config_json("old", "hvm", 256), flags=1)
    conversation.forward.raw(legacy_hvm64())
    handover(conversation)
    del conversation.forward.records[2:]
    return connection(conversation, notes={"legacy": "xl flags"})


@case
def legacy_libxc_hvm64() -> Made:
    """Legacy libxc stream of a 64-bit HVM guest in a file."""
    conversation = Conversation(mode="unknown")
    conversation.forward.raw(legacy_hvm64())
    return image(conversation, ".legacy.gz", legacy="libxc, 64-bit, hvm")


@case
def legacy_linux_guest_record() -> Made:
    """Xend/xm save file: LinuxGuestRecord, BE length, S-expression, legacy stream."""
    config = b"(domain (name old) (memory 1) (image (hvm (kernel hvmloader))))"
    conversation = Conversation(mode="unknown")
    conversation.forward.raw(b"LinuxGuestRecord" + struct.pack(">i", len(config)) + config + legacy_hvm64())
    return image(conversation, ".xmsave.gz", legacy="LinuxGuestRecord")


@case
def converted() -> Made:
    """Converted stream: libxl option bit 1, xen_major 0, emulator id 0, XALLOC, holes left out, two HVM_PARAMS."""
    guest, conversation = hvm(), Conversation()
    half = conversation.forward
    half.libxl_header(2)
    half.libxl("LIBXC_CONTEXT")
    half.libxc_headers(2, 3, (0, 1))
    half.libxc("STATIC_DATA_END")
    guest.types = {9: "XALLOC", 10: "XALLOC"}
    guest.memory(half, [*range(32), *range(40, 48)])
    for params in (bodies.HVM_PARAMS[9:], bodies.HVM_PARAMS[:3]):
        facts = [list(pair) for pair in params]
        half.libxc("HVM_PARAMS", bodies.hvm_params("<", params), count=len(params), params=facts)
    tsc = {"mode": 0, "khz": 0, "nsec": 0, "incarnation": 0}
    half.libxc("X86_TSC_INFO", struct.pack("<IIQII", *tsc.values(), 0), **tsc)
    half.libxc("HVM_CONTEXT", bodies.hvm_context(1))
    half.libxc("END")
    half.emulator("EMULATOR_CONTEXT", bodies.emulator_context(300), emulator_id=0)
    half.libxl("END")
    return image(conversation, ".libxl.gz")


@case
def unknown_records() -> Made:
    """Unknown optional libxc record 0x80000013 and unknown mandatory record 0x13, valid records after both."""
    guest, conversation = hvm(), Conversation()
    half = first_pass(conversation, guest, "xl", ())
    half.libxc_unknown(0x80000013, random.Random(1).randbytes(21))
    guest.memory(half, (4, 5))
    half.libxc_unknown(0x13, random.Random(2).randbytes(16))
    guest.tail(half)
    half.libxc("END")
    guest.emulator(half)
    half.libxl("END")
    handover(conversation)
    return connection(conversation)


@case
def big_endian() -> Made:
    """Big-endian option set in both headers: everything after them is big-endian."""
    return connection(plain(hvm(options=1), wrap="libxl"), LIBVIRT)
