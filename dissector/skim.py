# SPDX-License-Identifier: GPL-2.0-or-later
"""Passing over page contents in the file: where to go on, proven by packets that lie there.

The head of a PAGE_DATA tells how many stream bytes nobody needs. A place in the file before their end is guessed from
how many bytes of file came with each stream byte so far. It is believed when

- the addresses and ports of this connection are there, at the place in a record where they were before,
- from there on record follows record, over more bytes than a packet can have (so that it is no capture inside the
  contents of a packet), and among them the segments of this direction follow each other without a hole,
- their sequence numbers lie inside the bytes that nobody needs,
- the other direction has sent nothing meanwhile: its sequence number is still the one that is expected next.

Otherwise another guess is made, and after some of them the capture is read on as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dissector.sources import CaptureError, PcapFormat, PcapngFormat, resumed
from dissector.wire.frame import FrameDecoder, Segment, UnknownLinkType, reverse_key
from dissector.wire.halfflow import LIMIT, NEXT_SEQ
from dissector.wire.kernel import make_kernel

if TYPE_CHECKING:
    from dissector.sources import CaptureFile, Chunk
    from dissector.wire.engine import Engine
    from dissector.wire.flow import Connection

FARTHEST: Final = 1 << 30
"""Stream bytes passed over at once: sequence numbers tell no more than twice that, and a legacy stream has no end."""
LEAST: Final = 1 << 19
"""Fewer stream bytes than this are not worth a jump."""
PROOF: Final = 68 << 10
"""Bytes of file that must prove a place: more than the largest packet has."""
WINDOWS: Final = ((PROOF + (8 << 10), 24 << 10), (2 * PROOF, 32 << 10), (5 * PROOF, 96 << 10))
"""Bytes of file that are looked at for a place, and stream bytes that the guess leaves before the wanted byte for being
wrong. The next ones are taken when packets turn out to be so large that the first ones are too few."""
PIECE: Final = 1 << 16
"""Bytes that are read at once while skimming."""
_GUESSES: Final = 4
_MASK: Final = (1 << 32) - 1
_MAX_WAIT: Final = 256
"""Failures after which a jump is tried less and less often: after so many chunks."""


class Landing(NamedTuple):
    """A place that is proven.

    Attributes:
        position: Where a record begins in the file.
        passed: Stream bytes before it, counted from where the jump began.
    """

    position: int
    passed: int


class Skimmer:
    """Decides behind each chunk where to read on."""

    def __init__(self, file: CaptureFile, engine: Engine) -> None:
        self.unseen = 0
        """Bytes of the file that were not looked at."""
        self._file = file
        self._engine = engine
        self._ratio = 1.1
        self._wait = 0
        self._failures = 0
        self._size = 0
        file.piece = PIECE

    def consider(self, chunk: Chunk) -> bool:
        """Set `chunk.resume_at` if there is a place to go on; whether there is.

        Raises:
            CaptureError: The operating system reports an error.
        """
        if self._wait:
            self._wait -= 1
            return False
        form = chunk.format
        if form.slim or form.linktype is None or not isinstance(form, PcapFormat | PcapngFormat):
            return False
        connection = self._engine.only_migration()
        if connection is None:
            return False
        connection.catch_up()
        index = 0 if connection.flow.followers[0].role == "forward" else 1
        half, skip = connection.halves[index], min(connection.flow.followers[index].skip, FARTHEST)
        other = connection.halves[1 - index]
        if skip < LEAST or not half.in_order or (other.started and not other.in_order):
            return False
        here = chunk.position + chunk.consumed - chunk.start
        search = _Search(self._file, form, connection, index, WINDOWS[self._size][0])
        landing = self._landing(search, here, skip)
        if landing is None and search.short and self._size < len(WINDOWS) - 1:
            self._size += 1
        elif landing is None:
            self._failures += 1
            self._wait = min(_MAX_WAIT, 1 << min(self._failures, 20))
        if landing is None:
            return False
        self._failures = 0
        self._ratio = (landing.position - here) / landing.passed
        self.unseen += landing.position - here
        connection.jump(index, landing.passed)
        chunk.resume_at = landing.position
        return True

    def _landing(self, search: _Search, here: int, skip: int) -> Landing | None:
        ratio = self._ratio
        best: Landing | None = None
        spare = WINDOWS[self._size][1]
        aim = skip - spare
        for _ in range(_GUESSES):
            guess = here + int(aim * ratio) - PROOF
            if guess <= here + PROOF:
                break
            found = search.at(guess, skip)
            if found is None:
                aim -= aim // 4
                continue
            if found.passed <= 0:
                return best
            ratio = (found.position - here) / found.passed
            left = skip - found.passed
            if left > 0 and found.position - here > LEAST // 2:
                if best is None or found.passed > best.passed:
                    best = found
                if left < 4 * spare:
                    break
            aim = skip - spare - (spare if left <= 0 else 0)
        return best


class _Search:
    """Looks for packets of one direction."""

    def __init__(
        self, file: CaptureFile, form: PcapFormat | PcapngFormat, connection: Connection, index: int, window: int
    ) -> None:
        self.short = False
        """A proof failed because the window ended."""
        self._window = window
        keys = (connection.key, reverse_key(connection.key))
        self._file, self._form = file, form
        self._key, self._reverse = keys[index], keys[1 - index]
        self._next = connection.halves[index].fast[NEXT_SEQ]
        other = connection.halves[1 - index]
        self._reverse_next = other.fast[NEXT_SEQ] if other.started else None
        self._decoder = FrameDecoder()
        self._reading = resumed("", form.state())

    def at(self, guess: int, skip: int) -> Landing | None:
        """Return the first place behind `guess` that is proven; a place beyond `skip` only tells how far that is."""
        raw = self._file.peek(guess, self._window)
        window = memoryview(raw)
        hit = raw.find(self._key)
        tries = 0
        while hit >= 0 and tries < _GUESSES * 4:
            tries += 1
            start = self._record_at(window, hit)
            found = None if start is None else self._prove(window, start, guess, skip)
            if found is not None:
                return found
            hit = raw.find(self._key, hit + 1)
        return None

    def _record_at(self, window: memoryview, hit: int) -> int | None:
        """Find the record whose addresses lie at `hit`: its payload begins behind one of the usual headers."""
        header = 28 if isinstance(self._form, PcapngFormat) else 16
        for link in (14, 0, 4, 16, 20, 18, 22):
            for network in (12, 8):
                start = hit - header - link - network
                if start >= 0 and self._segment(window, start) is not None:
                    return start
        return None

    def _segment(self, window: memoryview, start: int) -> tuple[int, Segment | None] | None:
        """Read a record; its end, and its segment if it has one. None: there is none."""
        form = self._reading
        if isinstance(form, PcapngFormat) and not form.is_packet(window, start):
            return None
        try:
            behind, packet = form.packet(window, start, len(window))
        except CaptureError:
            return None
        if packet is None or len(packet.data) > packet.wire_length or packet.wire_length > 1 << 18:
            return None
        try:
            return behind, self._decoder.decode(packet.linktype, packet.data, packet.wire_length)
        except UnknownLinkType:
            return None

    def _prove(self, window: memoryview, start: int, guess: int, skip: int) -> Landing | None:
        """Walk from a record on, until it is proven that these are the packets of the capture."""
        kernel, form = make_kernel(), self._form
        state = [0, 0, -1]
        fast = {self._key: state, self._reverse: [0, 0, -1]}
        position, ordered_from, reverse_seen = start, -1, self._reverse_next is None
        end = len(window)
        while True:
            if ordered_from >= 0:
                before = position
                position, passed = kernel.forward(window, position, end, form.shape, form.linktype or 0, fast)
                if not reverse_seen and passed:
                    reverse_seen = self._reverse_among(window, before, position)
            proven = ordered_from >= 0 and reverse_seen and position - start >= PROOF
            if proven and position - ordered_from >= PROOF:
                return Landing(guess + position, state[NEXT_SEQ] - self._next & _MASK)
            read = self._segment(window, position)
            if read is None:
                self.short = self.short or end - position < PROOF
                return None
            behind, segment = read
            if segment is not None and segment.key == self._key:
                delta = segment.seq - self._next & _MASK
                if segment.flags & 7 or segment.length != len(segment.payload):
                    return None
                if delta > skip:
                    return Landing(guess + position, min(delta, 2 * skip)) if delta < 1 << 31 else None
                if segment.length:
                    if ordered_from < 0 or segment.seq != state[NEXT_SEQ]:
                        ordered_from = position
                    state[NEXT_SEQ] = segment.seq + segment.length & _MASK
                    state[LIMIT] = min(self._next + skip, 1 << 32)
            elif segment is not None and segment.key == self._reverse:
                if segment.length or segment.flags & 7 or segment.seq != self._reverse_next:
                    return None
                reverse_seen = True
            position = behind

    def _reverse_among(self, window: memoryview, start: int, end: int) -> bool:
        """Tell whether among records there is an acknowledgement with the sequence number that was expected."""
        position = start
        while position < end and (read := self._segment(window, position)) is not None:
            position, segment = read
            if segment is not None and segment.key == self._reverse:
                return segment.seq == self._reverse_next
        return False
