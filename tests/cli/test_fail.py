# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
import typer

from dissector.cli.fail import fail, tell


def test_one_line_and_status_2(capsys):
    with pytest.raises(typer.Exit) as caught:
        fail("no such thing")
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "xendissect: no such thing\n"


def test_a_word_in_passing(capsys):
    tell("no index")
    assert capsys.readouterr().err == "xendissect: no index\n"
