# SPDX-License-Identifier: GPL-2.0-or-later
"""The libxc layer: image header, domain header and records (stream.md section 4)."""

from __future__ import annotations

from dissector.spec.cpu import CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX, MSR, MSR_VALUE, XSTATE
from dissector.spec.hvm import HVM_CONTEXT_SIGNATURE, HVM_PARAM, HVM_PARAM_VALUE, HVM_SAVE_TYPE
from dissector.spec.hvm_sections import INSIDE_SECTION
from dissector.spec.model import Array, Bytes, Enum, Field, Flags, Length, Pages, PfnList, Record
from dissector.spec.pv import INSIDE_CONTEXT, INSIDE_SHARED_INFO, INSIDE_XSAVE

IMAGE_MARKER = 0xFFFF_FFFF_FFFF_FFFF
IMAGE_ID = 0x58454E46
"""ASCII ``XENF``."""

PAGE_SIZE = 4096
REC_LENGTH_MAX = 128 << 20
"""Largest body a reader of Xen 4.10 and later accepts (8 MiB before; stream.md 4.3)."""
MAX_BATCH_SIZE = 1024
"""Most pfns that Xen's writer puts in one PAGE_DATA."""
LARGEST_PAGE_DATA = 8 + 8 + (8 + PAGE_SIZE) * MAX_BATCH_SIZE
"""Wire size of the largest PAGE_DATA record Xen writes."""

PFN_TYPE_SHIFT = 60
PFN_RESERVED_MASK = 0x0FF0_0000_0000_0000
PFN_MASK = 0x000F_FFFF_FFFF_FFFF

PAGE_TYPE = Enum(
    "page_type",
    {
        0x0: "NOTAB",
        0x1: "L1TAB",
        0x2: "L2TAB",
        0x3: "L3TAB",
        0x4: "L4TAB",
        0x9: "L1TAB_PINNED",
        0xA: "L2TAB_PINNED",
        0xB: "L3TAB_PINNED",
        0xC: "L4TAB_PINNED",
        0xD: "BROKEN",
        0xE: "XALLOC",
        0xF: "XTAB",
    },
    "4.5, 9.1",
)
DATA_PAGE_TYPES: frozenset[int] = frozenset((0x0, 0x1, 0x2, 0x3, 0x4, 0x9, 0xA, 0xB, 0xC))
"""Page types whose entry is followed by 4096 bytes of contents."""

DOMAIN_TYPE = Enum("domain_type", {1: "x86 PV", 2: "x86 HVM", 3: "x86 PVH", 4: "ARM"}, "4.2, 9.2")

OPTIONS = Flags("options", {0: "BIG_ENDIAN"}, "4.1")

TSC_MODE = Enum(
    "tsc_mode",
    {0: "default", 1: "always emulate", 2: "never emulate", 3: "PVRDTSCP"},
    "9.4",
)

IMAGE_HEADER = Record(
    layer="libxc",
    name="IMAGE_HEADER",
    meaning="first bytes of a libxc stream; once",
    section="4.1",
    length=Length(exact=(24,)),
    body=(
        Field("marker", 8, "all ones", const=IMAGE_MARKER, hexadecimal=True, order="big"),
        Field("id", 4, "ASCII XENF", const=IMAGE_ID, hexadecimal=True, order="big"),
        Field("version", 4, "2 (Xen 4.6 to 4.13) or 3 (4.14 on)", maximum=3, order="big"),
        Field("options", 2, "bit 0: records are big endian", OPTIONS, hexadecimal=True, maximum=1, order="big"),
        Field("reserved1", 2, "zero", reserved=True, order="big"),
        Field("reserved2", 4, "zero", reserved=True, order="big"),
    ),
)

DOMAIN_HEADER = Record(
    layer="libxc",
    name="DOMAIN_HEADER",
    meaning="what kind of guest, and which Xen sends it",
    section="4.2",
    length=Length(exact=(16,)),
    body=(
        Field("type", 4, "guest type (PVH guests say HVM)", DOMAIN_TYPE, maximum=4),
        Field("page_shift", 2, "log2 of the page size", const=12),
        Field("reserved1", 2, "zero", reserved=True),
        Field("xen_major", 4, "sender's Xen version; 0: made by the legacy converter", maximum=255),
        Field("xen_minor", 4, "sender's Xen version", maximum=255),
    ),
)

