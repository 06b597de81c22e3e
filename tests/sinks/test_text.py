# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import dataclasses

from dissector.sinks.colour import Palette
from dissector.sinks.text import TextSink, endpoint
from dissector.spec import findings
from dissector.wire.events import Finding
from tests.sample_events import (
    BEGIN,
    END,
    FINDING,
    GAP,
    RESYNC,
    SUMMARY,
    TOTAL,
    checkpoint_state,
    dirty_list,
    output,
    page_data,
    record,
    written,
)

PLAIN = Palette(enabled=False)


def lines(*events, encoding="utf-8", palette=PLAIN, **options) -> list[str]:
    stream = output(encoding)
    sink = TextSink(stream, palette, **options)
    for event in events:
        sink.write(event)
    sink.close()
    return written(stream).splitlines()


def test_a_record_is_one_line_with_the_facts_at_its_end():
    assert lines(page_data([0, 1, 2])) == [
        "21:35:10.123456       8 #0  → libxc  PAGE_DATA                       2794     12328  3 pfns 0x0-0x2, 3 pages"
    ]
    assert lines(record("libxc", "END")) == [
        "21:35:10.123456       8 #0  → libxc  END                             2794         8"
    ]


def test_the_longest_type_keeps_offset_and_size_in_their_columns():
    short, long = lines(checkpoint_state(1), dirty_list([1, 2]))
    assert short.index(" 2794 ") == long.index(" 2794 ")
    assert "←" in short


def test_other_events_use_the_same_grid():
    begin, gap, resync, finding, end = lines(BEGIN, GAP, RESYNC, FINDING, END)
    at = {line.index(number) + len(number) for line, number in ((gap, "5000"), (resync, "5000"), (finding, "102"))}
    assert len(at) == 1
    assert "flow   begin 192.0.2.1:44210 → 192.0.2.2:8002, xl stream, from the start of the connection" in begin
    assert "→ gap    lost" in gap
    assert "2896  bytes missing: they are not in the capture" in gap
    assert "resync" in resync
    assert "12345  bytes skipped to reach libxc PAGE_DATA" in resync
    assert "← error" in finding
    assert finding.endswith("list with a 16-byte header [libxc.checkpoint_dirty_pfn_list.header]")
    assert end.endswith("flow   end   rst, mode colo")


def test_summaries_are_no_lines():
    assert lines(SUMMARY, TOTAL) == []


def test_a_record_with_missing_bytes_says_so():
    (line,) = lines(page_data([1, 2], complete=False, lost=((4000, 2896),)))
    assert line.endswith("2 pages  LOST 2896 bytes (1 page)")


def test_what_has_no_time_or_frame():
    (line,) = lines(record("libxl", "END", time=None, first_frame=0))
    assert line.startswith("              -       - #0  → libxl  END")


def test_a_finding_about_the_whole_input():
    (line,) = lines(Finding(findings.CAPTURE_CUT, "x.pcap: 3 of 9 bytes"))
    assert "- #-  · warn" in line


def test_resynchronisation_that_found_nothing():
    (line,) = lines(dataclasses.replace(RESYNC, found=""))
    assert line.endswith("bytes skipped and no record head found")


def test_without_utf8_there_are_ascii_arrows_and_escapes():
    begin, line, banner = lines(BEGIN, checkpoint_state(1), record("xl", "READY", "gäst\0".encode()), encoding="ascii")
    assert "192.0.2.1:44210 > 192.0.2.2:8002" in begin
    assert " < libxl" in line
    assert banner.endswith("g\\xe4st")


def test_colours():
    palette = Palette(enabled=True)
    (line,) = lines(page_data([1], complete=False, lost=((2900, 5),)), palette=palette)
    assert "\x1b[2m21:35:10.123456\x1b[0m" in line
    assert "\x1b[1;31mLOST 5 bytes (1 page)\x1b[0m" in line
    (error,) = lines(FINDING, palette=palette)
    assert "\x1b[1;31merror" in error


def test_whole_pfn_lists_on_request():
    shown = lines(page_data([*range(16), 0xF << 60 | 99]), pfns=True)
    assert shown[1].strip() == "0x0-0xf, 0x63 XTAB"
    assert len(lines(checkpoint_state(1), pfns=True)) == 1


def test_time_styles():
    assert lines(record("libxc", "END"), time="none")[0].startswith("      8 #0  → libxc  END")
    assert lines(record("libxc", "END"), time="relative")[0].startswith("     0.000000       8 #0")


def test_the_heading_stands_over_its_columns():
    heading, line = lines(page_data([0]), heading=True)
    for word, value in (("offset", "2794"), ("size", "4120")):
        assert heading.index(word) + len(word) == line.index(value) + len(value)
    assert heading.index("facts") == line.index("1 pfn")
    assert heading.index("layer") == line.index("libxc")


def test_endpoints():
    assert endpoint("192.0.2.1", 80) == "192.0.2.1:80"
    assert endpoint("2001:db8::1", 80) == "[2001:db8::1]:80"
    assert endpoint("", 0) == ""


def test_who_lost_what_is_missing():
    ours, theirs = (dataclasses.replace(GAP, cause=cause) for cause in ("capture", "wire"))
    first, second = lines(ours, theirs)
    assert first.endswith("bytes missing: they are not in the capture, dropped by the capturing kernel")
    assert second.endswith("bytes missing: they are not in the capture, the capture dropped nothing there")
    assert len(lines(ours, ours)) == 1


def test_gaps_in_a_row_are_one_line():
    later = dataclasses.replace(GAP, offset=10000, length=4, frame=15)
    other = dataclasses.replace(later, reason="snaplen")
    folded, single, line = lines(GAP, later, other, record("libxc", "END"))
    assert folded.endswith(
        "2900  bytes missing: they are not in the capture, in 2 places up to offset 10004 (frame 15)"
    )
    assert " 12 #0  → gap    lost" in folded
    assert single.endswith("  4  bytes missing: frames were cut by the snap length")
    assert "END" in line
    assert len(lines(GAP)) == 1
