# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m dissector``: the command line without an installed script."""

from __future__ import annotations

from dissector.cli import main

if __name__ == "__main__":
    main()
