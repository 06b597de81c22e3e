# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
import sys

import pytest

import dissector
from tests.cli.commands import environment, run


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"xendissect {dissector.__version__}\n", "")


def test_the_version_needs_no_command_line_library():
    code = (
        "import sys; sys.argv = ['xendissect', '--version']\n"
        "from dissector.cli import main; main()\n"
        "assert not {'typer', 'rich', 'scapy', 'numpy', 'msgspec', 'dataclasses'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), stdout=subprocess.DEVNULL)


def test_the_application_declares_the_version_too():
    assert run("--version", "read").stdout == f"xendissect {dissector.__version__}\n"


def test_without_arguments_there_is_help():
    done = run()
    assert "xendissect read migration.pcap" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_examples_that_keep_their_lines(option):
    done = run("read", option)
    assert done.returncode == 0
    assert "  xendissect read migration.pcap\n" in done.stdout
    assert "tcpdump -i xenbr0 -w - port 8002 | xendissect read -\n" in run(option).stdout


def test_shell_completion_is_there():
    assert "--show-completion" in run("--help").stdout
    for begun, whole in (("PAGE", "PAGE_DATA"), ("page", "page_data")):
        words = f"xendissect read --type {begun}"
        done = run(_XENDISSECT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="3")
        assert done.stdout.split() == [whole]


@pytest.mark.parametrize("arguments", [["bogus"], ["read"], ["read", "--bogus", "x"], ["read", "-c", "0", "x"]])
def test_usage_errors_end_with_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_known_verb_alone_is_loaded():
    code = (
        "import sys\n"
        "from dissector.cli.app import VERBS, application\n"
        "application('read')\n"
        "print([verb for verb in VERBS if f'dissector.cli.{verb}' in sys.modules])\n"
        "application('rea')\n"
        "print([verb for verb in VERBS if f'dissector.cli.{verb}' not in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['read']\n[]\n"
