# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

pytest.importorskip("pyshark")

from dissector import LostBytesError
from dissector.pyshark_tools import events
from tests.pyshark_tools.test_capture import SMALL


def test_lists_that_were_not_asked_for(home):
    record = next(event for event in events(SMALL) if event.event == "record" and event.type == "PAGE_DATA")
    assert record.fields["count"] > 0
    assert "pfn" not in record.fields
    for ask in (lambda: record.pfns, lambda: record.decode(pfns=True)):
        with pytest.raises(LostBytesError, match="pfns=True"):
            ask()
    with pytest.raises(LostBytesError, match="page types"):
        _ = record.page_types
    with pytest.raises(LostBytesError):
        record.whole_body()


def test_records_without_a_list_have_none(home):
    record = next(event for event in events(SMALL) if event.event == "record" and event.type == "BANNER")
    assert len(record.pfns) == len(record.page_types) == 0
    assert record.decode(pfns=True) == record.fields
