# SPDX-License-Identifier: GPL-2.0-or-later
"""Which kernel runs; and neither passes a packet that the engine would not have passed over."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.sources import CaptureError, Chunk
from dissector.walk import Walk
from dissector.wire import kernel
from dissector.wire.engine import Engine
from dissector.wire.forward import PythonKernel
from dissector.wire.frame import FrameDecoder
from dissector.wire.halfflow import IGNORE
from tests.cross.tools import ADDRESSES, PORTS, frame, modest
from tests.live.test_ring_format import ORDER
from tests.wire.kernels import ComparedKernel, need_c
from tests.wire.strange import LINKTYPES, SHAPES, Traffic, buffer_of

KEY = ADDRESSES["forward"] + PORTS["forward"]

# -- the choice -------------------------------------------------------------------------------------


@pytest.fixture
def missing(monkeypatch):
    """As if the kernel in C had not been built."""
    monkeypatch.setitem(sys.modules, "dissector.wire._forward", None)
    import dissector.wire

    monkeypatch.delattr(dissector.wire, "_forward", raising=False)


def test_c_is_the_default(monkeypatch):
    need_c()
    for value in ("", "c"):
        monkeypatch.setenv(kernel.VARIABLE, value)
        assert kernel.kernel_name() == "c"
        assert isinstance(kernel.make_kernel(), kernel.CKernel)
    monkeypatch.delenv(kernel.VARIABLE)
    assert kernel.kernel_name() == "c"


def test_python_is_the_default_where_nothing_was_built(monkeypatch, missing):
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    assert kernel.kernel_name() == "python"
    assert isinstance(kernel.make_kernel(), PythonKernel)


def test_python_when_asked_for(monkeypatch):
    monkeypatch.setenv(kernel.VARIABLE, "python")
    assert isinstance(kernel.make_kernel(), PythonKernel)


def test_c_asked_for_but_missing(monkeypatch, missing):
    monkeypatch.setenv(kernel.VARIABLE, "c")
    with pytest.raises(ImportError, match="XENDISSECT_KERNEL=c: the C kernel was not built"):
        Walk(Engine())


def test_no_such_kernel(monkeypatch):
    monkeypatch.setenv(kernel.VARIABLE, "rust")
    with pytest.raises(ImportError, match="XENDISSECT_KERNEL=rust: there is no such kernel, only c and python"):
        kernel.make_kernel()


def test_the_choice_imports_little():
    code = (
        "import sys; from dissector.wire.kernel import kernel_name; kernel_name()\n"
        "print(sorted({'struct', 'dataclasses', 'dissector.wire.forward', 'dissector.wire.events'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- what they pass ---------------------------------------------------------------------------------


def plain(packet, segment, head):
    """Whether record and headers are of the usual kind, so that the kernel in C has no excuse to stop.

    Args:
        packet: As the format gave it.
        segment: As the decoder gave it.
        head: Of a ring: the record header, which has the protocol and the VLAN tag that was taken out; else empty.
    """
    data, at = packet.data, segment.at - segment.header
    if packet.linktype in (0, 108) or not 0 <= segment.at <= len(data) or data[at + 12] & 0x0E:
        return False
    version, protocol = (4, b"\x08\x00") if len(segment.key) == 12 else (6, b"\x86\xdd")
    if head and (head[20] & 0x50 == 0x50 or (packet.linktype != 1 and head[50:52] != protocol)):
        return False
    ip = bytes(data[max(at - (20 if version == 4 else 40), 0) : at])
    if version == 4:
        return len(ip) == 20 and ip[0] == 0x45 and not ip[6] & 0xBF and not ip[7] and any(ip[2:4]) and ip[9] == 6
    return len(ip) == 40 and ip[6] == 6 and any(ip[4:6]) and ip[8:] == segment.key[:32]


def in_order(segment, state):
    return segment.length > 0 and segment.seq == state[0] and segment.seq + segment.length < state[1]


def may_pass(segment, fast, slim):
    """What the engine can do without: the rule of the kernels, from what the engine's decoder says."""
    if segment is None or segment.flags & ~0xC8 != 0x10 or segment.key not in fast:
        return False
    if len(segment.payload) < segment.length and not slim:
        return False
    state = fast[segment.key]
    return not segment.length or in_order(segment, state) or state[1] == IGNORE


