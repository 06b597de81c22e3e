# SPDX-License-Identifier: GPL-2.0-or-later
"""Page contents read again equal those that an independent reassembly finds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

import dissector
from captures.make import produce
from captures.table import CASES

CAPTURES = Path(__file__).parent.parent / "captures"


def forward_stream(path: Path) -> bytes:
    """Put the forward direction together the plain way: scapy's reader, by sequence number, first copy wins."""
    truth = json.loads((CAPTURES / path.name.replace(".pcap.gz", ".truth.json")).read_text())
    stream = bytearray(truth["forward"]["bytes"])
    base = None
    for data, _ in RawPcapReader(str(path)):
        ip = data[14:]
        if ip[9] != 6 or ip[12:16] != bytes([192, 0, 2, 1]):
            continue
        tcp = ip[(ip[0] & 15) * 4 : int.from_bytes(ip[2:4], "big")]
        seq = int.from_bytes(tcp[4:8], "big")
        if tcp[13] & 2:
            base = seq + 1
        payload = tcp[(tcp[12] >> 4) * 4 :]
        if payload and base is not None:
            at = (seq - base) & 0xFFFFFFFF
            stream[at : at + len(payload)] = payload
    return bytes(stream)


@pytest.fixture(scope="module")
def plain_copy(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "hvm-colo-xl.pcap"
    path.write_bytes(gzip.decompress((CAPTURES / "hvm-colo-xl.pcap.gz").read_bytes()))
    return path


@pytest.fixture(scope="module")
def stream():
    return forward_stream(CAPTURES / "hvm-colo-xl.pcap.gz")


@pytest.mark.parametrize("compressed", [True, False])
def test_every_page_of_a_real_capture(plain_copy, stream, compressed):
    path = CAPTURES / "hvm-colo-xl.pcap.gz" if compressed else plain_copy
    records = list(dissector.read(path, display_filter="libxc.page_data"))
    assert len(records) == 11
    for record in records[1:4] if compressed else records:
        place = record.offset + 16 + 8 * len(record.pfns)
        for pfn, kind in zip(record.pfns.tolist(), record.page_types.tolist(), strict=True):
            if kind == 15:
                assert record.page(pfn) is None
                continue
            assert record.page(pfn) == stream[place : place + 4096]
            place += 4096
        assert place == record.offset + record.size


def test_whole_body_of_page_data(plain_copy, stream):
    record = next(dissector.read(plain_copy, display_filter="libxc.page_data"))
    assert record.whole_body() == stream[record.offset + 8 : record.offset + record.size]


def test_pfn_without_entry(plain_copy):
    record = next(dissector.read(plain_copy, display_filter="libxc.page_data"))
    with pytest.raises(KeyError):
        record.page(1 << 40)


def test_lost_page_is_never_invented(tmp_path):
    files, _ = produce(CASES["loss-in-pages"])
    (data,) = files.values()
    path = tmp_path / "loss.pcap"
    path.write_bytes(data)
    broken = [r for r in dissector.read(path, display_filter="libxc.page_data") if not r.complete]
    assert broken
    lost = kept = 0
    for record in broken:
        for pfn in record.pfns.tolist():
            try:
                kept += record.page(pfn) is not None
            except dissector.LostBytesError:
                lost += 1
        with pytest.raises(dissector.LostBytesError):
            record.whole_body()
    assert lost
    assert kept


def test_save_image_pages(tmp_path):
    files, _ = produce(CASES["save-image"])
    (data,) = files.values()
    path = tmp_path / "guest.save"
    path.write_bytes(data)
    record = next(dissector.read(path, display_filter="libxc.page_data"))
    pfn = next(p for p, kind in zip(record.pfns.tolist(), record.page_types.tolist(), strict=True) if kind == 0)
    first = record.offset + 16 + 8 * len(record.pfns)
    assert record.page(pfn) == data[first : first + 4096]


def test_several_files(tmp_path):
    files, _ = produce(CASES["ring-buffer"])
    paths = []
    for name, data in files.items():
        paths.append(tmp_path / name.removesuffix(".gz"))
        paths[-1].write_bytes(data)
    pages = 0
    for record in dissector.read(*paths, display_filter="libxc.page_data"):
        for pfn in record.pfns.tolist():
            pages += record.page(pfn) is not None
    assert pages
