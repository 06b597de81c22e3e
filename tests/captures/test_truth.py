# SPDX-License-Identifier: GPL-2.0-or-later
"""Arithmetic of what is missing."""

from __future__ import annotations

import json

import pytest

from captures.packets import Packet
from captures.streams import Conversation
from captures.truth import covered, direction_truth, holes, text


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], [(10, 20)]),
        ([(0, 30)], []),
        ([(0, 12), (15, 16)], [(12, 15), (16, 20)]),
        ([(12, 14)], [(10, 12), (14, 20)]),
        ([(0, 5), (25, 30)], [(10, 20)]),
    ],
)
def test_holes(spans, expected):
    assert holes(spans, 10, 20) == expected


def test_covered_merges_and_keeps_to_its_flow():
    def packet(offset, length, flow=0, direction="forward"):
        return Packet(0, b"", flow=flow, direction=direction, offset=offset, length=length)

    packets = [
        packet(10, 5),
        packet(0, 10),
        packet(20, 4),
        packet(21, 2),
        packet(90, 9, 1),
        packet(70, 9, 0, "reverse"),
    ]
    assert covered(packets, 0, "forward") == [(0, 15), (20, 24)]


def made() -> Conversation:
    conversation = Conversation()
    conversation.forward.page_data([(1, "NOTAB"), (2, "NOTAB")], [bytes(4096)] * 2)
    conversation.forward.libxc("END")
    return conversation


@pytest.mark.parametrize(
    ("hole", "head_lost"), [((0, 1), True), ((31, 32), True), ((32, 33), None), ((8000, 8224), None)]
)
def test_head_of_page_data_ends_after_the_pfns(hole, head_lost):
    spans = [(0, hole[0]), (hole[1], 8232)]
    record = direction_truth(made().forward, spans, 0, False)["records"][0]
    assert record["lost"] == [[hole[0], hole[1] - hole[0]]]
    assert record.get("head_lost") == head_lost


def test_late_start_makes_offsets_relative():
    half = direction_truth(made().forward, [(100, 8232)], 100, False)
    assert (half["bytes"], half["missing"]) == (8132, [])
    assert [(record["type"], record["offset"]) for record in half["records"]] == [("END", 8124)]


def test_early_end_cuts_the_record():
    half = direction_truth(made().forward, [(0, 50)], 0, True)
    assert (half["bytes"], half["missing"]) == (50, [])
    assert half["records"][0]["cut"]
    assert half["records"][0]["lost"] == [[50, 8224 - 50]]


def test_text_is_json():
    value = {"a": [{"layer": "x", "n": 1}] * 30, "b": list(range(400)), "c": {}}
    assert json.loads(text(value)) == value
