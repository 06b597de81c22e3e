# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import json

import pytest

from dissector.cli.choices import ColourChoice, TimeChoice
from dissector.cli.show import Show
from tests.sample_events import BEGIN, SUMMARY, TOTAL, output, page_data, record, written


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def shown(*events, stream=None, **changed):
    stream = stream or output()
    how = {"verbose": 0, "as_json": False, "pfns": False, "summary": True}
    how |= {"time": TimeChoice.UTC, "colour": ColourChoice.AUTO}
    show = Show(stream, **how | changed)
    show.prepare()
    sinks = show(stream)
    for event in events:
        for sink in sinks:
            sink.write(event)
    for sink in sinks:
        sink.close()
    return written(stream)


def test_json():
    text = shown(BEGIN, page_data([1, 5]), SUMMARY, as_json=True, verbose=2, pfns=True)
    assert [json.loads(line)["event"] for line in text.splitlines()] == ["flow", "record", "summary"]
    assert json.loads(text.splitlines()[1])["fields"]["pfn"] == [1, 5]


@pytest.mark.parametrize(("verbose", "lines"), [(0, 1), (1, 3), (2, 5)])
def test_lines_a_tree_and_a_dump(verbose, lines):
    text = shown(page_data([1, 2]), verbose=verbose, summary=False)
    assert len(text.splitlines()) >= lines
    assert "PAGE_DATA" in text
    assert any(line.split()[:1] == ["00000000"] or line.strip().startswith("0000") for line in text.splitlines()) == (
        verbose == 2
    )


def test_the_summary_can_be_left_out():
    assert "7,102 frames" in shown(TOTAL)
    assert shown(TOTAL, summary=False) == ""


def test_a_terminal_gets_a_heading_and_colours(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = shown(page_data([1]), stream=Terminal(io.BytesIO(), encoding="utf-8", newline="\n"))
    assert "offset" in text.splitlines()[0]
    assert "\x1b[" in text
    assert "\x1b[" not in shown(page_data([1]))
    assert "\x1b[" in shown(page_data([1]), colour=ColourChoice.ALWAYS)


def test_time_style():
    assert shown(page_data([1]), time=TimeChoice.RELATIVE).startswith("     0.000000")


def test_encodings():
    odd = record("xl", "READY", "gäst\0".encode())
    assert "g\\xe4st" in shown(odd, stream=output("ascii"))
    stream = output("latin-1")
    assert json.loads(shown(odd, stream=stream, as_json=True))["fields"]["text"] == "gäst"
    assert stream.encoding == "utf-8"
