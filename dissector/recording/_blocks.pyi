# SPDX-License-Identifier: GPL-2.0-or-later
def blocks(
    buffer: memoryview,
    position: int,
    behind: int,
    shape: str,
    linktype: int,
    tick: int,
    interface: int,
    out: memoryview,
    most: int,
    /,
) -> tuple[int, int, int, int]: ...
