# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks: captures of any size, and how fast they are read."""
