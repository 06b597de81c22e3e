# SPDX-License-Identifier: GPL-2.0-or-later
"""Which events the user asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector import spec
from dissector.wire.events import Record, Total

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dissector.cli.choices import DirectionChoice, LayerChoice
    from dissector.wire.events import Event


def type_names() -> list[str]:
    """Return the names of all record types, each once, sorted."""
    return sorted({record.name for record in spec.ALL_RECORDS})


def canonical_types(names: Sequence[str]) -> set[str]:
    """Return the specification's spelling of record types that were written in any case.

    Raises:
        ValueError: there is no such type; the message suggests one.
    """
    known = {name.lower(): name for name in (*type_names(), "UNKNOWN")}
    found = set()
    for name in names:
        word = name.strip().lower().replace("-", "_")
        if word not in known:
            import difflib

            close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
            hint = f"; did you mean {known[close[0]]}?" if close else ""
            raise ValueError(f"there is no record type {name!r}{hint}")
        found.add(known[word])
    return found


class Selection:
    """Decides for each event whether it is shown.

    Type, layer and display filter concern records only. Flow and direction concern everything that belongs to one.

    Raises:
        ValueError: the display filter is not understood.
    """

    def __init__(
        self,
        *,
        flows: Collection[int] = (),
        types: Collection[str] = (),
        layers: Collection[str] = (),
        direction: str | None = None,
        display_filter: str | None = None,
    ) -> None:
        self._flows = frozenset(flows)
        self._types = frozenset(types)
        self._layers = frozenset(layers)
        self._direction = direction
        self._test: Callable[[Record], bool] | None = None
        if display_filter is not None:
            from dissector.display_filter import compile_filter

            self._test = compile_filter(display_filter)

    @property
    def wanted(self) -> Selection | None:
        """This selection; None if it takes everything."""
        some = self._flows or self._types or self._layers or self._direction is not None or self._test is not None
        return self if some else None

    def __call__(self, event: Event) -> bool:
        """Tell whether to show `event`."""
        if isinstance(event, Total):
            return True
        if self._flows and event.flow is not None and event.flow not in self._flows:
            return False
        if self._direction is not None and getattr(event, "direction", None) not in (None, self._direction):
            return False
        if not isinstance(event, Record):
            return True
        if self._types and event.type not in self._types:
            return False
        if self._layers and event.layer not in self._layers:
            return False
        return self._test is None or self._test(event)


def selection_of(
    flows: Sequence[int] | None,
    types: Sequence[str] | None,
    layers: Sequence[LayerChoice] | None,
    direction: DirectionChoice | None,
    display_filter: str | None,
) -> Selection:
    """Make the selection that the options of a verb ask for (:mod:`dissector.cli.options`).

    Raises:
        ValueError: there is no such type, or the display filter is not understood.
    """
    return Selection(
        flows=flows or (),
        types=canonical_types(types or ()),
        layers=[layer.value for layer in layers or ()],
        direction=direction.value if direction else None,
        display_filter=display_filter,
    )
