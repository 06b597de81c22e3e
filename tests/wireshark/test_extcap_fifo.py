# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import threading

import pytest

from dissector.wireshark.extcap_fifo import Fifo


def test_it_waits_for_a_reader_and_knows_when_it_goes(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    readers = []
    thread = threading.Thread(target=lambda: readers.append(os.open(path, os.O_RDONLY)))
    thread.start()
    with Fifo(str(path)) as fifo:
        thread.join()
        assert not fifo.abandoned
        os.close(readers[0])
        assert fifo.abandoned


def test_a_plain_file_is_never_abandoned(tmp_path):
    path = tmp_path / "file"
    with Fifo(str(path)) as fifo:
        assert not fifo.abandoned
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError), Fifo(str(tmp_path / "nosuch" / "fifo")):
        pass
