# SPDX-License-Identifier: GPL-2.0-or-later
"""Sans-IO core: frames, segments or stream bytes in, events out. Knows no files, sockets or clocks."""
