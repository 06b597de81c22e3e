# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of :mod:`dissector.wire.events`, as tshark tells them: without page contents, with the pyshark packet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from dissector.spec.model import PfnList
from dissector.wire.events import Finding, Gap, LostBytesError, Record, Resync

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import numpy.typing as npt


class PageContentsError(LostBytesError):
    """Page contents, or a list of pfns that was not asked for: tshark was told to leave them out."""


class _Found:
    """What all have in common."""

    __slots__ = ()
    make_packet: Callable[[], Any] | None

    @property
    def packet(self) -> Any:
        """The pyshark packet of the frame that shows it; None when it concerns the whole capture."""
        return self.make_packet() if self.make_packet is not None else None


@dataclass(frozen=True, slots=True, eq=False)
class WiresharkRecord(_Found, Record):
    """A record as tshark shows it: everything but page contents, which `dissector.read` reads again."""

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The decoded body."""
    lost_pfns: tuple[int, ...] = ()
    """Pages whose contents are not whole."""
    make_packet: Callable[[], Any] | None = field(default=None, repr=False)

    def decode(self, *, pfns: bool = False) -> dict[str, Any]:
        """Return the decoded body; with `pfns` whole pfn lists, if the capture was opened with ``pfns=True``."""
        lists = {element.name for element in self.definition.body if isinstance(element, PfnList)}
        if pfns and lists and "first_pfn" in self.values and not lists & self.values.keys():
            self._refuse("pfns were not asked for: open the capture with pfns=True")
        return {name: value for name, value in self.values.items() if pfns or name not in lists}

    @property
    def pfns(self) -> npt.NDArray[np.uint64]:
        """The pfn list as a numpy array of uint64; empty when the record has none.

        Raises:
            LostBytesError: the capture was not opened with ``pfns=True``.
        """
        import numpy as np

        decoded = self.decode(pfns=True)
        for element in self.definition.body:
            if isinstance(element, PfnList):
                return np.array(decoded.get(element.name, ()), np.uint64)
        return np.empty(0, np.uint64)

    @property
    def page_types(self) -> npt.NDArray[np.uint8]:
        """Not to be had from tshark, which counts page types (``fields["types"]``) and does not list them.

        Raises:
            LostBytesError: the record has a list with page types.
        """
        import numpy as np

        if any(isinstance(element, PfnList) and element.typed for element in self.definition.body):
            self._refuse("page types of single pfns are not in tshark's output")
        return np.empty(0, np.uint8)

    def page(self, pfn: int) -> bytes | None:
        """Page contents are not read through tshark.

        Raises:
            LostBytesError: always.
        """
        self._refuse(f"contents of page {pfn:#x} are not in tshark's output")

    def whole_body(self) -> bytes:
        """Page contents are not read through tshark.

        Raises:
            LostBytesError: always.
        """
        self._refuse("the bytes of a body are not in tshark's output")

    def _refuse(self, what: str) -> NoReturn:
        raise PageContentsError(f"{what}; dissector.read has them")


@dataclass(frozen=True, slots=True, eq=False)
class WiresharkGap(_Found, Gap):
    """Bytes that never came."""

    make_packet: Callable[[], Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class WiresharkResync(_Found, Resync):
    """Framing was lost and found again."""

    make_packet: Callable[[], Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class WiresharkFinding(_Found, Finding):
    """Something worth knowing."""

    make_packet: Callable[[], Any] | None = field(default=None, repr=False)


WiresharkEvent: TypeAlias = WiresharkRecord | WiresharkGap | WiresharkResync | WiresharkFinding
