# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules about HVM records let pass, and chains of any kind; what they find is in broken.py."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.bodies import hvm_context
from dissector.check import hvm
from dissector.check.session import Session
from dissector.spec import libxc, libxl
from dissector.spec.releases import HVM_PARAMS_SENT
from tests.check.tools import flow, made, the_end_behind


def hits(check, record, session=None):
    return list(check.test(record, session or Session(flow())))


@pytest.mark.parametrize("vcpus", [0, 1, 5])
def test_good_chain(vcpus):
    body = hvm_context(vcpus)
    record = made(libxc.HVM_CONTEXT, body)
    assert hits(hvm.context_chain, record) == []
    assert [section.typecode for section in hvm.sections(record)][-1] == 0


def test_a_chain_is_good_up_to_where_it_is_cut():
    body = hvm_context(1)
    for size in range(0, len(body), 7):
        assert hits(hvm.context_chain, made(libxc.HVM_CONTEXT, body[:size], length=len(body), complete=False)) == []


def test_every_cut_of_a_chain_that_is_complete_is_broken():
    body = hvm_context(1)
    for size in range(1, len(body), 7):
        assert len(hits(hvm.context_chain, made(libxc.HVM_CONTEXT, body[:size]))) == 1


@given(st.binary(max_size=200))
def test_any_chain_is_judged_without_an_exception(body):
    for hit in hits(hvm.context_chain, made(libxc.HVM_CONTEXT, body)):
        assert 8 <= hit.at <= 8 + len(body)


def test_every_parameter_that_xen_sends_is_good():
    body = struct.pack("<II", len(HVM_PARAMS_SENT), 0)
    body += b"".join(struct.pack("<QQ", index, 1) for index in HVM_PARAMS_SENT)
    assert hits(hvm.param_index, made(libxc.HVM_PARAMS, body)) == []
    assert hits(hvm.params_length, made(libxc.HVM_PARAMS, body)) == []


@pytest.mark.parametrize("index", [index for index in range(60) if index not in HVM_PARAMS_SENT])
def test_every_other_parameter_is_said(index):
    body = struct.pack("<IIQQ", 1, 0, index, 1)
    [hit] = hits(hvm.param_index, made(libxc.HVM_PARAMS, body))
    assert (hit.at, hit.values["index"]) == (16, index)


@given(st.binary(max_size=80), st.integers(0, 200))
def test_any_parameters_are_judged_without_an_exception(body, length):
    record = made(libxc.HVM_PARAMS, body, length=length, complete=False)
    for check in (hvm.param_index, hvm.params_length, hvm.params_empty, hvm.params_reserved):
        hits(check, record)


def test_context_is_not_missed_where_a_part_of_the_checkpoint_is():
    session = Session(flow(start="mid-stream"))
    session.guest = "HVM"
    record = made(libxc.CHECKPOINT, offset=5000)
    session.meet(record)
    assert hits(hvm.context_missing, record, session) == []


@pytest.mark.parametrize(("seen", "found"), [(libxl.CHECKPOINT_END, 0), (libxl.LIBXC_CONTEXT, 1)])
def test_the_end_of_a_46_session_has_no_context(seen, found):
    record, session = the_end_behind(seen)
    session.guest = "HVM"
    assert len(hits(hvm.context_missing, record, session)) == found