def account(segment, fast):
    """Do to the state what a kernel must do; whether payload came in order."""
    state = fast[segment.key]
    if moved := in_order(segment, state):
        state[0] += segment.length
    state[2] = segment.ack
    return moved


@modest(400)
@given(
    seed=st.integers(0, 1 << 32),
    shape=st.sampled_from(SHAPES),
    linktype=st.sampled_from(LINKTYPES),
    slim=st.sampled_from((False, False, True)),
)
def test_nothing_is_passed_that_matters(seed, shape, linktype, slim):
    """Both kernels, and the engine's own decoder as the judge of every packet that they pass or stop at."""
    need_c()
    ring = shape.startswith("ring")
    if ring and linktype in (113, 0, 108):
        linktype = 1
    traffic = Traffic(seed, linktype, ring)
    rng, fast = traffic.rng, traffic.fast()
    form, content, position = buffer_of(shape, traffic, traffic.frames(rng.choice((1, 30, 200))))
    buffer = memoryview(content + rng.randbytes(200))
    end = len(content) if rng.random() < 0.7 else rng.randrange(position, len(content) + 1)
    both, decoder = ComparedKernel(), FrameDecoder()
    both.slim = slim
    readable = not ring or shape[-1] == ORDER

    def following(at):
        behind, packet = form.packet(buffer, at, end)
        if packet is None:
            return behind, None, None
        data = packet.data
        return behind, packet, decoder.decode(packet.linktype, data, packet.wire_length)

    while position < end:
        before = copy.deepcopy(fast)
        stop, passed = both.forward(buffer, position, end, shape, linktype, fast)
        if not readable:  # nothing here reads rings of another machine: what both kernels agree on must do
            break
        latest = None
        for number in range(passed):
            behind, packet, segment = following(position)
            assert packet is not None
            assert may_pass(segment, before, slim)
            if account(segment, before):
                latest = segment.key, position, number
            position = behind
        assert (position, before) == (stop, fast)
        assert both.latest == (latest and latest[0])
        if latest:
            assert (both.latest_at, both.latest_number) == latest[1:]
        try:
            behind, packet, segment = following(position)
        except CaptureError:
            break
        if behind == position:
            break
        enhanced = "ng" not in shape or (not slim and 6 in (buffer[position], buffer[position + 3]))
        head = buffer[position : position + 52] if ring else b""
        if segment is not None and enhanced and plain(packet, segment, head):
            assert not may_pass(segment, fast, slim)
        if segment is not None and segment.key in fast and rng.random() < 0.8:
            fast[segment.key] = traffic.state(segment.seq + segment.length & 0xFFFF_FFFF)
        position = behind


@modest(60)
@given(seed=st.integers(0, 1 << 32), shape=st.sampled_from(SHAPES), linktype=st.sampled_from(LINKTYPES))
def test_engine_hears_of_the_same(seed, shape, linktype):
    """Strange traffic through engine and both kernels, and through the engine alone: it takes up the same segments."""
    need_c()
    if shape.startswith("ring"):
        shape, linktype = f"ring{ORDER}", 1 if linktype in (113, 0, 108) else linktype
    traffic = Traffic(seed, linktype, shape.startswith("ring"))
    form, content, start = buffer_of(shape, traffic, traffic.frames(200))
    engine, alone = Engine(), Engine()
    walk = Walk(engine)
    walk._kernel = both = ComparedKernel()
    chunk = Chunk(memoryview(content + bytes(99)), start, len(content), form, 0)
    fast = [event for events in walk.chunk(chunk) for event in events]
    assert chunk.consumed == len(content)
    assert both.calls
    slow, number, position = [], 0, start
    while position < len(content):
        position, packet = form.packet(memoryview(content), position, len(content))
        if packet is not None:
            number += 1
            slow += alone.packet(number, packet.time, packet.linktype, packet.data, packet.wire_length)
    assert number == walk.number == chunk.packets
    assert set(engine.fast) == set(alone.fast)
    for key, state in engine.fast.items():
        if state[1] != IGNORE:
            assert state[::2] == alone.fast[key][::2]
    assert [str(event) for event in fast + engine.finish()] == [str(event) for event in slow + alone.finish()]


