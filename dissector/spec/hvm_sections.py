# SPDX-License-Identifier: GPL-2.0-or-later
"""What is inside the save sections of an HVM_CONTEXT (payloads.md 1.3 and 1.4).

The layout is that of the 64-bit ABI whatever the guest is; sections have grown at their end only.
"""

from __future__ import annotations

from dissector.spec.cpu import APIC_BASE, CR0, CR4, EFER, LAPIC_DISABLED, MSR, MSR_VALUE, RFLAGS, XSTATE
from dissector.spec.hvm import HVM_SAVE_TYPE
from dissector.spec.model import Array, Bytes, Choice, Field, Flags, Layout, Length, Numbers, Skip

HVM_SAVE_MAGIC = 0x5438_1286

_SECTION = "payloads 1.4"


def _u64(names: str, meaning: str) -> tuple[Field, ...]:
    return tuple(Field(name, 8, meaning, hexadecimal=True) for name in names.split())


def _u32(names: str, meaning: str) -> tuple[Field, ...]:
    return tuple(Field(name, 4, meaning, hexadecimal=True) for name in names.split())


def _u8(names: str, meaning: str) -> tuple[Field, ...]:
    return tuple(Field(name, 1, meaning, hexadecimal=True) for name in names.split())


HEADER = Layout(
    "HEADER",
    "which Xen wrote this, and on what",
    _SECTION,
    (
        Field("magic", 4, "0x54381286", const=HVM_SAVE_MAGIC, hexadecimal=True),
        Field("version", 4, "version of the format, always 1", const=1),
        Field("changeset", 8, "meant to be Xen's changeset; 0 or all ones in practice", hexadecimal=True),
        Field("cpuid", 4, "CPUID leaf 1 EAX of the sending host: family, model, stepping", hexadecimal=True),
        Field("gtsc_khz", 4, "TSC frequency of the guest, kHz"),
    ),
    Length(exact=(24,)),
    brief=True,
)

_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr")
_TABLES = ("idtr", "gdtr")

CPU_FLAGS = Flags("cpu_flags", {0: "FPU_INITIALISED"}, _SECTION)

CPU = Layout(
    "CPU",
    "registers of a vcpu that is online",
    _SECTION,
    (
        Bytes("fpu_regs", "FXSAVE image", 512),
        *_u64("rax rbx rcx rdx rbp rsi rdi rsp r8 r9 r10 r11 r12 r13 r14 r15 rip", "general register"),
        Field("rflags", 8, "flags", RFLAGS, hexadecimal=True),
        Field("cr0", 8, "control register", CR0, hexadecimal=True),
        *_u64("cr2 cr3", "control register"),
        Field("cr4", 8, "control register", CR4, hexadecimal=True),
        *_u64("dr0 dr1 dr2 dr3 dr6 dr7", "debug register"),
        *_u32(" ".join(f"{name}_sel" for name in _SEGMENTS), "selector"),
        *_u32(" ".join(f"{name}_limit" for name in (*_SEGMENTS, *_TABLES)), "limit"),
        *_u64(" ".join(f"{name}_base" for name in (*_SEGMENTS, *_TABLES)), "base"),
        *_u32(
            " ".join(f"{name}_arbytes" for name in _SEGMENTS),
            "access rights: type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, DB 10, G 11",
        ),
        *_u64("sysenter_cs sysenter_esp sysenter_eip", "sysenter"),
        Field("shadow_gs", 8, "KERNEL_GS_BASE", hexadecimal=True),
        Field("msr_flags", 8, "obsolete, ignored", hexadecimal=True),
        *_u64("msr_lstar msr_star msr_cstar msr_syscall_mask", "system call"),
        Field("msr_efer", 8, "extended features", EFER, hexadecimal=True),
        Field("msr_tsc_aux", 8, "what RDTSCP gives besides", hexadecimal=True),
        Field("tsc", 8, "time stamp counter as the guest sees it"),
        Field(
            "pending_event",
            4,
            "vector 0-7, type 8-10, error_code valid 11, event valid 31",
            hexadecimal=True,
        ),
        Field("error_code", 4, "of the pending event", hexadecimal=True),
        Field("flags", 4, "bit 0: the FPU was used (Xen 4.7 on)", CPU_FLAGS, hexadecimal=True),
        Field("pad0", 4, "zero, or the load fails", reserved=True),
    ),
    Length(exact=(1032, 1024)),
    {1032: "4.7 on", 1024: "4.0 to 4.6", 1016: "before 3.4"},
)

