# SPDX-License-Identifier: GPL-2.0-or-later
"""Pure data: every header, message, record, field and enumeration of the migration stream, defined once.

To add a record type, add one :class:`~dissector.spec.model.Record` to the RECORDS of its layer
(:mod:`~dissector.spec.xl`, :mod:`~dissector.spec.libxl`, :mod:`~dissector.spec.libxc`). Everything else - the core,
scapy classes, JSON, tree output, display filters - is derived from these definitions.
"""

from __future__ import annotations

from dissector.spec import libxc, libxl, xl
from dissector.spec.model import Layer, Record

ALL_RECORDS: tuple[Record, ...] = xl.RECORDS + libxl.RECORDS + libxc.RECORDS

BY_NAME: dict[tuple[str, str], Record] = {(record.layer, record.name): record for record in ALL_RECORDS}
"""(layer, name) -> definition."""

BY_TYPE: dict[tuple[str, int], Record] = {
    (record.layer, record.type_id): record for record in ALL_RECORDS if record.type_id is not None
}
"""(layer, type number) -> definition."""

__all__ = ["ALL_RECORDS", "BY_NAME", "BY_TYPE", "Layer", "Record"]
