# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of HVM parameters and HVM save sections (stream.md 9.5 and 9.7)."""

from __future__ import annotations

from dissector.spec.model import Enum, Flags, NamesBy

HVM_PARAM = Enum(
    "hvm_param",
    {
        0: "CALLBACK_IRQ",
        1: "STORE_PFN",
        2: "STORE_EVTCHN",
        4: "PAE_ENABLED",
        5: "IOREQ_PFN",
        6: "BUFIOREQ_PFN",
        9: "VIRIDIAN",
        10: "TIMER_MODE",
        11: "HPET_ENABLED",
        12: "IDENT_PT",
        13: "DM_DOMAIN",
        14: "ACPI_S_STATE",
        15: "VM86_TSS",
        16: "VPT_ALIGN",
        17: "CONSOLE_PFN",
        18: "CONSOLE_EVTCHN",
        19: "ACPI_IOPORTS_LOCATION",
        20: "MEMORY_EVENT_CR0",
        21: "MEMORY_EVENT_CR3",
        22: "MEMORY_EVENT_CR4",
        23: "MEMORY_EVENT_INT3",
        24: "NESTEDHVM",
        25: "MEMORY_EVENT_SINGLE_STEP",
        26: "BUFIOREQ_EVTCHN",
        27: "PAGING_RING_PFN",
        28: "MONITOR_RING_PFN",
        29: "SHARING_RING_PFN",
        30: "MEMORY_EVENT_MSR",
        31: "TRIPLE_FAULT_REASON",
        32: "IOREQ_SERVER_PFN",
        33: "NR_IOREQ_SERVER_PAGES",
        34: "VM_GENERATION_ID_ADDR",
        35: "ALTP2M",
        36: "X87_FIP_WIDTH",
        37: "VM86_TSS_SIZED",
        38: "MCA_CAP",
    },
    "9.5",
)

HVM_SAVE_TYPE = Enum(
    "hvm_save_type",
    {
        0: "END",
        1: "HEADER",
        2: "CPU",
        3: "PIC",
        4: "IOAPIC",
        5: "LAPIC",
        6: "LAPIC_REGS",
        7: "PCI_IRQ",
        8: "ISA_IRQ",
        9: "PCI_LINK",
        10: "PIT",
        11: "RTC",
        12: "HPET",
        13: "PMTIMER",
        14: "MTRR",
        15: "VIRIDIAN_DOMAIN",
        16: "CPU_XSAVE",
        17: "VIRIDIAN_VCPU",
        18: "VMCE_VCPU",
        19: "TSC_ADJUST",
        20: "CPU_MSR",
    },
    "9.7",
)

HVM_CONTEXT_SIGNATURE = b"\x01\0\0\0\x18\0\0\0\x86\x12\x38\x54"
"""How the first section of every HVM_CONTEXT begins: HEADER, 24 bytes, magic 0x54381286."""

VIRIDIAN = Flags(
    "viridian",
    dict(
        enumerate(
            (
                "base_freq",
                "no_freq",
                "time_ref_count",
                "reference_tsc",
                "hcall_remote_tlb_flush",
                "apic_assist",
                "crash_ctl",
                "synic",
                "stimer",
                "hcall_ipi",
                "ex_processor_masks",
                "no_vp_limit",
                "cpu_hotplug",
            )
        )
    ),
    "9.5",
)
HVM_PARAM_VALUE = NamesBy(
    ("index",),
    {
        (9,): VIRIDIAN,
        (19,): Enum("acpi_ioports_location", {0: "old", 1: "new"}, "9.5"),
        (38,): Flags("mca_cap", {0: "LMCE"}, "9.5"),
    },
)
