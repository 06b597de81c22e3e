# SPDX-License-Identifier: GPL-2.0-or-later
"""What is remembered of one migration while it is checked: a few facts, and what of them is certain."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from dissector.check.pfnset import PfnSet
from dissector.spec import libxc, libxl, xl
from dissector.spec.model import RECORD_HEADER_SIZE
from dissector.wire import codec, members

if TYPE_CHECKING:
    from dissector.spec import model
    from dissector.wire.events import Flow, Record

HEADS: Final = frozenset({xl.SAVE_FILE_HEADER, xl.BANNER, libxl.STREAM_HEADER, libxc.IMAGE_HEADER})
"""What a direction begins with: seen at offset 0, it is the beginning even if the capture has no SYN."""
OUTSTANDING: Final = 2
"""Dirty lists, and checkpoints, that wait for their counterpart of the other direction."""
FULL_BATCH: Final = libxc.MAX_BATCH_SIZE


class Half:
    """One direction.

    Attributes:
        first: The first record; None before it.
        last: The record before the present one.
        adjoins: The present record follows directly on `last`.
        whole: Every record from the first byte of the stream to the present one was seen (their bodies may have holes).
        count: Records before the present one, by definition.
        stage: Likewise, since the last CHECKPOINT_END.
        stage_whole: Likewise, `whole` for `stage`.
        behind: Stream offset behind `last`.
    """

    __slots__ = ("adjoins", "behind", "count", "first", "last", "stage", "stage_whole", "whole")

    def __init__(self) -> None:
        self.first: Record | None = None
        self.last: Record | None = None
        self.adjoins = False
        self.whole = False
        self.stage_whole = False
        self.count: Counter[model.Record] = Counter()
        self.stage: Counter[model.Record] = Counter()
        self.behind = 0

    def meet(self, record: Record, *, started: bool) -> None:
        """See where a record begins; `started`: stream offset 0 is known to be the first byte of the direction."""
        if self.first is None:
            self.first = record
            self.whole = record.offset == 0 and (started or record.definition in HEADS)
            self.stage_whole = self.whole
            return
        self.adjoins = record.offset == self.behind
        if not self.adjoins:
            self.whole = self.stage_whole = False

    def take(self, record: Record) -> None:
        """Go on behind a record."""
        self.last = record
        self.behind = record.offset + record.size
        self.count[record.definition] += 1
        if record.definition is libxl.CHECKPOINT_END:
            self.stage.clear()
            self.stage_whole = True
        else:
            self.stage[record.definition] += 1


class Memory:
    """What is known of the guest's memory.

    Attributes:
        certain: The pfn list of every PAGE_DATA since the beginning was seen.
        highest: Greatest pfn of those lists; -1: none yet.
        first_pass: The first pass goes on.
        expected: The pfn with which it goes on.
        told: A hole in it was reported.
    """

    __slots__ = ("_last", "certain", "expected", "first_pass", "highest", "told")

    def __init__(self) -> None:
        self.certain = True
        self.highest = -1
        self.first_pass = True
        self.expected = 0
        self.told = False
        self._last: tuple[int, int] | None = None

    def begins_pass(self, first: int) -> bool:
        """Tell whether a PAGE_DATA that begins with pfn `first` begins another pass (stream.md 4.8)."""
        return self._last is not None and (self._last[0] < FULL_BATCH or first <= self._last[1])

    def take(self, count: int, first: int, last: int, highest: int) -> None:
        """Count a batch."""
        if self.begins_pass(first):
            self.first_pass = False
        self._last = (count, last)
        self.expected = last + 1
        self.highest = max(self.highest, highest)


class Session:
    """One migration.

    Attributes:
        flow: How it began.
        forward: What the sender sent.
        reverse: What the receiver sent.
        flags: mandatory_flags of the xl header.
        kind: ``pv``, ``hvm`` or ``pvh`` as the configuration says; empty when unknown.
        options: Options of the libxl header.
        version: libxc stream version.
        guest: ``PV`` or ``HVM`` (a PVH guest too) as the domain header says; empty when unknown.
        xen: Version of the sender as the domain header says.
        converted: The stream was made by convert-legacy-stream.
        width: Bytes of a word of a PV guest.
        max_pfn: Its highest pfn.
        inside: Between CHECKPOINT and CHECKPOINT_END; None: not known.
        vcpus: PV vcpus whose registers came.
        memory: See :class:`Memory`.
        lists: Dirty lists that wait for their checkpoint, as (number, record).
        resent: Checkpoints that wait for their list: (number, pfns), None for pfns that are not certain.
        sending: Pfns sent since the last NEW; None before it, or when they are not certain.
        news: COLO checkpoints that the sender began.
        statuses: REPORT_STATUS bytes.
        report: The last record with one of them.
        checkpoint: The first libxc CHECKPOINT.
        unseen: Direction -> stream offset behind the last byte that is lost, or was passed over without framing.
        long_header: Header size of dirty lists, if that is more than 8.
        broken: Direction -> stream offset of bytes that are no record, though nothing before them is lost.
        stops_at: Direction -> stream offset of what the direction ends inside.
        misread: Direction and offset of a message that was not the right text.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.forward = Half()
        self.reverse = Half()
        self.flags: int | None = None
        self.kind = ""
        self.options: int | None = None
        self.version: int | None = None
        self.guest = ""
        self.xen: tuple[int, int] | None = None
        self.converted = False
        self.width: int | None = None
        self.max_pfn: int | None = None
        self.inside: bool | None = False
        self.vcpus: set[int] = set()
        self.memory = Memory()
        self.lists: deque[tuple[int, Record]] = deque(maxlen=OUTSTANDING)
        self.resent: deque[tuple[int, PfnSet]] = deque(maxlen=OUTSTANDING)
        self.sending: PfnSet | None = None
        self.news = 0
        self.statuses: list[int | None] = []
        self.report: Record | None = None
        self.checkpoint: Record | None = None
        self.unseen: dict[str, int] = {}
        self.long_header = 0
        self.broken: dict[str, int] = {}
        self.stops_at: dict[str, int] = {}
        self.misread: tuple[str | None, int | None] | None = None
        self._batch: tuple[Record, Batch | None] | None = None

    @property
    def secondary(self) -> str:
        """Which release the COLO secondary runs, as its dirty lists say; empty if that is not known."""
        if self.long_header:
            return f"Xen 4.18 or later ({self.long_header}-byte header of dirty lists)"
        sent = self.reverse.count[libxc.CHECKPOINT_DIRTY_PFN_LIST]
        return "Xen 4.7 to 4.17 (8-byte header of dirty lists)" if sent else ""

    def batch(self, record: Record) -> Batch | None:
        """Return the list of a PAGE_DATA; None if not even its count is there."""
        if self._batch is None or self._batch[0] is not record:
            self._batch = (record, Batch.of(record))
        return self._batch[1]

    @property
    def original(self) -> bool:
        """Whether the stream is known to come from a Xen, and not from convert-legacy-stream."""
        return not self.converted and (self.options is not None or self.xen is not None)

    def half(self, record: Record) -> Half:
        """Return the direction of a record."""
        return self.forward if record.direction == "forward" else self.reverse

    def meet(self, record: Record) -> None:
        """Learn where a record begins, before it is checked."""
        half = self.half(record)
        half.meet(record, started=self.flow.start == "file" or record.direction in self.flow.begun)
        if half is self.forward and not half.adjoins and not half.whole:
            self.inside = None
            self.memory.certain = False
            if self.sending is not None:
                self.sending.certain = False

    def take(self, record: Record) -> None:
        """Remember what a record says, after it was checked."""
        learn = _FACTS.get(record.definition)
        if learn is not None:
            learn(self, record)
        self.half(record).take(record)

    # -- facts, one method for each record that has some -------------------------------------------------------------

    def _xl_header(self, record: Record) -> None:
        self.flags = number(record, "mandatory_flags")

    def _config(self, record: Record) -> None:
        if record.complete:
            found = parsed(config_text(record))
            about = found.get("c_info") if found is not None else None
            kind = about.get("type") if isinstance(about, dict) else None
            self.kind = kind if kind in ("pv", "hvm", "pvh") else ""

    def _stream_header(self, record: Record) -> None:
        self.options = number(record, "options")
        self.converted = bool(self.options and self.options & 2)

    def _image_header(self, record: Record) -> None:
        self.version = number(record, "version")

    def _domain_header(self, record: Record) -> None:
        self.guest = {1: "PV", 2: "HVM"}.get(number(record, "type") or 0, "")
        major, minor = number(record, "xen_major"), number(record, "xen_minor")
        if major is not None and minor is not None:
            self.xen = (major, minor)
            self.converted = self.converted or major == 0

    def _pv_info(self, record: Record) -> None:
        width = number(record, "guest_width")
        self.width = width if width in (4, 8) else None

    def _p2m_frames(self, record: Record) -> None:
        self.max_pfn = number(record, "p2m_end_pfn")

    def _vcpu(self, record: Record) -> None:
        vcpu = number(record, "vcpu_id")
        if vcpu is not None and record.body_length != 8 and len(self.vcpus) < 8192:
            self.vcpus.add(vcpu)

    def _page_data(self, record: Record) -> None:
        batch = self.batch(record)
        self._batch = None
        if batch is None or not batch.whole:
            self.memory.certain = False
            if self.sending is not None:
                self.sending.certain = False
            return
        if not batch.raw:
            return
        pfns = batch.pfns
        self.memory.take(batch.count, pfns[0], pfns[-1], max(pfns))
        if self.sending is not None:
            self.sending.add(pfns)

    def _checkpoint(self, record: Record) -> None:
        self.inside = True
        self.checkpoint = self.checkpoint or record
        if self.sending is not None:
            self.resent.append((self.news, self.sending))
            self.sending = None

    def _checkpoint_end(self, record: Record) -> None:
        self.inside = False

    def _libxc_end(self, record: Record) -> None:
        self.inside = False

    def _state(self, record: Record) -> None:
        if record.direction == "forward" and self.behind_checkpoint_end:
            self.news += 1
            self.sending = PfnSet(certain=self.forward.whole)

    def _list(self, record: Record) -> None:
        if record.header_size > RECORD_HEADER_SIZE:
            self.long_header = record.header_size
        if record.direction == "reverse" and self.reverse.whole and record.complete:
            self.lists.append((self.reverse.count[libxc.CHECKPOINT_DIRTY_PFN_LIST] + 1, record))

    @property
    def behind_checkpoint_end(self) -> bool:
        """Tell whether the present record of the sender follows directly on CHECKPOINT_END."""
        last = self.forward.last
        return self.forward.adjoins and last is not None and last.definition is libxl.CHECKPOINT_END

    @property
    def checkpoints(self) -> int:
        """Complete checkpoints."""
        return self.forward.count[libxl.CHECKPOINT_END]

    def comes_alone(self, record: Record) -> bool:
        """Tell whether a record is the END behind the last checkpoint of a 4.6 session, which nothing precedes."""
        half = self.forward
        checkpointed = half.count[libxc.CHECKPOINT] or half.count[libxl.CHECKPOINT_END]
        return record.definition is libxc.END and bool(checkpointed) and not half.stage

    def not_seen(self, direction: str, behind: int) -> None:
        """Note that bytes up to stream offset `behind` are lost, or could not be framed because of that."""
        self.unseen[direction] = max(behind, self.unseen.get(direction, 0))

    def end_unseen(self, direction: str) -> bool:
        """Tell whether the last bytes of a direction are lost, or could not be framed."""
        half = self.forward if direction == "forward" else self.reverse
        return self.unseen.get(direction, 0) > half.behind

    def _status(self, record: Record) -> None:
        self.statuses.append(number(record, "status"))
        self.report = record


