# SPDX-License-Identifier: GPL-2.0-or-later
"""The events are those of the core; and tshark is gone whatever happens."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("pyshark")

import dissector
from dissector.pyshark_tools import Capture, TsharkError, event_object, events, read
from dissector.sinks.jsonl import event_object as core_object
from dissector.wire.events import Flow, Summary, Total
from tests.wireshark.tools import fake_program

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "captures"
SMALL = CAPTURES / "xl-hvm-xenstore.pcap.gz"
LARGE = CAPTURES / "snap-1000.pcap.gz"
ALL = {"layers": ("ip", "tcp"), "pfns": True}
"""With these tshark says more about it than fits into a pipe: it cannot have ended when only a little was read."""

DESCRIPTORS = Path("/proc/self/fd")

NAMES = (
    "xl-hvm-xenstore.pcap.gz",  # plain, all of xl, libxl and libxc
    "remus-hvm-xl.pcap.gz",
    "hvm-colo-xl.pcap.gz",  # a real one
    "colo-header-12.pcap.gz",
    "colo-header-16.pcap.gz",
    "reorder-and-overlap.pcap.gz",
    "loss-in-pages.pcap.gz",
    "loss-page-data-head.pcap.gz",
    "loss-of-beginning.pcap.gz",
    "mid-stream-colo.pcap.gz",
    "snap-128.pcap.gz",
    "snap-1000.pcap.gz",
    "two-migrations-and-noise.pcap.gz",
    "unknown-records.pcap.gz",
    "big-endian.pcap.gz",
    "xl-target-fails.pcap.gz",
    "pcapng-two-sections.pcapng.gz",
    "gro-ipv6-length-0.pcap.gz",
    "banner-only.pcap",
)


def in_order(objects):
    """Events as JSON gives them back, sorted by what they are."""
    return sorted((json.loads(json.dumps(one)) for one in objects), key=partial(json.dumps, sort_keys=True))


def core(path, *, pfns=False):
    found = [event for event in dissector.events(path) if not isinstance(event, Flow | Summary | Total)]
    return in_order(core_object(event, pfns=pfns) for event in found)


# -- the same events -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_events_are_those_of_the_core(name, home):
    pfns = not name.startswith("hvm-colo")  # lists of a real one take seconds to print
    mine = in_order(event_object(event, pfns=pfns) for event in events(CAPTURES / name, pfns=pfns))
    assert mine == core(CAPTURES / name, pfns=pfns)


def test_capture_that_is_cut_short(home):
    path = CAPTURES / "file-cut.pcap.gz"
    *mine, last = [event_object(event) for event in events(path)]
    assert (last["id"], last["flow"]) == ("capture.cut", None)
    assert "cut short" in last["text"]
    assert in_order(mine) == [one for one in core(path) if one.get("id") != "capture.cut"]


def test_a_record_can_be_used_like_one_of_the_core(home):
    [record] = [one for one in read(SMALL, pfns=True) if one.type == "PAGE_DATA"][:1]
    [other] = [one for one in dissector.read(SMALL) if one.offset == record.offset and one.type == "PAGE_DATA"]
    assert record.fields == other.fields
    assert record.pfns.tolist() == other.pfns.tolist()
    assert record.definition is other.definition
    with pytest.raises(dissector.LostBytesError, match=r"dissector\.read has them"):
        record.page(record.fields["first_pfn"])


def test_packet_is_one_of_pyshark(home):
    for record in read(SMALL, layers=("ip",)):
        packet = record.packet
        assert packet is record.packet
        assert int(packet.number) in range(record.first_frame, record.last_frame + 1)
        assert "xenmig" in packet
        assert packet.ip.src == ("192.0.2.1" if record.direction == "forward" else "192.0.2.2")


def test_no_payload_in_the_output(home):
    capture = Capture(SMALL)
    output = subprocess.run(capture.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    assert b"xenmig.type" in output
    assert b"tcp.payload" not in output


def test_a_packet_without_a_time(home):
    untimed = [event for event in events(CAPTURES / "pcapng-two-sections.pcapng.gz") if event.packet is not None]
    assert all(event.packet.number for event in untimed)


def test_read_again(home):
    with Capture(SMALL) as capture:
        first = [event_object(event) for event in capture]
        assert [event_object(event) for event in capture] == first


def test_two_at_a_time(home):
    with Capture(SMALL) as capture:
        pairs = list(zip(capture, capture, strict=True))
    assert len(pairs) > 20
    assert all(event_object(one) == event_object(other) for one, other in pairs)


def test_decode_as(home):
    path = CAPTURES / "mid-stream-plain.pcap.gz"
    options = {"decode_as": {"tcp.port==8002": "xenmig"}, "override_prefs": {"xenmig.middle": "FALSE"}}
    assert in_order(event_object(event) for event in events(path, **options)) == core(path)


# -- ending early ----------------------------------------------------------------------------------------------------


def test_closed_in_the_middle(home, gone):
    with Capture(LARGE, **ALL) as capture:
        reading = iter(capture)
        next(reading)
        os.kill(reading.pid, 0)  # still there
    gone(reading.pid)
    assert list(reading) == []
    capture.close()


def test_generator_that_is_not_read_to_its_end(home, gone, monkeypatch):
    pids = []
    original = Capture.__iter__
    monkeypatch.setattr(Capture, "__iter__", lambda self: pids.append(original(self)) or pids[-1])
    records = read(LARGE, **ALL)
    next(records)
    del records
    gc.collect()
    gone(pids[0].pid)


def test_exception_in_the_block(home, gone):
    with pytest.raises(ZeroDivisionError), Capture(LARGE, **ALL) as capture:
        for _ in (reading := iter(capture)):
            1 / 0  # noqa: B018
    gone(reading.pid)


def test_forgotten(home, gone):
    reading = iter(Capture(LARGE, **ALL))
    next(reading)
    pid = reading.pid
    del reading
    gc.collect()
    gone(pid)


def test_forgotten_until_python_ends(home, gone):
    code = (
        "import sys\nfrom dissector.pyshark_tools import Capture\n"
        f"reading = iter(Capture(sys.argv[1], **{ALL}))\nnext(reading)\nprint(reading.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, LARGE], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr == ""
    gone(int(done.stdout))


def test_nothing_stays_open(home):
    before = set(DESCRIPTORS.iterdir()) if DESCRIPTORS.exists() else None
    for _ in range(2):
        with Capture(LARGE, **ALL) as capture:
            next(iter(capture))
        list(read(SMALL))
    if before is not None:
        assert len(set(DESCRIPTORS.iterdir())) <= len(before) + 1


# -- event loops -----------------------------------------------------------------------------------------------------


def test_while_an_event_loop_runs(home):
    async def cell():
        return len(list(read(SMALL)))

    assert asyncio.run(cell()) == len(list(dissector.read(SMALL)))


def test_async_for(home):
    async def main():
        async with Capture(SMALL) as capture:
            return [event_object(event) async for event in capture]

    assert asyncio.run(main()) == [event_object(event) for event in events(SMALL)]


def test_other_tasks_go_on_meanwhile(home):
    async def count(path):
        async with Capture(path) as capture:
            return len([event async for event in capture])

    async def main():
        return await asyncio.gather(*(count(path) for path in (SMALL, SMALL, CAPTURES / "remus-hvm-xl.pcap.gz")))

    first, second, other = asyncio.run(main())
    assert first == second != other > 0


ASYNC = """
import asyncio, sys
from dissector.pyshark_tools import Capture

