# SPDX-License-Identifier: GPL-2.0-or-later
"""What all packets can do."""

from __future__ import annotations

import copy
import pickle

import pytest
from scapy.packet import Padding

from dissector import layers


def test_what_follows_a_record_is_not_ours():
    both = bytes(layers.XenLibxlCheckpointState(control_id="SVM_READY")) + b"next"
    packet = layers.XenLibxlCheckpointState(both)
    assert packet.control_id == 2
    assert packet.payload == Padding(b"next")
    assert bytes(packet) == both
    assert bytes(layers.XenXlGo(b"domain is yours, you are cleared to unpause\0more").payload) == b"more"


def test_changed_fields_are_built():
    packet = layers.XenLibxcHvmParams(param=[layers.XenLibxcHvmParamsParam(index="STORE_PFN", value=7)])
    packet = layers.XenLibxcHvmParams(bytes(packet))
    packet.param[0].value = 8
    packet.param.append(layers.XenLibxcHvmParamsParam(index=2, value=9))
    del packet.count
    del packet.body_length
    again = layers.XenLibxcHvmParams(bytes(packet))
    assert again.count == 2
    assert again.body_length == 40
    assert [(param.index, param.value) for param in again.param] == [(1, 8), (2, 9)]


def test_hand_made_packets_copy_and_pickle():
    packet = layers.XenLibxcPageData(pfn=[1], page_data=bytes(4096))
    for clone in (packet.copy(), copy.deepcopy(packet), pickle.loads(pickle.dumps(packet))):
        assert bytes(clone) == bytes(packet)
    big = layers.XenLibxcPageDataBE(pfn=[1])
    assert bytes(pickle.loads(pickle.dumps(big))) == bytes(big)
    with pytest.raises(AttributeError):
        _ = packet.offset
    packet.omitted = 1
    with pytest.raises(ValueError, match="not kept"):
        bytes(packet)
