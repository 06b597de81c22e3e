# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks a C compiler where Xen's public headers place what our layouts describe; its answers are xen_headers.json.

    python -m tests.spec.xen_headers /usr/include      (package libxen-dev; the answers are those of 4.17.7)

Nothing is run: offsets are read out of the assembly text, so that the 32-bit layouts need no 32-bit libc.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HVM = "hvm/save.h"
STRUCTURES = {
    "HEADER": ("struct hvm_save_header", HVM),
    "CPU": ("struct hvm_hw_cpu", HVM),
    "PIC": ("struct hvm_hw_vpic", HVM),
    "IOAPIC": ("struct hvm_hw_vioapic", HVM),
    "LAPIC": ("struct hvm_hw_lapic", HVM),
    "LAPIC_REGS": ("struct hvm_hw_lapic_regs", HVM),
    "PCI_IRQ": ("struct hvm_hw_pci_irqs", HVM),
    "ISA_IRQ": ("struct hvm_hw_isa_irqs", HVM),
    "PCI_LINK": ("struct hvm_hw_pci_link", HVM),
    "PIT": ("struct hvm_hw_pit", HVM),
    "RTC": ("struct hvm_hw_rtc", HVM),
    "HPET": ("struct hvm_hw_hpet", HVM),
    "PMTIMER": ("struct hvm_hw_pmtimer", HVM),
    "MTRR": ("struct hvm_hw_mtrr", HVM),
    "VIRIDIAN_DOMAIN": ("struct hvm_viridian_domain_context", HVM),
    "CPU_XSAVE": ("struct hvm_hw_cpu_xsave", HVM),
    "VIRIDIAN_VCPU": ("struct hvm_viridian_vcpu_context", HVM),
    "VMCE_VCPU": ("struct hvm_vmce_vcpu", HVM),
    "TSC_ADJUST": ("struct hvm_tsc_adjust", HVM),
    "CPU_MSR": ("struct hvm_msr", HVM),
    "CONTEXT_64": ("struct vcpu_guest_context", "xen.h"),
    "CONTEXT_32": ("struct vcpu_guest_context", "xen.h"),
    "SHARED_INFO_64": ("struct shared_info", "xen.h"),
    "SHARED_INFO_32": ("struct shared_info", "xen.h"),
    "X86_PV_VCPU_EXTENDED": ("struct xen_domctl_ext_vcpucontext", "domctl.h"),
}
"""Layout, or record whose body it is -> C type and header."""

_REGISTERS = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi error_code entry_vector rip cs"
_REGISTERS += " saved_upcall_mask rflags rsp ss es ds fs gs ebx ecx edx esi edi ebp eax eip eflags esp"
_USER = {name: f"user_regs.{name}" for name in _REGISTERS.split()}
_VCPU_INFO = {
    "evtchn_upcall_pending": "evtchn_upcall_pending",
    "evtchn_upcall_mask": "evtchn_upcall_mask",
    "evtchn_pending_sel": "evtchn_pending_sel",
    "cr2": "arch.cr2",
    "version": "time.version",
    "tsc_timestamp": "time.tsc_timestamp",
    "system_time": "time.system_time",
    "tsc_to_system_mul": "time.tsc_to_system_mul",
    "tsc_shift": "time.tsc_shift",
    "time_flags": "time.flags",
}
_ARCH = ["max_pfn", "pfn_to_mfn_frame_list_list", "nmi_reason", "p2m_cr3", "p2m_vaddr", "p2m_generation"]
_SHARED = {"wc_sec_hi": "wc_sec_hi"} | {name: f"arch.{name}" for name in _ARCH}
_SHARED |= {f"vcpu_info.{name}": f"vcpu_info[0].{member}" for name, member in _VCPU_INFO.items()}