_FACTS: Final = {
    xl.SAVE_FILE_HEADER: Session._xl_header,
    xl.CONFIG: Session._config,
    xl.REPORT_STATUS: Session._status,
    libxl.STREAM_HEADER: Session._stream_header,
    libxl.CHECKPOINT_END: Session._checkpoint_end,
    libxl.CHECKPOINT_STATE: Session._state,
    libxc.IMAGE_HEADER: Session._image_header,
    libxc.DOMAIN_HEADER: Session._domain_header,
    libxc.X86_PV_INFO: Session._pv_info,
    libxc.X86_PV_P2M_FRAMES: Session._p2m_frames,
    libxc.X86_PV_VCPU_BASIC: Session._vcpu,
    libxc.X86_PV_VCPU_EXTENDED: Session._state,  # what a CHECKPOINT_STATE of a wrong length is read as
    libxc.PAGE_DATA: Session._page_data,
    libxc.CHECKPOINT: Session._checkpoint,
    libxc.END: Session._libxc_end,
    libxc.CHECKPOINT_DIRTY_PFN_LIST: Session._list,
}


# -- bodies -----------------------------------------------------------------------------------------------------------


def number(record: Record, name: str) -> int | None:
    """Return an integer of a body; None where the bytes end before it."""
    return codec.number(record.definition, record.body, record.order, name)


