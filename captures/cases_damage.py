# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases about what goes wrong on the way or in the capture: order, repetition, loss, late start, cuts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from captures import damage
from captures.files import pcap
from captures.guests import Guest, colo, hvm, mixed, pattern, plain, remus, save
from captures.network import Link, Segment
from captures.table import Damage, Made, case, connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from captures.packets import Packet
    from captures.streams import Conversation


def shuffle(segments: list[Segment], conversation: Conversation) -> list[Segment]:
    """Delay, double and overlap many data segments; from the end, so that the indices stay right."""
    data = damage.holding(segments, "forward", 0, len(conversation.forward.data))
    for number, index in reversed(list(enumerate(data[2:-4], 2))):
        match number % 9:
            case 1:
                segments = damage.delay(segments, index, 1)
            case 3:
                segments = damage.repeat(segments, index, 4)
            case 5:
                segments = damage.delay(segments, index, 4)
            case 6:
                segments = damage.overlap(segments, index, 100)
            case 8:
                segments = damage.resend(segments, data[number - 2], index, (1, 700, 2000), 3)
    return segments


@case
def reorder_and_overlap() -> Made:
    """Segments out of order, doubled, overlapping, retransmitted with other borders; no byte is lost."""
    return connection(plain(hvm(), passes=((3, 5, 8, 13), (1, 2))), damage=shuffle)


def probe(segments: list[Segment], conversation: Conversation) -> list[Segment]:
    """Probes inside page contents and before the dirty list."""
    pages = conversation.find("PAGE_DATA")["offset"]
    pfns = conversation.find("CHECKPOINT_DIRTY_PFN_LIST", 0, "reverse")["offset"]
    segments = damage.keep_alive(segments, damage.holding(segments, "reverse", pfns, pfns + 1)[0], b"\xee")
    index = damage.holding(segments, "forward", pages + 60_000, pages + 60_001)[0]
    segments = damage.zero_window(segments, index)
    index = damage.holding(segments, "forward", pages + 30_000, pages + 30_001)[0]
    segments = damage.keep_alive(segments, index, b"\xee")
    index = damage.holding(segments, "forward", pages + 20_000, pages + 20_001)[0]
    return damage.keep_alive(segments, index, b"")


@case
def keep_alive_zero_window() -> Made:
    """Keep-alive probes with no and one (wrong) byte at seq - 1, zero-window probes with one byte of new data."""
    return connection(colo(hvm(), ((1, 5, 9),)), Link(close="rst"), damage=probe)


def late(segments: list[Segment], conversation: Conversation) -> list[Segment]:
    """Delay a segment with page contents and one with a PAGE_DATA head by a round trip."""
    for record, inside in ((conversation.find("PAGE_DATA", 1), 0), (conversation.find("PAGE_DATA"), 40_000)):
        start = record["offset"] + inside
        segments = damage.delay(segments, damage.holding(segments, "forward", start, start + 8)[0], 14)
    return segments


@case
def late_retransmission() -> Made:
    """Lost on the way and retransmitted later: page contents once, a PAGE_DATA head once; the holes are filled."""
    return connection(plain(hvm(contents=mixed), passes=((3, 5, 8, 13, 21, 22, 23, 24, 25, 26),)), damage=late)


def without(type_: str, index: int, start: int, length: int, direction: str = "forward") -> Damage:
    """Damage that loses the frames of a range inside a record."""

    def lose(segments: list[Segment], conversation: Conversation) -> list[Segment]:
        offset = conversation.find(type_, index, direction)["offset"] + start
        return damage.lose(segments, direction, offset, offset + length)

    return lose


@case
def loss_in_pages() -> Made:
    """Capture loss in page contents, twice, 1 and 7 frames; no record head is hit."""

    def lose(segments: list[Segment], conversation: Conversation) -> list[Segment]:
        pages = conversation.find("PAGE_DATA")["offset"]
        segments = damage.lose(segments, "forward", pages + 30_000, pages + 30_001)
        return damage.lose(segments, "forward", pages + 60_000, pages + 70_000)

    return connection(plain(hvm()), damage=lose)


@case
def loss_page_data_head() -> Made:
    """Capture loss over the head of the second PAGE_DATA (and the end of the first)."""
    guest = hvm(pages=60, contents=mixed)
    return connection(plain(guest, passes=((3, 5, 8, 13), (1, 2, 5))), damage=without("PAGE_DATA", 1, 0, 8))


@case
def loss_tsc_head_remus() -> Made:
    """Remus: capture loss over the head of X86_TSC_INFO in the second checkpoint."""
    talk = remus(hvm(), ((5,), (3, 4), (1, 2, 3), (6,)))
    return connection(talk, Link(close="rst"), damage=without("X86_TSC_INFO", 1, 0, 8))


