# SPDX-License-Identifier: GPL-2.0-or-later
"""Synthetic captures with their own ground truth; nothing here imports the product package."""
