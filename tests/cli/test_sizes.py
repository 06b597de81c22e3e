# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from dissector.cli.sizes import parse_limits, parse_size
from dissector.wire.limits import Limits


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("0x1000", 4096),
        ("64M", 64 << 20),
        ("64m", 64 << 20),
        ("512KiB", 512 << 10),
        ("1 g".replace(" ", ""), 1 << 30),
        ("2TB", 2 << 40),
        ("0", 0),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "64X", "1.5M", "-1", "6KM", "ten"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_limits():
    assert parse_limits([]) == Limits()
    limits = parse_limits(["max-flows=16", "MAX_BODY=1K", "max_search=1M"], "2M")
    assert (limits.max_flows, limits.max_body, limits.max_search) == (16, 2 << 20, 1 << 20)


@pytest.mark.parametrize("text", ["max_flows", "bogus=1", "=1"])
def test_unknown_limits_name_the_known_ones(text):
    with pytest.raises(ValueError, match="max_body"):
        parse_limits([text])
