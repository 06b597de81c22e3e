# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole byte streams: one direction's bytes to a list of record packets, and scapy's TCPSession on small captures."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from scapy.config import conf
from scapy.fields import PacketListField
from scapy.packet import Packet

from dissector.layers.base import XenRecord
from dissector.layers.packets import packet_from
from dissector.wire.framer import Framer
from dissector.wire.limits import Limits
from dissector.wire.machine import CHOICES, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dissector.wire.unit import Unit

ENTRIES = tuple(what for what, _ in CHOICES[State.START][0] if isinstance(what, bytes))
"""How the streams of both directions begin."""


def dissect_stream(data: bytes, state: State = State.START) -> list[Packet]:
    """Dissect one direction's bytes: a save image, or what one side of a connection sent.

    Args:
        data: the bytes, from the first one of a stream on, or from anywhere that `state` names.
        state: what comes first, such as ``State.LIBXC`` for libxc records.

    Returns:
        A packet for each header, message and record. A last one that is cut holds what is there; bytes that are no
        record come last as Raw. Joined, their bytes are `data`.
    """
    framer = Framer(state, 0, Limits())
    framer.data(memoryview(data), 0, None)
    if not framer.failed:
        framer.end()
    packets, end = _dissected(framer.units, data, 0)
    if end < len(data):
        packets.append(conf.raw_layer(data[end:]))
    return packets


def _dissected(units: Iterable[Unit], data: bytes, base: int) -> tuple[list[Packet], int]:
    """Make the packets of units framed from `data`, which is at stream offset `base`; return them and their end."""
    packets: list[Packet] = []
    end = 0
    for unit in units:
        end = min(unit.end - base, len(data))
        packets.append(packet_from(unit.definition, unit.order, data[unit.offset - base : end], unit.header_size))
    return packets, end


class RecordsField(PacketListField):  # type: ignore[misc]
    """The records of a stream, one after the other."""

    __slots__: list[str] = []

    def getfield(self, packet: Any, data: bytes) -> tuple[bytes, list[Packet]]:
        """Take what is framed as records; leave the rest."""
        packets = dissect_stream(data)
        rest = bytes(packets.pop()) if packets and not isinstance(packets[-1], XenRecord) else b""
        return rest, packets


class XenMigration(Packet):  # type: ignore[misc]
    """One direction of a migration, or the part of it that one TCP segment completed: a list of records.

    Made for scapy's TCPSession, after :func:`bind_port`. Use it on small captures only:

    * TCPSession keeps all bytes of the current record and copies them for every segment: a 4 MiB PAGE_DATA in
      1448-byte segments costs gigabytes of copying.
    * Lost segments are filled with zeros, or dropped when they are far away: records are silently wrong, and nothing
      says so. Captures that start in the middle of a connection give nothing.
    * A sequence number that wraps ends the dissection.

    :class:`~dissector.layers.MigrationSession` has none of these limits.
    """

    name = "Xen migration"
    fields_desc = [RecordsField("records", [])]  # noqa: RUF012

    @classmethod
    def dispatch_hook(cls, _pkt: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Take only bytes that begin like a stream: a single segment from the middle says nothing."""
        if _pkt and not bytes(_pkt[:12]).startswith(ENTRIES):
            return conf.raw_layer
        return cls

    @classmethod
    def tcp_reassemble(cls, data: bytes, metadata: dict[str, Any], session: dict[str, Any]) -> Packet | None:
        """Called by TCPSession with the bytes of one direction that are not dissected yet."""
        ident = metadata.get("ident")
        if ident is None:
            return None  # TCPSession asking again for what is behind the packet it was just given
        states: dict[Any, Framer | None] = session.setdefault("xen_migration", {})
        before = states.setdefault(ident, Framer(State.START, 0, Limits()))
        if before is None:
            return conf.raw_layer(data)
        framer = _fork(before, before.position)
        framer.data(memoryview(data), 0, None)
        if metadata.get("tcp_end") and not framer.failed:
            framer.end()
        packets, end = _dissected(framer.units, data, before.position)
        if not packets and not framer.failed:
            wanted = framer.skip or framer.need - len(framer.want)
            metadata["tcp_min_len"] = len(data) + max(wanted, 1)
            return None
        states[ident] = None if framer.failed else _fork(framer, before.position + end)
        rest = [(conf.raw_layer if framer.failed else conf.padding_layer)(data[end:])] if end < len(data) else []
        if not packets:
            return rest[0]
        result = cls(records=packets)
        result.add_payload(rest[0] if rest else None)
        return result

    def mysummary(self) -> str:
        """Name the first records."""
        names = [record.name for record in self.records]
        more = ", …" if len(names) > 3 else ""
        return f"Xen migration {len(names)} records: {', '.join(names[:3])}{more}"


def _fork(framer: Framer, position: int) -> Framer:
    """Return a framer that begins at `position`, the end of a unit, and knows what `framer` knows.

    TCPSession may still exchange the bytes it has handed out (a hole that was filled with zeros), so what was framed
    of an unfinished record is forgotten and framed again with the next segment.
    """
    fork = copy.copy(framer)
    fork.units = []
    fork.findings = []
    fork.want = bytearray()
    fork.unit = fork._held = None
    fork.skip = 0
    fork.position = position
    fork._begin()
    return fork


def bind_port(port: int) -> None:
    """Let scapy dissect TCP from and to `port` as XenMigration; for ``sniff(session=TCPSession)``."""
    from scapy.layers.inet import TCP
    from scapy.packet import bind_bottom_up, bind_top_down

    bind_bottom_up(TCP, XenMigration, {"dport": port})
    bind_bottom_up(TCP, XenMigration, {"sport": port})
    bind_top_down(TCP, XenMigration, {"dport": port})