END = Record(
    layer="libxc",
    name="END",
    type_id=0x00,
    meaning="end of the libxc stream",
    section="4.6",
    length=Length(exact=(0,)),
)

PAGE_DATA = Record(
    layer="libxc",
    name="PAGE_DATA",
    type_id=0x01,
    repeats=True,
    meaning="a batch of guest pages",
    section="4.5",
    length=Length(minimum=16, step=8),
    body=(
        Field("count", 4, "number of pfns", maximum=MAX_BATCH_SIZE),
        Field("reserved", 4, "zero", reserved=True),
        PfnList("pfn", "page frame numbers with page types", count="count", typed=True),
        Pages("page_data", "contents of the pages that carry data", pfns="pfn"),
    ),
)

X86_PV_INFO = Record(
    layer="libxc",
    name="X86_PV_INFO",
    type_id=0x02,
    meaning="width of a PV guest",
    section="4.6",
    guests="PV",
    length=Length(exact=(8,)),
    body=(
        Field("guest_width", 1, "bytes of a guest word: 4 or 8", maximum=8),
        Field("pt_levels", 1, "page-table levels: 3 or 4", maximum=4),
        Bytes("reserved", "zero", 6, const=bytes(6)),
    ),
)

X86_PV_P2M_FRAMES = Record(
    layer="libxc",
    name="X86_PV_P2M_FRAMES",
    type_id=0x03,
    meaning="where a PV guest keeps its physical-to-machine table",
    section="4.6",
    guests="PV",
    length=Length(minimum=8, step=8),
    body=(
        Field("p2m_start_pfn", 4, "first pfn the frames cover (always 0 from Xen)", maximum=0),
        Field("p2m_end_pfn", 4, "last pfn the frames cover"),
        PfnList("p2m_pfn", "pfns of the frames that make up the table"),
    ),
)

_VCPU = (
    Field("vcpu_id", 4, "virtual cpu", maximum=8191),
    Field("reserved", 4, "zero", reserved=True),
)

X86_PV_VCPU_BASIC = Record(
    layer="libxc",
    name="X86_PV_VCPU_BASIC",
    type_id=0x04,
    repeats=True,
    meaning="registers of a PV vcpu (vcpu_guest_context)",
    section="4.6",
    guests="PV",
    length=Length(exact=(8 + 5168, 8 + 2800), tolerated=(8,)),
    body=(*_VCPU, Bytes("context", "vcpu_guest_context of the guest's width", secret=True, inside=INSIDE_CONTEXT)),
)

X86_PV_VCPU_EXTENDED = Record(
    layer="libxc",
    name="X86_PV_VCPU_EXTENDED",
    type_id=0x05,
    repeats=True,
    meaning="extended state of a PV vcpu (xen_domctl_ext_vcpucontext)",
    section="4.6",
    guests="PV",
    length=Length(minimum=9, maximum=8 + 128, tolerated=(8,)),
    body=(
        *_VCPU,
        Field("vcpu", 4, "virtual cpu, again", maximum=8191),
        Field("size", 4, "bytes of this structure", maximum=128),
        Field("syscall32_callback_eip", 8, "32-bit syscall entry point", hexadecimal=True, secret=True),
        Field("sysenter_callback_eip", 8, "sysenter entry point", hexadecimal=True, secret=True),
        Field("syscall32_callback_cs", 2, "its code segment", hexadecimal=True),
        Field("sysenter_callback_cs", 2, "its code segment", hexadecimal=True),
        Field("syscall32_disables_events", 1, "event delivery is masked on entry"),
        Field("sysenter_disables_events", 1, "event delivery is masked on entry"),
        Bytes("pad", "alignment", 2),
        Field("vmce_caps", 8, "machine check capabilities", hexadecimal=True),
        Field("vmce_mci_ctl2_bank0", 8, "machine check bank 0 control", hexadecimal=True),
        Field("vmce_mci_ctl2_bank1", 8, "machine check bank 1 control", hexadecimal=True),
        Field("vmce_mcg_ext_ctl", 8, "machine check extended control (Xen 4.10 on)", hexadecimal=True),
        Bytes("rest", "whatever the sender's structure has beyond", secret=True),
    ),
)

