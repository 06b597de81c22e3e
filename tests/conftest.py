# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for every test."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what it starts in the background ignore Ctrl-C, and so would every program that is tested here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
