# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames of any link type through the frame decoder, fragments among them; each as Ethernet and as bare IP too."""

from __future__ import annotations

from dissector.wire.frame import LINKTYPES, FrameDecoder, UnknownLinkType, endpoints, reverse_key
from tests.fuzz.seeds import frames

LINKS = (*LINKTYPES, 147)
BOUND = 2000
EXTREMES = (0, 1, 39, 40, 60, 0x7FFF_FFFF, 0xFFFF_FFFF)


def check(draw):
    """Decode some frames with one decoder, and the IP packets in them with another one."""
    decoder, bare = (FrameDecoder(max_fragment_bytes=BOUND) for _ in range(2))
    number = 0
    while draw and number < 64:
        number += 1
        linktype, shape = draw.pick(LINKS), draw.below(8)
        frame = draw.take(draw.number(2) % 1600)
        wire = len(frame) if shape else EXTREMES[draw.below(len(EXTREMES))]
        view = memoryview(frame)
        try:
            segment = decoder.decode(linktype, view, wire)
        except UnknownLinkType:
            assert linktype not in LINKTYPES
            continue
        assert linktype in LINKTYPES
        look_at(segment, view)
        for one in (decoder, bare):
            assert 0 <= one._fragment_bytes <= BOUND
            assert one._fragment_bytes == sum(datagram.cost for datagram in one._datagrams.values())
            assert 0 <= one.fragments_dropped <= one.fragments <= number
            assert one.malformed <= number
        if linktype == 1 and len(frame) > 14 and frame[12:15].hex()[:5] in ("08004", "86dd6"):
            same = bare.decode(101, view[14:], max(wire - 14, 0))
            moved = segment and segment._replace(at=max(segment.at - 14, -1))
            assert wire < 14 or moved == same


def look_at(segment, view):
    """See that a segment says nothing that the frame does not hold, and is a view of it."""
    if segment is None:
        return
    assert len(segment.key) in (12, 36)
    assert reverse_key(reverse_key(segment.key)) == segment.key
    assert all(0 <= port < 1 << 16 for port in endpoints(segment.key)[1::2])
    assert 0 <= segment.seq < 1 << 32
    assert 0 <= segment.ack < 1 << 32
    assert 0 <= segment.flags < 1 << 9
    assert 20 <= segment.header <= 60
    assert 0 <= len(segment.payload) <= segment.length
    if segment.at >= 0:
        assert segment.payload == view[segment.at : segment.at + len(segment.payload)]
        assert segment.payload.obj is view.obj
    assert segment.at >= -1


def seeds():
    """Give the first frames of each capture."""
    for linktype, data in frames(12):
        link = LINKS.index(linktype) if linktype in LINKS else 0
        yield b"".join(bytes([link, 1]) + len(one).to_bytes(2, "little") + one for one in data if len(one) < 1600)