def whole(record: Record) -> bool:
    """Tell whether all bytes of the body are there (of a PAGE_DATA: none of them is known to be missing)."""
    return record.complete is not False and (record.body_length is None or len(record.body) >= record.body_length)


def config_text(record: Record) -> bytes:
    """Return the configuration in a CONFIG, with its NUL."""
    length = number(record, "config_len") or 0
    return record.body[4 : 4 + length]


def parsed(text: bytes) -> dict[str, Any] | None:
    """Parse a JSON object with or without a NUL at its end, as strictly as libxl; None if it is none."""
    try:
        return members.object_in(text.rstrip(b"\0").decode())
    except UnicodeDecodeError:
        return None


def is_state(record: Record, session: Session) -> bool:
    """Tell whether a record is a CHECKPOINT_STATE.

    With a wrong length it is read as the libxc record with the same number, which has no business there.
    """
    if record.definition is libxl.CHECKPOINT_STATE:
        return True
    return record.definition is libxc.X86_PV_VCPU_EXTENDED and session.behind_checkpoint_end


class Batch:
    """The list of a PAGE_DATA.

    Attributes:
        count: How many entries it should have.
        raw: The entries that are there, as bytes.
        whole: All of them are.
    """

    __slots__ = ("_order", "_pfns", "_tops", "count", "raw", "whole")

    def __init__(self, record: Record, count: int) -> None:
        self.count = count
        self.raw = record.body[8 : 8 + 8 * count]
        self.whole = len(self.raw) == 8 * count
        self._order = record.order
        self._pfns: tuple[int, ...] | None = None
        self._tops: bytes | None = None

    @classmethod
    def of(cls, record: Record) -> Batch | None:
        """Return the list of a PAGE_DATA; None if not even its count is there."""
        return cls(record, int.from_bytes(record.body[:4], record.order)) if len(record.body) >= 8 else None

    @property
    def entries(self) -> tuple[int, ...]:
        """The entries as they are."""
        return codec.entries(self.raw[: len(self.raw) & ~7], self._order)

    @property
    def pfns(self) -> tuple[int, ...]:
        """The entries without page types and reserved bits."""
        if self._pfns is None:
            self._pfns = tuple([entry & libxc.PFN_MASK for entry in self.entries])
        return self._pfns

    @property
    def tops(self) -> bytes:
        """The most significant byte of each entry."""
        if self._tops is None:
            self._tops = codec.type_bytes(self.raw[: len(self.raw) & ~7], self._order)
        return self._tops
