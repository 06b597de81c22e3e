# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import json

from captures.guests import hvm, plain
from dissector.sinks.jsonl import JsonSink
from dissector.tap.bystander import Crowd
from dissector.tap.view import LiveView


class Kept(io.StringIO):
    def close(self) -> None:
        """Keep the text."""


def test_records_of_both_directions():
    conversation = plain(hvm())
    output, notices = Kept(), []
    view = LiveView(lambda: output, lambda stream: [JsonSink(stream)], notices.append)
    crowd = Crowd([view])
    view.start()
    for turn in conversation.turns:
        side = 0 if turn.direction == "forward" else 1
        data = bytes(conversation.half(turn.direction).data[turn.start : turn.end])
        for start in range(0, len(data), 100_003):
            crowd.passed(side, data[start : start + 100_003])
            crowd.taken(side, len(data[start : start + 100_003]))
    crowd.ended(0, broken=False)
    crowd.ended(1, broken=False)
    assert view.close()
    assert (view.gave_up, notices) == (None, [])
    shown = [json.loads(line) for line in output.getvalue().splitlines()]
    assert shown[-1]["event"] == "summary"
    for direction in ("forward", "reverse"):
        mine = [
            (e["type"], e["offset"], e["size"])
            for e in shown
            if e.get("direction") == direction and e["event"] == "record"
        ]
        true = [(r["type"], r["offset"], r["size"]) for r in conversation.half(direction).records]
        assert mine == true


def test_an_output_that_breaks_stops_the_view_only():
    class Broken(Kept):
        def write(self, _text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    notices: list[str] = []
    view = LiveView(Broken, lambda stream: [JsonSink(stream)], notices.append)
    crowd = Crowd([view])
    view.start()
    crowd.passed(0, bytes(plain(hvm()).forward.data))
    assert view.close()
    assert "Broken pipe" in notices[0]


def test_no_output(tmp_path):
    notices: list[str] = []
    view = LiveView((tmp_path / "no" / "x").open, lambda stream: [JsonSink(stream)], notices.append)
    view.start()
    assert view.close()
    assert len(notices) == 1
    assert "No such file" in notices[0]
