# SPDX-License-Identifier: GPL-2.0-or-later
"""When a record breaks a rule, for the rules that need no more than a value, a length, or what came before.

:mod:`dissector.check` and the Wireshark plugin both judge by this table. Rules that need logic are functions in
:mod:`dissector.check`, with a twin in ``templates/check.lua``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dissector.spec import libxc, libxl, rules, xl
from dissector.spec.model import Length

if TYPE_CHECKING:
    from dissector.spec.findings import Rule
    from dissector.spec.model import Record

When: TypeAlias = Literal["forward", "reverse", "v2", "original", "inside", "outside", "not a state", "has a head"]
"""What may have to hold besides: the direction; the libxc stream version; the stream is known not to come from
convert-legacy-stream; inside or outside of a checkpoint; the record is no COLO state read as a vcpu's; the body
has 8 bytes."""

ANY: Final = 0xFFFF_FFFF
"""All bits of a field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A record of one of these kinds breaks a rule if all that is given here holds.

    The text of the rule may have ``found`` (the value), ``field``, ``what`` (the record), ``length`` and ``step``.

    Attributes:
        rule: The rule.
        on: The records.
        field: Integer of the body that is looked at, and pointed at; of a body that ends before it nothing is said.
        zero: Bits of it of which one is set.
        ones: Bits of it of which one is not set.
        allowed: Values that it has none of.
        forbidden: Values that it has one of.
        maximum: What it exceeds.
        tells: Field that gives ``found``, if it is another one.
        said: How ``found`` is said.
        length: Lengths that the body has none of; then the length in the record header is pointed at.
        behind: A record that came before in the direction of the sender.
        when: What else holds.
    """

    rule: Rule
    on: tuple[Record, ...]
    field: str = ""
    zero: int = 0
    ones: int = 0
    allowed: tuple[int, ...] = ()
    forbidden: tuple[int, ...] = ()
    maximum: int | None = None
    tells: str = ""
    said: str = "{}"
    length: Length | None = None
    behind: Record | None = None
    when: tuple[When, ...] = ()


EMULATOR: Final = (libxl.EMULATOR_XENSTORE_DATA, libxl.EMULATOR_CONTEXT)
POLICIES: Final = {libxc.X86_CPUID_POLICY: 24, libxc.X86_MSR_POLICY: 16}
"""Policy records, and the size of their entries."""
VCPU: Final = (
    libxc.X86_PV_VCPU_BASIC,
    libxc.X86_PV_VCPU_EXTENDED,
    libxc.X86_PV_VCPU_XSAVE,
    libxc.X86_PV_VCPU_MSRS,
)
EMPTY: Final = Length(exact=(0,))
_HEADER, _IMAGE = (libxl.STREAM_HEADER,), (libxc.IMAGE_HEADER,)

CONDITIONS: tuple[Condition, ...] = (
    Condition(rule=rules.XL_MANDATORY_FLAGS, on=(xl.SAVE_FILE_HEADER,), field="mandatory_flags", zero=ANY & ~3),
    Condition(rule=rules.XL_OLD_FLAGS, on=(xl.SAVE_FILE_HEADER,), field="mandatory_flags", ones=3),
    Condition(rule=rules.XL_OPTIONAL_FLAGS, on=(xl.SAVE_FILE_HEADER,), field="optional_flags", zero=ANY),
    Condition(rule=rules.LIBXL_VERSION, on=_HEADER, field="version", allowed=(2,), said="version {}"),
    Condition(rule=rules.LIBXL_BIG_ENDIAN, on=_HEADER, field="options", zero=1),
    Condition(rule=rules.LIBXL_OPTIONS, on=_HEADER, field="options", zero=ANY & ~3),
    Condition(rule=rules.LIBXL_CONVERTED, on=_HEADER, field="options", zero=2),
    Condition(rule=rules.LIBXL_EMPTY, on=(libxl.END, libxl.LIBXC_CONTEXT, libxl.CHECKPOINT_END), length=EMPTY),
    Condition(rule=rules.EMULATOR_LENGTH, on=EMULATOR, length=Length(minimum=8)),
    Condition(rule=rules.EMULATOR_ID, on=EMULATOR, field="emulator_id", allowed=tuple(libxl.EMULATOR_ID.values)),
    Condition(rule=rules.EMULATOR_INDEX, on=EMULATOR, field="index", zero=ANY),
    Condition(rule=rules.EMULATOR_UNKNOWN, on=EMULATOR, field="emulator_id", forbidden=(0,), when=("original",)),
    Condition(rule=rules.CHECKPOINT_END_PLACE, on=(libxl.CHECKPOINT_END,), when=("outside",)),
    Condition(rule=rules.END_INSIDE, on=(libxl.END,), when=("inside",)),
    Condition(rule=rules.IMAGE_VERSION, on=_IMAGE, field="version", allowed=(2, 3)),
    Condition(rule=rules.IMAGE_RESERVED, on=_IMAGE, field="options", zero=ANY & ~1),
    Condition(rule=rules.IMAGE_RESERVED, on=_IMAGE, field="reserved1", zero=ANY),
    Condition(rule=rules.IMAGE_RESERVED, on=_IMAGE, field="reserved2", zero=ANY),
    Condition(rule=rules.DOMAIN_TYPE, on=(libxc.DOMAIN_HEADER,), field="type", allowed=(1, 2)),
    Condition(rule=rules.PAGE_SHIFT, on=(libxc.DOMAIN_HEADER,), field="page_shift", allowed=(12,)),
    Condition(rule=rules.DOMAIN_RESERVED, on=(libxc.DOMAIN_HEADER,), field="reserved1", zero=ANY),
    Condition(rule=rules.XEN_MAJOR, on=(libxc.DOMAIN_HEADER,), field="xen_major", forbidden=(0,), tells="xen_minor"),
    Condition(rule=rules.TOOLSTACK, on=(libxc.TOOLSTACK,)),
    Condition(
        rule=rules.LIBXC_EMPTY,
        on=(libxc.END, libxc.VERIFY, libxc.CHECKPOINT, libxc.STATIC_DATA_END),
        length=EMPTY,
    ),
    Condition(rule=rules.STATIC_REPEATED, on=(libxc.STATIC_DATA_END,), behind=libxc.STATIC_DATA_END),
    Condition(rule=rules.STATIC_VERSION, on=(libxc.STATIC_DATA_END,), when=("v2",)),
    Condition(rule=rules.POLICY_VERSION, on=tuple(POLICIES), when=("v2",)),
    Condition(rule=rules.POLICY_LATE, on=tuple(POLICIES), behind=libxc.STATIC_DATA_END),
    *(
        Condition(rule=rules.POLICY_LENGTH, on=(policy,), length=Length(minimum=step, step=step))
        for policy, step in POLICIES.items()
    ),
    Condition(rule=rules.PV_INFO_LENGTH, on=(libxc.X86_PV_INFO,), length=Length(maximum=8)),
    Condition(rule=rules.PAGE_DATA_COUNT, on=(libxc.PAGE_DATA,), field="count", maximum=libxc.MAX_BATCH_SIZE),
    Condition(rule=rules.SHARED_INFO_LENGTH, on=(libxc.SHARED_INFO,), length=Length(exact=(libxc.PAGE_SIZE,))),
    Condition(rule=rules.VCPU_RESERVED, on=VCPU, field="reserved", zero=ANY, when=("not a state",)),
    Condition(rule=rules.TSC_LENGTH, on=(libxc.X86_TSC_INFO,), length=Length(exact=(24,))),
    Condition(rule=rules.TSC_RESERVED, on=(libxc.X86_TSC_INFO,), field="reserved", zero=ANY),
    Condition(rule=rules.HVM_PARAMS_EMPTY, on=(libxc.HVM_PARAMS,), field="count", forbidden=(0,), when=("has a head",)),
    Condition(rule=rules.HVM_PARAMS_RESERVED, on=(libxc.HVM_PARAMS,), field="reserved", zero=ANY),
    Condition(rule=rules.HVM_CONTEXT_EMPTY, on=(libxc.HVM_CONTEXT,), length=Length(minimum=1)),
    Condition(rule=rules.DIRTY_LIST_FORWARD, on=(libxc.CHECKPOINT_DIRTY_PFN_LIST,), when=("forward",)),
    Condition(
        rule=rules.DIRTY_LIST_LENGTH, on=(libxc.CHECKPOINT_DIRTY_PFN_LIST,), length=Length(step=8), when=("reverse",)
    ),
)
"""Several of one rule: each may be broken."""