@case
def loss_libxl_head() -> Made:
    """Remus: capture loss over a libxl record head (EMULATOR_CONTEXT of the second checkpoint)."""
    talk = remus(hvm(emulator_bytes=5000), ((5,), (3, 4), (1, 2, 3)))
    return connection(talk, Link(close="rst"), damage=without("EMULATOR_CONTEXT", 1, 0, 8))


@case
def loss_handover() -> Made:
    """Plain: capture loss from the end of the HVM context over libxc END into EMULATOR_CONTEXT."""
    return connection(plain(hvm(emulator_bytes=5000)), damage=without("HVM_PARAMS", 0, -300, 900))


@case
def loss_of_beginning() -> Made:
    """SYN seen, then everything lost up to the middle of the first pass."""

    def lose(segments: list[Segment], conversation: Conversation) -> list[Segment]:
        middle = conversation.find("PAGE_DATA")["offset"] + 80_000
        return segments[:3] + segments[damage.holding(segments, "forward", middle, middle + 1)[0] :]

    return connection(plain(hvm()), damage=lose)


@case
def loss_list_head_colo() -> Made:
    """COLO: capture loss in the back channel over the head of the first list."""
    talk = colo(hvm(), ((1, 5, 9, 10, 11), (7, 8), (4,)))
    lose = without("CHECKPOINT_DIRTY_PFN_LIST", 0, 0, 8, "reverse")
    return connection(talk, Link(close="rst", per_record=True), damage=lose)


@case
def mid_stream_plain() -> Made:
    """Plain: the capture starts inside the page contents of the first pass."""
    talk = plain(hvm(contents=mixed), passes=((3, 5, 8), (1,)))
    start = talk.find("PAGE_DATA")["offset"] + 70_000
    return connection(talk, thin=lambda p: damage.from_middle(p, "forward", start), start="mid-stream")


@case
def mid_stream_colo() -> Made:
    """COLO: the capture starts inside page contents of the second checkpoint; the back channel at a record."""
    talk = colo(hvm(), ((1, 5, 9, 10), (3, 4, 6, 7), (8,)))
    start = talk.find("PAGE_DATA", 2)["offset"] + 9_000
    link = Link(close="rst")
    return connection(talk, link, thin=lambda p: damage.from_middle(p, "forward", start), start="mid-stream")


@case
def mid_stream_colo_list() -> Made:
    """COLO: the capture starts inside a dirty list of the back channel."""
    guest = hvm(pages=500)
    guest.types.update(dict.fromkeys(range(20, 500), "XTAB"))
    talk = colo(guest, (list(range(400)), (1, 5), (3,)))
    start = talk.find("CHECKPOINT_DIRTY_PFN_LIST", 0, "reverse")["offset"] + 2_000
    link = Link(close="rst")
    return connection(talk, link, thin=lambda p: damage.from_middle(p, "reverse", start), start="mid-stream")


@case
def snap_128() -> Made:
    """Snap length 128: only the first 62 payload bytes of every frame; records begin segments."""
    link, write = Link(per_record=True), partial(pcap, snap_length=128)
    return connection(plain(hvm()), link, thin=lambda p: damage.snap(p, 128), write=write)


@case
def snap_1000() -> Made:
    """Snap length 1000 with frames of 1514 bytes."""
    return connection(plain(hvm()), thin=lambda p: damage.snap(p, 1000), write=partial(pcap, snap_length=1000))


@case
def file_cut() -> Made:
    """The file is cut in the middle of a packet, inside the second pass."""
    talk = plain(hvm())
    start = talk.find("PAGE_DATA", 1)["offset"] + 12_000

    def write(packets: Sequence[Packet]) -> bytes:
        broken = replace(packets[-1], time=packets[-1].time + 5_000, data=bytes(1514))
        return pcap([*packets, broken])[:-700]

    thin = partial(damage.until, direction="forward", offset=start)
    return connection(talk, thin=thin, write=write, clip=True, mode="unknown")


@case
def nested_fake_stream() -> Made:
    """Guest memory holds a complete save image; the head of its PAGE_DATA is lost: no record of it is real."""
    fake = bytes(save(Guest(name="fake", pages=6, vcpus=1)).forward.data)
    chunks = [fake[start : start + 4096].ljust(4096, b"\0") for start in range(0, len(fake), 4096)]
    guest = hvm()

    def contents(pfn: int, generation: int) -> bytes:
        inside = generation == 1 and 8 <= pfn < 8 + len(chunks)
        return chunks[pfn - 8] if inside else pattern(pfn, generation)

    guest.contents = contents
    talk = plain(guest, passes=(range(4, 12 + len(chunks)), (1, 2, 3)))
    return connection(talk, damage=without("PAGE_DATA", 1, 0, 8))


@case
def duplicate_interface() -> Made:
    """Every frame twice, as from a capture on two interfaces of one path."""

    def double(packets: list[Packet]) -> list[Packet]:
        return [copy for packet in packets for copy in (packet, replace(packet, time=packet.time + 700))]

    return connection(colo(hvm(), ((1, 5), (2,))), Link(close="rst"), thin=double)