PIC_FLAGS = Flags(
    "pic_flags",
    {
        0: "READSEL_ISR",
        1: "POLL",
        2: "AUTO_EOI",
        3: "ROTATE_ON_AUTO_EOI",
        4: "SPECIAL_FULLY_NESTED",
        5: "SPECIAL_MASK",
        6: "IS_MASTER",
    },
    _SECTION,
)

PIC = Layout(
    "PIC",
    "interrupt controller, instance 0 master, 1 slave",
    _SECTION,
    (
        *_u8("irr imr isr", "bit per line"),
        Field("irq_base", 1, "vector of line 0", hexadecimal=True),
        Field("state", 1, "initialisation 0-3, priority 4-7", hexadecimal=True),
        Field("flags", 1, "modes", PIC_FLAGS, hexadecimal=True),
        Field("elcr", 1, "lines that are level triggered", hexadecimal=True),
        Field("int_output", 1, "an interrupt is raised"),
    ),
    Length(exact=(8,)),
)

REDIRECTION = Flags("redirection", {3: "LOGICAL", 4: "PENDING", 5: "ACTIVE_LOW", 6: "REMOTE_IRR", 7: "LEVEL"}, _SECTION)
MASKED = Flags("masked", {0: "MASKED"}, _SECTION)

IOAPIC = Layout(
    "IOAPIC",
    "interrupt controller",
    _SECTION,
    (
        Field("base_address", 8, "guest physical address", hexadecimal=True),
        Field("ioregsel", 4, "selected register", hexadecimal=True),
        Field("id", 4, "its APIC id"),
        Array(
            "redirtbl",
            "redirections",
            (
                Field("vector", 1, "vector", hexadecimal=True),
                Field("delivery", 1, "delivery mode 0-2, and flags", REDIRECTION, hexadecimal=True),
                Field("mask", 1, "bit 0: masked", MASKED, hexadecimal=True),
                Skip(4),
                Field("dest_id", 1, "to which APIC", hexadecimal=True),
            ),
            count=48,
        ),
    ),
    Length(exact=(400,)),
)

LAPIC = Layout(
    "LAPIC",
    "local interrupt controller of a vcpu, besides its registers",
    _SECTION,
    (
        Field("apic_base_msr", 8, "base address and mode", APIC_BASE, hexadecimal=True),
        Field("disabled", 4, "1: by hardware, 2: by software", LAPIC_DISABLED),
        Field("timer_divisor", 4, "timer divisor"),
        Field("tdt_msr", 8, "TSC deadline (Xen 4.1 on)", hexadecimal=True),
        Field("pending_esr", 4, "error status to come (Xen 4.18.5, 4.19.2, 4.20.1, 4.21 on)", hexadecimal=True),
        Skip(4),
    ),
    Length(exact=(32, 24, 16)),
    {32: "4.18.5, 4.19.2, 4.20.1, 4.21 on", 24: "4.1 on", 16: "4.0"},
)


def _registers(places: dict[int, tuple[str, str, int]], size: int) -> tuple[Field | Numbers | Skip, ...]:
    """Place 32-bit registers that lie 16 bytes apart: offset -> name, meaning, how many."""
    found: list[Field | Numbers | Skip] = []
    at = 0
    for place, (name, meaning, count) in places.items():
        for index in range(count):
            if place + 16 * index > at:
                found.append(Skip(place + 16 * index - at))
            number = str(index) if count > 1 else ""
            found.append(Field(f"{name}{number}", 4, meaning, hexadecimal=True))
            at = place + 16 * index + 4
    return (*found, Skip(size - at))


LAPIC_REGS = Layout(
    "LAPIC_REGS",
    "registers of the local interrupt controller of a vcpu",
    _SECTION,
    _registers(
        {
            0x20: ("apic_id", "APIC id, in its upper byte", 1),
            0x30: ("lvr", "version", 1),
            0x80: ("tpr", "task priority", 1),
            0xA0: ("ppr", "processor priority", 1),
            0xD0: ("ldr", "logical destination", 1),
            0xE0: ("dfr", "destination format", 1),
            0xF0: ("spiv", "spurious vector; bit 8: enabled by software", 1),
            0x100: ("isr", "vectors in service", 8),
            0x180: ("tmr", "vectors that are level triggered", 8),
            0x200: ("irr", "vectors that are requested", 8),
            0x280: ("esr", "error status", 1),
            0x2F0: ("lvtcmci", "vector of corrected machine checks", 1),
            0x300: ("icr", "interrupt command", 1),
            0x310: ("icr2", "interrupt command, destination", 1),
            0x320: ("lvtt", "vector of the timer", 1),
            0x330: ("lvtthmr", "vector of the thermal sensor", 1),
            0x340: ("lvtpc", "vector of performance counters", 1),
            0x350: ("lvt0", "vector of LINT0", 1),
            0x360: ("lvt1", "vector of LINT1", 1),
            0x370: ("lvterr", "vector of errors", 1),
            0x380: ("tmict", "timer, initial count", 1),
            0x390: ("tmcct", "timer, current count", 1),
            0x3E0: ("tdcr", "timer divisor", 1),
        },
        1024,
    ),
    Length(exact=(1024,)),
)

