# SPDX-License-Identifier: GPL-2.0-or-later
"""What is inside the state of a PV guest: vcpu contexts, XSAVE areas, the shared info page (payloads.md 2.3, 2.4).

Each exists in two widths, that of the guest. Frame references in it are pfns, which the sender made of frame numbers.
"""

from __future__ import annotations

from dissector.spec.cpu import RFLAGS, XSTATE
from dissector.spec.model import Array, Bytes, Choice, Field, Flags, Layout, Length, Numbers, Skip

_VCPU_SECTION = "payloads 2.3"
_SHARED_SECTION = "payloads 2.4"

VCPU_FLAGS = Flags(
    "vcpu_flags",
    {0: "I387_VALID", 2: "IN_KERNEL", 3: "FAILSAFE_DISABLES_EVENTS", 4: "SYSCALL_DISABLES_EVENTS", 5: "ONLINE"},
    _VCPU_SECTION,
)


def _general(names: str, size: int) -> tuple[Field, ...]:
    assert size in (4, 8)
    return tuple(Field(name, 8 if size == 8 else 4, "general register", hexadecimal=True) for name in names.split())


def _selectors(names: str, pad: int) -> tuple[Field | Skip, ...]:
    pairs = ((Field(name, 2, "selector", hexadecimal=True), Skip(pad)) for name in names.split())
    return tuple(element for pair in pairs for element in pair)


CONTEXT_64 = Layout(
    "CONTEXT_64",
    "vcpu_guest_context of a 64-bit guest",
    _VCPU_SECTION,
    (
        Bytes("fpu_ctxt", "FXSAVE image", 512),
        Field("flags", 8, "state of the vcpu", VCPU_FLAGS, hexadecimal=True),
        *_general("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi", 8),
        Field("error_code", 4, "of the last exception", hexadecimal=True),
        Field("entry_vector", 4, "its vector", hexadecimal=True),
        Field("rip", 8, "instruction pointer", hexadecimal=True),
        *_selectors("cs", 2),
        Field("saved_upcall_mask", 1, "events were masked"),
        Skip(3),
        Field("rflags", 8, "flags", RFLAGS, hexadecimal=True),
        Field("rsp", 8, "stack pointer", hexadecimal=True),
        *_selectors("ss es ds fs gs", 6),
        Bytes("trap_ctxt", "exception handlers", 256 * 16),
        Field("ldt_base", 8, "descriptor table", hexadecimal=True),
        Field("ldt_ents", 8, "its entries"),
        Numbers("gdt_frames", 8, 16, "pfns of the descriptor table", hexadecimal=True),
        Field("gdt_ents", 8, "its entries"),
        Field("kernel_ss", 8, "kernel stack", hexadecimal=True),
        Field("kernel_sp", 8, "kernel stack", hexadecimal=True),
        Numbers("ctrlreg", 8, 8, "cr0 to cr7; 3: pfn of the page tables, 1: of those of user space", hexadecimal=True),
        Numbers("debugreg", 8, 8, "dr0 to dr7", hexadecimal=True),
        Field("event_callback_eip", 8, "entry point", hexadecimal=True),
        Field("failsafe_callback_eip", 8, "entry point", hexadecimal=True),
        Field("syscall_callback_eip", 8, "entry point", hexadecimal=True),
        Field("vm_assist", 8, "what Xen does for the guest", hexadecimal=True),
        Field("fs_base", 8, "base", hexadecimal=True),
        Field("gs_base_kernel", 8, "base", hexadecimal=True),
        Field("gs_base_user", 8, "base", hexadecimal=True),
    ),
    Length(exact=(5168,)),
)

CONTEXT_32 = Layout(
    "CONTEXT_32",
    "vcpu_guest_context of a 32-bit guest",
    _VCPU_SECTION,
    (
        Bytes("fpu_ctxt", "FXSAVE image", 512),
        Field("flags", 4, "state of the vcpu", VCPU_FLAGS, hexadecimal=True),
        *_general("ebx ecx edx esi edi ebp eax", 4),
        Field("error_code", 2, "of the last exception", hexadecimal=True),
        Field("entry_vector", 2, "its vector", hexadecimal=True),
        Field("eip", 4, "instruction pointer", hexadecimal=True),
        Field("cs", 2, "selector", hexadecimal=True),
        Field("saved_upcall_mask", 1, "events were masked"),
        Skip(1),
        Field("eflags", 4, "flags", RFLAGS, hexadecimal=True),
        Field("esp", 4, "stack pointer", hexadecimal=True),
        *_selectors("ss es ds fs gs", 2),
        Bytes("trap_ctxt", "exception handlers", 256 * 8),
        Field("ldt_base", 4, "descriptor table", hexadecimal=True),
        Field("ldt_ents", 4, "its entries"),
        Numbers("gdt_frames", 4, 16, "pfns of the descriptor table", hexadecimal=True),
        Field("gdt_ents", 4, "its entries"),
        Field("kernel_ss", 4, "kernel stack", hexadecimal=True),
        Field("kernel_sp", 4, "kernel stack", hexadecimal=True),
        Numbers("ctrlreg", 4, 8, "cr0 to cr7; 3: page tables, as pfn << 12 | pfn >> 20", hexadecimal=True),
        Numbers("debugreg", 4, 8, "dr0 to dr7", hexadecimal=True),
        Field("event_callback_cs", 4, "entry point", hexadecimal=True),
        Field("event_callback_eip", 4, "entry point", hexadecimal=True),
        Field("failsafe_callback_cs", 4, "entry point", hexadecimal=True),
        Field("failsafe_callback_eip", 4, "entry point", hexadecimal=True),
        Field("vm_assist", 4, "what Xen does for the guest", hexadecimal=True),
    ),
    Length(exact=(2800,)),
)

