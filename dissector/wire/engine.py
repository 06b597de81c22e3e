# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets in, events out: the flow table, and the limits that hold over all connections."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dissector.spec import findings
from dissector.wire.drops import Drops
from dissector.wire.events import Event, Finding, Total
from dissector.wire.flow import Connection, Contents, Flow
from dissector.wire.frame import (
    ACK_FLAG,
    FIN,
    RST,
    SYN,
    FrameDecoder,
    Segment,
    UnknownLinkType,
    endpoints,
    reverse_key,
)
from dissector.wire.halfflow import ACK, IGNORE, LIMIT, NEXT_SEQ, Budget
from dissector.wire.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from dissector.spec.findings import Rule
    from dissector.wire.events import Record

_MASK = (1 << 32) - 1
_LINGER = 2_000_000_000
"""Nanoseconds of capture time after the last packet of a connection until it is closed: the capture may hold packets
that belong before it."""


class Engine:
    """Dissects any number of interleaved TCP connections.

    ``packet`` takes captured frames in the order of capture; ``finish`` must be called at the end. Both return the
    events that became known, in stream order for each direction.
    """

    def __init__(self, limits: Limits | None = None, contents: Contents | None = None) -> None:
        self.limits = limits or Limits()
        self.contents = contents
        self.decoder = FrameDecoder(max_fragment_bytes=self.limits.max_fragment_bytes)
        self.fast: dict[bytes, list[int]] = {}
        """Connection key -> what the fast-forward kernel needs to know of that direction."""
        self.frames = 0
        """Number of the last frame seen."""
        self.drops = Drops()
        """When a live capture dropped packets; its source tells."""
        self.slim = False
        """The capture has page contents cut out on purpose."""
        self.snapped = False
        """... but what is missing of the next packet is missing for another reason."""
        self.on_connection: Callable[[Connection], None] | None = None
        """Is told of each TCP connection when it is first seen."""
        self.segment: Segment | None = None
        """What the last frame held; None when that was no (whole) TCP segment."""
        self.current: tuple[Connection, int] | None = None
        """The connection and direction it belongs to; None when it was passed over."""
        self.other_connections = 0
        self.segments = 0
        """Segments taken one by one, on connections that are or may be migrations."""
        self._connections: dict[bytes, tuple[Connection, int]] = {}
        self._closing: list[Connection] = []
        self._ignored: dict[bytes, None] = {}
        self._budget = Budget()
        self._events: list[Event] = []
        self._flows = 0
        self._unknown_links: set[int] = set()
        self._findings: Counter[str] = Counter()

    # -- input -----------------------------------------------------------------------------------------------------

    def packet(
        self, number: int, time: int | None, linktype: int, data: memoryview | bytes, wire_length: int
    ) -> list[Event]:
        """Take one captured frame.

        Args:
            number: frame number, from 1.
            time: capture time, nanoseconds since the epoch.
            linktype: LINKTYPE_ number of the frame's link layer.
            data: the captured bytes.
            wire_length: length of the frame on the wire.

        Returns:
            The events that became known with this frame.
        """
        self.frames = number
        self.segment = self.current = None
        try:
            segment = self.decoder.decode(linktype, memoryview(data), wire_length)
        except UnknownLinkType:
            if linktype not in self._unknown_links:
                self._unknown_links.add(linktype)
                self._note(findings.LINKTYPE, number, time, linktype=linktype)
            return self._take()
        if segment is not None:
            self.segment = segment
            self._segment(segment, number, time)
        return self._take() if self._events else []

    def left_out(self, key: bytes, seq: int, length: int, ack: int, number: int, time: int | None) -> None:
        """Note what packets held that the writer of a slim capture left out.

        Args:
            key: direction of a connection, as in :class:`~dissector.wire.frame.Segment`.
            seq: sequence number of the first byte left out.
            length: how many bytes.
            ack: what the other direction acknowledged last, -1 for nothing.
            number: frame number of the last frame before them.
            time: capture time of the last of the packets; None: not known.
        """
        found = self._connections.get(key)
        if found is not None:
            connection, index = found
            connection.catch_up()
            half = connection.halves[index]
            if length:
                last = time if time is not None else connection.flow.followers[index].last_time
                half.left_out(seq, length, number, last)
            if ack >= 0:
                connection.halves[1 - index].fast[ACK] = ack
                half.check(ack, number, time)
            connection.publish()

    def passed(self, key: bytes, number: int, time: int | None) -> None:
        """Note that the kernel passed payload of the direction `key`, last in frame `number` at `time`."""
        found = self._connections.get(key)
        if found is not None:
            connection, index = found
            connection.catch_up()
            connection.flow.latest = number
            connection.flow.followers[index].passed(number, time)

    def finish(self) -> list[Event]:
        """The capture is over: end all connections and give the total."""
        seen: set[int] = set()
        for connection, _ in list(self._connections.values()):
            if id(connection) not in seen:
                seen.add(id(connection))
                self._count_other(connection)
                connection.finish(connection.closing or ("fin" if connection.over else "capture end"))
        self._connections.clear()
        self.fast.clear()
        if self.decoder.malformed:
            self._note(findings.MALFORMED, self.frames, None, count=self.decoder.malformed)
        if self.decoder.fragments_dropped:
            self._note(findings.LIMIT_FRAGMENTS, self.frames, None, count=self.decoder.fragments_dropped)
        self._events.append(Total(self.frames, self._flows, self.other_connections, dict(self._findings)))
        return self._take()

    def capture_cut(self, text: str) -> list[Event]:
        """Report that a capture file ends in the middle of a packet, or was damaged."""
        self._note(findings.CAPTURE_CUT, self.frames, None, what=text)
        return self._take()

    def capture_slim(self) -> None:
        """Learn that the capture has page contents cut out on purpose: they are no loss. Before its first packet."""
        if not self.slim:
            self.slim = True
            self._note(findings.SLIM, self.frames, None)

    def capture_skimmed(self, unseen: int, size: int) -> list[Event]:
        """Report how many bytes of the capture nobody looked at."""
        self._note(findings.SKIM, self.frames, None, unseen=unseen, size=size, share=round(100 * unseen / max(size, 1)))
        return self._take()

    def only_migration(self) -> Connection | None:
        """Return the migration under way if it is the only one, and no other connection may still become one."""
        found: Connection | None = None
        for connection, index in self._connections.values():
            flow = connection.flow
            if index or flow.ended or flow.uninteresting:
                continue
            idle = not (connection.halves[0].started or connection.halves[1].started)
            if not flow.announced and idle:
                continue
            if found is not None or not flow.announced:
                return None
            found = connection
        return found

    def capture_dropped(self, count: int) -> list[Event]:
        """Report how many packets the capture dropped in all."""
        self._note(findings.DROPPED, self.frames, None, count=count)
        return self._take()

    def open_stream(self, entry: str) -> BareStream:
        """Begin a bare byte stream (save image, raw libxl or libxc stream) in place of packets."""
        flow = Flow(self.limits, self._sink, self._number)
        flow.sink_records = self._sink_records
        flow.start = "file"
        flow.contents = self.contents
        return BareStream(self, flow, entry)

    # -- events ----------------------------------------------------------------------------------------------------

    def _sink(self, event: Event) -> None:
        if isinstance(event, Finding):
            self._findings[event.severity] += 1
        self._events.append(event)

    def _sink_records(self, records: list[Record]) -> None:
        self._events += records

    def _note(self, rule: Rule, frame: int, time: int | None, **values: object) -> None:
        self._sink(Finding(rule, rule.text.format(**values), frame=frame, time=time))

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _number(self) -> int:
        self._flows += 1
        return self._flows - 1

    # -- connections -----------------------------------------------------------------------------------------------

    def _segment(self, segment: Segment, number: int, time: int | None) -> None:
        found = self._connections.get(segment.key)
        if found is None:
            found = self._new_connection(segment)
            if found is None:
                return
        connection, index = found
        connection.catch_up()
        self.segments += 1
        self.current = found
        if segment.flags & SYN:
            isn = (segment.seq + 1) & _MASK
            if connection.isns[index] != isn and (connection.halves[index].started or connection.flow.ended):
                self._close(connection, connection.closing or "new connection")
                self.current = found = self._open(segment.key)
                connection, index = found
            self._syn(connection, index, isn, segment)
        connection.flow.latest = number
        half = connection.halves[index]
        peer = connection.halves[1 - index]
        if segment.flags & ACK_FLAG:
            half.fast[ACK] = segment.ack
        seq = segment.seq + 1 if segment.flags & SYN else segment.seq
        if segment.length:
            if not half.started:
                connection.start(index, seq)
            if connection.first < 0:
                connection.first = index
            half.slim = self.slim and not self.snapped
            half.segment(seq, segment.payload, segment.length, peer.fast[ACK], number, time)
        if peer.started and segment.flags & ACK_FLAG:
            peer.check(segment.ack, number, time)
        if segment.flags & FIN:
            if not half.started:
                connection.start(index, seq)
            half.fin = half.offset_of(seq + segment.length)
        if segment.flags & RST and half.started:
            half.reset = half.offset_of(seq)
        if segment.flags & (FIN | RST) and connection.flow.closer == -1:
            # An acknowledgement of more than what came: the other side may have closed before, unseen.
            unseen = segment.flags & ACK_FLAG and peer.started and peer.offset_of(segment.ack) > peer.next
            connection.flow.closer = -2 if unseen else index
        self._after(connection, segment, time)

    def _after(self, connection: Connection, segment: Segment, time: int | None) -> None:
        """See whether something ended with this segment."""
        flow = connection.flow
        for index in (0, 1):
            if flow.announced and connection.halves[index].at_end:
                flow.followers[index].end()
        if flow.uninteresting:
            self._ignore(connection)
            return
        if connection.halves[0].at_end and connection.halves[1].at_end:
            self._close(connection, "fin")
        else:
            if not connection.closing and (segment.flags & RST or connection.over):
                connection.closing = "rst" if segment.flags & RST else "fin"
                connection.closing_since = time or 0
                self._closing.append(connection)
            connection.publish()
        if self._closing and time is not None:
            for late in [one for one in self._closing if time - one.closing_since > _LINGER]:
                self._close(late, late.closing)

    def _syn(self, connection: Connection, index: int, isn: int, segment: Segment) -> None:
        half, peer = connection.halves[index], connection.halves[1 - index]
        connection.isns[index] = isn
        if not half.started:
            connection.flow.begun[index] = True
            connection.start(index, isn)
            connection.flow.start = "syn"
        if segment.flags & ACK_FLAG and not peer.started:
            connection.flow.begun[1 - index] = True
            connection.start(1 - index, segment.ack)
            connection.isns[1 - index] = segment.ack

    def _new_connection(self, segment: Segment) -> tuple[Connection, int] | None:
        key = segment.key
        if key in self.fast:
            if not segment.flags & SYN:
                return None
            self._forget(key)
        elif segment.flags & RST or not (segment.length or segment.flags & (SYN | ACK_FLAG)):
            return None
        return self._open(key)

    def _open(self, key: bytes) -> tuple[Connection, int]:
        self._forget(key)
        if len(self._connections) >= 2 * self.limits.max_flows:
            self._evict()
        source, source_port, destination, destination_port = endpoints(key)
        ends = ((source, source_port), (destination, destination_port))
        flow = Flow(self.limits, self._sink, self._number, ends)
        flow.sink_records = self._sink_records
        connection = Connection(key, flow, self.limits, self._budget)
        other = reverse_key(key)
        if self.on_connection is not None:
            self.on_connection(connection)
        flow.contents = self.contents
        flow.drops = self.drops
        flow.keys = (key, other)
        flow.opened = self.frames
        self._connections[key] = (connection, 0)
        self._connections[other] = (connection, 1)
        self.fast[key] = connection.halves[0].fast
        self.fast[other] = connection.halves[1].fast
        return connection, 0

    def _forget(self, key: bytes) -> None:
        for one in (key, reverse_key(key)):
            self._connections.pop(one, None)
            self.fast.pop(one, None)
            self._ignored.pop(one, None)

    def _count_other(self, connection: Connection) -> None:
        if not connection.flow.announced and any(follower.position for follower in connection.flow.followers):
            self.other_connections += 1

    def _ignore(self, connection: Connection) -> None:
        """Keep of a connection only that it is of no interest."""
        self._count_other(connection)
        key, other = connection.key, reverse_key(connection.key)
        for one in (key, other):
            self._connections.pop(one, None)
            self.fast[one] = [0, IGNORE, -1]
            self._ignored[one] = None
        while len(self._ignored) > 8 * self.limits.max_flows:
            oldest = next(iter(self._ignored))
            del self._ignored[oldest]
            self.fast.pop(oldest, None)

    def _close(self, connection: Connection, reason: str) -> None:
        if connection in self._closing:
            self._closing.remove(connection)
        connection.finish(reason)
        if reason != "new connection":
            self._ignore(connection)
        else:
            self._count_other(connection)

    def _evict(self) -> None:
        """Make room: end the oldest connection that is no migration yet, or else the oldest."""
        oldest = next(iter(self._connections.values()))[0]
        for connection, _ in self._connections.values():
            if not connection.flow.announced:
                oldest = connection
                break
        if oldest.flow.announced or any(follower.position for follower in oldest.flow.followers):
            self._note(findings.LIMIT_FLOWS, self.frames, None, limit=self.limits.max_flows)
        self._close(oldest, "limit")
        self._forget(oldest.key)

    def progress(self) -> list[tuple[int, str, int]]:
        """Say how far each migration is: flow number, direction, stream bytes seen (kernel's included)."""
        found: list[tuple[int, str, int]] = []
        for connection, index in self._connections.values():
            if connection.flow.announced:
                half = connection.halves[index]
                ahead = (half.fast[NEXT_SEQ] - connection.synced[index]) & _MASK
                role = connection.flow.followers[index].role or "forward"
                found.append((connection.flow.number, role, half.next + ahead))
        return found

    def quiet(self, seconds: float) -> list[Event]:
        """Give up waiting where nothing has come on any connection for so long (live captures only)."""
        late = int(seconds * 1e9)
        for connection in [one for one in self._closing if late > _LINGER]:
            self._close(connection, connection.closing)
        seen: set[int] = set()
        for connection, _ in list(self._connections.values()):
            if id(connection) not in seen and connection.flow.announced:
                seen.add(id(connection))
                connection.catch_up()
                for index in (0, 1):
                    last = connection.flow.followers[index].last_time
                    now = None if last is None else last + late
                    connection.halves[index].check(connection.peer_ack(index), self.frames, now)
                connection.publish()
        return self._take()

    def idle(self, key: bytes) -> bool:
        """Tell whether a connection is known to be of no interest."""
        state = self.fast.get(key)
        return state is not None and state[LIMIT] == IGNORE


class BareStream:
    """A forward stream without packets: an ``xl save`` image, or a raw libxl or libxc stream."""

    def __init__(self, engine: Engine, flow: Flow, entry: str) -> None:
        self._engine = engine
        self._flow = flow
        self._follower = flow.followers[0]
        flow.forced = entry

    @property
    def skip(self) -> int:
        """Bytes from here on that need not be read at all."""
        return self._follower.skip

    def data(self, view: memoryview) -> list[Event]:
        """Take the next bytes of the stream."""
        follower = self._follower
        follower.data(view, 0, None)
        follower.settled(follower.position)
        return self._engine._take()

    def passed(self, count: int) -> None:
        """Note that `count` bytes, fewer than `skip`, were passed over without reading."""
        self._follower.advance(count)

    def finish(self) -> list[Event]:
        """The stream is over."""
        self._flow.finish("end of file")
        return self._engine.finish()
