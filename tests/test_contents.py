# SPDX-License-Identifier: GPL-2.0-or-later
"""Page contents read again equal those that an independent reassembly finds."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
import zstandard
from scapy.utils import RawPcapReader

import dissector
from bench.generate import Options, generate
from captures.make import produce
from captures.table import CASES
from dissector.sources import Reentry

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


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    path = tmp_path_factory.mktemp("generated") / "made.pcap"
    generate(path, Options(size=24 << 20, reorder=0.01, loss=0.0002))
    return path


def page_or_loss(record, pfn):
    try:
        return record.page(pfn)
    except dissector.LostBytesError:
        return None


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_pages_of_a_compressed_capture_in_any_order(compress, indexed, generated, tmp_path, monkeypatch):
    path = tmp_path / "made.pcap.x"
    path.write_bytes(compress(generated.read_bytes()))
    if indexed:
        list(dissector.read(path, index=True))
    given = []
    blocks = Reentry.blocks

    def counted(source, position):
        for block in blocks(source, position):
            given.append(len(block))
            yield block

    monkeypatch.setattr(Reentry, "blocks", counted)
    plain = list(dissector.read(generated, display_filter="libxc.page_data"))
    packed = list(dissector.read(path, display_filter="libxc.page_data"))
    assert packed == plain
    choice = random.Random(1)
    asked = [
        (number, int(plain[number].pfns[choice.randrange(plain[number].pfns.size)])) for number in range(len(plain))
    ]
    choice.shuffle(asked)
    found = 0
    for number, pfn in asked:
        wanted = page_or_loss(plain[number], pfn)
        given.clear()
        assert page_or_loss(packed[number], pfn) == wanted
        if wanted is not None:
            found += 1
            assert 0 < sum(given) < 12 << 20  # it is entered near the page: two marks, and the record itself
    assert found > len(asked) // 2


def test_pages_of_a_compressed_image_in_any_order(tmp_path):
    files, _ = produce(CASES["save-image"])
    (data,) = files.values()
    path = tmp_path / "guest.save.gz"
    path.write_bytes(gzip.compress(data))
    for record in reversed(list(dissector.read(path, display_filter="libxc.page_data"))):
        whole = data[record.offset + 8 : record.offset + record.size]
        assert record.whole_body() == whole
