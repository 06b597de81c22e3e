# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that take one of a few words."""

from __future__ import annotations

from enum import StrEnum


class LayerChoice(StrEnum):
    """Layers of the stream."""

    XL = "xl"
    LIBXL = "libxl"
    LIBXC = "libxc"


class DirectionChoice(StrEnum):
    """Who sent it."""

    FORWARD = "forward"
    REVERSE = "reverse"


class FormatChoice(StrEnum):
    """What an input is."""

    PCAP = "pcap"
    PCAPNG = "pcapng"
    XL = "xl"
    LIBXL = "libxl"
    LIBXC = "libxc"


class TimeChoice(StrEnum):
    """What the time column shows."""

    UTC = "utc"
    RELATIVE = "relative"
    DELTA = "delta"
    NONE = "none"


class ColourChoice(StrEnum):
    """When to use colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class SlimChoice(StrEnum):
    """How page contents are cut out of a capture."""

    CUT = "cut"
    HEADS = "heads"
    NONE = "none"


class MethodChoice(StrEnum):
    """Ways to capture."""

    AUTO = "auto"
    RING = "ring"
    DUMPCAP = "dumpcap"
    TCPDUMP = "tcpdump"


class StatusChoice(StrEnum):
    """How the status is shown."""

    AUTO = "auto"
    PLAIN = "plain"
    OFF = "off"


class ToolChoice(StrEnum):
    """Programs that capture on another host."""

    DUMPCAP = "dumpcap"
    TCPDUMP = "tcpdump"
