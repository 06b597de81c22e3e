# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import subprocess
import sys

CODE = "from dissector.tap.notice import notice\nnotice('a line')\nnotice('x' * 10000)\nprint('done')"


def test_one_line():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"done\n"
    assert done.stderr.startswith(b"xendissect: tap: a line\n")


def test_nobody_reads_it():
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while os.write(write, bytes(65536)):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(write, True)
    done = subprocess.run([sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=write, check=True, timeout=60)
    assert done.stdout == b"done\n"
    os.close(read)
    done = subprocess.run([sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=write, check=True, timeout=60)
    assert done.stdout == b"done\n"
    os.close(write)


def test_closed():
    shell = f'exec "{sys.executable}" -c "{CODE}" 2>&-'
    assert subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, check=True, timeout=60).stdout == b"done\n"