X86_PV_VCPU_XSAVE = Record(
    layer="libxc",
    name="X86_PV_VCPU_XSAVE",
    type_id=0x06,
    repeats=True,
    meaning="extended register state of a PV vcpu",
    section="4.6",
    guests="PV",
    length=Length(minimum=8 + 16, tolerated=(8,), maximum=64 << 10),
    body=(
        *_VCPU,
        Field("xcr0", 8, "enabled state components", XSTATE, hexadecimal=True),
        Field("xcr0_accum", 8, "components that were ever enabled", XSTATE, hexadecimal=True),
        Bytes("xsave_area", "XSAVE image in standard format", secret=True, inside=INSIDE_XSAVE),
    ),
)

SHARED_INFO = Record(
    layer="libxc",
    name="SHARED_INFO",
    type_id=0x07,
    meaning="the shared info page of a PV guest",
    section="4.6",
    guests="PV",
    length=Length(exact=(4096,)),
    body=(Bytes("shared_info", "one page", 4096, secret=True, inside=INSIDE_SHARED_INFO),),
)

X86_TSC_INFO = Record(
    layer="libxc",
    name="X86_TSC_INFO",
    type_id=0x08,
    meaning="time stamp counter of the guest (TSC_INFO before Xen 4.14)",
    section="4.6",
    length=Length(exact=(24,)),
    body=(
        Field("mode", 4, "how the TSC is provided", TSC_MODE, maximum=3),
        Field("khz", 4, "frequency, kHz"),
        Field("nsec", 8, "elapsed nanoseconds"),
        Field("incarnation", 4, "how often the guest moved", maximum=0xFFFFFF),
        Field("reserved", 4, "zero", reserved=True),
    ),
)

HVM_CONTEXT = Record(
    layer="libxc",
    name="HVM_CONTEXT",
    type_id=0x09,
    meaning="hypervisor state of an HVM guest: a chain of save sections",
    section="4.6, 9.7",
    guests="HVM",
    length=Length(minimum=1, maximum=REC_LENGTH_MAX),
    signature=(0, HVM_CONTEXT_SIGNATURE),
    body=(
        Array(
            "section",
            "save sections",
            (
                Field("typecode", 2, "what the section holds", HVM_SAVE_TYPE),
                Field("instance", 2, "vcpu or device number"),
                Field("length", 4, "bytes of data"),
                Bytes("data", "section contents", "length", secret=True, inside=INSIDE_SECTION),
            ),
            last=("typecode", 0),
        ),
    ),
)

HVM_PARAMS = Record(
    layer="libxc",
    name="HVM_PARAMS",
    type_id=0x0A,
    repeats=True,
    meaning="HVM parameters that are not zero",
    section="4.6, 9.5",
    guests="HVM",
    length=Length(minimum=8, step=16),
    body=(
        Field("count", 4, "number of parameters", maximum=4096),
        Field("reserved", 4, "zero", reserved=True),
        Array(
            "param",
            "parameters",
            (
                Field("index", 8, "which parameter", HVM_PARAM, maximum=63),
                Field("value", 8, "its value", hexadecimal=True, names_by=HVM_PARAM_VALUE),
            ),
            count="count",
        ),
    ),
)

TOOLSTACK = Record(
    layer="libxc",
    name="TOOLSTACK",
    type_id=0x0B,
    meaning="deprecated; never in a release",
    section="4.4",
    body=(Bytes("data", "opaque", secret=True),),
)

