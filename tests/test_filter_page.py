# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import re
from pathlib import Path

from dissector.filter_names import ALL, BY_NAME, EXPERTS
from dissector.filter_page import page, type_text

ROOT = Path(__file__).parent.parent
WHOLE = page((*ALL, *EXPERTS))


def test_the_committed_page_is_current():
    committed = (ROOT / "docs" / "fields.md").read_text()
    assert committed == WHOLE, "xendissect fields --markdown > docs/fields.md"


def test_every_name_is_there_once():
    for field in (*ALL, *EXPERTS):
        assert WHOLE.count(f"| `{field.name}` | {type_text(field)} |") == 1


def test_tables_are_whole():
    for line in WHOLE.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
            assert line.count("|") - line.count("\\|") in (3, 5)


def test_links_lead_somewhere():
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in WHOLE.splitlines()}
    for target in re.findall(r"\]\(#(.*?)\)", WHOLE):
        assert target in headings
    for target in re.findall(r"\]\((\w.*?)\)", WHOLE):
        assert (ROOT / "docs" / target).exists()


def test_values_of_layers_do_not_mix():
    assert re.search(r"### Values of libxl options\n\n.*\n.*\n\| 0 \| `BIG_ENDIAN` \|\n\| 1 \| `LEGACY`", WHOLE)
    assert re.search(r"### Values of libxc options\n\n.*\n.*\n\| 0 \| `BIG_ENDIAN` \|\n\n", WHOLE)


def test_a_part_of_the_page():
    text = page([BY_NAME["xenmig.libxl.checkpoint_state.control_id"]])
    assert "| 2 | `SVM_READY` |" in text
    assert "PAGE_DATA" not in text
    assert "Only in" not in text


def test_types():
    assert type_text(BY_NAME["xenmig.libxc.page_data.pfn"]) == "FT_UINT64, hex"
    assert type_text(BY_NAME["xenmig.libxc.page_data.count"]) == "FT_UINT32"
    assert type_text(BY_NAME["xenmig.libxl.stream_header.options.legacy"]) == "FT_BOOLEAN, bit 1"