MEMBERS: dict[str, dict[str, str]] = {
    "IOAPIC": {
        "redirtbl.vector": "redirtbl[0].fields.vector",
        "redirtbl.dest_id": "redirtbl[0].fields.dest_id",
    },
    "PCI_IRQ": {"pins": "pad"},
    "ISA_IRQ": {"irqs": "pad"},
    "PCI_LINK": {"link": "route"},
    "PIT": {"channel": "channels"},
    "HPET": {"timer": "timers", "hpet_period": "period"},
    "MTRR": {"var": "msr_mtrr_var", "fixed": "msr_mtrr_fixed"},
    "CPU_XSAVE": {
        "fpu_sse": "save_area.fpu_sse",
        "xstate_bv": "save_area.xsave_hdr.xstate_bv",
        "xcomp_bv": "save_area.xsave_hdr.xcomp_bv",
    },
    "CPU_MSR": {"msr": "msr[0]", "msr.index": "msr[0].index", "msr.rsvd": "msr[0]._rsvd", "msr.value": "msr[0].val"},
    "CONTEXT_64": _USER,
    "CONTEXT_32": _USER,
    "SHARED_INFO_64": _SHARED,
    "SHARED_INFO_32": _SHARED | {"wc_sec_hi": "arch.wc_sec_hi"},
    "X86_PV_VCPU_EXTENDED": {
        f"vmce_{name}": f"vmce.{name}" for name in ("caps", "mci_ctl2_bank0", "mci_ctl2_bank1", "mcg_ext_ctl")
    },
}
"""Our names -> C members, where those have another name; those of lists as ``LIST.NAME``."""

NOT_IN_C = {
    "PIC": {"state", "flags"},
    "IOAPIC": {"redirtbl.delivery", "redirtbl.mask"},
    "LAPIC": {"pending_esr"},
    "CPU_XSAVE": {"extended"},
    "MTRR": {"var.physbase", "var.physmask"},
    "X86_PV_VCPU_EXTENDED": {"vcpu_id", "reserved", "pad", "rest"},
}
"""What C has as bit fields, without a name, behind its structure, or only in newer headers (pending_esr)."""


def member(layout: str, name: str) -> str:
    """Return the C member of one of our names."""
    known = MEMBERS.get(layout, {})
    if name in known:
        return known[name]
    outer, dot, inner = name.partition(".")
    return f"{known.get(outer, outer)}[0].{inner}" if dot else outer


def answers(include: str, wanted: dict[str, list[str]]) -> dict[str, dict[str, list[int]]]:
    """Return offset and size in C of what is asked for.

    Args:
        include: Directory with ``xen/xen.h`` in it.
        wanted: Layout -> names in it, those of lists as ``LIST.NAME``; ``""`` is the structure as a whole.
    """
    found = {}
    for layout, names in wanted.items():
        type_, header = STRUCTURES[layout]
        lines = []
        for name in names:
            what = f"(({type_} *)0)->{member(layout, name)}" if name else f"*({type_} *)0"
            offset = f"__builtin_offsetof({type_}, {member(layout, name)})" if name else "0"
            lines.append(f'asm volatile("\\n->{layout}|{name}|%c0|%c1" :: "i"({offset}), "i"(sizeof({what})));')
        source = f"#define __XEN_TOOLS__ 1\n#include <stdint.h>\n#include <stddef.h>\n#include <xen/{header}>\n"
        source += "void probe(void) {\n" + "\n".join(lines) + "\n}\n"
        width = "-m32" if layout.endswith("_32") else "-m64"
        words = ["cc", width, "-ffreestanding", "-S", "-x", "c", "-o", "-", "-I", include, "-"]
        text = subprocess.run(words, input=source, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows = re.findall(r"^->\w+\|([\w.]*)\|(\d+)\|(\d+)$", text, re.MULTILINE)
        found[layout] = {name: [int(offset), int(size)] for name, offset, size in rows}
    return found


def features(include: str) -> dict[str, list[int]]:
    """Return name -> word and bit of every CPUID feature in ``cpufeatureset.h``."""
    text = Path(include, "xen/arch-x86/cpufeatureset.h").read_text()
    rows = re.findall(r"^XEN_CPUFEATURE\((\w+),\s*(\d+)\*32\+\s*(\d+)\)", text, re.MULTILINE)
    return {name: [int(word), int(bit)] for name, word, bit in rows}


def parameters(include: str) -> dict[str, int]:
    """Return name -> number of every parameter in ``hvm/params.h``."""
    text = Path(include, "xen/hvm/params.h").read_text()
    rows = re.findall(r"^#define HVM_PARAM_(\w+)\s+(\d+)$", text, re.MULTILINE)
    return {name: int(number) for name, number in rows if not name.startswith("CALLBACK_TYPE_")}


if __name__ == "__main__":
    from tests.spec.test_xen_headers import WANTED

    found: dict[str, object] = {**answers(sys.argv[1], WANTED)}
    found |= {"cpufeatureset": features(sys.argv[1]), "hvm_params": parameters(sys.argv[1])}
    rows = (f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found.items())
    Path(__file__).with_name("xen_headers.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
