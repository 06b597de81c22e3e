# SPDX-License-Identifier: GPL-2.0-or-later
def forward(
    buffer: memoryview,
    position: int,
    end: int,
    shape: str,
    linktype: int,
    fast: dict[bytes, list[int]],
    slim: bool,
    /,
) -> tuple[int, int, bytes | None, int, int]: ...
