# SPDX-License-Identifier: GPL-2.0-or-later
"""Plausible record bodies: CPU policies, device state, HVM context, vcpu state."""

from __future__ import annotations

import json
import random
import struct

# Fixed list and order in which Xen writes HVM parameters; the values are made up.
HVM_PARAMS = [
    (1, 0xFEFFC),
    (5, 0xFEFFB),
    (6, 0xFEFFA),
    (27, 0xFEFF8),
    (28, 0xFEFF9),
    (29, 0xFEFF7),
    (37, 0x00000188_00FF8000),
    (17, 0xFEFFF),
    (19, 1),
    (12, 0xFEFFE000),
    (34, 0xFC10B000),
    (32, 0xFEFF0),
    (33, 8),
]


def config_json(name: str, kind: str, pages: int) -> bytes:
    """Domain configuration as xl sends it: JSON with a trailing NUL."""
    uuid = f"{random.Random(name).getrandbits(32):08x}-1f2e-4d3c-8b4a-0011223344ff"
    config = {
        "c_info": {"type": kind, "name": name, "uuid": uuid, "run_hotplug_scripts": "True"},
        "b_info": {"max_vcpus": 2, "max_memkb": pages * 4, "target_memkb": pages * 4, "kernel": "/boot/vmlinuz"},
        "disks": [{"pdev_path": "/dev/vg/" + name, "vdev": "xvda", "format": "raw", "readwrite": 1}],
        "nics": [{"devid": 0, "mac": "00:16:3e:00:00:01", "bridge": "xenbr0"}],
        "on_reboot": "restart",
    }
    return json.dumps(config, indent=4).encode() + b"\0"


def cpuid_policy(order: str, leaves: int = 12) -> bytes:
    """CPUID leaves: vendor and some features."""
    rows = [(0, 0xFFFFFFFF, leaves - 1, 0x756E6547, 0x6C65746E, 0x49656E69)]
    rows += [(n, 0xFFFFFFFF, 0x000506E3 * n, 0x00100800, 0xFFFA3203, 0x1FC9CBF5) for n in range(1, leaves - 2)]
    rows += [(0xD, 0, 7, 0x240, 0x340, 0), (0xD, 1, 0xF, 0x240, 0, 0)]
    return b"".join(struct.pack(order + "6I", *row) for row in rows)


def msr_policy(order: str) -> bytes:
    """PLATFORM_INFO and ARCH_CAPABILITIES."""
    return struct.pack(order + "IIQIIQ", 0xCE, 0, 0x80000000, 0x10A, 0, 0x0)


def hvm_context(vcpus: int = 2, stamp: int = 0) -> bytes:
    """Build an HVM save chain, HEADER ... END, whose length is not a multiple of 8."""

    def entry(code: int, instance: int, body: bytes) -> bytes:
        return struct.pack("<HHI", code, instance, len(body)) + body

    chain = entry(1, 0, struct.pack("<IIQII", 0x54381286, 1, 0, 0x000506E3, 2095078))
    for vcpu in range(vcpus):
        registers = struct.pack("<8Q", *(0xFFFF8880_00000000 + stamp + 0x1000 * vcpu + 8 * n for n in range(8)))
        chain += entry(2, vcpu, registers.ljust(1032, b"\0"))
        chain += entry(16, vcpu, struct.pack("<QQ", 7, 7).ljust(605, b"\x5a"))
    chain += entry(3, 0, struct.pack("<Q", 0xB8FB)) + entry(3, 1, struct.pack("<Q", 0xFF70))
    chain += entry(4, 0, bytes(400))
    for vcpu in range(vcpus):
        chain += entry(5, vcpu, struct.pack("<QIIQ", 0xFEE00900, 0, 0, stamp))
        chain += entry(6, vcpu, b"".join(struct.pack("<IIII", n, 0, 0, 0) for n in range(64)))
        chain += entry(18, vcpu, struct.pack("<4Q", 0x9, 0, 0, 0))
    return chain + entry(0, 0, b"")


def hvm_params(order: str, params: list[tuple[int, int]]) -> bytes:
    """Count and index/value pairs."""
    return struct.pack(order + "II", len(params), 0) + b"".join(struct.pack(order + "QQ", *p) for p in params)


def emulator_context(length: int, seed: int = 0) -> bytes:
    """Device state as QEMU saves it: magic, version 3, full sections, end mark; exactly ``length`` bytes."""
    rng = random.Random(seed)
    blob = b"QEVM" + struct.pack(">I", 3)
    for section, name in enumerate((b"timer", b"cpu_common", b"0000:00:01.3/piix4_pm")):
        blob += b"\x04" + struct.pack(">IB", section, len(name)) + name + struct.pack(">II", 0, 3)
        blob += rng.randbytes(40) + b"\x7e" + struct.pack(">I", section)
    return blob.ljust(length - 1, b"\xa5")[: length - 1] + b"\0"


def xenstore_data() -> bytes:
    """Physmap entries of the device model."""
    pairs = [("start_addr", "f0000000"), ("size", "800000"), ("name", "vga.vram")]
    return b"".join(f"physmap/0/{key}\0{value}\0".encode() for key, value in pairs)


def vcpu_basic(width: int) -> bytes:
    """vcpu_guest_context of a 64-bit or 32-bit guest."""
    context = bytearray(0x1430 if width == 8 else 0xAF0)
    struct.pack_into("<Q", context, 0x200, 0x5)
    struct.pack_into("<Q" if width == 8 else "<I", context, 0x288 if width == 8 else 0x224, 0x81000000)
    return bytes(context)


def vcpu_extended(vcpu: int) -> bytes:
    """xen_domctl_ext_vcpucontext."""
    return struct.pack("<IIQQHHBB2x4Q", vcpu, 64, 0, 0xFFFFFFFF81A00000, 0, 0x10, 0, 0, 0x9, 0, 0, 0)


def vcpu_xsave() -> bytes:
    """xcr0, xcr0_accum and a short xsave area."""
    return struct.pack("<QQ", 7, 7) + bytes(576)


def vcpu_msrs(order: str = "<") -> bytes:
    """Two model specific registers."""
    return struct.pack(order + "IIQIIQ", 0x48, 0, 0, 0xC0000103, 0, 1)


def shared_info() -> bytes:
    """A shared info page with some time fields set."""
    return struct.pack("<QQ", 1, 0).ljust(0xC00, b"\0") + struct.pack("<IIII", 2, 0x5F5E100, 0, 0).ljust(0x400, b"\0")