async def work(read):
    async with Capture(sys.argv[1], **{options}) as capture:
        async for event in capture:
            [reading] = capture._readings
            print(reading.pid)
            read.set()
            {then}

async def main():
    read = asyncio.Event()
    task = asyncio.create_task(work(read))
    await read.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("then", ["break", "await asyncio.Event().wait()", "pass"])
def test_async_ended_early_leaves_nothing(then, home, gone):
    """Left by break, cancelled while it does something else, cancelled while it waits for tshark."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", ASYNC.format(then=then, options=ALL), LARGE],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stderr == ""
    gone(int(done.stdout.split()[0]))


# -- when tshark fails -----------------------------------------------------------------------------------------------

PACKET = """\
[
  {
    "_source": {
      "layers": {
        "frame": {"frame.number": "1", "frame.time_epoch": "1.5", "frame.len": "1", "frame.protocols": "xenmig"},
        "xenmig": {
          "xenmig.flow": "0",
          "xenmig.libxl.end": {
            "xenmig.direction": "forward", "xenmig.layer": "libxl", "xenmig.type": "END", "xenmig.offset": "0",
            "xenmig.size": "8", "xenmig.first_frame": "1", "xenmig.last_frame": "1", "xenmig.complete": "1",
            "xenmig.type_id": "0x00000000", "xenmig.body_length": "0"
          }
        }
      }
    }
  },
"""


def fake(folder, does):
    (folder / "output").write_text(PACKET)
    reads = f"cat {folder}/output; {does}"
    return fake_program(folder, "tshark", "TShark (Wireshark) 4.0.17 with Lua 5.2.4", folders=folder, reads=reads)


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("kill -9 $$", "SIGKILL; what it told before"),
        ("kill -SEGV $$", "SIGSEGV"),
        ("exit 3", "exit status 3"),
        ("echo 'tshark: no more memory' >&2; exit 3", "no more memory"),
        ("exit 0", "ends in the middle"),
        ("printf '  {'; exit 0", "ends in the middle"),
    ],
)
def test_tshark_dies(does, message, tmp_path):
    reading = iter(Capture(SMALL, tshark_path=fake(tmp_path, does)))
    assert next(reading).type == "END"
    with pytest.raises(TsharkError, match=message):
        next(reading)
    assert list(reading) == []


def test_no_capture(tmp_path, home):
    with pytest.raises(dissector.CaptureError, match="no such file"):
        Capture(tmp_path / "absent.pcap")
    (tmp_path / "text").write_text("this is no capture at all, only a text")
    with pytest.raises(TsharkError, match="isn't a capture file"):
        list(read(tmp_path / "text"))


def test_without_pyshark():
    code = "import sys\nsys.modules['pyshark'] = None\nimport dissector.pyshark_tools"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    last = "ImportError: pyshark is not installed: pip install 'xendissect[pyshark]'"
    assert done.stderr.splitlines()[-1] == last
    assert done.stderr.count("Error:") == 1
