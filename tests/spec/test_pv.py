# SPDX-License-Identifier: GPL-2.0-or-later
"""State of PV guests. Where fields lie, test_xen_headers.py compares with Xen."""

from __future__ import annotations

from dissector.spec import libxc, pv


def test_each_length_of_a_vcpu_context_has_a_layout():
    lengths = {length - 8 for length in libxc.X86_PV_VCPU_BASIC.length.exact}
    assert pv.INSIDE_CONTEXT.layouts.keys() == lengths
    assert all(layout.length.exact == (length,) for length, layout in pv.INSIDE_CONTEXT.layouts.items())


def test_the_narrow_shared_info_comes_first():
    """It is taken when the rest of the page is empty; the other one is what is left."""
    assert list(pv.INSIDE_SHARED_INFO.layouts) == [2344, 3136]


def test_both_widths_have_the_same_names():
    wide, narrow = ({element.name for element in layout.body} for layout in pv.INSIDE_SHARED_INFO.layouts.values())
    assert wide == narrow
