# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
import sys

import pytest

import dissector
from dissector.cli.app import VERBS
from dissector.wire.kernel import kernel_name
from tests.cli.commands import COLO_420, MIGRATION, environment, run

KERNELS = {"c": "C kernel", "python": "Python kernel"}
VERSION = f"xendissect {dissector.__version__} ({KERNELS[kernel_name()]})\n"


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")


def test_the_version_names_the_kernel_that_is_asked_for():
    assert run("--version", XENDISSECT_KERNEL="python").stdout.endswith(" (Python kernel)\n")


@pytest.mark.parametrize("arguments", [["--version"], ["read", str(MIGRATION)], ["--help"]])
def test_kernel_that_is_not_there(arguments, tmp_path):
    done = run(*arguments, XENDISSECT_KERNEL="rust")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "xendissect: XENDISSECT_KERNEL=rust: there is no such kernel, only c and python\n"


def test_c_kernel_that_was_not_built():
    code = "import sys; sys.modules['dissector.wire._forward'] = None; from dissector.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "read", MIGRATION],
        capture_output=True,
        text=True,
        env=environment(XENDISSECT_KERNEL="c"),
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("xendissect: XENDISSECT_KERNEL=c: the C kernel was not built; ")
    assert done.stderr.count("\n") == 1


def test_the_version_needs_no_command_line_library():
    code = (
        "import sys; sys.argv = ['xendissect', '--version']\n"
        "from dissector.cli import main; main()\n"
        "assert not {'typer', 'rich', 'scapy', 'numpy', 'msgspec', 'dataclasses'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_standard_stream_may_be_closed(closed, tmp_path):
    """What is opened then must not get its number: a line that is shown would end up in it."""
    path = tmp_path / "x.pcapng"
    command = [sys.executable, "-c", "from dissector.cli import main; main()", "slim", COLO_420, path]
    subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        env=environment(), check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert path.read_bytes()[:4] == b"\n\r\r\n"
    assert run("read", "--json", path).returncode == 0


def test_the_application_declares_the_version_too():
    assert run("--version", "read").stdout == VERSION


def test_without_arguments_there_is_help():
    done = run()
    assert "xendissect read migration.pcap" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_examples_that_keep_their_lines(option):
    done = run("read", option)
    assert done.returncode == 0
    assert "  xendissect read migration.pcap\n" in done.stdout
    assert "xl migrate -s 'xendissect tap -- ssh' guest host\n" in run(option).stdout


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


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        (["--help"], []),
        (["rea"], []),
        (["read", "--help"], ["read"]),
        (["--", "read", "--help"], ["read"]),
        (["wireshark", "--help"], ["wireshark"]),
        (["--show-completion"], []),
    ],
)
def test_the_verb_that_is_asked_for_alone_is_loaded(words, loaded):
    code = (
        f"import sys; sys.argv = ['xendissect', *{words}]\n"
        "from dissector.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "from dissector.cli.app import VERBS\n"
        "print([verb for verb in VERBS if f'dissector.cli.{verb}' in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stderr.splitlines()[-1] == str(loaded)


def test_verbs_are_listed_with_the_texts_that_are_theirs():
    listed = run("--help").stdout
    for verb, settings in VERBS.items():
        assert f"  {verb.ljust(max(map(len, VERBS)))}  {settings['short_help']}\n" in listed


def test_a_verb_that_is_written_wrong():
    assert "No such command 'rea'. Did you mean 'read'?" in run("rea", "x").stderr


@pytest.mark.parametrize(
    ("words", "offered"), [("re", ["read"]), ("wireshark d", ["doctor"]), ("sniff --durat", ["--duration"])]
)
def test_verbs_and_what_belongs_to_them_are_completed(words, offered):
    words = f"xendissect {words}"
    done = run(_XENDISSECT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert done.stdout.split() == offered


def test_output_has_a_buffer_whatever_python_was_told():
    code = "import sys; from dissector.cli import _buffer_output as b; b(); print(type(sys.stdout.buffer).__name__)"
    for way in ((), ("-u",)):
        done = subprocess.run(
            [sys.executable, *way, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "BufferedWriter\n"