PCI_IRQ = Layout(
    "PCI_IRQ",
    "which interrupt pins of PCI devices are asserted",
    _SECTION,
    (Numbers("pins", 8, 2, "bit per pin: device * 4 + INTA to INTD", hexadecimal=True),),
    Length(exact=(16,)),
)

ISA_IRQ = Layout(
    "ISA_IRQ",
    "which ISA interrupts are asserted",
    _SECTION,
    (Field("irqs", 8, "bit per interrupt, 0 to 15", hexadecimal=True),),
    Length(exact=(8,)),
)

PCI_LINK = Layout(
    "PCI_LINK",
    "where PCI interrupt links go",
    _SECTION,
    (Numbers("link", 1, 4, "GSI of links A to D"), Skip(4)),
    Length(exact=(8,)),
)

PIT = Layout(
    "PIT",
    "interval timer",
    _SECTION,
    (
        Array(
            "channel",
            "channels",
            (
                Field("count", 4, "reload value"),
                Field("latched_count", 2, "latched value"),
                *(
                    Field(name, 1, "state of the channel")
                    for name in ("count_latched", "status_latched", "status", "read_state", "write_state")
                ),
                Field("write_latch", 1, "first byte of two"),
                Field("rw_mode", 1, "how it is read and written"),
                Field("mode", 1, "0: interrupt on terminal count, 2: rate, 3: square wave …"),
                Field("bcd", 1, "counts in BCD"),
                Field("gate", 1, "gate input"),
            ),
            count=3,
        ),
        Field("speaker_data_on", 4, "the speaker is on"),
        Skip(4),
    ),
    Length(exact=(56,)),
)

RTC = Layout(
    "RTC",
    "real time clock",
    _SECTION,
    (
        Numbers("cmos_data", 1, 14, "first bytes of the CMOS", hexadecimal=True),
        Field("cmos_index", 1, "selected byte", hexadecimal=True),
        Skip(1),
        Field("rtc_offset", 8, "seconds from Xen's clock, a signed number (Xen 4.14 on)", hexadecimal=True),
    ),
    Length(exact=(24, 16)),
    {24: "4.14 on", 16: "up to 4.13"},
)

HPET = Layout(
    "HPET",
    "high precision event timer",
    _SECTION,
    (
        Field("capability", 8, "capabilities", hexadecimal=True),
        Skip(8),
        Field("config", 8, "configuration", hexadecimal=True),
        Skip(8),
        Field("isr", 8, "interrupt status", hexadecimal=True),
        Skip(25 * 8),
        Field("mc64", 8, "main counter"),
        Skip(8),
        Array(
            "timer",
            "timers",
            (*_u64("config cmp fsb", "configuration, comparator, FSB route"), Skip(8)),
            count=3,
        ),
        Skip(84 * 8),
        Numbers("hpet_period", 8, 3, "periods of the timers"),
    ),
    Length(exact=(1048,)),
)

PMTIMER = Layout(
    "PMTIMER",
    "ACPI timer",
    _SECTION,
    (
        Field("tmr_val", 4, "counter"),
        Field("pm1a_sts", 2, "PM1a status", hexadecimal=True),
        Field("pm1a_en", 2, "PM1a enable", hexadecimal=True),
    ),
    Length(exact=(8,)),
)

MTRR = Layout(
    "MTRR",
    "memory types of a vcpu",
    _SECTION,
    (
        Field("msr_pat_cr", 8, "page attribute table", hexadecimal=True),
        Array("var", "variable ranges", _u64("physbase physmask", "base, mask"), count=8),
        Numbers("fixed", 8, 11, "fixed ranges", hexadecimal=True),
        Field("msr_mtrr_cap", 8, "bits 0-7: number of variable ranges", hexadecimal=True),
        Field("msr_mtrr_def_type", 8, "type of all other memory", hexadecimal=True),
    ),
    Length(exact=(240,)),
)

