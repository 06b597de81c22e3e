# SPDX-License-Identifier: GPL-2.0-or-later
"""Records every packet as it was captured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dissector.recording.batch import Batch
    from dissector.sources import CaptureFormat, Packet


class WholeRecorder:
    """A :class:`~dissector.walk.Recorder` that keeps everything."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def passed(self, form: CaptureFormat, buffer: memoryview, position: int, behind: int) -> None:
        """See `Recorder.passed`."""
        if form.interface_count == 1:
            number = self._batch.interface(form, 0, form.linktype or 0)
            self._batch.add_records(number, form, buffer, position, behind)
            return
        take, add, interface = form.packet, self._batch.add, self._batch.interface
        while position < behind:
            position, packet = take(buffer, position, behind)
            if packet is not None:
                add(interface(form, packet.interface, packet.linktype), packet.time, packet.data, packet.wire_length)

    def packet(self, packet: Packet, form: CaptureFormat | None) -> None:
        """See `Recorder.packet`."""
        comment = "\n".join(mark.comment() for mark in packet.left_out)
        number = self._batch.interface(form, packet.interface, packet.linktype)
        self._batch.add(number, packet.time, packet.data, packet.wire_length, comment)

    def flush(self) -> None:
        """See `Recorder.flush`."""
        self._batch.flush()

    def finish(self) -> list[bytes]:
        """Give the blocks that belong behind all packets: none."""
        self._batch.flush()
        return []
