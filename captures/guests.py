# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with memory, and whole migrations of them: plain, Remus, COLO, save image."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from captures import bodies
from captures.streams import NO_DATA, Conversation, Half

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BATCH = 1024


def pattern(pfn: int, generation: int) -> bytes:
    """Page contents that compress well, differ per page and look like small integers (so like record headers)."""
    return struct.pack("<QQ", pfn, generation) * 256


def noise(pfn: int, generation: int) -> bytes:
    """Page contents that do not compress."""
    return random.Random(pfn << 16 | generation).randbytes(4096)


def mixed(pfn: int, generation: int) -> bytes:
    """Every sixteenth page does not compress."""
    return noise(pfn, generation) if pfn % 16 == 5 else pattern(pfn, generation)


@dataclass
class Guest:
    """A guest to be moved; ``types`` names the page types that are not NOTAB."""

    name: str = "guest"
    kind: str = "hvm"
    pages: int = 48
    width: int = 8
    vcpus: int = 1
    types: dict[int, str] = field(default_factory=dict)
    contents: Callable[[int, int], bytes] = pattern
    version: int = 3
    xen: tuple[int, int] = (4, 17)
    emulator_bytes: int = 301
    xenstore: bool = False
    generation: int = 0
    options: int = 0
    config: bytes = b""

    @property
    def emulated(self) -> bool:
        """Whether a device model exists."""
        return self.kind == "hvm"

    def head(self, half: Half, wrap: str = "xl") -> None:
        """Everything before the first page."""
        if wrap == "xl":
            half.xl_header(self.config or bodies.config_json(self.name, self.kind, self.pages))
        if wrap != "libxc":
            half.libxl_header(self.options)
            half.libxl("LIBXC_CONTEXT")
        half.libxc_headers(1 if self.kind == "pv" else 2, self.version, self.xen, self.options & 1)
        if self.kind == "pv":
            levels = 4 if self.width == 8 else 3
            half.libxc("X86_PV_INFO", bytes([self.width, levels, *bytes(6)]), guest_width=self.width, pt_levels=levels)
        if self.version == 3:
            policy = bodies.cpuid_policy(half.libxc_order)
            half.libxc("X86_CPUID_POLICY", policy, leaves=len(policy) // 24)
            policy = bodies.msr_policy(half.libxc_order)
            half.libxc("X86_MSR_POLICY", policy, msrs=len(policy) // 16)
            half.libxc("STATIC_DATA_END")
        if self.kind == "pv":
            last = self.pages - 1
            frames = last // (4096 // self.width) + 1
            body = struct.pack(f"<II{frames}Q", 0, last, *range(1, frames + 1))
            half.libxc("X86_PV_P2M_FRAMES", body, start_pfn=0, end_pfn=last, frames=frames)

    def memory(self, half: Half, pfns: Iterable[int]) -> None:
        """One pass over these pfns, in batches of 1024."""
        todo = list(pfns)
        for start in range(0, len(todo), BATCH):
            batch = [(pfn, self.types.get(pfn, "NOTAB")) for pfn in todo[start : start + BATCH]]
            half.page_data(batch, (self.contents(p, self.generation) for p, kind in batch if kind not in NO_DATA))
        self.generation += 1

    def tail(self, half: Half) -> None:
        """State at the end of a checkpoint, from X86_TSC_INFO on."""
        order, nsec = half.libxc_order, 3493300000 + 200_000_000 * self.generation
        tsc = struct.pack(order + "IIQII", 0, 2095078, nsec, 1, 0)
        half.libxc("X86_TSC_INFO", tsc, mode=0, khz=2095078, nsec=nsec, incarnation=1)
        if self.kind == "pv":
            half.libxc("SHARED_INFO", bodies.shared_info())
            for vcpu in range(self.vcpus):
                self._vcpu(half, vcpu)
            return
        half.libxc("HVM_CONTEXT", bodies.hvm_context(self.vcpus, self.generation))
        params = bodies.HVM_PARAMS[:9] if self.kind == "pvh" else bodies.HVM_PARAMS
        half.libxc("HVM_PARAMS", bodies.hvm_params(order, params), count=len(params), params=[list(p) for p in params])

    def _vcpu(self, half: Half, vcpu: int) -> None:
        head = struct.pack("<II", vcpu, 0)
        half.libxc("X86_PV_VCPU_BASIC", head + bodies.vcpu_basic(self.width), vcpu=vcpu)
        half.libxc("X86_PV_VCPU_EXTENDED", head + bodies.vcpu_extended(vcpu), vcpu=vcpu)
        half.libxc("X86_PV_VCPU_XSAVE", head + bodies.vcpu_xsave(), vcpu=vcpu)
        half.libxc("X86_PV_VCPU_MSRS", head + bodies.vcpu_msrs(), vcpu=vcpu)

    def emulator(self, half: Half) -> None:
        """Device model records, if there is a device model."""
        if self.emulated and self.xenstore:
            half.emulator("EMULATOR_XENSTORE_DATA", bodies.xenstore_data())
        if self.emulated:
            half.emulator("EMULATOR_CONTEXT", bodies.emulator_context(self.emulator_bytes, self.generation))

    def checkpoint(self, half: Half, dirty: Sequence[int]) -> None:
        """One complete checkpoint up to CHECKPOINT_END."""
        if dirty:
            self.memory(half, dirty)
        self.tail(half)
        half.libxc("CHECKPOINT")
        self.emulator(half)
        half.libxl("CHECKPOINT_END")


def pv64(**more: object) -> Guest:
    """Make a 64-bit PV guest with page tables, a broken page and a hole."""
    types = {40: "L4TAB_PINNED", 41: "L3TAB", 42: "L2TAB", 43: "L1TAB", 44: "L1TAB_PINNED", 46: "BROKEN", 47: "XTAB"}
    return Guest(kind="pv", name="pv64", vcpus=2, types=types, **more)  # type: ignore[arg-type]


def hvm(**more: object) -> Guest:
    """Make an HVM guest with the usual hole."""
    return Guest(types=dict.fromkeys(range(32, 40), "XTAB"), **more)  # type: ignore[arg-type]


def first_pass(conversation: Conversation, guest: Guest, wrap: str, passes: Sequence[Sequence[int]]) -> Half:
    """Banner, headers and the live passes."""
    if wrap == "xl":
        conversation.reverse.message("BANNER")
    half = conversation.forward
    guest.head(half, wrap)
    guest.memory(half, range(guest.pages))
    for dirty in passes:
        guest.memory(half, dirty)
    return half


def plain(
    guest: Guest,
    wrap: str = "xl",
    passes: Sequence[Sequence[int]] = ((3, 5, 8, 13, 21), (5, 8)),
    verify: bool = False,
    status: int = 0,
) -> Conversation:
    """Plain migration; ``wrap`` is the outermost layer."""
    conversation = Conversation()
    half = first_pass(conversation, guest, wrap, passes)
    if verify:
        half.libxc("VERIFY")
        guest.memory(half, range(guest.pages))
    guest.tail(half)
    half.libxc("END")
    if wrap != "libxc":
        guest.emulator(half)
        half.libxl("END")
    if wrap == "xl":
        handover(conversation, status)
    return conversation


def handover(conversation: Conversation, status: int = 0) -> None:
    """READY, GO, REPORT with STATUS, and the permission after a failure."""
    conversation.reverse.message("READY")
    conversation.forward.message("GO")
    conversation.reverse.status(status)
    if status:
        conversation.reverse.message("GO")


def save(guest: Guest, wrap: str = "xl") -> Conversation:
    """Write a save image: one pass, no banner, no GO."""
    conversation = Conversation()
    half = conversation.forward
    guest.head(half, wrap)
    guest.memory(half, range(guest.pages))
    guest.tail(half)
    half.libxc("END")
    if wrap != "libxc":
        guest.emulator(half)
        half.libxl("END")
    return conversation


def remus(guest: Guest, checkpoints: Sequence[Sequence[int]], wrap: str = "xl") -> Conversation:
    """Remus: live passes, then one checkpoint per list of dirty pfns (the first list is the final live pass)."""
    conversation = Conversation(mode="remus")
    half = first_pass(conversation, guest, wrap, ((3, 5, 8, 13),))
    for dirty in checkpoints:
        guest.checkpoint(half, dirty)
    return conversation


def colo(
    guest: Guest, lists: Sequence[Sequence[int]], header_size: int = 8, passes: Sequence[Sequence[int]] = ((3, 5, 8),)
) -> Conversation:
    """COLO: one checkpoint, then one more per list of pfns the secondary has dirtied."""
    conversation = Conversation(mode="colo")
    half, back = first_pass(conversation, guest, "xl", passes), conversation.reverse
    guest.checkpoint(half, ())
    for pfns in lists:
        back.state("SVM_READY")
        back.state("SVM_RESUMED")
        half.state("NEW")
        back.state("SVM_SUSPENDED")
        back.dirty_pfns(pfns, header_size)
        guest.checkpoint(half, sorted({*pfns, 2} if pfns else ()))
    back.state("SVM_READY")
    back.state("SVM_RESUMED")
    return conversation