X86_PV_VCPU_MSRS = Record(
    layer="libxc",
    name="X86_PV_VCPU_MSRS",
    type_id=0x0C,
    repeats=True,
    meaning="model specific registers of a PV vcpu",
    section="4.6",
    guests="PV",
    length=Length(minimum=8, step=16, maximum=64 << 10),
    body=(
        *_VCPU,
        Array(
            "msr",
            "registers",
            (
                Field("index", 4, "register", MSR, hexadecimal=True),
                Field("reserved", 4, "zero", reserved=True),
                Field("value", 8, "its value", hexadecimal=True, secret=True),
            ),
        ),
    ),
)

VERIFY = Record(
    layer="libxc",
    name="VERIFY",
    type_id=0x0D,
    meaning="a full pass for comparison follows (xl migrate --debug)",
    section="4.6",
    length=Length(exact=(0,)),
)

CHECKPOINT = Record(
    layer="libxc",
    name="CHECKPOINT",
    type_id=0x0E,
    meaning="end of the libxc part of a checkpoint",
    section="4.6",
    length=Length(exact=(0,)),
)

CHECKPOINT_DIRTY_PFN_LIST = Record(
    layer="libxc",
    name="CHECKPOINT_DIRTY_PFN_LIST",
    type_id=0x0F,
    meaning="pages the secondary dirtied (COLO)",
    section="4.6, 5.4",
    direction="reverse",
    guests="HVM",
    since="4.7",
    length=Length(minimum=0, step=8, maximum=REC_LENGTH_MAX),
    body=(PfnList("pfn", "page frame numbers"),),
)

STATIC_DATA_END = Record(
    layer="libxc",
    name="STATIC_DATA_END",
    type_id=0x10,
    meaning="end of what does not change while the guest runs",
    section="4.6",
    since="4.14",
    length=Length(exact=(0,)),
)

X86_CPUID_POLICY = Record(
    layer="libxc",
    name="X86_CPUID_POLICY",
    type_id=0x11,
    meaning="CPUID leaves of the guest",
    section="4.6",
    since="4.14",
    length=Length(minimum=24, step=24, maximum=24 * 4096),
    body=(
        Array(
            "leaf",
            "CPUID leaves",
            (
                Field("leaf", 4, "leaf", hexadecimal=True),
                Field("subleaf", 4, "subleaf; 0xffffffff: none", hexadecimal=True),
                Field("eax", 4, "register", hexadecimal=True, names_by=CPUID_EAX),
                Field("ebx", 4, "register", hexadecimal=True, names_by=CPUID_EBX),
                Field("ecx", 4, "register", hexadecimal=True, names_by=CPUID_ECX),
                Field("edx", 4, "register", hexadecimal=True, names_by=CPUID_EDX),
            ),
        ),
    ),
)

X86_MSR_POLICY = Record(
    layer="libxc",
    name="X86_MSR_POLICY",
    type_id=0x12,
    meaning="model specific registers of the guest's policy",
    section="4.6",
    since="4.14",
    length=Length(minimum=16, step=16, maximum=16 * 4096),
    body=(
        Array(
            "msr",
            "registers",
            (
                Field("index", 4, "register", MSR, hexadecimal=True),
                Field("flags", 4, "zero", reserved=True, hexadecimal=True),
                Field("value", 8, "its value", hexadecimal=True, names_by=MSR_VALUE),
            ),
        ),
    ),
)

RECORDS: tuple[Record, ...] = (
    IMAGE_HEADER,
    DOMAIN_HEADER,
    END,
    PAGE_DATA,
    X86_PV_INFO,
    X86_PV_P2M_FRAMES,
    X86_PV_VCPU_BASIC,
    X86_PV_VCPU_EXTENDED,
    X86_PV_VCPU_XSAVE,
    SHARED_INFO,
    X86_TSC_INFO,
    HVM_CONTEXT,
    HVM_PARAMS,
    TOOLSTACK,
    X86_PV_VCPU_MSRS,
    VERIFY,
    CHECKPOINT,
    CHECKPOINT_DIRTY_PFN_LIST,
    STATIC_DATA_END,
    X86_CPUID_POLICY,
    X86_MSR_POLICY,
)
