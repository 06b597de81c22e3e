# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that verbs share mean the same in each."""

from __future__ import annotations

import inspect

import pytest
import typer

from dissector.cli import options
from dissector.cli.app import application
from dissector.cli.selection import type_names

SHARED = {
    parameter
    for parameter in vars(options)
    if parameter[0].isupper() and hasattr(getattr(options, parameter), "__metadata__")
}


def parameters(verb):
    group = typer.main.get_command(application())
    _, command, _ = group.resolve_command(typer.Context(group), [verb])
    return {option: one for one in command.params for option in one.opts if option.startswith("-")}


def test_there_are_some():
    assert len(SHARED) > 10


@pytest.mark.parametrize("name", sorted(SHARED))
def test_each_has_a_help_text_of_one_line(name):
    (option,) = getattr(options, name).__metadata__
    assert option.help
    assert "\n" not in option.help


@pytest.mark.parametrize("name", sorted(SHARED))
def test_read_and_sniff_have_them(name):
    (option,) = getattr(options, name).__metadata__
    words = {word for word in (option.default, *option.param_decls) if isinstance(word, str)}
    for verb in ("read", "sniff"):
        assert words <= set(parameters(verb)), verb


def test_no_option_of_sniff_means_something_else_in_read():
    read, sniff = parameters("read"), parameters("sniff")
    for word in read.keys() & sniff.keys() - {"-h", "--help"}:
        assert read[word].opts == sniff[word].opts
        assert read[word].multiple == sniff[word].multiple


def test_completion_of_types():
    assert options.complete_type("PAGE") == type_names()
    assert options.complete_type("page") == [name.lower() for name in type_names()]
    assert list(inspect.signature(options.complete_type).parameters) == ["incomplete"]