INSIDE_CONTEXT = Choice("length", {5168: CONTEXT_64, 2800: CONTEXT_32})

XSAVE = Layout(
    "XSAVE",
    "XSAVE image in standard format",
    _VCPU_SECTION,
    (
        Bytes("fpu_sse", "FXSAVE image", 512),
        Field("xstate_bv", 8, "components that are not in their initial state", XSTATE, hexadecimal=True),
        Field("xcomp_bv", 8, "zero: not compacted", hexadecimal=True),
        Skip(48),
        Bytes("extended", "extended components, by their offsets in CPUID leaf 0xd"),
    ),
    Length(minimum=576),
)

INSIDE_XSAVE = Choice("prefix", {b"": XSAVE})

_TIME = (
    Field("version", 4, "odd while it is written"),
    Skip(4),
    Field("tsc_timestamp", 8, "TSC when the time was taken"),
    Field("system_time", 8, "nanoseconds then"),
    Field("tsc_to_system_mul", 4, "factor", hexadecimal=True),
    Field("tsc_shift", 1, "shift, a signed number", hexadecimal=True),
    Field("time_flags", 1, "bit 0: the TSC is stable", hexadecimal=True),
    Skip(2),
)
_UPCALL = (
    Field("evtchn_upcall_pending", 1, "an event waits"),
    Field("evtchn_upcall_mask", 1, "events are masked"),
)

SHARED_INFO_64 = Layout(
    "SHARED_INFO_64",
    "shared info of a 64-bit guest",
    _SHARED_SECTION,
    (
        Array(
            "vcpu_info",
            "vcpus",
            (
                *_UPCALL,
                Skip(6),
                Field("evtchn_pending_sel", 8, "words of the bitmap with events", hexadecimal=True),
                Field("cr2", 8, "address of the last page fault", hexadecimal=True),
                Skip(8),
                *_TIME,
            ),
            count=32,
        ),
        Bytes("evtchn_pending", "bit per event channel", 512),
        Bytes("evtchn_mask", "bit per event channel", 512),
        Field("wc_version", 4, "odd while it is written"),
        Field("wc_sec", 4, "wall clock at boot, seconds"),
        Field("wc_nsec", 4, "and nanoseconds"),
        Field("wc_sec_hi", 4, "upper half of the seconds"),
        Field("max_pfn", 8, "highest pfn of the guest", hexadecimal=True),
        Field("pfn_to_mfn_frame_list_list", 8, "root of the guest's p2m tree", hexadecimal=True),
        Field("nmi_reason", 8, "why an NMI came", hexadecimal=True),
        Field("p2m_cr3", 8, "page tables of the linear p2m; 0: the tree is used", hexadecimal=True),
        Field("p2m_vaddr", 8, "where the linear p2m is", hexadecimal=True),
        Field("p2m_generation", 8, "odd while the p2m is changed"),
    ),
    Length(exact=(4096,)),
)

SHARED_INFO_32 = Layout(
    "SHARED_INFO_32",
    "shared info of a 32-bit guest",
    _SHARED_SECTION,
    (
        Array(
            "vcpu_info",
            "vcpus",
            (
                *_UPCALL,
                Skip(2),
                Field("evtchn_pending_sel", 4, "words of the bitmap with events", hexadecimal=True),
                Field("cr2", 4, "address of the last page fault", hexadecimal=True),
                Skip(20),
                *_TIME,
            ),
            count=32,
        ),
        Bytes("evtchn_pending", "bit per event channel", 128),
        Bytes("evtchn_mask", "bit per event channel", 128),
        Field("wc_version", 4, "odd while it is written"),
        Field("wc_sec", 4, "wall clock at boot, seconds"),
        Field("wc_nsec", 4, "and nanoseconds"),
        Field("max_pfn", 4, "highest pfn of the guest", hexadecimal=True),
        Field("pfn_to_mfn_frame_list_list", 4, "root of the guest's p2m tree", hexadecimal=True),
        Field("nmi_reason", 4, "why an NMI came", hexadecimal=True),
        Field("p2m_cr3", 4, "page tables of the linear p2m; 0: the tree is used", hexadecimal=True),
        Field("p2m_vaddr", 4, "where the linear p2m is", hexadecimal=True),
        Field("p2m_generation", 4, "odd while the p2m is changed"),
        Field("wc_sec_hi", 4, "upper half of the seconds"),
    ),
    Length(exact=(4096,)),
)

INSIDE_SHARED_INFO = Choice("zeros", {2344: SHARED_INFO_32, 3136: SHARED_INFO_64})
"""The width is not in the record. That of a 32-bit guest is shorter, and the rest of the page is zero."""
