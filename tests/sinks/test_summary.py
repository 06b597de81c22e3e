# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import dataclasses

import pytest

from dissector.sinks.colour import Palette
from dissector.sinks.summary import SummarySink, duration_text, rate_text, size_text
from tests.sample_events import BEGIN, END, FINDING, SUMMARY, TOTAL, output, page_data, written


def summary(*events, encoding="utf-8", colour=False) -> str:
    stream = output(encoding)
    sink = SummarySink(stream, Palette(enabled=colour))
    for event in events:
        sink.write(event)
    assert written(stream) == ""
    sink.close()
    return written(stream)


def test_a_flow():
    assert (
        summary(BEGIN, page_data([1]), FINDING, END, SUMMARY, TOTAL)
        == """
flow 0 192.0.2.1:44210 → 192.0.2.2:8002: COLO, xl stream, x86 HVM guest, from Xen 4.17, libxc v3
  time       2026-11-22 21:35:10.123456 UTC, 0.750 s, 89.6 Mbit/s
  forward    8,399,290 bytes (8.0 MiB)
  reverse    1,766 bytes (1.7 KiB)
  memory     2,018 pages (7.9 MiB), 6 passes up to the first checkpoint, 5 checkpoints
  xl         BANNER
  libxl      CHECKPOINT_STATE 18
  libxc      PAGE_DATA 1,024
  loss       2,896 bytes lost forward, 12,345 bytes forward passed over without framing, 1 record
             incomplete
  findings   1 error, 2 notes
  outcome    connection lost after 5 checkpoints

7,102 frames, 1 migration, 3 other TCP connections, 1 error
"""
    )


def test_what_there_is_not_takes_no_line():
    quiet = dataclasses.replace(
        SUMMARY,
        mode="unknown",
        guest="",
        xen="",
        version=None,
        incomplete=0,
        passes=0,
        checkpoints=0,
        pages=0,
        lost={"forward": 0, "reverse": 0},
        skipped={},
        seconds=None,
        findings={},
        outcome="",
        records={},
    )
    assert summary(quiet) == (
        "\nflow 0: unknown mode, xl stream\n"
        "  forward    8,399,290 bytes (8.0 MiB)\n"
        "  reverse    1,766 bytes (1.7 KiB)\n"
    )


def test_no_migration_at_all():
    total = dataclasses.replace(TOTAL, flows=0, findings={}, other_connections=1)
    assert summary(total) == "\n7,102 frames, no Xen migration found, 1 other TCP connection\n"


def test_counters_of_a_live_capture():
    assert summary(dataclasses.replace(TOTAL, received=7102, dropped=0)).endswith(
        ", 0 of 7,102 packets dropped by the capture\n"
    )
    assert summary(dataclasses.replace(TOTAL, dropped=1234)).endswith(", 1,234 packets dropped by the capture\n")


def test_lines_fit_in_a_terminal_of_100_columns():
    many = {f"libxc RECORD_TYPE_{number}": number for number in range(40)}
    text = summary(BEGIN, dataclasses.replace(SUMMARY, records=many))
    assert max(map(len, text.splitlines())) <= 101


def test_without_utf8_and_with_colours():
    assert "192.0.2.1:44210 > 192.0.2.2:8002" in summary(BEGIN, SUMMARY, encoding="ascii")
    assert "\x1b[1;31m2,896 bytes lost" in summary(BEGIN, SUMMARY, colour=True)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB"), (3 << 50, "3,072.0 TiB")],
)
def test_sizes(count, text):
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("count", "seconds", "text"),
    [(10, 1, "80.0 bit/s"), (125_000_000, 1, "1.0 Gbit/s"), (125_000, 2, "500.0 kbit/s")],
)
def test_rates(count, seconds, text):
    assert rate_text(count, seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4821, "0.482 s"), (65, "1 min 05 s"), (3599.9, "1 h 00 min"), (7860, "2 h 11 min")]
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text
