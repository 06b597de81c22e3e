# SPDX-License-Identifier: GPL-2.0-or-later
"""The Wireshark of this computer: where it is, putting the dissector in, and finding out why it is not seen."""
