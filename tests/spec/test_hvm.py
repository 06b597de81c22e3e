# SPDX-License-Identifier: GPL-2.0-or-later
"""HVM parameter and save-section names against stream.md 9.5 and 9.7."""

from __future__ import annotations

from dissector.spec.hvm import HVM_CONTEXT_SIGNATURE, HVM_PARAM, HVM_SAVE_TYPE


def test_params_that_xen_sends():
    sent = [1, 5, 6, 27, 28, 29, 37, 17, 19, 9, 12, 34, 32, 33, 36, 38]
    assert [HVM_PARAM.values[n] for n in sent] == [
        "STORE_PFN",
        "IOREQ_PFN",
        "BUFIOREQ_PFN",
        "PAGING_RING_PFN",
        "MONITOR_RING_PFN",
        "SHARING_RING_PFN",
        "VM86_TSS_SIZED",
        "CONSOLE_PFN",
        "ACPI_IOPORTS_LOCATION",
        "VIRIDIAN",
        "IDENT_PT",
        "VM_GENERATION_ID_ADDR",
        "IOREQ_SERVER_PFN",
        "NR_IOREQ_SERVER_PAGES",
        "X87_FIP_WIDTH",
        "MCA_CAP",
    ]


def test_unassigned_params_have_no_name():
    assert set(range(39)) - set(HVM_PARAM.values) == {3, 7, 8}


def test_save_sections():
    assert set(HVM_SAVE_TYPE.values) == set(range(21))
    assert (HVM_SAVE_TYPE.values[1], HVM_SAVE_TYPE.values[16], HVM_SAVE_TYPE.values[20]) == (
        "HEADER",
        "CPU_XSAVE",
        "CPU_MSR",
    )


def test_signature():
    assert bytes.fromhex("010000001800000086123854") == HVM_CONTEXT_SIGNATURE