VIRIDIAN_DOMAIN = Layout(
    "VIRIDIAN_DOMAIN",
    "Hyper-V interface of the guest",
    _SECTION,
    (
        Field("hypercall_gpa", 8, "hypercall page", hexadecimal=True),
        Field("guest_os_id", 8, "what the guest says it is", hexadecimal=True),
        Field("time_ref_count", 8, "reference time (Xen 4.5 on)"),
        Field("reference_tsc", 8, "reference TSC page (Xen 4.6 on)", hexadecimal=True),
    ),
    Length(exact=(32, 24, 16)),
    {32: "4.6 on", 24: "4.5", 16: "up to 4.4"},
)

CPU_XSAVE = Layout(
    "CPU_XSAVE",
    "extended registers of a vcpu",
    _SECTION,
    (
        Field("xfeature_mask", 8, "components the sending host knows; ignored", XSTATE, hexadecimal=True),
        Field("xcr0", 8, "components in use", XSTATE, hexadecimal=True),
        Field("xcr0_accum", 8, "components that were ever in use", XSTATE, hexadecimal=True),
        Bytes("fpu_sse", "FXSAVE image", 512),
        Field("xstate_bv", 8, "components that are not in their initial state", XSTATE, hexadecimal=True),
        Field("xcomp_bv", 8, "zero: not compacted", hexadecimal=True),
        Skip(48),
        Bytes("extended", "extended components, by their offsets in CPUID leaf 0xd"),
    ),
    Length(minimum=24),
)

VIRIDIAN_VCPU = Layout(
    "VIRIDIAN_VCPU",
    "Hyper-V interface of a vcpu",
    _SECTION,
    (
        Field("vp_assist_msr", 8, "assist page", hexadecimal=True),
        Field("apic_assist_pending", 1, "an end of interrupt is outstanding"),
        Skip(7),
        Field("simp_msr", 8, "message page (Xen 4.13 on)", hexadecimal=True),
        Numbers("sint_msr", 8, 16, "synthetic interrupts", hexadecimal=True),
        Numbers("stimer_config_msr", 8, 4, "synthetic timers", hexadecimal=True),
        Numbers("stimer_count_msr", 8, 4, "synthetic timers", hexadecimal=True),
    ),
    Length(exact=(216, 16, 8)),
    {216: "4.13 on", 16: "4.7 to 4.12", 8: "4.2 to 4.6"},
)

VMCE_VCPU = Layout(
    "VMCE_VCPU",
    "machine checks of a vcpu",
    _SECTION,
    _u64("caps mci_ctl2_bank0 mci_ctl2_bank1 mcg_ext_ctl", "machine check register"),
    Length(exact=(32, 24, 8)),
    {32: "4.10 on", 24: "4.3 to 4.9", 8: "4.2"},
)

TSC_ADJUST = Layout(
    "TSC_ADJUST",
    "TSC_ADJUST register of a vcpu",
    _SECTION,
    (Field("tsc_adjust", 8, "its value", hexadecimal=True),),
    Length(exact=(8,)),
)

CPU_MSR = Layout(
    "CPU_MSR",
    "model specific registers of a vcpu that are not zero",
    _SECTION,
    (
        Field("count", 4, "number of registers"),
        Skip(4),
        Array(
            "msr",
            "registers",
            (
                Field("index", 4, "register", MSR, hexadecimal=True),
                Field("rsvd", 4, "zero", reserved=True, hexadecimal=True),
                Field("value", 8, "its value", hexadecimal=True, names_by=MSR_VALUE),
            ),
            count="count",
        ),
    ),
    Length(minimum=8, step=16),
)

END = Layout("END", "end of the chain", "payloads 1.1", (), Length(exact=(0,)))

_LAYOUTS = (
    END,
    HEADER,
    CPU,
    PIC,
    IOAPIC,
    LAPIC,
    LAPIC_REGS,
    PCI_IRQ,
    ISA_IRQ,
    PCI_LINK,
    PIT,
    RTC,
    HPET,
    PMTIMER,
    MTRR,
    VIRIDIAN_DOMAIN,
    CPU_XSAVE,
    VIRIDIAN_VCPU,
    VMCE_VCPU,
    TSC_ADJUST,
    CPU_MSR,
)

SECTIONS: dict[int, Layout] = {
    code: next(layout for layout in _LAYOUTS if layout.name == name) for code, name in HVM_SAVE_TYPE.values.items()
}
"""Typecode -> what a section of it holds; `length` and `releases` say how long it may be."""

PER_VCPU = frozenset((2, 5, 6, 14, 16, 17, 18, 19, 20))
"""Typecodes of which each vcpu has one; the instance is its number."""

INSIDE_SECTION = Choice("field", {code: layout for code, layout in SECTIONS.items() if layout.body}, "typecode")
