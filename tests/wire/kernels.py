# SPDX-License-Identifier: GPL-2.0-or-later
"""Both fast-forward kernels for tests: either alone, and the one in C compared with the one in Python call by call."""

from __future__ import annotations

import copy
import os

import pytest

from dissector.wire.forward import PythonKernel
from dissector.wire.kernel import VARIABLE, CKernel

KERNELS = ("python", "c")


def need_c():
    """Skip a test for want of the C kernel; where everything must be tested, fail."""
    try:
        CKernel()
    except ImportError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the C kernel was not built: {error}")
        pytest.skip(f"C KERNEL NOT TESTED, it was not built: {error}")


class ComparedKernel:
    """The kernel in C; each call is compared with the one in Python, which has seen the same packets before.

    The one in C may pass more packets, never fewer; of the packets that both pass, everything must be the same.
    """

    def __init__(self):
        self.slim = False
        self.calls = self.further = 0
        self._python = PythonKernel()
        self._c = CKernel()

    def forward(self, buffer, position, end, shape, linktype, fast):
        self._python.slim = self._c.slim = self.slim
        expected, again = copy.deepcopy(fast), copy.deepcopy(fast)
        stop, count = self._python.forward(buffer, position, end, shape, linktype, expected)
        behind, passed = self._c.forward(buffer, position, end, shape, linktype, fast)
        assert passed >= count
        self.calls += 1
        if passed > count:
            self.further += 1
            part = CKernel()
            part.slim = self.slim
            assert part.forward(buffer, position, stop, shape, linktype, again) == (stop, count)
            one = part
        else:
            assert behind == stop
            again, one = fast, self._c
        assert again == expected
        assert one.latest == self._python.latest
        if one.latest is not None:
            assert (one.latest_at, one.latest_number) == (self._python.latest_at, self._python.latest_number)
        self.latest, self.latest_at, self.latest_number = self._c.latest, self._c.latest_at, self._c.latest_number
        return behind, passed


def use(patch, name):
    """Let every walk have the kernel of this name, the one in C compared with the one in Python."""
    if name == "c":
        need_c()
    patch.setenv(VARIABLE, name)
    if name == "c":
        patch.setattr("dissector.walk.make_kernel", ComparedKernel)
