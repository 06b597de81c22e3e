# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fuzzer begins with: the captures of this repository, cut down to what is quick to read."""

from __future__ import annotations

from functools import cache
from itertools import islice

from captures.files import expand
from tests.cross import tools

MOST = 24_000
"""Bytes of a capture or stream that are worth mutating: heads are at the front."""


@cache
def contents():
    """Give name and decompressed bytes of the captures and streams."""
    found = {}
    for name in tools.NAMES:
        path = tools.paths(name)[0]
        found[name] = expand(path.name, path.read_bytes())
    return found


def captures():
    """Give the begin of each capture file as it is when it is not compressed."""
    return [data[:MOST] for name, data in contents().items() if tools.is_capture(name)]


def frames(count):
    """Give link type and first frames of each capture."""
    for name in tools.NAMES:
        if tools.is_capture(name):
            some = list(islice(tools.packets(name), count))
            if some:
                yield some[0].linktype, [packet.data for packet in some]


def streams():
    """Give the begin of each direction of the streams that tests are made of, with page contents taken out."""
    from tests.cross.test_hostile import GOOD

    for make in GOOD.values():
        conversation = make()
        for half in (conversation.forward, conversation.reverse):
            if half.data:
                yield bytes(half.data[:MOST])
    for name, data in contents().items():
        if not tools.is_capture(name):
            yield data[:MOST]


def tokens():
    """Give words that streams and files have in them, for the fuzzer's dictionary."""
    from dissector.sources.capture import FOREIGN, MAGICS
    from dissector.spec import ALL_RECORDS
    from dissector.wire.resync import _TEXTS
    from dissector.wire.unit import identifying_bytes

    found = {*MAGICS, *FOREIGN, *(text for text, _ in _TEXTS)}
    for record in ALL_RECORDS:
        if record.type_id is not None:
            for length in record.length.exact or (record.length.minimum,):
                found.add(record.type_id.to_bytes(4, "little") + length.to_bytes(4, "little"))
        else:
            found |= {text for _, text in identifying_bytes(record)}
    return sorted(found)