# -- the kernel in C by itself ----------------------------------------------------------------------


def record(data):
    return bytes(8) + len(data).to_bytes(4, "little") * 2 + data


def many(count=50):
    return b"".join(record(frame("forward", 100 + 50 * n, 7, 0x10, bytes(50))) for n in range(count))


@pytest.fixture
def forward():
    need_c()
    from dissector.wire._forward import forward

    return forward


@pytest.mark.parametrize("state", [[], [1, 2], ["x", 2, 3], [1, None, 3], [1, 1 << 70, 3], (1, 2, 3), None])
def test_states_that_are_none(forward, state):
    with pytest.raises((TypeError, IndexError, OverflowError, SystemError)):
        forward(many(), 0, len(many()), "pcap<", 1, {KEY: state}, False)


@pytest.mark.parametrize(
    ("position", "end", "shape"),
    [
        (-1, 1 << 20, "pcap<"),
        (0, -1, "pcap<"),
        (9 << 40, 10 << 40, "pcap<"),
        (5, 2, "pcap<"),
        (0, 99, ""),
        (0, 99, "pcap"),
    ],
)
def test_places_that_are_none(forward, position, end, shape):
    state = [100, 1 << 32, -1]
    assert forward(many(), position, end, shape, 1, {KEY: state}, False) == (position, 0, None, 0, 0)


def test_end_behind_the_buffer(forward):
    assert forward(many(), 0, 1 << 40, "pcap<", 1, {KEY: [100, 1 << 32, -1]}, False)[:2] == (len(many()), 50)


def test_more_directions_than_it_keeps_at_a_time(forward):
    ports = [n.to_bytes(2) + b"\xc0\x00" for n in range(1, 200)]
    fast = {KEY[:-4] + port: [100, 1 << 32, -1] for port in ports}
    content = b"".join(
        record(frame("forward", 100 + 50 * n, n, 0x10, bytes(50), port)) for n in range(3) for port in ports
    )
    passed = forward(content, 0, len(content), "pcap<", 1, fast, False)
    assert passed[:3] == (len(content), len(ports) * 3, KEY[:-4] + ports[-1])
    assert list(fast.values()) == [[250, 1 << 32, 2]] * len(ports)


def test_no_memory_is_lost(forward):
    """Neither objects nor references, whether a call ends well, at a strange packet or with an exception."""
    content, odd = many(), many(2) + bytes(80)
    fast, good, bad = {}, [100, 1 << 32, -1], [100, "x", 3]

    def turns(count):
        for _ in range(count):
            good[0], fast[KEY] = 100, good
            forward(content, 0, len(content), "pcap<", 1, fast, False)
            good[0] = 100
            forward(odd, 0, len(odd), "pcap<", 1, fast, False)
            fast[KEY] = bad
            try:
                forward(content, 0, len(content), "pcap<", 1, fast, False)
            except TypeError:
                pass
            else:
                pytest.fail("no exception")

    turns(100)
    counts = [sys.getrefcount(one) for one in (content, odd, good, bad, fast, KEY)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    turns(3000)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert [sys.getrefcount(one) for one in (content, odd, good, bad, fast, KEY)] == counts
    assert after - before < 4096


@modest(100)
@given(seed=st.integers(0, 1 << 32), shape=st.sampled_from(SHAPES), linktype=st.sampled_from(LINKTYPES))
def test_it_does_not_look_behind_the_end(seed, shape, linktype):
    """What lies there changes nothing, and there may be nothing (to be run with an address sanitizer, too)."""
    need_c()
    from dissector.wire._forward import forward

    traffic = Traffic(seed, linktype, shape.startswith("ring"))
    fast = traffic.fast()
    _, content, start = buffer_of(shape, traffic, traffic.frames(3))
    cuts = {*range(start, min(start + 200, len(content))), len(content) - 1, len(content)}
    for end in cuts:
        found = []
        for buffer in (bytearray(content[:end]), content, content[:end] + traffic.rng.randbytes(99)):
            states = copy.deepcopy(fast)
            found.append((forward(buffer, start, end, shape, linktype, states, False), states))
        assert found[0] == found[1] == found[2]
