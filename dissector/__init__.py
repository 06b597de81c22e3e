# SPDX-License-Identifier: GPL-2.0-or-later
"""Dissector for Xen live migration: xl, libxl and libxc streams of both directions, from captures.

::

    import dissector

    for record in dissector.read("migration.pcap.gz"):
        print(record.direction, record.layer, record.type, record.offset, record.size, record.fields)

Nothing heavy is imported before it is used: numpy with the first pfn array, scapy with :mod:`dissector.layers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from dissector.sources import CaptureError
    from dissector.wire.engine import Engine
    from dissector.wire.events import Event, Finding, Flow, Gap, LostBytesError, Record, Resync, Summary
    from dissector.wire.limits import Limits

__version__ = "0.1.0"

_HOME = {
    "CaptureError": "dissector.sources",
    "Engine": "dissector.wire.engine",
    "Finding": "dissector.wire.events",
    "Flow": "dissector.wire.events",
    "Gap": "dissector.wire.events",
    "Limits": "dissector.wire.limits",
    "LostBytesError": "dissector.wire.events",
    "Record": "dissector.wire.events",
    "Resync": "dissector.wire.events",
    "Summary": "dissector.wire.events",
}

__all__ = [
    "CaptureError",
    "Engine",
    "Finding",
    "Flow",
    "Gap",
    "Limits",
    "LostBytesError",
    "Record",
    "Resync",
    "Summary",
    "events",
    "read",
]


def events(
    *paths: str | os.PathLike[str],
    as_format: str | None = None,
    limits: Limits | None = None,
    index: bool | None = None,
    skim: bool = False,
) -> Iterator[Event]:
    """Yield everything that is found in the captures at `paths`, in stream order for each direction.

    Args:
        paths: pcap or pcapng files, ``.gz`` and ``.zst`` too; ``-`` for stdin; or one save image or raw stream.
        as_format: force what the input is taken for: ``pcap``, ``pcapng``, ``xl``, ``libxl`` or ``libxc``.
        limits: bounds on memory; the defaults are safe.
        index: of a single file (docs/index.md). None: use the index beside it if it is fresh; True: make one if it is
            not; False: do neither. The events are the same.
        skim: pass over page contents in the file (docs/skim.md): a single uncompressed capture in a fraction of the
            time, without frame numbers, and without what is lost of page contents: ``record.complete`` is None then. A
            fresh index answers better; none is made.

    Yields:
        Record, Flow, Gap, Resync, Finding and Summary objects (design: JSON contract, docs/json.md).

    Raises:
        CaptureError: an input is missing, empty or unreadable.
    """
    from dissector.indexed import input_events

    return input_events(*paths, as_format=as_format, limits=limits, index=index, skim=skim)


def read(
    *paths: str | os.PathLike[str],
    display_filter: str | None = None,
    as_format: str | None = None,
    limits: Limits | None = None,
    index: bool | None = None,
    skim: bool = False,
) -> Iterator[Record]:
    """Yield the records of the captures at `paths`; arguments and errors as :func:`events`.

    Args:
        paths: see :func:`events`.
        display_filter: yield only records that match, such as ``"libxc.page_data.count > 100"``
            (docs/display-filter.md).
        as_format: see :func:`events`.
        limits: see :func:`events`.
        index: see :func:`events`.
        skim: see :func:`events`.

    Raises:
        FilterError: the filter cannot be understood (a ValueError).
    """
    from dissector.display_filter import compile_filter
    from dissector.wire.events import Record

    matches = compile_filter(display_filter) if display_filter else None
    found = events(*paths, as_format=as_format, limits=limits, index=index, skim=skim)
    return (event for event in found if isinstance(event, Record) and (matches is None or matches(event)))


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'dissector' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
